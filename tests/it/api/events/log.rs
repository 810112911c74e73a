//! The events page by page.

use serde_json::{Value, json};

use crate::server::{PATIENCE, Server};

#[tokio::test]
async fn pages_follow_each_other_to_the_end() {
    let server = Server::start().await;
    let client = &server.client;
    client.register_all(&["a"]).await;
    let mut stream = client.follow("agent=a&types=message.new").await;
    for n in 0..10 {
        client.say("x", if n % 2 == 0 { "a" } else { "b" }, &n.to_string()).await;
    }
    let mut streamed = Vec::new();
    for _ in 0..5 {
        let frame = stream.next().await;
        streamed.push(json!({"id": frame.id, "event": frame.event, "data": frame.data}));
    }
    let mut entries: Vec<Value> = Vec::new();
    let mut path = Some("/api/events/log?agent=a&types=message.new&limit=2".to_owned());
    while let Some(page) = path {
        let answer = client.get(&page).await;
        path = answer.next_page();
        let page: Vec<Value> = answer.expect(200);
        assert!(page.len() <= 2 && (page.len() == 2 || path.is_none()));
        entries.extend(page);
    }
    assert_eq!(entries, streamed, "without a position it begins with the oldest event");
    // A page that ends exactly with the last event leads nowhere.
    let last_two = format!(
        "/api/events/log?agent=a&types=message.new&limit=2&since={}",
        entries[2]["id"].as_str().expect("an id")
    );
    assert_eq!(client.get(&last_two).await.next_page(), None);
}

#[tokio::test]
async fn a_page_waits_for_its_first_event() {
    let server = Server::start().await;
    let client = &server.client;
    client.register(json!({"id": "a", "tags": ["t"]})).await;
    let since = client.open_stream("", None).await.ready().await.text("from").to_owned();
    let path = format!("/api/events/log?agent=a&types=message.new&since={since}");
    assert_eq!(client.get(&path).await.expect::<Vec<Value>>(200).len(), 0, "without wait it does not");
    let polling = client.clone();
    let waiting = format!("{path}&wait=60");
    let poll = tokio::spawn(async move { polling.get(&waiting).await.expect::<Vec<Value>>(200) });
    client.say("x", "b", "for another").await;
    client.register_all(&["b"]).await;
    client.say("x", "tag:t", "for it").await;
    let entries = tokio::time::timeout(PATIENCE / 2, poll).await.expect("well before its 60 seconds").expect("a page");
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["data"]["body"], "for it");
    let next = format!("/api/events/log?agent=a&since={}&wait=1", entries[0]["id"].as_str().expect("an id"));
    assert_eq!(client.get(&next).await.expect::<Vec<Value>>(200).len(), 0, "after that there is nothing");
}

#[tokio::test]
async fn a_gap_is_told_here_too() {
    let server = Server::start().await;
    let client = &server.client;
    client.say("x", "a", "1").await;
    let entries: Vec<Value> = client.get("/api/events/log?since=other-1").await.expect(200);
    assert_eq!(entries[0]["event"], "relay.reset");
    assert_eq!(entries[0]["data"]["reason"], "unknown_epoch");
    assert!(entries[0].get("id").is_none());
    for query in ["limit=0", "limit=1001", "wait=61", "wait=-1", "limit=x"] {
        client.get(&format!("/api/events/log?{query}")).await.problem(400, "invalid_request");
    }
}
