//! `agent-relay mcp`: the relay's tools over standard input and output, for one session of an agent's program.
//!
//! It is there at once, whether or not the relay is: only calls of tools go to it, each by itself, so a relay that
//! comes, goes or starts anew is not noticed in between. It ends with whoever started it.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent_relay::client::{Client, Error, Method, Request};
use agent_relay::config::Environment;
use agent_relay::domain::text::causes;
use agent_relay::mcp::{CALL_VERSION, PATH, Post, answer_for, overload, refusal};
use rustix::process::{PidfdFlags, getppid, pidfd_open};
use serde_json::Value;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::Failure;
use super::connection::{ClientArgs, Connection};

/// The relay's tools for one session, by the Model Context Protocol on standard input and output. An agent's program
/// starts this; nobody types it.
#[derive(Debug, clap::Args)]
pub(super) struct Mcp {
    #[command(flatten)]
    client: ClientArgs,
}

/// The longest message, in bytes: what the relay takes as a body.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Messages that are answered at once; more are refused.
const CALLS_MAX: usize = 32;
/// Messages on their way in and out.
const QUEUE_MAX: usize = 64;
/// Longer than any tool takes.
const CALL_TIME: Duration = Duration::from_secs(60);
/// A relay that starts anew is waited for so long.
const PATIENCE: Duration = Duration::from_secs(3);
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// Serves until its input ends, or whoever started it does.
pub(super) fn run(args: &Mcp, env: &Environment) -> Result<ExitCode, Failure> {
    let (client, runtime) = Connection::open_patiently(&args.client, env, CALL_TIME)?.into_parts();
    let served = runtime.block_on(serve(Relay(client)));
    // What is under way is for nobody. The threads that may wait for ever end with the program.
    runtime.shutdown_background();
    served.map(|()| ExitCode::SUCCESS)
}

async fn serve(relay: Relay) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::Other(format!("failed to start: {error}"));
    let mut terminated = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(failed)?;
    let parent = Parent::find();
    let mut lines = read_lines().map_err(failed)?;
    let (said, written) = write_lines().map_err(failed)?;
    let session = Session { relay: Arc::new(relay), calls: Arc::default(), said, written };
    let talk = async {
        while let Some(line) = lines.recv().await {
            session.take(line).await;
        }
        // Whoever closes the input may still read what was asked before.
        session.finish().await;
    };
    tokio::select! {
        () = talk => {}
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
        () = parent.ended() => {}
    }
    Ok(())
}

/// Whoever started this.
struct Parent(Option<AsyncFd<OwnedFd>>);

impl Parent {
    #[expect(unsafe_code, reason = "tokio has no safe way to wait for a descriptor")]
    fn find() -> Self {
        let parent = getppid();
        let handle = parent.and_then(|parent| pidfd_open(parent, PidfdFlags::NONBLOCK).ok());
        // One that ended in between is nobody's parent now.
        let handle = handle.filter(|_| getppid() == parent);
        // SAFETY: it owns the descriptor, which is open and stays the same until both are dropped.
        Self(handle.and_then(|handle| unsafe { AsyncFd::register_with_interest(handle, Interest::READABLE) }.ok()))
    }

    async fn ended(&self) {
        match &self.0 {
            // It can be read once the process is gone.
            Some(handle) => drop(handle.readable().await),
            // There is no such handle here: that the input ends must do.
            None => std::future::pending().await,
        }
    }
}

/// What is going on between the client and the relay.
struct Session {
    relay: Arc<Relay>,
    /// What is being answered, by the text of its id.
    calls: Arc<Mutex<HashMap<String, AbortHandle>>>,
    said: Sender<Value>,
    /// Fails once everything was written and nothing more comes.
    written: oneshot::Receiver<()>,
}

impl Session {
    async fn take(&self, line: Line) {
        let message: Value = match line.as_ref().map(|line| serde_json::from_slice(line)) {
            Ok(Ok(message)) => message,
            Ok(Err(error)) => return self.say(refusal(&format!("not JSON: {error}"))).await,
            Err(TooLong) => {
                return self.say(refusal(&format!("a message must have at most {LINE_BYTES_MAX} bytes"))).await;
            }
        };
        if message["method"] == "notifications/cancelled" {
            let call = self.calls().remove(&message["params"]["requestId"].to_string());
            if let Some(call) = call {
                call.abort();
            }
            return;
        }
        let id = message["id"].to_string();
        if self.calls().len() >= CALLS_MAX {
            let problem = format!("{CALLS_MAX} messages are being answered already: wait for one of them");
            return self.say(overload(&message["id"], &problem)).await;
        }
        let (relay, calls, said) = (self.relay.clone(), self.calls.clone(), self.said.clone());
        let key = id.clone();
        // Held while it is begun, so that it cannot end before it is noted.
        let mut going_on = self.calls();
        let call = tokio::spawn(async move {
            if let Some(answer) = answer_for(&*relay, message).await {
                said.send(answer).await.ok();
            }
            calls.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        });
        going_on.insert(id, call.abort_handle());
    }

    fn calls(&self) -> std::sync::MutexGuard<'_, HashMap<String, AbortHandle>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn say(&self, answer: Value) {
        self.said.send(answer).await.ok();
    }

    /// Waits a moment for what is nearly answered, and until it is written.
    async fn finish(self) {
        let until = Instant::now() + Duration::from_millis(500);
        while !self.calls().is_empty() && Instant::now() < until {
            sleep(Duration::from_millis(10)).await;
        }
        self.calls().drain().for_each(|(_, call)| call.abort());
        let Self { said, written, .. } = self;
        drop(said);
        tokio::time::timeout(Duration::from_secs(1), written).await.ok();
    }
}

/// The relay, asked anew with every call.
struct Relay(Client);

impl Post for Relay {
    async fn post(&self, message: Value) -> Result<Value, String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let request: Request<Value> = self.0.request(Method::POST, PATH);
            match request.header("mcp-protocol-version", CALL_VERSION).json(&message).answer().await {
                Ok(answer) => return answer.json().map_err(|error| format!("{}. Tell your user.", causes(&error))),
                // Nothing was done, so it may be tried again.
                Err(Error::Unreachable { .. }) if Instant::now() < until => sleep(TRY_AGAIN).await,
                Err(Error::Unreachable { address, .. }) => {
                    return Err(format!(
                        "No relay listens at {address}, so nothing was done. Go on with other work and try again in \
                         some minutes; tell your user if it stays away."
                    ));
                }
                Err(error) => {
                    return Err(format!(
                        "{}. It may have done what you asked: look with whoami and inbox before you ask again.",
                        causes(&error)
                    ));
                }
            }
        }
    }
}

/// A line that was read, without its end.
type Line = Result<Vec<u8>, TooLong>;

/// A line that is longer than any message; it was read to its end.
struct TooLong;

/// The lines of standard input, read on a thread that may wait for ever.
fn read_lines() -> std::io::Result<Receiver<Line>> {
    let (sender, receiver) = channel(QUEUE_MAX);
    std::thread::Builder::new().name("input".to_owned()).spawn(move || {
        let mut input = BufReader::new(std::io::stdin());
        loop {
            let mut line = Vec::new();
            let most = LINE_BYTES_MAX as u64 + 1;
            match input.by_ref().take(most).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let line = if line.last() != Some(&b'\n') && line.len() > LINE_BYTES_MAX {
                if input.skip_until(b'\n').is_err() {
                    return;
                }
                Err(TooLong)
            } else {
                Ok(line)
            };
            let is_blank = line.as_ref().is_ok_and(|line| line.iter().all(u8::is_ascii_whitespace));
            if !is_blank && sender.blocking_send(line).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// Where answers go: to standard output, written on a thread that may wait for ever. Nothing else is written there.
#[expect(clippy::disallowed_methods, reason = "nobody is there any more, and nothing is kept that could be lost")]
fn write_lines() -> std::io::Result<(Sender<Value>, oneshot::Receiver<()>)> {
    let (sender, mut receiver) = channel::<Value>(QUEUE_MAX);
    let (end, written) = oneshot::channel();
    std::thread::Builder::new().name("output".to_owned()).spawn(move || {
        let _end: oneshot::Sender<()> = end;
        let mut output = std::io::stdout();
        while let Some(answer) = receiver.blocking_recv() {
            // Without line feeds: JSON is written on one line.
            if writeln!(output, "{answer}").and_then(|()| output.flush()).is_err() {
                // Nobody reads any more, so nobody is there.
                std::process::exit(0);
            }
        }
    })?;
    Ok((sender, written))
}
