//! What a daemon knows after a `kill -9`: one file for each agent, written before the step that it is about.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Error;
use crate::domain::caller::token::TokenKind;
use crate::domain::control::spawn::SpawnSpec;
use crate::domain::id::{AgentId, CommandId, TokenId};
use crate::domain::text::hex::hex;
use crate::plugins::{make_directory, open_private, write_durably};
use crate::sessions::SESSIONS_MAX;

/// The most agents that are remembered, ended ones included: what has no session any more cannot be started again.
const RECORDS_MAX: usize = SESSIONS_MAX;
/// The largest file that is read.
const RECORD_BYTES_MAX: u64 = 256 << 10;

/// One agent of this host.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    /// What it was started from, and would be again.
    pub(super) spec: SpawnSpec,
    /// Its session.
    pub(super) session: String,
    /// The command that started this session.
    pub(super) command: CommandId,
    /// When, in milliseconds since the epoch.
    pub(super) started_at: i64,
    /// With what it calls the relay.
    pub(super) token: Minted,
    /// How it ended, once the relay knows.
    #[serde(default)]
    pub(super) ended: Option<String>,
}

/// The token of an agent. It lies in a file that only this user may read, as the agent's own environment does.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Minted {
    pub(super) id: TokenId,
    pub(super) kind: TokenKind,
    pub(super) secret: String,
}

impl std::fmt::Debug for Minted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Minted").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The records of one data directory.
pub(super) struct Records {
    directory: PathBuf,
    /// What tells this directory from every other.
    home: String,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    records: BTreeMap<AgentId, Record>,
    /// Agents that run or are about to, each with how many see to that: a restart does so beside the one that watches.
    active: HashMap<AgentId, usize>,
    /// Agents whose end was asked for, each with how many see to that.
    ending: HashMap<AgentId, usize>,
}

/// An agent that counts as running, until this is dropped.
pub(super) struct Active {
    agent: AgentId,
    known: Arc<Mutex<Known>>,
}

impl Drop for Active {
    fn drop(&mut self) {
        let mut known = lock(&self.known);
        count_down(&mut known.active, &self.agent);
    }
}

/// An agent whose end somebody asked for, until this is dropped: it has not crashed.
pub(super) struct Ending {
    agent: AgentId,
    known: Arc<Mutex<Known>>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let mut known = lock(&self.known);
        count_down(&mut known.ending, &self.agent);
    }
}

impl Records {
    /// How a session ended that was noted and never began.
    pub(super) const NEVER_RAN: &str = "it was never begun";

    /// Opens the records of a data directory, which is made for this user alone.
    pub(super) async fn open(data_dir: PathBuf) -> Result<Self, Error> {
        let read = tokio::task::spawn_blocking(move || {
            let directory = data_dir.join("agents");
            let disk = |path: &Path| {
                let path = path.to_owned();
                move |source| Error::Disk { path, source }
            };
            make_directory(&directory).map_err(disk(&directory))?;
            let home = data_dir.join("home");
            let home = read_home(&data_dir, &home).map_err(disk(&home))?;
            let records = read_all(&directory).map_err(disk(&directory))?;
            Ok((directory, home, records))
        });
        let (directory, home, records) = match read.await {
            Ok(read) => read?,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        let known = Known { records, ..Known::default() };
        Ok(Self { directory, home, known: Arc::new(Mutex::new(known)) })
    }

    /// What tells this directory from every other: daemons of one id on several hosts have one each.
    pub(super) fn home(&self) -> &str {
        &self.home
    }

    pub(super) fn get(&self, agent: &AgentId) -> Option<Record> {
        lock(&self.known).records.get(agent).cloned()
    }

    /// All of them, by agent.
    pub(super) fn all(&self) -> Vec<Record> {
        lock(&self.known).records.values().cloned().collect()
    }

    /// Those whose agent runs, as far as is known, or is about to be started again.
    pub(super) fn running(&self) -> Vec<Record> {
        let known = lock(&self.known);
        let runs = |record: &&Record| record.ended.is_none() || known.active.contains_key(&record.spec.agent_id);
        known.records.values().filter(runs).cloned().collect()
    }

    /// Writes a record in place of an earlier one of its agent. Once this is answered it is on disk.
    pub(super) async fn put(&self, record: Record) -> io::Result<()> {
        let (directory, path) = (self.directory.clone(), self.path(&record.spec.agent_id));
        let written = record.clone();
        blocking(move || write_durably(&directory, &path, &[&serde_json::to_vec_pretty(&written)?])).await?;
        let dropped = {
            let mut known = lock(&self.known);
            known.records.insert(record.spec.agent_id.clone(), record);
            known.oldest_ended()
        };
        for agent in dropped {
            let path = self.path(&agent);
            blocking(move || fs::remove_file(path)).await?;
        }
        Ok(())
    }

    /// Notes that the session of this name has ended and that the relay knows. Another one of its agent is left alone.
    pub(super) async fn note_end(&self, agent: &AgentId, session: &str, ending: &str) -> io::Result<()> {
        match self.get(agent) {
            Some(record) if record.session == session => {
                self.put(Record { ended: Some(ending.to_owned()), ..record }).await
            }
            _ => Ok(()),
        }
    }

    /// Counts an agent as running. None when there are as many others as there may be.
    pub(super) fn activate(&self, agent: &AgentId, most: usize) -> Option<Active> {
        let mut known = lock(&self.known);
        if !known.active.contains_key(agent) && known.active.len() >= most {
            return None;
        }
        *known.active.entry(agent.clone()).or_default() += 1;
        Some(Active { agent: agent.clone(), known: self.known.clone() })
    }

    /// Notes that somebody asked for the end of an agent.
    pub(super) fn begin_ending(&self, agent: &AgentId) -> Ending {
        *lock(&self.known).ending.entry(agent.clone()).or_default() += 1;
        Ending { agent: agent.clone(), known: self.known.clone() }
    }

    /// Whether somebody asked for the end of an agent.
    pub(super) fn is_ending(&self, agent: &AgentId) -> bool {
        lock(&self.known).ending.contains_key(agent)
    }

    fn path(&self, agent: &AgentId) -> PathBuf {
        // An id may hold what no file name may.
        self.directory.join(format!("{}.json", &hex(&Sha256::digest(agent.as_bytes()))[..32]))
    }
}

impl Known {
    /// Forgets what ended first where there are too many, and says what.
    fn oldest_ended(&mut self) -> Vec<AgentId> {
        let excess = self.records.len().saturating_sub(RECORDS_MAX);
        let mut ended: Vec<_> = self.records.values().filter(|record| record.ended.is_some()).collect();
        ended.sort_by_key(|record| record.started_at);
        let oldest: Vec<AgentId> = ended.iter().take(excess).map(|record| record.spec.agent_id.clone()).collect();
        for agent in &oldest {
            self.records.remove(agent);
        }
        oldest
    }
}

fn count_down(counts: &mut HashMap<AgentId, usize>, agent: &AgentId) {
    if let Some(count) = counts.get_mut(agent) {
        *count -= 1;
        if *count == 0 {
            counts.remove(agent);
        }
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_all(directory: &Path) -> io::Result<BTreeMap<AgentId, Record>> {
    let mut records = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let read = read(&path).and_then(|text| Ok(serde_json::from_slice::<Record>(&text)?));
        match read {
            Ok(record) => drop(records.insert(record.spec.agent_id.clone(), record)),
            Err(error) => tracing::error!(path = %path.display(), %error, "what is known of an agent cannot be read"),
        }
    }
    Ok(records)
}

fn read_home(data_dir: &Path, path: &Path) -> io::Result<String> {
    match read(path) {
        Ok(text) => {
            let text = String::from_utf8_lossy(&text).trim().to_owned();
            let is_ours = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            if is_ours { Ok(text) } else { Err(io::Error::other("is none of this program's; remove it")) }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut random = [0; 8];
            getrandom::fill(&mut random).map_err(io::Error::other)?;
            let home = hex(&random);
            write_durably(data_dir, path, &[home.as_bytes()])?;
            Ok(home)
        }
        Err(error) => Err(error),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    open_private(path)?.0.take(RECORD_BYTES_MAX).read_to_end(&mut text)?;
    Ok(text)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
