//! Agents that talk to each other while something else goes on, and one who listens: nothing is lost, nothing comes
//! twice, and everybody sees the same order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tokio::task::JoinHandle;

use crate::server::Client;

/// What the first says when there is no more to say.
const LAST: &str = "that is all";

/// Two agents in a conversation, each answering the other, and a third that follows the stream.
pub(super) struct Exchange {
    stop: Arc<AtomicBool>,
    talk: JoinHandle<Vec<String>>,
    answers: JoinHandle<()>,
    heard: JoinHandle<Vec<String>>,
}

impl Exchange {
    pub(super) async fn begin(client: &Client) -> Self {
        client.register_all(&["alice", "bob", "carol"]).await;
        let mut stream = client.follow("types=message.new").await;
        let heard = tokio::spawn(async move {
            let mut bodies = Vec::new();
            loop {
                let frame = stream.next_event("message.new").await;
                // What the relay says to orchestrators is not part of the conversation.
                if frame.data["from"] == "system" {
                    continue;
                }
                let body = frame.text("body").to_owned();
                if body == LAST {
                    return bodies;
                }
                bodies.push(body);
            }
        });
        let stop = Arc::new(AtomicBool::new(false));
        let answers = tokio::spawn(answer(client.clone()));
        let talk = tokio::spawn(talk(client.clone(), stop.clone()));
        Self { stop, talk, answers, heard }
    }

    /// Ends the conversation, and checks that everything said was heard, once and in order.
    pub(super) async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        let said = self.talk.await.expect("a conversation");
        self.answers.await.expect("answers");
        assert!(said.len() > 2, "they had the time to say something");
        assert_eq!(self.heard.await.expect("a listener"), said);
    }
}

/// Says something and waits for the answer, again and again; everything that was said, by both.
async fn talk(client: Client, stop: Arc<AtomicBool>) -> Vec<String> {
    let (mut said, mut since) = (Vec::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        let question = format!("question {}", said.len());
        client.say("alice", "bob", &question).await;
        let answers = client.messages(&format!("for=alice&since={since}&wait=30")).await;
        let [answer] = &answers[..] else { panic!("{} answers to one question", answers.len()) };
        assert_eq!(answer.body, format!("answer to {question}"));
        since = answer.id.get();
        said.extend([question, answer.body.clone()]);
    }
    client.say("alice", "bob", LAST).await;
    said
}

async fn answer(client: Client) {
    let mut since = 0;
    loop {
        for question in client.messages(&format!("for=bob&since={since}&wait=30")).await {
            since = question.id.get();
            if question.body == LAST {
                return;
            }
            let answer = json!({
                "from": "bob", "to": "alice", "body": format!("answer to {}", question.body), "replyTo": question.id,
            });
            client.send(answer).await;
        }
    }
}
