//! The folder of one session: all that is known about it, so that a restarted relay finds it again.
//!
//! Two named pipes in it say what no file can. The session's host keeps `alive` open for as long as it
//! lives, and `starting` until it knows whether the program runs. Whatever ends the host, even
//! `kill -9`, lets go of them, and everybody who listens reads end of file: no polling, no thread for
//! each session, and no process id that could have been given to somebody else.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode as Permissions, OFlags};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::unix::pipe;

use super::place::PlaceId;
use super::{Exit, Identity, Opening};

/// The most a file of a session may hold to be read. A session's program runs as the same user and could write there.
const FILE_BYTES_MAX: u64 = 2 * 1024 * 1024;

const ALIVE: &str = "alive";
const STARTING: &str = "starting";
const LAUNCH: &str = "launch.json";
const STATE: &str = "state.json";
const EXIT: &str = "exit.json";
const STOPPING: &str = "stopping";
const PROMPTED: &str = "prompted";
const CONVERSATION: &str = "conversation.json";

/// The folder of one session.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

/// What the session's host needs to start the program. It holds secrets: it is read once and gone.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LaunchFile {
    pub(super) identity: Identity,
    pub(super) opening: Opening,
    /// Which directory the approved one is, whatever its name leads to by now.
    pub(super) place: PlaceId,
    pub(super) program: PathBuf,
    /// What the program is told it was called as.
    pub(super) called: String,
    pub(super) args: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
    /// The terminal the host runs in; none when it is detached.
    pub(super) terminal: Option<Terminal>,
}

/// The tmux server a session runs in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Terminal {
    pub(super) tmux: PathBuf,
    pub(super) socket: PathBuf,
}

/// What runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StateFile {
    pub(super) identity: Identity,
    /// Sessions that an older relay started have none.
    #[serde(default)]
    pub(super) opening: Opening,
    pub(super) pid: u32,
    /// When the kernel says the process began: tells it from a later one with its id.
    pub(super) birth: Option<u64>,
    pub(super) started_at_ms: u64,
    /// The tmux pane; none when detached.
    pub(super) pane: Option<String>,
}

impl Folder {
    pub(super) fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// A new folder with its pipes. Fails when there is one already.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        private_directory().create(path)?;
        let folder = Self::at(path);
        private_directory().create(folder.files())?;
        for name in [ALIVE, STARTING] {
            let mode = Permissions::RUSR | Permissions::WUSR;
            rustix::fs::mknodat(CWD, folder.path.join(name), FileType::Fifo, mode, 0)?;
        }
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the plan's files are: apart, so that no name of theirs is one of ours.
    pub(super) fn files(&self) -> PathBuf {
        self.path.join("files")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    pub(super) fn put_launch(&self, launch: &LaunchFile) -> io::Result<()> {
        let text = serde_json::to_vec(launch).map_err(io::Error::other)?;
        write_private(&self.path.join(LAUNCH), &text)
    }

    /// The launch, which is gone from the disk afterwards.
    pub(super) fn take_launch(&self) -> io::Result<LaunchFile> {
        let text = read_bounded(&self.path.join(LAUNCH))?;
        fs::remove_file(self.path.join(LAUNCH))?;
        serde_json::from_slice(&text).map_err(io::Error::other)
    }

    /// Makes sure that no secrets of a start that never happened stay on the disk.
    pub(super) fn forget_launch(&self) {
        if let Err(error) = fs::remove_file(self.path.join(LAUNCH))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(session.folder = %self.path.display(), %error, "could not remove a launch file");
        }
    }

    pub(super) fn put_state(&self, state: &StateFile) -> io::Result<()> {
        self.put(STATE, state)
    }

    pub(super) fn state(&self) -> Option<StateFile> {
        self.get(STATE)
    }

    pub(super) fn put_exit(&self, exit: &Exit) -> io::Result<()> {
        self.put(EXIT, exit)
    }

    pub(super) fn exit(&self) -> Option<Exit> {
        self.get(EXIT)
    }

    /// Tells the host that the program is being stopped: nothing of it may go on.
    pub(super) fn mark_stopping(&self) -> io::Result<()> {
        write_private(&self.path.join(STOPPING), b"")
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.path.join(STOPPING).exists()
    }

    /// Notes that its prompt is about to be handed over, or that it was not.
    pub(super) fn mark_prompted(&self, is_prompted: bool) -> io::Result<()> {
        if is_prompted {
            return write_private(&self.path.join(PROMPTED), b"");
        }
        match fs::remove_file(self.path.join(PROMPTED)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    pub(super) fn is_prompted(&self) -> bool {
        self.path.join(PROMPTED).exists()
    }

    pub(super) fn put_conversation(&self, conversation: &str) -> io::Result<()> {
        self.put(CONVERSATION, &conversation)
    }

    pub(super) fn conversation(&self) -> Option<String> {
        if self.path.join(CONVERSATION).exists() { self.get(CONVERSATION) } else { None }
    }

    /// Held by the host until it ends.
    pub(super) fn hold_alive(&self) -> io::Result<File> {
        hold(&self.path.join(ALIVE))
    }

    /// Held by the host until it knows whether the program runs.
    pub(super) fn hold_starting(&self) -> io::Result<File> {
        hold(&self.path.join(STARTING))
    }

    /// Whether the host lives.
    pub(super) fn is_alive(&self) -> bool {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(pipe) = rustix::fs::open(self.path.join(ALIVE), flags, Permissions::empty()) else {
            return false;
        };
        let read = File::from(pipe).read(&mut [0]);
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Returns once the host has ended, at once when it has.
    pub(super) async fn ended(&self) -> io::Result<()> {
        let pipe = pipe::OpenOptions::new().open_receiver(self.path.join(ALIVE))?;
        // First listen, then look: the kernel reports the end of a host only to those who listened while it lived.
        if self.is_alive() {
            released(&pipe).await?;
        }
        Ok(())
    }

    /// Listens for the outcome of a start; to be called before the host is started.
    pub(super) fn outcome(&self) -> io::Result<Outcome> {
        let pipe = pipe::OpenOptions::new().open_receiver(self.path.join(STARTING))?;
        Ok(Outcome { pipe })
    }

    fn put(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(value).map_err(io::Error::other)?;
        let unfinished = self.path.join(format!("{name}.tmp"));
        write_private(&unfinished, &text)?;
        fs::rename(&unfinished, self.path.join(name))
    }

    fn get<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let text = read_bounded(&self.path.join(name)).ok()?;
        serde_json::from_slice(&text)
            .inspect_err(|error| {
                tracing::warn!(session.folder = %self.path.display(), file = name, %error, "unreadable session file");
            })
            .ok()
    }
}

/// The end of a start, one way or the other.
pub(super) struct Outcome {
    pipe: pipe::Receiver,
}

impl Outcome {
    /// Returns once the host has opened the pipe and let go of it. A pipe nobody has opened yet is not readable, and only then
    /// would reading it look like the end.
    pub(super) async fn known(self) -> io::Result<()> {
        self.pipe.readable().await?;
        released(&self.pipe).await
    }
}

/// Makes a folder only its owner may enter.
pub(super) fn private_directory() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

/// Writes a file only its owner may read.
pub(super) fn write_private(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    // A link in its place would have another file overwritten.
    options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options.open(path)?.write_all(contents)
}

/// Opens a pipe for both directions: that never waits for a reader, and is the one writer that listeners look for.
fn hold(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

async fn released(pipe: &pipe::Receiver) -> io::Result<()> {
    loop {
        match pipe.try_read(&mut [0; 64]) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => pipe.readable().await?,
            Err(error) => return Err(error),
        }
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut contents)?;
    if contents.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("{} is over {FILE_BYTES_MAX} bytes", path.display())));
    }
    Ok(contents)
}
