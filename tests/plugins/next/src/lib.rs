//! Policy `next`, of a track that is not published: it denies a spawn whose label says so.

mod bindings {
    wit_bindgen::generate!({
        path: "wit",
        world: "policy-plugin",
    });
}

use bindings::exports::agent_relay::plugin::policy::{Description, Guest, Question, Verdict};

struct Next;

impl Guest for Next {
    fn describe() -> Description {
        Description { id: "next".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
    }

    fn decide(question: Question) -> Verdict {
        match question.label.as_deref() {
            Some("deny-next") => Verdict::Deny(format!("no {} at {}", question.kind, question.now_ms)),
            _ => Verdict::Allow,
        }
    }
}

bindings::export!(Next with_types_in bindings);
