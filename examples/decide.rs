//! Measures what a decision costs, the fresh instance included.
//!
//! Usage: `cargo run --release --example decide -- FOLDER [DECISIONS]`, where `FOLDER` is that of
//! a policy, such as `plugins/containment`.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use agent_relay::domain::control::{ApprovalMode, CallerFacts, Context, Control, Site, Spawn};
use agent_relay::domain::text::path::PathFacts;
use agent_relay::plugins::{Limits, Options, Pauses, Plugins};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("usage: decide FOLDER [DECISIONS]")?);
    let decisions = match arguments.next() {
        Some(number) => number.to_string_lossy().parse()?,
        None => 10_000,
    };

    // A directory with this plugin alone.
    let id = folder.file_name().ok_or("FOLDER has no name")?;
    let directory = tempfile::tempdir()?;
    let plugins = directory.path().join("plugins");
    fs::create_dir_all(plugins.join(id))?;
    for file in ["plugin.toml", "plugin.wasm"] {
        fs::copy(folder.join(file), plugins.join(id).join(file))?;
    }
    measure(directory.path(), decisions).await
}

async fn measure(directory: &Path, decisions: usize) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let plugins = Plugins::open(Options {
        directory: Some(directory.join("plugins")),
        cache_directory: directory.join("cache"),
        state_directory: None,
        limits: Limits::default(),
        pauses: Pauses::default(),
        plugins: Default::default(),
        required: Vec::new(),
        watch: false,
        embedded: Vec::new(),
    })
    .await?;
    println!("loaded in {:?}", started.elapsed());

    let set = plugins.current();
    let (control, context) = question();
    let mut micros = Vec::with_capacity(decisions);
    for _ in 0..decisions {
        let (control, started) = (control.clone(), Instant::now());
        let decision = set.decide(control, &context).await;
        micros.push(started.elapsed().as_secs_f64() * 1e6);
        if decision.verdicts.len() != 1 {
            return Err(format!("not one policy was asked: {decision:?}").into());
        }
    }
    micros.sort_by(f64::total_cmp);
    let at = |percent: usize| micros[(micros.len() * percent / 100).min(micros.len() - 1)];
    println!("{decisions} decisions: median {:.1} us, 99th percentile {:.1} us", at(50), at(99));
    Ok(())
}

fn question() -> (Control, Context) {
    let path = |path: &str| PathFacts { given: path.into(), normalised: path.into(), resolved: Some(path.into()) };
    let control = Control::Spawn(Spawn {
        provider: "claude".into(),
        approval_mode: ApprovalMode::Guarded,
        cwd: path("/srv/code/project"),
        label: Some("measured".into()),
        prompt: Some("Say hello.".into()),
        site: Site { orchestrator: None, hostname: "here".into(), base_dir: path("/srv/code") },
    });
    let context = Context {
        caller: CallerFacts {
            name: "decide".into(),
            agent_id: None,
            administrator: true,
            scopes: vec!["admin".into()],
            loopback: true,
        },
        now: 1_700_000_000_000,
        running: Vec::new(),
        extensions: Vec::new(),
    };
    (control, context)
}
