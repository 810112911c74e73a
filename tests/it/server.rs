//! The real relay for a test: [`Server`] runs it inside this process, on threads of its own, and
//! [`crate::program`] runs the built program. Both take a free port and a directory of their own.

mod client;
mod clock;
mod stream;

use std::path::PathBuf;
use std::pin::pin;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use agent_relay::ServeError;
use agent_relay::config::{Config, Environment, Flags, Secret};
use agent_relay::domain::time::{Clock, Timestamp};
use agent_relay::jobs::deliver::Resolver;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub(crate) use client::{Answer, Client};
pub(crate) use clock::{BLINK_MS, TestClock};
pub(crate) use stream::{Frame, Parser, Stream};

/// Far beyond what anything here takes, even on a loaded machine, so that only a hang reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The plugins in the binary.
pub(crate) const SHIPPED: [&str; 4] = ["claude", "codex", "containment", "control-guard"];

/// How long a plugin may take on a loaded machine, unless that is what a test is about.
pub(crate) const DEADLINE_MS: u32 = 5_000;

/// A relay with a temporary directory. Dropping it drains it, and fails the test when the relay did
/// not end well or left a damaged database.
pub(crate) struct Server {
    /// Calls it as whoever may do everything.
    pub(crate) client: Client,
    /// `None` once it was handed on by [`Server::stop`].
    home: Option<TempDir>,
    shutdown: CancellationToken,
    ended: Receiver<Result<(), ServeError>>,
}

impl Server {
    /// A relay without a token, as most people run it.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A relay with this administrator's token; `client` sends it.
    pub(crate) async fn start_with_token(token: &str) -> Self {
        let secret = Secret::parse("test", token).expect("a token");
        Self::start_with(|config| config.token = Some(secret)).await
    }

    /// One that looks at its directory of plugins only when asked to, and that directory.
    pub(crate) async fn start_unwatched() -> (Self, PathBuf) {
        let mut directory = None;
        let server = Self::start_with(|config| {
            config.plugins.watch = false;
            directory.clone_from(&config.plugins.directory);
        })
        .await;
        (server, directory.expect("a directory of plugins"))
    }

    /// A relay whose settings the test changes.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary directory"), change).await
    }

    /// A relay on what an earlier one left.
    pub(crate) async fn start_in(home: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        Self::start_by(Clock::host(), home, change).await
    }

    /// A relay that goes by this clock.
    pub(crate) async fn start_by(clock: Clock, home: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config(&home);
        change(&mut config);
        agent_relay::telemetry::start_metrics();
        let token = config.token.as_ref().map(|token| token.expose().to_owned());
        let shutdown = CancellationToken::new();
        let (announce, announced) = oneshot::channel();
        let (end, ended) = sync_channel(1);
        let of_thread = shutdown.clone();
        std::thread::spawn(move || {
            // Threads of its own, like the real process: a test that is busy does not hold it up.
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let runtime = runtime.expect("threads");
            let outcome = runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind(config.listen).await.expect("a free port");
                let address = listener.local_addr().expect("an address");
                let ready = move || announce.send(address).expect("a test that waits");
                agent_relay::serve_by(clock, config, listener, of_thread, ready).await
            });
            runtime.shutdown_timeout(Duration::from_secs(5));
            end.send(outcome).ok();
        });
        let address = tokio::time::timeout(PATIENCE, announced).await.expect("a start in time");
        let Ok(address) = address else {
            panic!("the relay did not start: {:?}", ended.recv());
        };
        let client = Client::new(&format!("http://{address}"), token.as_deref());
        Self { client, home: Some(home), shutdown, ended }
    }

    /// Begins to drain, and does not wait for the end.
    pub(crate) fn drain(&self) {
        self.shutdown.cancel();
    }

    /// Ends the relay well, and answers its directory for the next one.
    pub(crate) fn stop(mut self) -> TempDir {
        let home = self.home.take().expect("a directory, until it is handed on");
        self.end(&home);
        home
    }

    fn end(&self, home: &TempDir) {
        self.shutdown.cancel();
        let outcome = self.ended.recv_timeout(PATIENCE);
        if !std::thread::panicking() {
            outcome.expect("the relay drains in time, without a panic").expect("the relay ends well");
            assert_sound(home);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            self.end(&home);
        }
    }
}

/// The database of a relay that runs, or ran, in this directory.
pub(crate) fn database(home: &TempDir) -> PathBuf {
    home.path().join("data/relay.db")
}

/// The settings of a relay that keeps everything in this directory.
fn config(home: &TempDir) -> Config {
    let path = |name: &str| Some(home.path().join(name));
    // The program makes its data directory; the library expects it to be there.
    std::fs::create_dir_all(home.path().join("data")).expect("a data directory");
    let flags = Flags {
        listen: Some("127.0.0.1:0".to_owned()),
        data_dir: path("data"),
        base_dir: Some(home.path().to_owned()),
        ..Flags::default()
    };
    let environment: Environment = [("HOME", home.path())].into_iter().collect();
    let mut config = Config::load(&flags, &environment).expect("settings");
    // Sessions are hosted by the relay's program, which this one is not.
    config.sessions.host_program = env!("CARGO_BIN_EXE_agent-relay").into();
    // The deadlines of the plugins that ship are for machines that do little else.
    for id in SHIPPED {
        config.plugins.plugins.entry(id.to_owned()).or_default().limits.deadline_ms = Some(DEADLINE_MS);
    }
    // No test asks for names of the world outside.
    config.callbacks.resolver = Resolver::new(|_| Box::pin(std::future::ready(Ok(Vec::new()))));
    // Streams that a test leaves open end soon.
    config.limits.drain = Duration::from_secs(2);
    config
}

/// After a drain nothing waits in the log, and the database is whole.
fn assert_sound(home: &TempDir) {
    let path = database(home);
    let log = std::fs::metadata(path.with_extension("db-wal")).map_or(0, |file| file.len());
    assert_eq!(log, 0, "the log was not folded into the database");
    let database = rusqlite::Connection::open(path).expect("the database");
    let check = |sql: &str| -> String { database.query_row(sql, [], |row| row.get(0)).expect("an answer") };
    assert_eq!(check("PRAGMA integrity_check"), "ok");
    assert_eq!(check("SELECT count(*) || '' FROM pragma_foreign_key_check"), "0");
}

/// Waits for a moment of the wall clock: for leases and other
/// things that only time ends.
pub(crate) async fn until(at: Timestamp) {
    let now = Timestamp::now();
    let rest = Duration::from_millis(u64::try_from(at - now).unwrap_or(0) + 2);
    let never = pin!(std::future::pending::<()>());
    assert!(tokio::time::timeout(rest, never).await.is_err());
}

/// Asks again and again until the answer is there: for what the relay does by itself and does not
/// announce.
pub(crate) async fn eventually<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, ask).await
}

/// The same for what takes its time.
pub(crate) async fn eventually_within<T>(patience: Duration, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        let mut beat = tokio::time::interval(Duration::from_millis(20));
        loop {
            beat.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    };
    match tokio::time::timeout(patience, asking).await {
        Ok(answer) => answer,
        Err(_) => panic!("it never came to this: {what}"),
    }
}
