//! What cannot be read is kept, within bounds and without credentials, and can be tried again.

use agent_relay::domain::integration::{KeptDelivery, Source};
use agent_relay::domain::task::Task;
use serde_json::{Value, json};

use super::{EVENT, TOKEN, send, send_signed, server, tasks, with_scope};
use crate::server::{Client, Server, database};

async fn kept(client: &Client, name: &str) -> Vec<KeptDelivery> {
    client.get(&format!("/api/integrations/{name}/deliveries")).await.expect(200)
}

async fn retry(client: &Client, name: &str, id: impl std::fmt::Display) -> crate::server::Answer {
    client.post(&format!("/api/integrations/{name}/deliveries/{id}/retry"), json!({})).await
}

#[tokio::test]
async fn what_cannot_be_read_is_kept_with_the_words_and_without_secrets() {
    let server = server().await;
    let admin = &server.client;
    let token = with_scope(&server, "ci", "integration").await;
    let bodies = ["no json", "{\"title\": \"no type\"}", "{\"type\": \"no title\"}", "[1]", ""];
    for body in bodies {
        let headers = [("user-agent", "Build/1"), ("x-request-id", "r"), ("cookie", "c=1"), ("webhook-id", body)];
        let headers = if body.is_empty() { &headers[..3] } else { &headers[..] };
        let problem = send(&token, "ci", headers, body).await.problem(422, "unreadable_delivery");
        let newest = kept(admin, "ci").await.remove(0);
        assert_eq!((problem["deliveryId"].as_i64(), &newest.body), (Some(newest.id.get()), &body.to_owned()));
        assert_eq!(problem["detail"].as_str(), Some(newest.reason.as_str()));
        assert_eq!((newest.tries, newest.body_bytes), (1, None));
    }
    let all = kept(admin, "ci").await;
    assert_eq!(all.len(), bodies.len());
    for kept in &all {
        let names: Vec<_> = kept.headers.keys().map(String::as_str).filter(|name| *name != "webhook-id").collect();
        assert_eq!(names, ["content-type", "user-agent"]);
    }
    // A signed one keeps neither its signature nor a credential.
    let problem = send_signed(&token, "msg_1", "{}").await.problem(422, "unreadable_delivery");
    let signed = kept(admin, "grafana").await.remove(0);
    assert_eq!(problem["deliveryId"], signed.id.get());
    let names: Vec<_> = signed.headers.keys().map(String::as_str).collect();
    assert_eq!(
        names.iter().filter(|name| **name != "user-agent").collect::<Vec<_>>(),
        [&"content-type", &"webhook-id", &"webhook-timestamp"]
    );
    assert_eq!(tasks(admin).await, []);
    let titles: Vec<_> = admin.activity("kind=task").await.into_iter().map(|entry| entry.title).collect();
    assert_eq!(titles, ["Event not read"; 6]);
    let home = server.stop();
    let stored = std::fs::read(database(&home)).expect("the database");
    let holds = |text: &str| stored.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("no json") && !holds("v1,") && !holds("Bearer") && !holds(TOKEN) && !holds("c=1"));
}

#[tokio::test]
async fn a_kept_delivery_is_tried_again() {
    let server = server().await;
    let admin = &server.client;
    send(admin, "ci", &[("webhook-id", "id")], r#"{"title": "t"}"#).await.problem(422, "unreadable_delivery");
    let id = kept(admin, "ci").await[0].id;
    let problem = retry(admin, "ci", id).await.problem(422, "unreadable_delivery");
    assert_eq!((problem["deliveryId"].as_i64(), kept(admin, "ci").await[0].tries), (Some(id.get()), 2));
    // Its sender sends it again, as it was: another try of the same.
    send(admin, "ci", &[("webhook-id", "id")], "still no").await.problem(422, "unreadable_delivery");
    let again = kept(admin, "ci").await;
    assert_eq!((again.len(), again[0].id, again[0].tries, again[0].body.as_str()), (1, id, 3, "still no"));
    retry(admin, "other", id).await.problem(404, "not_found");
    retry(admin, "ci", 999).await.problem(404, "not_found");
    // As it is once something reads what nothing read before.
    let server = Server::start_in(
        {
            let home = server.stop();
            let database = rusqlite::Connection::open(database(&home)).expect("the database");
            database.execute("UPDATE kept_deliveries SET body = ?1", [EVENT.as_bytes()]).expect("a body");
            home
        },
        |_| {},
    )
    .await;
    let admin = &server.client;
    let task: Task = retry(admin, "ci", id).await.expect(201);
    assert_eq!((task.title.as_str(), task.source.as_str()), ("Main is red", "ci"));
    assert_eq!(kept(admin, "ci").await, []);
    retry(admin, "ci", id).await.problem(404, "not_found");
    // Its id is remembered with it.
    assert_eq!(send(admin, "ci", &[("webhook-id", "id")], EVENT).await.expect::<Task>(200).id, task.id);
    let [source] = &admin.get("/api/integrations").await.expect::<Vec<Source>>(200)[..] else { panic!("one") };
    assert_eq!((source.counts.events, source.counts.unreadable, source.counts.created), (5, 3, 1));
}

#[tokio::test]
async fn one_that_came_through_meanwhile_makes_nothing_when_it_is_tried_again() {
    let server = server().await;
    let admin = &server.client;
    send(admin, "ci", &[("webhook-id", "id")], "no").await.problem(422, "unreadable_delivery");
    let id = kept(admin, "ci").await[0].id;
    let task: Task = send(admin, "ci", &[("webhook-id", "id")], EVENT).await.expect(201);
    let answer = retry(admin, "ci", id).await;
    assert_eq!(answer.header("idempotency-replayed"), Some("true"));
    assert_eq!(answer.expect::<Task>(200), task);
    assert_eq!((kept(admin, "ci").await, tasks(admin).await.len()), (Vec::new(), 1));
}

#[tokio::test]
async fn of_each_integration_the_newest_hundred_are_kept() {
    let server = server().await;
    let admin = &server.client;
    send(admin, "other", &[], "kept").await.problem(422, "unreadable_delivery");
    for number in 0..103 {
        send(admin, "ci", &[], &format!("no {number}")).await.problem(422, "unreadable_delivery");
    }
    let first = admin.get("/api/integrations/ci/deliveries?limit=60").await;
    let next = first.next_page().expect("a second page");
    let mut all: Vec<KeptDelivery> = first.expect(200);
    let second = admin.get(&next).await;
    assert_eq!(second.next_page(), None);
    all.extend(second.expect::<Vec<KeptDelivery>>(200));
    let bodies: Vec<_> = all.iter().map(|kept| kept.body.clone()).collect();
    assert_eq!(bodies, (3..103).rev().map(|number| format!("no {number}")).collect::<Vec<_>>());
    assert_eq!(kept(admin, "other").await.len(), 1);
}

#[tokio::test]
async fn a_long_body_is_kept_without_its_end_and_not_tried_again() {
    let server = server().await;
    let admin = &server.client;
    let whole = "x".repeat(64 * 1024);
    send(admin, "ci", &[], &whole).await.problem(422, "unreadable_delivery");
    send(admin, "ci", &[], &format!("{whole}y")).await.problem(422, "unreadable_delivery");
    let [cut, uncut] = &kept(admin, "ci").await[..] else { panic!("two") };
    assert_eq!((cut.body.len(), cut.body_bytes, uncut.body_bytes), (64 * 1024, Some(64 * 1024 + 1), None));
    retry(admin, "ci", uncut.id).await.problem(422, "unreadable_delivery");
    let problem: Value = retry(admin, "ci", cut.id).await.problem(409, "cut_delivery");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("cannot be tried again")));
}
