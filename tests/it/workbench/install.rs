//! `plugin install`: into the directory of a real relay, and what that says of it.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use super::{plugin, plugin_with};
use crate::plugins::{guest, policy, put, variant};
use crate::program::{Serving, program};

/// A relay, and the folder of an author beside it.
struct Desk {
    home: tempfile::TempDir,
    serving: Serving,
}

impl Desk {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let serving = Serving::start(&mut program(home.path()));
        Self { home, serving }
    }

    fn write(&self, settings: &str, wasm: &[u8]) {
        put(&self.home.path().join("work/guard"), &policy("guard", settings), wasm);
    }

    fn run(&self, args: &[&str]) -> super::Said {
        let folder = self.home.path().join("work/guard");
        let url = self.serving.url.clone();
        let args = [&["install", folder.to_str().expect("text"), "--url", &url], args].concat();
        plugin(self.home.path(), &args)
    }
}

fn contents(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn what_is_installed_is_active_or_the_reason_is_told() {
    let desk = Desk::new();
    let good = guest("misbehave");
    desk.write("marker = 'one'", &good);
    let said = desk.run(&[]);
    said.exits(0);
    for state in ["staged", "inspected", "compiled", "probed", "active, load 1"] {
        assert!(said.out.contains(state), "no {state}: {}", said.out);
    }
    let installed = desk.home.path().join(".local/share/agent-relay/plugins");
    assert_eq!(contents(&installed), ["guard"], "nothing but the plugin");
    assert_eq!(contents(&installed.join("guard")), ["plugin.toml", "plugin.wasm"]);
    // The same again changes nothing, and is as good.
    desk.run(&[]).exits(0);

    desk.write("marker = 'two'\ndecide = 'trap'", &variant(&good, b'2'));
    let said = desk.run(&[]);
    assert!(said.exits(1).err.contains("guard is rejected at probe: trapped"), "{} {}", said.out, said.err);
    let listed = plugin(desk.home.path(), &["list", "--json", "--url", &desk.serving.url]).exits(0).json();
    let states: Vec<&Value> =
        listed.as_array().expect("a list").iter().filter(|it| it["id"] == "guard").map(|it| &it["state"]).collect();
    assert_eq!(states, ["active", "rejected"], "what was active goes on");

    desk.write("marker = 'three'", &variant(&good, b'3'));
    assert!(desk.run(&[]).exits(0).out.contains("active, load 2"));
    let history = plugin(desk.home.path(), &["history", "guard", "--url", &desk.serving.url]);
    assert!(history.exits(0).out.contains("cli"), "it is recorded as by the command line: {}", history.out);

    let elsewhere = desk.home.path().join("elsewhere");
    let said = desk.run(&["--plugins", elsewhere.to_str().expect("text")]);
    desk.write("marker = 'four'", &variant(&good, b'4'));
    let other = desk.run(&["--plugins", elsewhere.to_str().expect("text")]);
    assert!(other.exits(1).err.contains("name its directory with --plugins"), "{} {}", said.err, other.err);
    desk.serving.signal(Signal::TERM);
    let (_, _, _) = desk.serving.ended();
}

#[test]
fn nothing_is_written_for_a_relay_that_is_not_there() {
    let home = tempfile::tempdir().expect("a directory");
    let folder = home.path().join("guard");
    put(&folder, &policy("guard", ""), &guest("misbehave"));
    let folder = folder.to_str().expect("text");
    let said = plugin(home.path(), &["install", folder, "--url", "http://127.0.0.1:9"]);
    assert!(said.exits(1).err.contains("no relay listens at"), "{}", said.err);
    assert!(!home.path().join(".local/share/agent-relay/plugins/guard").exists());
    fs::remove_file(format!("{folder}/plugin.wasm")).expect("removed");
    let said = plugin_with(home.path(), &["install", folder, "--url", "http://127.0.0.1:9"], "");
    assert!(said.exits(1).err.contains("agent-relay plugin build"), "{}", said.err);
}

#[test]
fn a_change_is_installed_while_it_watches() {
    let desk = Desk::new();
    let good = guest("misbehave");
    desk.write("marker = 'one'", &good);
    let folder = desk.home.path().join("work/guard");
    let mut command = program(desk.home.path());
    command.args(["plugin", "install", folder.to_str().expect("text"), "--watch", "--url", &desk.serving.url]);
    let watching = crate::program::Running::start(&mut command);
    watching.said("active, load 1");
    watching.complained("waiting for a change");
    desk.write("marker = 'two'", &variant(&good, b'2'));
    watching.said("active, load 2");
}
