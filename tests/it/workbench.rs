//! The plugin author's commands, on real components.

mod install;
mod manifest_page;
mod projects;
mod replay;
mod sessions;
mod verdicts;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::plugins::{guest, put};
use crate::program::program;
use crate::server::SHIPPED;

/// What one command printed, and its exit code.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {} {}", self.out, self.err))
    }

    #[track_caller]
    fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        self
    }
}

/// Runs `agent-relay plugin`. Its cache of compiled components lies in `home`.
fn plugin(home: &Path, args: &[&str]) -> Said {
    plugin_with(home, args, "")
}

fn plugin_with(home: &Path, args: &[&str], input: &str) -> Said {
    let mut command = program(home);
    command.arg("plugin").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program");
    // A command that does not read its input closes it, which is no failure of the test's.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().expect("its end");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Said { code: status.code(), out: text(stdout), err: text(stderr) }
}

/// A shipped plugin in a folder of its own, with a deadline for machines that do much else.
fn shipped(home: &TempDir, id: &str) -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins").join(id);
    let manifest = fs::read_to_string(source.join("plugin.toml")).expect("a manifest");
    let wasm = fs::read(crate::plugins::components::component(&Path::new("plugins").join(id))).expect("a component");
    let folder = home.path().join("plugins").join(id);
    put(&folder, &manifest.replace("deadline_ms = 100", "deadline_ms = 5000"), &wasm);
    folder.to_str().expect("text").to_owned()
}

fn case(folder: &str, name: &str, case: &Value) {
    let tests = Path::new(folder).join("tests");
    fs::create_dir_all(&tests).expect("made");
    fs::write(tests.join(name), case.to_string()).expect("written");
}

#[test]
fn every_shipped_plugin_passes_its_check() {
    let home = tempfile::tempdir().expect("a directory");
    for id in SHIPPED {
        let folder = shipped(&home, id);
        let report = plugin(home.path(), &["check", &folder, "--json"]);
        let report = report.exits(0).json();
        assert_eq!((&report["loads"], &report["plugin"]["id"]), (&json!(true), &json!(id)));
        assert_eq!(report["component"]["wasi"], false);
        assert!(plugin(home.path(), &["check", &folder]).exits(0).out.contains("a relay would load it"));

        let inspected = plugin(home.path(), &["inspect", &format!("{folder}/plugin.wasm"), "--json"]);
        let inspected = inspected.exits(0).json();
        assert_eq!(inspected["sha256"], report["plugin"]["digest"]);
        assert_eq!((&inspected["kind"], &inspected["track"]), (&report["plugin"]["kind"], &json!("0.1.0")));
        assert!(inspected["imports"].as_array().expect("a list").contains(&json!("agent-relay:plugin/host@0.1.0")));
        assert!(
            plugin(home.path(), &["inspect", &folder])
                .exits(0)
                .out
                .contains(&format!("{}-plugin, track 0.1.0", inspected["kind"].as_str().expect("a kind")))
        );
    }
}

#[test]
fn a_check_finds_everything_that_a_relay_would_reject() {
    let home = tempfile::tempdir().expect("a directory");
    let folder = shipped(&home, "containment");
    let manifest = fs::read_to_string(format!("{folder}/plugin.toml")).expect("a manifest");
    let wasm = fs::read(format!("{folder}/plugin.wasm")).expect("a component");
    let cases: [(&str, &str, &str, &[u8], &str); 7] = [
        ("other", &manifest, "manifest", &wasm, "they must be the same"),
        ("containment", "id = 'containment'\nkind = 'polcy'", "manifest", &wasm, "unknown variant `polcy`"),
        ("containment", "id = 'containment'\nkind = 'provider'", "world", &wasm, "must export"),
        ("guard", "id = 'guard'\nkind = 'policy'", "describe", &wasm, "describes itself as \"containment\""),
        ("containment", &manifest, "compile", b"\0asm\x01\0\0\0", "a core module"),
        ("containment", &manifest, "compile", b"#!/bin/sh", "not WebAssembly at all"),
        (
            "containment",
            "id = 'containment'\nkind = 'policy'\n[limits]\ndeadline_ms = 5000\n[settings]\nx = 1",
            "settings",
            &wasm,
            "does not take its settings",
        ),
    ];
    for (id, manifest, stage, wasm, expected) in cases {
        let folder = home.path().join("bad").join(id);
        put(&folder, manifest, wasm);
        let report = plugin(home.path(), &["check", folder.to_str().expect("text"), "--json"]);
        let report = report.exits(1).json();
        let found =
            report["findings"].as_array().expect("a list").iter().any(|finding| {
                finding["stage"] == stage && finding["problem"].as_str().expect("text").contains(expected)
            });
        assert!(found && report["loads"] == false, "{expected}: {report:#}");
    }
    let said = plugin(home.path(), &["check", home.path().to_str().expect("text")]);
    assert!(said.exits(1).err.contains("agent-relay plugin build"), "{}", said.err);
    plugin(home.path(), &["check", "/nowhere/at/all"]).exits(2);
}

#[test]
fn one_call_answers_with_its_time_and_memory() {
    let home = tempfile::tempdir().expect("a directory");
    let folder = shipped(&home, "containment");
    let outside = r#"{"control": {"spawn": {"cwd": {"given": "/etc"}}}}"#;
    let said = plugin_with(home.path(), &["run", &folder, "--json"], outside);
    let called = said.exits(0).json();
    assert_eq!(called["answer"]["deny"]["code"], "cwd_outside_base");
    assert!(called["micros"].as_u64() > Some(0) && called["peakBytes"].as_u64() >= Some(65_536), "{called}");

    let said = plugin_with(home.path(), &["run", &folder], r#"{"control": {"restart": {"agent": {"id": "x"}}}}"#);
    assert!(said.exits(0).out.contains("not asked about this kind"), "{}", said.out);
    let said = plugin_with(home.path(), &["run", &folder], r#"{"control": {"spawn": {"cwdd": 1}}}"#);
    assert!(said.exits(2).err.contains("`cwdd`"), "{}", said.err);
    plugin_with(home.path(), &["run", &folder], "").exits(2);
    plugin_with(home.path(), &["run", &folder, "--settings", "[]"], outside).exits(2);

    let folder = shipped(&home, "codex");
    let said = plugin_with(home.path(), &["run", &folder, "--json"], r#"{"request": {"prompt": "hi"}}"#);
    let plan = &said.exits(0).json()["answer"]["plan"];
    assert_eq!((&plan["program"], &plan["cwd"]), (&json!("codex"), &json!("/srv/code/project")));
    let settings = r#"{"model": "gpt-9"}"#;
    let said = plugin_with(home.path(), &["run", &folder, "--json", "--settings", settings], "{}");
    assert!(said.exits(0).json()["answer"]["plan"]["args"].to_string().contains("gpt-9"), "{}", said.out);
}

#[test]
fn failures_are_those_of_the_real_host() {
    let home = tempfile::tempdir().expect("a directory");
    let folder = home.path().join("misbehave");
    put(&folder, &crate::plugins::policy("misbehave", ""), &guest("misbehave"));
    let folder = folder.to_str().expect("text");
    let ask = |label: &str| {
        let question = json!({"control": {"spawn": {"label": label}}}).to_string();
        plugin_with(home.path(), &["run", folder, "--json"], &question)
    };
    assert_eq!(ask("hog").exits(1).json()["answer"]["code"], "memory");
    assert_eq!(ask("huge").exits(1).json()["answer"]["code"], "output");
    let widened = ask("widen").exits(1).json();
    assert!(widened["answer"]["error"].as_str().expect("an error").contains("allows more than"), "{widened}");
    let unknown = ask("cannot-tell").exits(1).json();
    assert_eq!(unknown["answer"]["error"], "cannot tell: the stars are not right");
    assert_eq!(ask("narrow").exits(0).json()["answer"]["amend"]["approvalMode"], "read-only");
}

/// What a check found can be looked at: the two commands do not send anybody from one to the other.
#[test]
fn a_plugin_that_fails_at_the_probe_can_be_asked_all_the_same() {
    let home = tempfile::tempdir().expect("a directory");
    let folder = home.path().join("misbehave");
    put(&folder, &crate::plugins::policy("misbehave", "decide = 'trap'"), &guest("misbehave"));
    let folder = folder.to_str().expect("text");
    let checked = plugin(home.path(), &["check", folder]);
    assert!(checked.exits(1).out.contains("error: probe: trapped"), "{}", checked.out);
    assert!(checked.out.contains("a relay would reject it"), "{}", checked.out);
    let asked = plugin_with(home.path(), &["run", folder, "--json"], "{\"control\": {\"spawn\": {}}}");
    assert_eq!(asked.exits(1).json()["answer"]["code"], "trap");

    put(
        home.path().join("misbehave").as_path(),
        &crate::plugins::policy("misbehave", "describe = 'trap'"),
        &guest("misbehave"),
    );
    let checked = plugin(home.path(), &["check", folder]);
    assert!(checked.exits(1).out.contains("not tested: settings: it failed at describe"), "{}", checked.out);
    let asked = plugin_with(home.path(), &["run", folder], "{\"control\": {\"spawn\": {}}}");
    assert!(asked.exits(1).err.contains("at stage describe: trapped"), "{}", asked.err);
    assert!(
        !asked.err.contains("plugin check") && !checked.out.contains("plugin run"),
        "{} {}",
        asked.err,
        checked.out
    );
}

/// What the SDK has a panic say reaches whoever looks for the reason of a trap.
#[test]
fn a_panic_says_where_and_why() {
    let home = tempfile::tempdir().expect("a directory");
    let folder = home.path().join("conformance");
    let manifest = "id = 'conformance'\nkind = 'policy'\n[limits]\ndeadline_ms = 5000\n";
    put(&folder, manifest, &guest("conformance/rust"));
    let question = r#"{"control": {"spawn": {"label": "panic"}}}"#;
    let said = plugin_with(home.path(), &["run", folder.to_str().expect("text"), "--json"], question);
    assert_eq!(said.exits(1).json()["answer"]["code"], "trap");
    assert!(said.err.contains("panicked at ") && said.err.contains("src/lib.rs:"), "{}", said.err);
    assert!(said.err.contains("as asked"), "{}", said.err);
}

#[test]
fn cases_pass_or_are_told_as_a_diff() {
    let home = tempfile::tempdir().expect("a directory");
    let folder = shipped(&home, "control-guard");
    let said = plugin(home.path(), &["test", &folder]);
    assert!(said.exits(1).err.contains("no case in"), "a plugin without cases has not passed: {}", said.err);

    let open = json!({"spawn": {"approvalMode": "open"}});
    let narrow = json!({"max_approval_mode": "guarded"});
    case(&folder, "a.json", &json!({"control": open, "expect": "allow"}));
    case(
        &folder,
        "b.json",
        &json!({"control": open, "settings": {"max_approval_mode": "guarded", "on_excess": "amend"},
            "expect": {"amend": {"approvalMode": "guarded"}}}),
    );
    case(&folder, "c.json", &json!({"control": open, "settings": narrow, "expect": {"deny": {}}}));
    case(&folder, "d.json", &json!({"control": open, "settings": {"nonsense": 1}, "expect": {"error": "nonsense"}}));
    let said = plugin(home.path(), &["test", &folder]);
    assert!(said.exits(0).out.ends_with("4 cases: 4 passed, 0 failed\n"), "{}", said.out);

    case(&folder, "e.json", &json!({"control": open, "settings": narrow, "expect": {"deny": {"code": "never"}}}));
    case(&folder, "f.json", &json!({"control": open, "exqect": "allow"}));
    let said = plugin(home.path(), &["test", &folder]);
    assert!(said.exits(1).out.contains("    - deny.code: \"never\"\n    + deny.code: "), "{}", said.out);
    assert!(said.out.contains("unknown key `exqect`"), "{}", said.out);
    let tested = plugin(home.path(), &["test", &folder, "--json"]).json();
    assert_eq!((&tested["passed"], &tested["failed"]), (&json!(4), &json!(2)));

    case(&folder, "g.json", &json!({"control": open}));
    fs::remove_file(format!("{folder}/tests/f.json")).expect("removed");
    let said = plugin(home.path(), &["test", &folder, "--bless"]);
    assert!(said.exits(0).out.ends_with("6 cases: 6 passed, 0 failed\n"), "{}", said.out);
    assert_eq!(said.out.matches("new ").count(), 2, "{}", said.out);
    let blessed = fs::read_to_string(format!("{folder}/tests/e.json")).expect("a case");
    assert!(blessed.contains("\"expect\": {\"deny\": {\"code\": \"") || blessed.contains("{\"code\": \""), "{blessed}");
    assert!(!blessed.contains("never"), "{blessed}");
    plugin(home.path(), &["test", &folder]).exits(0);

    let figures = plugin(home.path(), &["bench", &folder, "--calls", "30", "--json"]);
    let figures = figures.exits(0).json();
    let (alone, whole) = (&figures["instance"], &figures["instanceAndCall"]);
    assert!(alone["p50Micros"].as_u64() > Some(0) && whole["p99Micros"].as_u64() >= whole["p50Micros"].as_u64());
    assert_eq!(figures["calls"], 30);
    plugin(home.path(), &["bench", &folder, "--calls", "0"]).exits(2);
}
