//! The plugin host, with real components in a real directory.

mod beside;
mod cache;
pub(crate) mod components;
mod contract;
mod decisions;
pub(crate) mod dummies;
mod examples;
mod grants;
pub(crate) mod handmade;
mod heartbeat;
mod hostile;
mod lifecycle;
mod limits;
mod plans;
mod shipped;
mod signatures;
mod wasi;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_relay::domain::control::{ApprovalMode, CallerFacts, Context, Control, Decision, Outcome, Site, Spawn};
use agent_relay::domain::text::path::PathFacts;
use agent_relay::plugins::{ChangeKind, Limits, Options, Pauses, PluginChange, PluginState, PluginStatus, Plugins};
use tokio::sync::broadcast;

/// Far longer than anything here takes, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two who ask, where a plugin must fail for more than one to be put back.
const CALLERS: [&str; 2] = ["ada", "bob"];

/// A plugin directory and a cache of its own.
pub(crate) struct Home {
    directory: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        let home = Self { directory: tempfile::tempdir().expect("a temporary directory") };
        make_directory(&home.plugins());
        home
    }

    fn plugins(&self) -> PathBuf {
        self.directory.path().join("plugins")
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    pub(crate) fn folder(&self, id: &str) -> PathBuf {
        self.plugins().join(id)
    }

    /// Writes a plugin's folder, in whatever order files happen to be written.
    pub(crate) fn put(&self, id: &str, manifest: &str, wasm: &[u8]) {
        put(&self.folder(id), manifest, wasm);
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            directory: Some(self.plugins()),
            cache_directory: self.cache(),
            state_directory: Some(self.state()),
            limits: Limits::default(),
            pauses: Pauses::default(),
            plugins: BTreeMap::new(),
            required: Vec::new(),
            watch: false,
            embedded: Vec::new(),
        }
    }

    pub(crate) async fn open(&self) -> Plugins {
        open(self.options()).await
    }
}

async fn open(options: Options) -> Plugins {
    Plugins::open(options).await.expect("the engine starts")
}

pub(crate) fn make_directory(path: &Path) {
    fs::create_dir_all(path).expect("made");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("own directory");
}

pub(crate) fn write(path: &Path, contents: &[u8]) {
    fs::write(path, contents).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("own file");
}

pub(crate) fn put(folder: &Path, manifest: &str, wasm: &[u8]) {
    make_directory(folder);
    write(&folder.join("plugin.wasm"), wasm);
    write(&folder.join("plugin.toml"), manifest.as_bytes());
}

/// The built component of a guest under `tests/plugins`.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    let path = crate::plugins::components::component(&Path::new("tests/plugins").join(name));
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The same component with another digest: a custom section at its end says `number`.
pub(crate) fn variant(component: &[u8], number: u8) -> Vec<u8> {
    let mut variant = component.to_vec();
    variant.extend([0, 4, 2, b't', b'o', number]);
    variant
}

/// A manifest for the policy `misbehave` under some id. Deadlines are generous, because tests run
/// on busy machines; those that wait for one say their own.
pub(crate) fn policy(id: &str, settings: &str) -> String {
    format!("id = '{id}'\nkind = 'policy'\n[limits]\ndeadline_ms = 5000\n[settings]\nid = '{id}'\n{settings}\n")
}

/// A manifest for the provider `misplan`.
pub(crate) fn provider(id: &str, settings: &str) -> String {
    format!(
        "id = '{id}'\nkind = 'provider'\n[grants]\nexecutables = ['sleeper']\nenv = ['SLEEPER_MODE']\nfiles = ['notes.txt']\n\
         [limits]\ndeadline_ms = 5000\n[settings]\nid = '{id}'\n{settings}\n"
    )
}

/// A manifest for the provider `mislook`, which observes and delivers.
pub(crate) fn mislook(settings: &str) -> String {
    format!(
        "id = 'mislook'\nkind = 'provider'\n[grants]\nexecutables = ['sleeper', 'queue']\nenv = ['MISLOOK_HOME']\n\
         reads = ['{{MISLOOK_HOME}}/*', '{{cwd}}/*']\nsockets = ['{{cwd}}/*.sock']\n[limits]\ndeadline_ms = 5000\n\
         [settings]\n{settings}\n"
    )
}

fn facts(path: &str) -> PathFacts {
    PathFacts { given: path.into(), normalised: path.into(), resolved: None }
}

fn spawn(label: &str) -> Control {
    Control::Spawn(Spawn {
        provider: "claude".into(),
        approval_mode: ApprovalMode::Guarded,
        cwd: facts("/base/code"),
        label: Some(label.into()),
        prompt: None,
        site: Site { orchestrator: Some("far".into()), hostname: "far".into(), base_dir: facts("/base") },
    })
}

fn context() -> Context {
    Context {
        caller: CallerFacts {
            name: "tester".into(),
            agent_id: None,
            administrator: true,
            scopes: vec!["admin".into()],
            loopback: true,
        },
        now: 1_700_000_000_000,
        running: Vec::new(),
        extensions: Vec::new(),
    }
}

async fn decide(plugins: &Plugins, label: &str) -> Decision {
    plugins.current().decide(spawn(label), &context()).await
}

/// As [`decide`], for this caller and in this directory below the base.
async fn decide_for(plugins: &Plugins, caller: &str, place: &str, label: &str) -> Decision {
    let mut context = context();
    context.caller.name = caller.to_owned();
    let mut control = spawn(label);
    if let Control::Spawn(spawn) = &mut control {
        spawn.cwd = facts(&format!("/base/{place}"));
    }
    plugins.current().decide(control, &context).await
}

/// Has the policy under test fail on as many different questions of different callers as is too many.
async fn fail_too_often(plugins: &Plugins) {
    for number in 0..5 {
        failure(&decide_for(plugins, CALLERS[number % 2], &number.to_string(), "trap").await);
    }
}

/// What a failed decision says.
#[track_caller]
fn failure(decision: &Decision) -> &str {
    match &decision.outcome {
        Outcome::Failed { reason, .. } => reason,
        other => panic!("{other:?} is no failure"),
    }
}

#[track_caller]
fn denial(decision: &Decision) -> (&str, &str) {
    match &decision.outcome {
        Outcome::Denied { code, reason, .. } => (code, reason),
        other => panic!("{other:?} is no denial"),
    }
}

/// The entry of this id and state.
#[track_caller]
fn status(plugins: &Plugins, id: &str, state: PluginState) -> PluginStatus {
    let statuses = plugins.list();
    let found = statuses.iter().find(|status| status.id == id && status.state == state);
    found.cloned().unwrap_or_else(|| panic!("no {state:?} {id} in {statuses:#?}"))
}

/// Waits for a change of this kind, and answers what else happened before it.
async fn change(changes: &mut broadcast::Receiver<PluginChange>, kind: ChangeKind, id: &str) -> Vec<PluginChange> {
    let mut before = Vec::new();
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            let change = changes.recv().await.expect("no change is missed");
            if change.kind == kind && change.plugin.id == id {
                return;
            }
            before.push(change);
        }
    });
    if found.await.is_err() {
        panic!("{id} is not {kind:?}; before that: {before:#?}");
    }
    before
}
