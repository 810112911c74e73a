//! `reload`: plugins replaced while control requests are made.
//!
//! The policy that ships under this name is put into the plugins directory and replaced again and
//! again by a binary that differs in one unused section, so that each has to be compiled, checked and
//! put in place. A replacement is one exchange of two folders' names. Meanwhile 32 connections ask
//! the policies about a spawn. Every answer must be there and be the same; a replacement counts
//! once the relay shows the new binary as the active one. The replacements are divided among the rounds.
//! Memory and threads of the server are looked at after ten replacements and after the last; before
//! that, messages fill the database's cache of pages, which the events of replacements would fill slowly.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

use crate::decide::SPAWN;
use crate::http::{Connection, now};
use crate::post::{hammer, to_agent};
use crate::report::{Goal, Report};
use crate::server::{Server, Target};
use crate::{Load, Outcome, on_this_thread};

/// The policy that is replaced.
const PLUGIN: &str = "containment";
/// Connections that ask meanwhile.
const ASKING: usize = 32;
/// Long enough for more messages than the database's cache holds.
const FILL: Duration = Duration::from_secs(3);
/// After so many replacements everything that is made once has been made.
const FEW: usize = 10;

/// Measures.
pub(crate) fn measure(load: &Load, replacements: u32, report: &mut Report) -> Outcome<()> {
    let server = load.own_server("plugins are put into the server's directory")?;
    let plugins = server.plugins_dir().ok_or("the server has no plugins directory")?;
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins").join(PLUGIN);
    let manifest = read(&shipped.join("plugin.toml"))?;
    let wasm = read(&shipped.join("plugin.wasm"))?;
    // Names that begin with a dot are left alone by the relay.
    let (place, next) = (plugins.join(PLUGIN), plugins.join(".next"));
    write_plugin(&place, &manifest, &wasm)?;
    on_this_thread(async {
        hammer(server.target(), 64, FILL, 201, "/api/messages", to_agent).await?;
        let mut connection = Connection::open(server.target()).await?;
        reload(&mut connection).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut asking = JoinSet::new();
        for _ in 0..ASKING {
            asking.spawn(ask(server.target().clone(), stop.clone()));
        }
        let mut times = Vec::new();
        for number in 0..replacements.div_ceil(load.rounds) {
            let another = with_section(&wasm, number);
            write_plugin(&next, &manifest, &another)?;
            let started = now();
            renameat_with(CWD, &next, CWD, &place, RenameFlags::EXCHANGE)?;
            reload(&mut connection).await?;
            require_active(&mut connection, &another).await?;
            times.push(now() - started);
            if times.len() == FEW {
                report_size(report, &server, "after ten")?;
            }
        }
        report_size(report, &server, "after all")?;
        stop.store(true, Ordering::Relaxed);
        let mut asked = 0;
        while let Some(of_one) = asking.join_next().await {
            asked += of_one??;
        }
        report.add("plugins replaced", times.len() as f64, "", Goal::None);
        report.add_times("replacement", &mut times, Goal::None, Goal::None);
        report.add("requests meanwhile", asked as f64, "", Goal::None);
        report.add("requests that failed", 0.0, "", Goal::AtMost(0.0));
        Ok(())
    })
}

fn report_size(report: &mut Report, server: &Server, when: &str) -> Outcome<()> {
    if let (Some(bytes), Some(threads)) = (server.memory_bytes()?, server.threads()?) {
        report.add(format!("{when}: memory"), bytes / f64::from(1 << 20), "MiB", Goal::None);
        report.add(format!("{when}: threads"), threads, "", Goal::None);
    }
    Ok(())
}

/// Asks until told to stop, and answers how often. A failure, or another outcome than the first, is
/// an error.
async fn ask(target: Target, stop: Arc<AtomicBool>) -> Outcome<u64> {
    let mut connection = Connection::open(&target).await?;
    let (mut asked, mut first) = (0, None);
    while !stop.load(Ordering::Relaxed) {
        let answer = connection.post(crate::decide::PATH, SPAWN).await?;
        answer.expect(200)?;
        let answer: Value = serde_json::from_slice(answer.body)?;
        let outcome = answer["outcome"].clone();
        let first = first.get_or_insert_with(|| outcome.clone());
        if *first != outcome {
            return Err(format!("the outcome was {first} before and is {outcome} after a replacement").into());
        }
        asked += 1;
    }
    Ok(asked)
}

async fn reload(connection: &mut Connection) -> Outcome<()> {
    connection.post("/api/plugins/reload", "{}").await?.expect(202)
}

/// Refuses unless this binary is the active one.
async fn require_active(connection: &mut Connection, wasm: &[u8]) -> Outcome<()> {
    let answer = connection.get(&format!("/api/plugins/{PLUGIN}")).await?;
    answer.expect(200)?;
    let plugin: Value = serde_json::from_slice(answer.body)?;
    let digest: String = Sha256::digest(wasm).iter().map(|byte| format!("{byte:02x}")).collect();
    let shown = plugin["digest"].as_str().unwrap_or_default();
    if plugin["state"] == "active" && shown.ends_with(&digest) {
        return Ok(());
    }
    Err(format!("the replacement {digest} is not active: {plugin}").into())
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()).into())
}

fn write_plugin(folder: &Path, manifest: &[u8], wasm: &[u8]) -> Outcome<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("plugin.wasm"), wasm)?;
    Ok(fs::write(folder.join("plugin.toml"), manifest)?)
}

/// The same component with a custom section at its end, which nobody reads.
fn with_section(wasm: &[u8], number: u32) -> Vec<u8> {
    let mut another = wasm.to_vec();
    // Section 0, its length, the length of its name, its name, its content.
    another.extend_from_slice(&[0, 9, 4]);
    another.extend_from_slice(b"load");
    another.extend_from_slice(&number.to_le_bytes());
    another
}
