//! Messages at random moments, to a program that is busy again and again: each is shown exactly once.

use serde_json::{Value, json};

use super::{Desk, Moments, can_run, noted, told_of};
use crate::server::eventually;

const MESSAGES: usize = 500;

/// The same moments each time.
const SEED: u64 = 26;

async fn each_is_shown_once(settings: Value) -> Desk {
    let desk = Desk::start(settings).await;
    let mut moments = Moments(SEED);
    let mut ids = Vec::new();
    for number in 0..MESSAGES {
        ids.push(desk.send(&format!("number {number}")).await);
        // Most come in bursts.
        if moments.below(10) == 0 {
            moments.pass(400).await;
        }
    }
    for id in &ids {
        let delivery = desk.reaches(*id, "presented").await;
        assert!(delivery["evidence"].is_string() && delivery["how"] == "typed", "{delivery}");
    }
    let lines = desk.took();
    assert_eq!(lines.iter().map(|line| told_of(line)).sum::<usize>(), MESSAGES, "{lines:#?}");
    // Each tells of what came after the one before it.
    let mut told = 0;
    for line in &lines {
        told += told_of(line);
        let newest = format!("{}", ids[told - 1]);
        assert!(line.split(' ').any(|word| word == newest), "{line} after {told}");
    }
    desk
}

#[tokio::test]
async fn each_is_shown_once_by_a_program_that_takes_what_comes_while_it_is_busy() {
    if can_run("500 messages, queued") {
        each_is_shown_once(json!({"turn": 0.2, "busy": "queue"})).await;
    }
}

#[tokio::test]
async fn each_is_shown_once_by_a_program_that_loses_what_comes_while_it_is_busy() {
    if !can_run("500 messages, lost") {
        return;
    }
    // Longer than its screen has to stand still before it is taken for idle, so that some are lost.
    let desk = each_is_shown_once(json!({"turn": 6, "busy": "lose"})).await;
    eventually("something was lost", async || (!noted(&desk.project, "lost").is_empty()).then_some(())).await;
}
