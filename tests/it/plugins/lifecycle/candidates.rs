//! Bad candidates of every sort: each is listed with the stage and the reason, and each leaves
//! what was active exactly as it was.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;

use agent_relay::plugins::{PluginState, Plugins};

use crate::plugins::{Home, decide, denial, dummies, guest, handmade, make_directory, policy, status, variant, write};

/// A loaded plugin `guard`, and the means to see that it is still the same.
struct Incumbent {
    home: Home,
    plugins: Plugins,
    digest: Option<String>,
}

impl Incumbent {
    async fn new() -> Self {
        let home = Home::new();
        home.put("guard", &manifest(""), &guest("misbehave"));
        let plugins = home.open().await;
        let digest = status(&plugins, "guard", PluginState::Active).digest;
        Self { home, plugins, digest }
    }

    /// Reloads, and finds the candidate rejected and the incumbent in place. Then puts the good
    /// files back, which must change nothing.
    async fn stands(&self, stage: &str, reason: &str) {
        self.plugins.reload(None).await;
        let error = status(&self.plugins, "guard", PluginState::Rejected).error.expect("a reason");
        assert_eq!(error.stage.as_str(), stage, "{}", error.reason);
        assert!(error.reason.contains(reason), "{stage}: {:?} does not say {reason:?}", error.reason);
        self.is_the_same().await;

        let folder = self.home.folder("guard");
        let _ = fs::remove_file(&folder);
        let _ = fs::remove_dir_all(&folder);
        self.home.put("guard", &manifest(""), &guest("misbehave"));
        self.plugins.reload(None).await;
        assert_eq!(self.plugins.list().len(), 1, "{:#?}", self.plugins.list());
        self.is_the_same().await;
    }

    async fn is_the_same(&self) {
        let now = status(&self.plugins, "guard", PluginState::Active);
        assert_eq!((&now.digest, now.generation), (&self.digest, Some(1)));
        assert_eq!(denial(&decide(&self.plugins, "deny").await).1, "incumbent");
    }

    async fn stands_against(&self, manifest: &str, wasm: &[u8], stage: &str, reason: &str) {
        self.home.put("guard", manifest, wasm);
        self.stands(stage, reason).await;
    }
}

fn manifest(settings: &str) -> String {
    policy("guard", &format!("marker = 'incumbent'\n{settings}"))
}

#[tokio::test]
async fn bytes_that_are_no_component() {
    let incumbent = Incumbent::new().await;
    let good = guest("misbehave");
    let core_module = wat::parse_str("(module)").expect("good text");
    for (bytes, reason) in [
        (&b""[..], "is empty"),
        (b"some text", "not WebAssembly at all"),
        (&core_module, "a core module, not a component: make one of it with `agent-relay plugin build`"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git lfs pull"),
        (b"<!DOCTYPE html>\n<html><body>Sign in</body></html>", "a web page, not WebAssembly"),
    ] {
        incumbent.stands_against(&manifest(""), bytes, "compile", reason).await;
    }
    for kept in [7, 8, 64, good.len() / 3, good.len() / 2, good.len() - 1] {
        incumbent.stands_against(&manifest(""), &good[..kept], if kept == 8 { "world" } else { "compile" }, "").await;
    }
}

#[tokio::test]
async fn components_of_another_world() {
    let incumbent = Incumbent::new().await;
    let empty = wat::parse_str("(component)").expect("good text");
    incumbent.stands_against(&manifest(""), &empty, "world", "it exports none of this package").await;

    incumbent
        .stands_against(&manifest(""), &guest("misplan"), "world", "it exports agent-relay:plugin/provider@0.1.0")
        .await;

    let newer = dummies::component("policy-plugin", |text| text.replace("plugin@0.1.0", "plugin@0.2.0"));
    let reason = "built for track 0.2.0 of the interface (agent-relay:plugin/host@0.2.0); this relay speaks 0.1.0";
    incumbent.stands_against(&manifest(""), &newer, "world", reason).await;

    // Nothing but an instance shows these: the imports and the names of the exports are right.
    for (from, to, reason) in [
        (
            "record denial {",
            "record denial {\n        more: u32,",
            "in its agent-relay:plugin/policy@0.1.0, record `denial` has fields 3 (more, code, reason), and the relay's \
             has 2 (code, reason)",
        ),
        ("now-ms: u64,", "now-ms: u32,", "`now-ms` of record `context` is u32, and the relay's is u64"),
        ("        allow,\n", "        allow,\n        perhaps,\n", "variant `verdict` has cases 4 (allow, perhaps, "),
        (
            "-> result<verdict, string>",
            "-> verdict",
            "the answer of function `decide` is a variant `verdict`, and the relay's is a result",
        ),
        ("    decide: func(", "    judge: func(", "the function `decide` is missing"),
        ("settings: func() -> string;", "settings: func() -> list<u8>;", "in its agent-relay:plugin/host@0.1.0, "),
        ("    /// The operator's `[settings]`", "    extra: func();\n    /// ", "a function `extra` that the relay"),
        (
            "        read-only,",
            "        read-only,\n        none,",
            "enum `approval-mode` has cases 4 (open, guarded, ",
        ),
    ] {
        let changed = dummies::component("policy-plugin", |text| text.replace(from, to));
        incumbent.stands_against(&manifest(""), &changed, "world", reason).await;
    }

    let greedy = dummies::component_with(
        "policy-plugin",
        |text| text.replace("world policy-plugin {", "world policy-plugin {\n    import foreign:disk/disk@1.0.0;"),
        &["package foreign:disk@1.0.0;\ninterface disk { wipe: func(); }"],
    );
    let reason = "imports what no relay offers: foreign:disk/disk@1.0.0; a plugin may use `host` and nothing else";
    incumbent.stands_against(&manifest(""), &greedy, "world", reason).await;

    // Of WASI there is what languages link by themselves, and no more. What was there before it would have to be allowed.
    let home = Home::new();
    let talker = dummies::component_with(
        "policy-plugin",
        |text| text.replace("world policy-plugin {", "world policy-plugin {\n    import wasi:http/types@0.2.0;"),
        &["package wasi:http@0.2.0;\ninterface types { get: func(); }"],
    );
    home.put("guard", &manifest(""), &talker);
    let error = status(&home.open().await, "guard", PluginState::Rejected).error.expect("a reason");
    let reason = "imports what no relay offers: wasi:http/types@0.2.0; ";
    assert!(error.stage.as_str() == "world" && error.reason.starts_with(reason), "{error:?}");
}

#[tokio::test]
async fn guests_that_fail_when_they_are_asked_who_they_are() {
    let incumbent = Incumbent::new().await;
    let wasm = guest("misbehave");
    let dummy = dummies::component("policy-plugin", str::to_owned);
    incumbent.stands_against(&manifest(""), &dummy, "describe", "trapped").await;
    incumbent.stands_against(&manifest("describe = 'trap'"), &wasm, "describe", "trapped").await;
    incumbent.stands_against(&manifest("describe = 'hog'"), &wasm, "describe", "wanted more than 64 MiB").await;
    let hasty = |settings| manifest(settings).replace("5000", "200");
    incumbent.stands_against(&hasty("describe = 'loop'"), &wasm, "describe", "did not answer within 200 ms").await;
    incumbent
        .stands_against(
            &manifest("").replace("\nid = 'guard'\n", "\nid = 'other'\n"),
            &wasm,
            "describe",
            "describes itself as \"other\"",
        )
        .await;
    incumbent.stands_against(&manifest("version = '9 9'"), &wasm, "describe", "printable characters").await;
    for (id, reason) in [
        (r"../up", r#"describes itself as "../up""#),
        (r"gu\00rd", r#"describes itself as "gurd""#),
        (r"gu\ffrd", "gave an unusable answer: a text in it is not UTF-8"),
    ] {
        let stranger = handmade::edited(|text| text.replace("\"guard\"", &format!("\"{id}\"")));
        incumbent.stands_against(&manifest(""), &stranger, "describe", reason).await;
    }
    let versioned = handmade::edited(|text| text.replace("\"1.0.0\"", r#""1.\0a.0""#));
    incumbent.stands_against(&manifest(""), &versioned, "describe", "describes its version as").await;
    incumbent
        .stands_against(&format!("version = '2.0.0'\n{}", manifest("")), &wasm, "describe", "the manifest says 2.0.0")
        .await;
}

/// Before any function of it is called by name, code of it runs and memory is made.
#[tokio::test]
async fn guests_that_fail_when_they_get_an_instance() {
    let incumbent = Incumbent::new().await;
    let good = handmade::policy("");
    let hasty = manifest("").replace("5000", "200");
    for (body, reason) in [
        ("(loop $again (br $again))", "did not answer within 200 ms"),
        ("(call $start)", "trapped"),
        (
            "(loop $again (br_if $again (i32.ge_s (memory.grow (i32.const 16)) (i32.const 0))))",
            "wanted more than 64 MiB",
        ),
    ] {
        // What ends by itself has time to on a busy machine.
        let manifest = if body.contains("br $again") { &hasty } else { &manifest("") };
        let start = format!("(func $start {body} unreachable) (start $start) (global $top");
        let wasm = handmade::edited(|text| text.replace("(global $top", &start));
        incumbent.stands_against(manifest, &wasm, "world", reason).await;
    }
    let large = handmade::edited(|text| text.replace(r#""memory") 2)"#, r#""memory") 2000)"#));
    incumbent.stands_against(&manifest(""), &large, "world", "wanted more than 64 MiB").await;
    // All of that was in what was added.
    incumbent.home.put("guard", &manifest(""), &good);
    incumbent.plugins.reload(None).await;
    assert_eq!(status(&incumbent.plugins, "guard", PluginState::Active).generation, Some(2));
}

#[tokio::test]
async fn guests_that_fail_when_they_are_tried() {
    let incumbent = Incumbent::new().await;
    let wasm = guest("misbehave");
    incumbent.stands_against(&manifest("refuse = 'no such colour'"), &wasm, "settings", "no such colour").await;
    incumbent.stands_against(&manifest("check = 'trap'"), &wasm, "settings", "trapped").await;
    incumbent.stands_against(&manifest("check = 'hog'"), &wasm, "settings", "wanted more than 64 MiB").await;
    let hasty = manifest("check = 'loop'").replace("5000", "200");
    incumbent.stands_against(&hasty, &wasm, "settings", "did not answer within 200 ms").await;
    incumbent.stands_against(&manifest("decide = 'trap'"), &wasm, "probe", "trapped").await;
    incumbent.stands_against(&manifest("decide = 'hog'"), &wasm, "probe", "wanted more than 64 MiB").await;
    incumbent.stands_against(&manifest("decide = 'recurse'"), &wasm, "probe", "trapped").await;
    let hasty = manifest("decide = 'loop'").replace("5000", "200");
    incumbent.stands_against(&hasty, &wasm, "probe", "did not answer within 200 ms").await;
    for (wish, reason) in [("huge", ""), ("no-text", "a text in it is not UTF-8"), ("nul", "denial.code: ")] {
        let reason = format!("gave an unusable answer: {reason}");
        incumbent.stands_against(&manifest(&format!("decide = '{wish}'")), &wasm, "probe", &reason).await;
    }
    // Nothing is wrong with a policy that refuses.
    incumbent.home.put("guard", &manifest("decide = 'deny'"), &wasm);
    incumbent.plugins.reload(None).await;
    assert_eq!(status(&incumbent.plugins, "guard", PluginState::Active).generation, Some(2));
}

#[tokio::test]
async fn manifests_that_say_something_else() {
    let incumbent = Incumbent::new().await;
    let wasm = guest("misbehave");
    incumbent.stands_against("", &wasm, "manifest", "missing field `id`").await;
    incumbent.stands_against("\u{7}][", &wasm, "manifest", "line 1").await;
    incumbent
        .stands_against(&policy("other", ""), &wasm, "manifest", "`id` is \"other\" and the folder is \"guard\"")
        .await;
    incumbent
        .stands_against(&format!("colour = 1\n{}", manifest("")), &wasm, "manifest", "unknown field `colour`")
        .await;
    let other_digest = format!("sha256 = '{}'\n{}", "0".repeat(64), manifest(""));
    incumbent.stands_against(&other_digest, &wasm, "manifest", "but that of plugin.wasm is").await;
    incumbent.stands_against(&"#".repeat(64 * 1024 + 1), &wasm, "read", "is larger than 65536 bytes").await;
}

#[tokio::test]
async fn a_digest_in_the_manifest_is_the_commit_point() {
    let incumbent = Incumbent::new().await;
    let next = variant(&guest("misbehave"), 1);
    let digest = {
        use sha2::Digest;
        sha2::Sha256::digest(&next).iter().map(|byte| format!("{byte:02X}")).collect::<String>()
    };
    // Half of the update: the component is still the old one.
    incumbent.home.put("guard", &format!("sha256 = '{digest}'\n{}", manifest("")), &guest("misbehave"));
    incumbent.plugins.reload(None).await;
    incumbent.is_the_same().await;
    write(&incumbent.home.folder("guard").join("plugin.wasm"), &next);
    incumbent.plugins.reload(None).await;
    let now = status(&incumbent.plugins, "guard", PluginState::Active);
    assert_eq!((now.digest, now.generation), (Some(digest.to_lowercase()), Some(2)));
}

#[tokio::test]
async fn files_that_others_could_have_written() {
    let incumbent = Incumbent::new().await;
    let folder = incumbent.home.folder("guard");
    let mode = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("own file");
    };
    for (path, bits) in [
        (folder.join("plugin.wasm"), 0o664),
        (folder.join("plugin.wasm"), 0o646),
        (folder.join("plugin.toml"), 0o664),
        (folder.clone(), 0o775),
    ] {
        mode(&path, bits);
        incumbent.stands("read", "can be written by others; run: chmod go-w").await;
    }
    mode(&incumbent.home.plugins(), 0o777);
    incumbent.plugins.reload(None).await;
    let error = status(&incumbent.plugins, "guard", PluginState::Rejected).error.expect("a reason");
    assert!(error.reason.contains("can be written by others"), "{}", error.reason);
    mode(&incumbent.home.plugins(), 0o755);
    incumbent.plugins.reload(None).await;
    incumbent.is_the_same().await;
}

#[tokio::test]
async fn links_and_files_that_are_not_what_they_seem() {
    let incumbent = Incumbent::new().await;
    let folder = incumbent.home.folder("guard");
    let outside = incumbent.home.cache().join("outside.wasm");
    write(&outside, &variant(&guest("misbehave"), 9));
    let wasm = folder.join("plugin.wasm");

    fs::remove_file(&wasm).expect("removed");
    symlink(&outside, &wasm).expect("linked");
    incumbent.stands("read", "leads out of the plugin directory").await;

    fs::remove_file(&wasm).expect("removed");
    incumbent.stands("read", "cannot find").await;

    fs::remove_file(&wasm).expect("removed");
    make_directory(&wasm);
    incumbent.stands("read", "is not a regular file").await;

    // A pipe without a writer would block whoever opens it to read.
    fs::remove_file(&wasm).expect("removed");
    rustix::fs::mknodat(rustix::fs::CWD, &wasm, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o644), 0)
        .expect("a pipe");
    incumbent.stands("read", "is not a regular file").await;

    let elsewhere = incumbent.home.cache().join("guard");
    crate::plugins::put(&elsewhere, &manifest(""), &variant(&guest("misbehave"), 9));
    fs::remove_dir_all(&folder).expect("removed");
    symlink(&elsewhere, &folder).expect("linked");
    incumbent.stands("read", "leads out of the plugin directory").await;
}

#[tokio::test]
async fn a_link_that_stays_inside_is_fine() {
    let home = Home::new();
    let releases = home.plugins().join(".releases");
    crate::plugins::put(&releases.join("guard-2"), &policy("guard", ""), &guest("misbehave"));
    make_directory(&releases);
    symlink(".releases/guard-2", home.folder("guard")).expect("linked");
    let plugins = home.open().await;
    status(&plugins, "guard", PluginState::Active);
    assert_eq!(plugins.list().len(), 1, "folders with a dot are left alone");
}

#[tokio::test]
async fn the_same_files_again_change_nothing() {
    let incumbent = Incumbent::new().await;
    let before = incumbent.plugins.current();
    incumbent.home.put("guard", &manifest(""), &guest("misbehave"));
    incumbent.plugins.reload(None).await;
    assert!(Arc::ptr_eq(&before, &incumbent.plugins.current()), "the very same set");
}

#[tokio::test]
async fn a_folder_with_an_impossible_name_is_listed_as_such() {
    let home = Home::new();
    home.put("No Good", &policy("guard", ""), &guest("misbehave"));
    let plugins = home.open().await;
    let error = status(&plugins, "No Good", PluginState::Rejected).error.expect("a reason");
    assert!(error.reason.contains("the folder's name must be 1 to 64 of a-z"), "{}", error.reason);
}

/// Compilers for some languages link WASI in whether a guest uses it or not.
#[tokio::test]
async fn a_guest_that_imports_wasi_is_linked_and_no_other_import_is() {
    let home = Home::new();
    let wasm = dummies::component_with(
        "policy-plugin",
        |text| text.replace("world policy-plugin {", "world policy-plugin {\n    import wasi:random/random@0.2.0;"),
        &["package wasi:random@0.2.0;\ninterface random { get-random-u64: func() -> u64; }"],
    );
    home.put("guard", &policy("guard", ""), &wasm);
    let plugins = home.open().await;
    // It got an instance; that it traps when called is all that a dummy can do.
    let error = status(&plugins, "guard", PluginState::Rejected).error.expect("a reason");
    assert_eq!(error.stage.as_str(), "describe", "{}", error.reason);
}
