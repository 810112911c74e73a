//! `agent-relay backup` and `restore`: a data directory as one file, and back.

use std::path::PathBuf;

use agent_relay::config::{Beside, Environment, Flags};
use serde_json::json;

use super::data_dir::DataDir;
use super::show::{STRONG, WARN, count, painted, say, show, visible_line};
use super::{Failure, print};

/// Write the data directory into one file, while its relay runs or not.
///
/// The file holds the database as it is at one moment, the plugins of the data directory with what was decided about
/// them, and the secret of callbacks. It is for you alone: whoever has it has every message and can sign callbacks.
#[derive(Debug, clap::Args)]
pub(super) struct Backup {
    /// The file; it must not be there
    file: PathBuf,
    #[command(flatten)]
    place: Place,
}

/// Make a data directory of a backup, while no relay runs on it.
///
/// Whoever follows the events of the relay is told to begin anew. Agents that run go on, and sessions that began after the
/// backup are not known to it.
#[derive(Debug, clap::Args)]
pub(super) struct Restore {
    /// The backup
    file: PathBuf,
    /// Move what is in the data directory aside, into a folder in it
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
struct Place {
    /// The data directory [default: ~/.local/share/agent-relay]
    ///
    /// Environment: AGENT_RELAY_DATA_DIR, or what the file in AGENT_RELAY_CONFIG says.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Place {
    fn find(&self, env: &Environment) -> Result<PathBuf, Failure> {
        Ok(Beside::load(&Flags { data_dir: self.data_dir.clone(), ..Flags::default() }, env)?.data_dir)
    }
}

pub(super) fn back_up(args: &Backup, env: &Environment) -> Result<(), Failure> {
    let data_dir = args.place.find(env)?;
    let made = agent_relay::back_up(&data_dir, &args.file).map_err(|error| Failure::Other(error.to_string()))?;
    for left_out in &made.left_out {
        say(&painted(WARN, format!("not in it: {}", visible_line(left_out))));
    }
    if args.place.json {
        let told = json!({"file": args.file, "bytes": made.bytes, "files": made.files, "leftOut": made.left_out});
        return print(&told.to_string());
    }
    let file = painted(STRONG, visible_line(&args.file.to_string_lossy()));
    let beside = count(made.files, "file");
    show(&format!("{file} has the database and {beside} beside it, in {} KiB", made.bytes.div_ceil(1024)))
}

pub(super) fn restore(args: &Restore, env: &Environment) -> Result<(), Failure> {
    let data_dir = args.place.find(env)?;
    if !args.file.is_file() {
        return Err(Failure::Usage(format!("there is no file {}", args.file.display())));
    }
    // Held meanwhile, so that no relay begins on half of it.
    let _held = DataDir::claim(&data_dir).map_err(Failure::Other)?;
    let aside = agent_relay::restore(&args.file, &data_dir, args.force);
    let aside = aside.map_err(|error| Failure::Other(error.to_string()))?;
    if args.place.json {
        return print(&json!({"dataDir": data_dir, "movedAside": aside}).to_string());
    }
    let aside = aside.map(|aside| format!("; what was there is in {}", aside.display())).unwrap_or_default();
    show(&format!("{} is restored{aside}", painted(STRONG, visible_line(&data_dir.to_string_lossy()))))
}
