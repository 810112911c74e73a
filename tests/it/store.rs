//! The contract of the store, by itself in a temporary folder: what a second engine has to keep as well.
//! Each test runs for every engine there is.

mod attention;
mod channels;
mod claims;
mod clock;
mod deliveries;
mod durability;
mod events;
mod growth;
mod loss;
mod pairs;
mod postgres;
mod scrub;
mod searches;
mod tasks;
mod tokens;
mod upgrade;
mod words;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use agent_relay::domain::agent::{Agent, NewRegistration};
use agent_relay::domain::event::Event;
use agent_relay::domain::id::AgentId;
use agent_relay::domain::message::{Message, NewMessage};
use agent_relay::domain::time::Clock;
use agent_relay::store::{OnCommit, Options, Store, StoreError};
use tempfile::TempDir;

/// One database engine below the store.
pub(crate) struct Engine {
    name: &'static str,
    /// Opens the store that lies in this folder, or makes one.
    open: fn(&Path, OnCommit) -> Result<Store, StoreError>,
}

/// Every engine there is.
pub(crate) const ENGINES: [Engine; 1] = [Engine { name: "sqlite", open: open_sqlite }];

fn open_sqlite(folder: &Path, on_commit: OnCommit) -> Result<Store, StoreError> {
    Store::open(&Options { path: sqlite_file(folder), readers: 2, clock: Clock::host() }, on_commit)
}

/// Where the store keeps its database.
fn sqlite_file(folder: &Path) -> PathBuf {
    folder.join("relay.db")
}

/// A store with a folder of its own, and every event it handed on.
pub(crate) struct Bench {
    engine: &'static Engine,
    folder: TempDir,
    store: Store,
    events: Arc<Mutex<Vec<Arc<Event>>>>,
}

impl Bench {
    fn new(engine: &'static Engine) -> Self {
        Self::in_folder(engine, tempfile::tempdir().expect("a temporary folder"))
    }

    fn in_folder(engine: &'static Engine, folder: TempDir) -> Self {
        println!("engine {}", engine.name);
        let events = Arc::new(Mutex::new(Vec::new()));
        let of_store = events.clone();
        let note: OnCommit = Box::new(move |batch| of_store.lock().expect("no panic").extend(batch.events));
        let store = (engine.open)(folder.path(), note).expect("a store");
        Self { engine, folder, store, events }
    }

    /// Closes the store and opens it again.
    async fn reopened(self) -> Self {
        self.store.close().await;
        Self::in_folder(self.engine, self.folder)
    }

    /// The events handed on so far.
    fn told(&self) -> Vec<Arc<Event>> {
        self.events.lock().expect("no panic").clone()
    }

    async fn register(&self, id: &str, tags: &[&str]) -> Agent {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let card = NewRegistration { tags: Some(Some(tags)), ..NewRegistration::of(id.into()) };
        self.store.register(card, None).await.expect("registered").json.value().expect("an agent")
    }

    async fn send(&self, from: &str, to: &str, body: &str) -> Message {
        let message = NewMessage::plain(from.into(), to, body);
        self.store.send(message, None).await.expect("sent").json.value().expect("a message")
    }

    /// Work that agents with this tag may claim.
    async fn send_work(&self, tag: &str) -> Message {
        let work = NewMessage { claimable: true, ..NewMessage::plain("boss".into(), format!("tag:{tag}"), "work") };
        self.store.send(work, None).await.expect("sent").json.value().expect("a message")
    }

    /// The bodies of what reaches an agent.
    async fn inbox(&self, agent: &str) -> Vec<String> {
        let filter =
            agent_relay::domain::message::MessageFilter { reaching: Some(AgentId::from(agent)), ..Default::default() };
        let page = self.store.messages(filter).await.expect("an inbox");
        page.entries.into_iter().map(|message| message.body).collect()
    }
}
