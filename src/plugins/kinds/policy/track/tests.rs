//! Two tracks side by side, with real components of both.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::super::samples;
use crate::domain::control::{Control, Outcome, Spawn, VerdictKind};
use crate::plugins::{Limits, Options, PluginState, Plugins};

fn put(directory: &Path, id: &str) {
    let source = std::env::var_os("AGENT_RELAY_TEST_PLUGINS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from)
        .join("tests/plugins")
        .join(id)
        .join("plugin.wasm");
    let folder = directory.join(id);
    fs::create_dir_all(&folder).expect("a folder");
    for path in [directory, &folder] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("our own");
    }
    let wasm = fs::read(&source).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
    let manifest = format!("id = '{id}'\nkind = 'policy'\n[limits]\ndeadline_ms = 5000\n");
    for (name, contents) in [("plugin.wasm", wasm), ("plugin.toml", manifest.into_bytes())] {
        let path = folder.join(name);
        fs::write(&path, contents).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("our own");
    }
}

fn spawn(label: &str) -> Control {
    let Some(Control::Spawn(spawn)) = samples::controls(&[super::ControlKind::Spawn]).pop() else {
        panic!("the sample of a spawn is one")
    };
    Control::Spawn(Spawn { label: Some(label.to_owned()), ..spawn })
}

#[tokio::test]
async fn policies_of_two_tracks_are_asked_about_the_same_request() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let directory = home.path().join("plugins");
    fs::create_dir(&directory).expect("a folder");
    put(&directory, "misbehave");
    put(&directory, "next");
    let plugins = Plugins::open(Options {
        directory: Some(directory),
        cache_directory: home.path().join("cache"),
        state_directory: None,
        limits: Limits::default(),
        pauses: Default::default(),
        plugins: BTreeMap::new(),
        required: Vec::new(),
        watch: false,
        embedded: Vec::new(),
    })
    .await
    .expect("the engine starts");
    let mut interfaces = Vec::new();
    for plugin in plugins.list() {
        assert_eq!(plugin.state, PluginState::Active, "{plugin:?}");
        interfaces.extend(plugin.interface);
    }
    assert_eq!(interfaces, ["agent-relay:plugin/policy@0.1.0", "agent-relay:plugin/policy@0.2.0"]);

    let context = samples::context();
    let both = plugins.current().decide(spawn("anything"), &context).await;
    let verdicts: Vec<_> = both.verdicts.iter().map(|verdict| (verdict.plugin.as_str(), verdict.verdict)).collect();
    assert_eq!(verdicts, [("misbehave", VerdictKind::Allow), ("next", VerdictKind::Allow)]);
    assert!(matches!(both.outcome, Outcome::Allowed(_)));
    for (label, denies) in [("deny", "misbehave"), ("deny-next", "next")] {
        let decision = plugins.current().decide(spawn(label), &context).await;
        let Outcome::Denied { plugin, .. } = &decision.outcome else { panic!("{decision:?}") };
        assert_eq!(plugin, denies);
    }
}
