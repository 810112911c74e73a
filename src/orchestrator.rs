//! The daemon of one host: it starts, restarts and ends agents there because a relay elsewhere was asked to, and tells
//! the relay what becomes of them.
//!
//! It is [`launcher`](crate::launcher) and [`client`](crate::client) put together, the same launcher that a relay uses
//! for its own host. What it must know after a `kill -9` is on disk before the step that it is about: which agent
//! runs in which session, for which command ([`records`]). Whatever else it tells the relay follows from that, from
//! the sessions themselves and from the commands that the relay has open, so there is no queue of reports that could
//! be lost: whoever has something to tell asks until it is answered ([`link`]), and a daemon that starts anew looks at
//! all three and goes on ([`settle`]).
//!
//! The relay's policies have decided before a command comes here. The host's own are asked again, with the paths as
//! they really are here.

mod actions;
mod intake;
mod limits;
mod link;
mod notices;
mod presence;
mod records;
mod reports;
mod settle;
mod spawn;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::link::Link;
use self::notices::Wakes;
use self::records::Records;
use crate::client::Client;
use crate::domain::id::{AgentId, CommandId, OrchestratorId};
use crate::launcher::Launcher;
use crate::plugins::Plugins;

pub use self::limits::Limits;

/// Agents that are started or ended at once: each takes a few processes and requests, and they share the host.
const AT_ONCE: usize = 16;
/// How long what is under way has at the end; a step that takes longer is found by the next start.
const DRAIN: Duration = Duration::from_secs(5);

/// What a daemon is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which orchestrator it is.
    pub id: OrchestratorId,
    /// Where it keeps what it must know after its end. Its own: nobody else's daemon may use it.
    pub data_dir: PathBuf,
    /// What it starts at most.
    pub limits: Limits,
}

/// Why a daemon ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another daemon registered under the same id, and speaks for it from then on.
    #[error(
        "another daemon took over orchestrator {id}{by}: this one stopped acting, and the agents that it started go on; \
         give each host an id of its own with --id"
    )]
    Superseded {
        /// The orchestrator.
        id: OrchestratorId,
        /// What is known of the other, as words that follow.
        by: String,
    },
    /// The relay does not take it.
    #[error("the relay does not register this orchestrator: {0}")]
    Refused(String),
    /// What it must keep cannot be kept.
    #[error("failed to use {path}: {source}", path = path.display())]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// One daemon. Cheap to clone.
#[derive(Clone)]
struct Daemon(Arc<Parts>);

struct Parts {
    id: OrchestratorId,
    /// The agent under which it gets its commands.
    agent_id: AgentId,
    link: Link,
    plugins: Plugins,
    launcher: Launcher,
    records: Records,
    limits: Limits,
    /// The commands that somebody here works on.
    at_work: Mutex<HashSet<CommandId>>,
    /// Held by whoever starts or ends an agent.
    hands: Semaphore,
    /// The list of what runs has changed.
    list_changed: Notify,
    /// Who waits for something to show.
    wakes: Wakes,
    /// The stream is there, so the relay may not know of this daemon any more.
    greet: Notify,
    tasks: TaskTracker,
}

impl std::ops::Deref for Daemon {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// Runs a daemon until `shutdown`; the agents that it started go on. `ready` is called when it is registered.
///
/// # Errors
///
/// When the relay does not take it at first, another daemon takes over, or its files cannot be used. A relay that is
/// away is waited for.
pub async fn run(
    options: Options,
    client: Client,
    plugins: Plugins,
    launcher: Launcher,
    shutdown: CancellationToken,
    ready: impl FnOnce(),
) -> Result<(), Error> {
    let Options { id, data_dir, limits } = options;
    let records = Records::open(data_dir).await?;
    let until = shutdown.child_token();
    let link = Link::new(client, id.clone(), records.home(), until.clone());
    let daemon = Daemon(Arc::new(Parts {
        agent_id: id.agent_id(),
        id,
        link,
        plugins,
        launcher,
        records,
        limits,
        at_work: Mutex::default(),
        hands: Semaphore::new(AT_ONCE),
        list_changed: Notify::new(),
        wakes: Wakes::default(),
        greet: Notify::new(),
        tasks: TaskTracker::new(),
    }));
    let lived = daemon.live(ready).await;
    until.cancel();
    daemon.tasks.close();
    if timeout(DRAIN, daemon.tasks.wait()).await.is_err() {
        tracing::warn!("what is under way is left to the next start");
    }
    daemon.take_leave().await;
    lived
}

impl Daemon {
    /// From its registration to its end.
    async fn live(&self, ready: impl FnOnce()) -> Result<(), Error> {
        match self.first_registration().await {
            Ok(()) => {}
            Err(link::Failed::Ended) => return self.verdict(),
            Err(link::Failed::Refused(refused)) => return Err(Error::Refused(refused.to_string())),
        }
        ready();
        // Before this run takes up anything of its own.
        let Some(left_open) = self.left_open().await else { return self.verdict() };
        let settling = self.clone();
        self.tasks.spawn(async move { settling.settle(left_open).await });
        let present = self.clone();
        self.tasks.spawn(async move { present.stay_present().await });
        self.follow_stream().await;
        self.verdict()
    }

    /// What its end means.
    fn verdict(&self) -> Result<(), Error> {
        match self.link.superseded() {
            Some(by) => Err(Error::Superseded { id: self.id.clone(), by }),
            None => Ok(()),
        }
    }

    /// Whether nobody here works on this command yet: from now on somebody does.
    fn begin_work(&self, command: CommandId) -> bool {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner).insert(command)
    }

    fn end_work(&self, command: CommandId) {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner).remove(&command);
    }
}
