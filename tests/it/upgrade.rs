//! Databases of earlier versions of the program.

use agent_relay::domain::message::Message;
use serde_json::{Value, json};

use crate::server::{Server, database};

/// The first schema counted messages and events apart.
#[tokio::test]
async fn a_first_database_keeps_its_messages_and_begins_its_stream_anew() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let database = database(&home);
    std::fs::create_dir_all(database.parent().expect("a directory")).expect("a directory");
    {
        let connection = rusqlite::Connection::open(&database).expect("a database");
        let schema = include_str!("../../src/store/engine/migrations/0001_initial.sql");
        connection
            .execute_batch(&format!(
                "PRAGMA journal_mode = WAL; BEGIN; {schema}
                 INSERT INTO meta VALUES ('epoch', 'abcd');
                 INSERT INTO messages (id, sender, target, type, body, thread_id, claimable, meta, created_at)
                     VALUES (1, 'x', 'a', 'message', 'old', 1, 0, '{{}}', 1);
                 INSERT INTO events (seq, at, name, data) VALUES (6, 1, 'activity.new', '{{}}');
                 INSERT INTO events (seq, at, name, target, data) VALUES (7, 1, 'message.new', 'a', '{{\"id\":1}}');
                 PRAGMA user_version = 1; COMMIT;"
            ))
            .expect("the first schema");
    }
    let server = Server::start_in(home, |config| config.messages.age = std::time::Duration::MAX).await;
    let client = &server.client;
    let inbox: Vec<Message> = client.messages("for=a").await;
    assert_eq!(inbox.iter().map(|message| (message.id.get(), message.body.as_str())).collect::<Vec<_>>(), [(1, "old")]);

    let mut stream = client.open_stream("agent=a", Some("abcd-6")).await;
    let reset = stream.next().await;
    assert_eq!((reset.event.as_str(), reset.text("reason")), ("relay.reset", "too_old"));
    assert_eq!(stream.ready().await.text("from"), "abcd-7", "no number is given twice");
    let sent = client.say("x", "a", "new").await;
    assert!(sent.id > 7, "{sent:?}");
    assert_eq!(stream.next().await.data, json!(sent));
    let log: Vec<Value> = client.get("/api/events/log?types=message.new").await.expect(200);
    assert_eq!(log.iter().map(|event| &event["data"]["body"]).collect::<Vec<_>>(), ["new"]);
}
