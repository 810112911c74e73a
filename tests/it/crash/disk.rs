//! A full disk: writes are refused and lost to nobody, and go on once there is room.

use std::path::PathBuf;
use std::process::Command;

use agent_relay::domain::message::Message;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::pages;
use crate::program::{Serving, program};
use crate::server::{Client, eventually};

/// A small file system of its own, in memory. Dropping it takes it away.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where this user may not mount.
    fn mount(at: PathBuf, mebibytes: usize) -> Option<Self> {
        std::fs::create_dir_all(&at).expect("a directory");
        let size = format!("size={mebibytes}m,mode=0700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.0.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_and_loses_none() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let Some(disk) = SmallDisk::mount(home.path().join("data"), 32) else {
        eprintln!("SKIPPED: a full disk needs a file system of its own, and this user may not mount one");
        return;
    };
    let ballast = disk.0.join("ballast");
    std::fs::write(&ballast, vec![1; 16 << 20]).expect("room for the ballast");
    let serving = Serving::start(program(home.path()).env("AGENT_RELAY_DATA_DIR", &disk.0));
    let client = Client::new(&serving.url, None);
    client.register_all(&["a"]).await;
    let mut stream = client.follow("agent=a&types=message.new").await;

    let draft = |n: usize| json!({"from": "x", "to": "a", "body": format!("{n} {}", "x".repeat(200_000))});
    let mut sent: Vec<Message> = Vec::new();
    let refused = loop {
        let answer = client.post("/api/messages", draft(sent.len())).await;
        if answer.status != 201 {
            break answer;
        }
        sent.push(answer.parse());
        assert!(sent.len() < 200, "the disk is not as small as it should be");
    };
    assert!(refused.header("retry-after").is_some());
    refused.problem(503, "disk_full");
    // It stays whole: reading works, and more large writes are refused in the same way.
    for _ in 0..3 {
        client.post("/api/messages", draft(sent.len())).await.problem(503, "disk_full");
    }
    assert_eq!(pages::<Message>(&client, "/api/messages?limit=10").await, sent);
    // And it says so to whoever asks how it is.
    let unready = client.get("/readyz").await;
    assert_eq!((unready.status, unready.text.as_str()), (503, "the disk is full\n"));
    let health: Value = client.get("/api/health").await.expect(200);
    let writer = health["checks"].as_array().expect("checks").iter().find(|check| check["name"] == "writer");
    assert_eq!(
        (&health["status"], &writer.expect("a check")["status"]),
        (&json!("error"), &json!("error")),
        "{health}"
    );

    std::fs::remove_file(&ballast).expect("room again");
    // Without a write by anybody: who was sent elsewhere comes back.
    eventually("it is ready again", async || (client.get("/readyz").await.status == 200).then_some(())).await;
    let last: Message = client.post("/api/messages", draft(sent.len())).await.expect(201);
    sent.push(last);
    assert_eq!(client.get("/readyz").await.status, 200);
    assert_eq!(pages::<Message>(&client, "/api/messages?limit=10").await, sent);
    // What was refused was not told; what was stored was, once.
    for message in &sent {
        assert_eq!(stream.next().await.data["id"], message.id);
    }
    let events: Vec<Value> = pages(&client, "/api/events/log?agent=a&types=message.new&limit=3").await;
    assert_eq!(events.len(), sent.len());
    drop(stream);
    serving.signal(Signal::TERM);
    let (code, _, log) = serving.ended();
    assert_eq!(code, Some(0), "{log:?}");
}
