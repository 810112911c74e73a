//! The relay is killed while it shows things: nothing is lost, and nothing is shown twice.

use serde_json::{Value, json};

use super::{Desk, Moments, can_run, told_of};

const KILLS: usize = 8;

#[tokio::test]
async fn what_is_shown_when_the_relay_is_killed_is_shown_once() {
    if !can_run("kills while something is shown") {
        return;
    }
    let mut desk = Desk::start(json!({})).await;
    let mut moments = Moments(7);
    let mut ids = Vec::new();
    for round in 0..=KILLS {
        for _ in 0..3 {
            ids.push(desk.send("one").await);
        }
        if round < KILLS {
            // At any moment of showing: being looked at, pasted, submitted, seen, written down.
            moments.pass(900).await;
            desk.kill();
        }
    }
    for id in &ids {
        desk.reaches(*id, "presented").await;
    }
    let lines = desk.took();
    assert_eq!(lines.iter().map(|line| told_of(line)).sum::<usize>(), ids.len(), "{lines:#?}");
    let none: Vec<Value> = desk.client().get("/api/attention").await.expect(200);
    assert!(none.is_empty(), "{none:?}");
}
