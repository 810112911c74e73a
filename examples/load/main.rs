//! The benchmark of agent-relay: every figure that the project promises, with one command.
//!
//! ```text
//! cargo build --release --bin agent-relay --example load
//! target/release/examples/load all
//! ```
//!
//! Each round starts a server of its own on a free port of this machine, with an empty data
//! directory, measures, and ends it; the table shows the median of the rounds and their range. The
//! server is measured from outside: its processor time from `/proc/PID/stat`, its memory from
//! `/proc/PID/smaps_rollup`. What this program needs is not counted, but it runs on the same
//! cores, so it is made to need little: sockets read and written by hand, a few threads, and no JSON
//! taken apart where a number can be found without.
//!
//! Figures of a disk and of a shared machine mean little by themselves. So each round also measures
//! what the machine gives at that moment, and the table shows it beside the rest:
//!
//! - `sync`: a loop of 512-byte `pwrite` and `fdatasync` in the directory that holds the server's
//!   data, overwriting a file in place and growing one. A durable answer cannot be faster than one of
//!   these, and a server that commits each request by itself cannot do more of them.
//! - `nginx` (with `--baseline nginx`, where it is installed): the same requests from the same client
//!   to an nginx with one worker that answers `return 200` and stores nothing. What a request costs
//!   there is the network and the client.
//!
//! - `redis` (with `--baseline redis`): a Redis with `appendfsync always`. For `post` it takes the same
//!   messages (`LPUSH`); for `claim` each worker moves an entry to a list of its own and removes it there
//!   (`LMOVE`, `LREM`).
//!
//! How each figure is measured stands in the first comment of its file: `post`, `fanout`, `targeted`,
//! `claim`, `callbacks`, `signed`, `tools`, `notice`, `daemons`, `start`, `decide`, `reload`, `hostile` and `size`. Everything that is
//! counted is also
//! checked: a message that
//! a stream gets twice, late, or not at all, a claim that two workers hold, or an answer with another
//! status than expected ends the program with exit code 1, and no figure is shown.
//!
//! The goals are those of a shared machine with two cores, for durable writes.

mod baseline;
mod callbacks;
mod claim;
mod daemons;
mod decide;
mod fanout;
mod hostile;
mod http;
mod notice;
mod post;
mod redis;
mod reload;
mod report;
mod server;
mod signed;
mod size;
mod start;
mod streams;
mod targeted;
mod tools;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use self::report::Report;
use self::server::{Server, Target};

/// What this program's functions answer; it only ever shows its errors.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measure an agent-relay server.
///
/// By default the server is started by this program, with a data directory that is deleted
/// afterwards, so that one command gives the figures. Everything measured is checked as well; exit
/// code 1 means that something was wrong, and the last line says what.
#[derive(Parser)]
#[command(name = "load", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    options: Options,
}

#[derive(clap::Args)]
struct Options {
    /// The program that is measured [default: agent-relay in the directory above this program's]
    #[arg(long, global = true, value_name = "PATH")]
    server: Option<PathBuf>,
    /// Measure a relay that is running already, such as http://127.0.0.1:4850, and leave in it what
    /// was sent. AGENT_RELAY_TOKEN is its administrator's token
    #[arg(long, global = true, value_name = "URL", conflicts_with = "server")]
    url: Option<String>,
    /// With --url: its process, to measure processor time and memory
    #[arg(long, global = true, value_name = "PID", requires = "url")]
    pid: Option<u32>,
    /// Where data directories are made. It must be on a disk: a file system in memory syncs for free
    /// [default: the directory of this program]
    #[arg(long, global = true, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How often everything is measured; the table shows the medians
    #[arg(long, global = true, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long a rate is measured, in seconds
    #[arg(long, global = true, value_name = "S", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Measure something else with the same requests as well
    #[arg(long, global = true, value_name = "WHAT")]
    baseline: Vec<Baseline>,
    /// Print JSON instead of a table
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Baseline {
    /// An nginx that answers and stores nothing
    Nginx,
    /// A Redis that syncs every write
    Redis,
}

#[derive(Clone, Copy, PartialEq, Eq, Subcommand)]
enum Command {
    /// Send messages of 200 bytes, from one connection and from 64
    Post,
    /// Send messages that thousands of event streams get
    Fanout {
        /// Streams open while messages come at a steady rate
        #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        streams: u32,
    },
    /// Send messages that one of many event streams gets
    Targeted {
        /// The larger number of streams open
        #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(11..=1_000_000))]
        streams: u32,
    },
    /// Ask for tasks that are told to others, of whom some never answer
    Callbacks,
    /// Claim and complete messages, with eight workers
    Claim,
    /// Send signed events, each of which becomes a task, beside messages
    Signed,
    /// Send messages to an agent whose session is idle, until they are on its screen. Needs tmux and python3
    Notice,
    /// Start 50 sessions on a daemon, send them messages, leave them idle; then restart the relay of 20 daemons. Needs tmux and python3
    Daemons,
    /// Call tools over MCP, beside the requests that do the same
    Tools,
    /// Start the server, and let it be idle
    Start,
    /// Ask what the policies would say of a control request
    Decide,
    /// Replace plugins while control requests are made
    Reload {
        /// How often a plugin is replaced
        #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        replacements: u32,
    },
    /// Open connections that never end what they send, or read nothing
    Hostile {
        /// How many of them there are
        #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(5..=1_000_000))]
        connections: u32,
    },
    /// Fill the store, and measure what grows with it. Not among all: it takes minutes and gigabytes
    Size {
        /// The most messages: measured are 100,000 and ten times as many, up to this
        #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(100_000..=100_000_000))]
        largest: u64,
    },
    /// All but the size, one after the other
    All,
}

impl Command {
    const ALL: [Self; 13] = [
        Self::Post,
        Self::Callbacks,
        Self::Fanout { streams: 5_000 },
        Self::Claim,
        Self::Signed,
        Self::Tools,
        Self::Targeted { streams: 5_000 },
        Self::Notice,
        Self::Daemons,
        Self::Start,
        Self::Decide,
        Self::Reload { replacements: 300 },
        Self::Hostile { connections: 2_000 },
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Post => "post",
            Self::Fanout { .. } => "fanout",
            Self::Targeted { .. } => "targeted",
            Self::Claim => "claim",
            Self::Signed => "signed",
            Self::Notice => "notice",
            Self::Daemons => "daemons",
            Self::Tools => "tools",
            Self::Start => "start",
            Self::Decide => "decide",
            Self::Reload { .. } => "reload",
            Self::Size { .. } => "size",
            Self::Hostile { .. } => "hostile",
            Self::Callbacks => "callbacks",
            Self::All => "all",
        }
    }
}

fn main() -> ExitCode {
    let Arguments { command, options } = Arguments::parse();
    match run(command, &options) {
        Ok(report) => {
            print!("{}", if options.json { report.json() } else { report.table() });
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("load: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, options: &Options) -> Outcome<Report> {
    let load = Load::new(options)?;
    let commands = if command == Command::All { &Command::ALL[..] } else { &[command] };
    let mut report = Report::default();
    for round in 1..=options.rounds {
        for command in commands {
            load.progress(&format!("round {round} of {}: {}", options.rounds, command.name()));
            report.begin("machine");
            baseline::sync(&load, &mut report)?;
            report.begin(command.name());
            match *command {
                Command::Post => post::measure(&load, &mut report)?,
                Command::Fanout { streams } => fanout::measure(&load, streams, &mut report)?,
                Command::Targeted { streams } => targeted::measure(&load, streams, &mut report)?,
                Command::Claim => claim::measure(&load, &mut report)?,
                Command::Signed => signed::measure(&load, &mut report)?,
                Command::Daemons => daemons::measure(&load, &mut report)?,
                Command::Notice => notice::measure(&load, &mut report)?,
                Command::Tools => tools::measure(&load, &mut report)?,
                Command::Start => start::measure(&load, &mut report)?,
                Command::Decide => decide::measure(&load, &mut report)?,
                Command::Reload { replacements } => reload::measure(&load, replacements, &mut report)?,
                Command::Size { largest } => size::measure(&load, largest, &mut report)?,
                Command::Callbacks => callbacks::measure(&load, &mut report)?,
                Command::Hostile { connections } => hostile::measure(&load, connections, &mut report)?,
                Command::All => {}
            }
        }
    }
    load.progress("");
    Ok(report)
}

/// What every command works with.
struct Load {
    program: PathBuf,
    /// Where data directories are made.
    dir: PathBuf,
    running: Option<(Target, Option<u32>)>,
    /// In how many rounds everything is measured.
    rounds: u32,
    seconds: u32,
    nginx: bool,
    redis: bool,
}

impl Load {
    fn new(options: &Options) -> Outcome<Self> {
        let here = std::env::current_exe()?;
        let beside = here.parent().ok_or("cannot tell which directory this program is in")?;
        let program = match (&options.server, beside.parent()) {
            (Some(program), _) => program.clone(),
            (None, Some(above)) => above.join("agent-relay"),
            (None, None) => return Err("name the program to measure with --server".into()),
        };
        if options.url.is_none() && !program.is_file() {
            let program = program.display();
            return Err(format!("{program} is not there: build it, or name it with --server").into());
        }
        server::raise_open_files()?;
        Ok(Self {
            program,
            dir: baseline::require_disk(options.dir.as_deref().unwrap_or(beside))?,
            running: options.url.as_deref().map(Target::parse).transpose()?.map(|target| (target, options.pid)),
            rounds: options.rounds,
            seconds: options.seconds,
            nginx: options.baseline.contains(&Baseline::Nginx),
            redis: options.baseline.contains(&Baseline::Redis),
        })
    }

    /// How long a rate is measured.
    fn duration(&self) -> Duration {
        Duration::from_secs(u64::from(self.seconds))
    }

    /// The server to measure: a fresh one, unless a running one was named.
    fn server(&self) -> Outcome<Server> {
        match &self.running {
            Some((target, pid)) => Ok(Server::running(target.clone(), *pid)),
            None => Server::start(&self.program, &self.dir),
        }
    }

    /// A fresh server, for what cannot be measured on one that is running.
    fn own_server(&self, why: &str) -> Outcome<Server> {
        self.require_own(why)?;
        self.server()
    }

    /// Refuses to go on where a running server was named.
    fn require_own(&self, why: &str) -> Outcome<()> {
        if self.running.is_some() {
            return Err(format!("--url does not go with this command: {why}").into());
        }
        Ok(())
    }

    /// Tells somebody who waits at a terminal what is going on; an empty text wipes it away.
    fn progress(&self, text: &str) {
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[2K{text}");
        }
    }
}

/// A runtime on this thread alone: the client must leave the cores to the server.
fn on_this_thread<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
