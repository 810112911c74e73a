//! What only the relay could reach is not called: neither by an address nor by a name.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agent_relay::config::Config;
use agent_relay::domain::task::callback::CallbackStatus;
use agent_relay::domain::task::callback::address::Allowed;
use agent_relay::jobs::deliver::Resolver;
use serde_json::json;

use super::{Receiver, callbacks, create, local, once};
use crate::server::Server;

/// Names have these addresses, one list after the other and the last one for ever. Answers how often that was asked.
fn names(config: &mut Config, answers: Vec<io::Result<Vec<&'static str>>>) -> Arc<AtomicUsize> {
    let asked = Arc::new(AtomicUsize::new(0));
    let of_resolver = asked.clone();
    let answers = Arc::new(answers);
    config.callbacks.resolver = Resolver::new(move |_| {
        let at = of_resolver.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
        let answer = match &answers[at] {
            Ok(list) => Ok(list.iter().map(|text| text.parse().expect("an address")).collect::<Vec<IpAddr>>()),
            Err(error) => Err(io::Error::from(error.kind())),
        };
        Box::pin(std::future::ready(answer))
    });
    asked
}

#[tokio::test]
async fn what_is_plainly_not_the_internet_is_refused_at_once() {
    let server = Server::start().await;
    for host in
        ["127.0.0.1:9", "0x7f.1", "localhost", "localhost.", "10.1.2.3", "169.254.169.254", "[::1]", "[fe80::1]"]
    {
        let draft = json!({"title": "t", "callbackUrl": format!("http://{host}/hook")});
        let refused = server.client.post("/api/tasks", draft).await;
        let said = refused.text.clone();
        refused.problem(400, "invalid_request");
        assert!(said.contains("callbackUrl") && said.contains("[callbacks] allow"), "{said}");
    }
    assert_eq!(callbacks(&server.client, "").await, []);
    create(&server.client, "https://hook.invalid/").await;
}

#[tokio::test]
async fn a_name_that_comes_to_stand_for_another_address_is_not_called_there() {
    // The listener is where the name leads to later, which is not allowed.
    let mut receiver = Receiver::start().await;
    let mut asked = None;
    let server = Server::start_with(|config| {
        local(&[1])(config);
        config.callbacks.allow = Allowed::new(vec!["::1/128".parse().expect("a network")]);
        asked = Some(names(config, vec![Ok(vec!["::1"]), Ok(vec!["127.0.0.1"])]));
    })
    .await;
    let task = create(&server.client, &format!("http://hook.test:{}/", receiver.address.port())).await;
    let dead = once(&server.client, &task, "dead", |callback| callback.status == CallbackStatus::Dead).await;
    assert_eq!(dead.attempts.len(), 2);
    let said = dead.attempts[1].error.as_deref().expect("a reason");
    assert!(said.contains("127.0.0.1 is this host itself") && said.contains("[callbacks] allow"), "{said}");
    assert!(receiver.is_idle(), "it was connected to");
    assert_eq!(asked.expect("a count").load(Ordering::SeqCst), 2, "what is checked is what is connected to");
}

#[tokio::test]
async fn of_several_addresses_only_those_are_called_that_may_be() {
    let mut receiver = Receiver::start().await;
    let server = Server::start_with(|config| {
        local(&[1])(config);
        names(config, vec![Ok(vec!["10.255.255.1", "::1", "127.0.0.1"])]);
    })
    .await;
    let task = create(&server.client, &format!("http://hook.test:{}/", receiver.address.port())).await;
    assert_eq!(receiver.take().await.0, task.id.get());
}

#[tokio::test]
async fn a_name_that_is_not_found_may_be_tomorrow() {
    let mut receiver = Receiver::start().await;
    let server = Server::start_with(|config| {
        local(&[1, 1, 1])(config);
        names(config, vec![Err(io::ErrorKind::TimedOut.into()), Ok(vec![]), Ok(vec!["127.0.0.1"])]);
    })
    .await;
    let task = create(&server.client, &format!("http://hook.test:{}/", receiver.address.port())).await;
    assert_eq!(receiver.take().await.0, task.id.get());
    let callback = once(&server.client, &task, "its end", |one| one.status == CallbackStatus::Delivered).await;
    assert_eq!(callback.attempts.iter().filter(|one| one.error.is_some()).count(), 2);
}

#[tokio::test]
async fn what_is_allowed_no_more_is_dead() {
    let receiver = Receiver::start().await;
    let server = Server::start_with(local(&[60 * 60 * 1000])).await;
    let mut receiver = receiver;
    let task = create(&server.client, &receiver.url()).await;
    receiver.next().await.answer(500);
    let waits = once(&server.client, &task, "a failure", |callback| !callback.attempts.is_empty()).await;
    let server = Server::start_in(server.stop(), |_| {}).await;
    super::retry(&server.client, &waits).await;
    let dead = once(&server.client, &task, "dead", |callback| callback.status == CallbackStatus::Dead).await;
    assert!(dead.attempts[1].error.as_deref().is_some_and(|error| error.contains("this host")), "{dead:?}");
    assert!(receiver.is_idle());
    assert_eq!(receiver.address.ip(), Ipv4Addr::LOCALHOST);
}
