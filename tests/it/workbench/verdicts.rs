//! `plugin check` and a relay say the same of the same plugin, and name the same stage.

use agent_relay::plugins::workbench::{Checked, Outcome, Project, Report, Workbench};
use agent_relay::plugins::{Options, PluginState, Plugins};

use crate::plugins::{Home, dummies, guest, handmade, policy, provider, variant};

/// A plugin, and the stage at which it is rejected, if it is.
struct Row {
    what: &'static str,
    id: &'static str,
    manifest: String,
    wasm: Vec<u8>,
    rejected_at: Option<&'static str>,
}

fn row(what: &'static str, id: &'static str, manifest: String, wasm: &[u8], rejected_at: Option<&'static str>) -> Row {
    Row { what, id, manifest, wasm: wasm.to_vec(), rejected_at }
}

fn with_import(import: &str, package: &str) -> Vec<u8> {
    let edit =
        |text: &str| text.replace("world policy-plugin {", &format!("world policy-plugin {{\n    import {import};"));
    dummies::component_with("policy-plugin", edit, &[package])
}

fn table() -> Vec<Row> {
    let (asked, planned) = (guest("misbehave"), guest("misplan"));
    let http = with_import("wasi:http/types@0.2.0", "package wasi:http@0.2.0;\ninterface types { ask: func(); }");
    let wasi = with_import(
        "wasi:random/random@0.2.0",
        "package wasi:random@0.2.0;\ninterface random { get-random-u64: func() -> u64; }",
    );
    let field_more = |text: &str| text.replace("        now-ms: u64,", "        now-ms: u64,\n        today: u32,");
    let field_more = dummies::component("policy-plugin", field_more);
    let traps = dummies::component("policy-plugin", str::to_owned);
    let another_track = dummies::component("policy-plugin", |text| text.replace("@0.1.0", "@0.7.0"));
    let plain = handmade::policy("");
    let nowhere = format!("sha256 = '{}'\n{}", "0".repeat(64), policy("guard", ""));
    vec![
        row("a good policy", "guard", policy("guard", ""), &asked, None),
        row("a good provider", "runner", provider("runner", ""), &planned, None),
        row("without any settings", "guard", "id = 'guard'\nkind = 'policy'".into(), &plain, None),
        row("a name that is not the folder's", "guard", policy("other", ""), &asked, Some("manifest")),
        row("an unknown kind", "guard", "id = 'guard'\nkind = 'polcy'".into(), &asked, Some("manifest")),
        row("the digest of another", "guard", nowhere, &asked, Some("manifest")),
        row("a core module", "guard", policy("guard", ""), b"\0asm\x01\0\0\0", Some("compile")),
        row("no WebAssembly", "guard", policy("guard", ""), b"#!/bin/sh", Some("compile")),
        row("cut off", "guard", policy("guard", ""), &asked[..asked.len() / 2], Some("compile")),
        row("the other kind", "guard", policy("guard", ""), &planned, Some("world")),
        row("another track", "guard", policy("guard", ""), &another_track, Some("world")),
        row("an import that nobody has", "guard", policy("guard", ""), &http, Some("world")),
        row("a context with a field more", "guard", policy("guard", ""), &field_more, Some("world")),
        row(
            "traps when it is asked who it is",
            "guard",
            policy("guard", "describe = 'trap'"),
            &asked,
            Some("describe"),
        ),
        row("traps, and imports WASI", "guard", policy("guard", ""), &wasi, Some("describe")),
        row("traps at everything", "guard", policy("guard", ""), &traps, Some("describe")),
        row("calls itself otherwise", "other", "id = 'other'\nkind = 'policy'".into(), &plain, Some("describe")),
        row("refuses its settings", "guard", policy("guard", "refuse = 'no'"), &asked, Some("settings")),
        row("traps at its settings", "guard", policy("guard", "check = 'trap'"), &asked, Some("settings")),
        row("traps when it decides", "guard", policy("guard", "decide = 'trap'"), &asked, Some("probe")),
        row("answers nonsense", "guard", policy("guard", "decide = 'nul'"), &asked, Some("probe")),
        row("traps when it plans", "runner", provider("runner", "plan = 'trap'"), &planned, Some("probe")),
        row(
            "fails on a host that has none of its variables",
            "runner",
            provider("runner", "plan = 'needs-variable'"),
            &planned,
            Some("probe"),
        ),
        row("plans what was not granted", "runner", provider("runner", "plan = 'steal'"), &planned, Some("probe")),
    ]
}

/// The stages that failed, in order.
fn failed(report: &Report) -> Vec<&'static str> {
    let failed = report.stages.iter().filter(|checked| checked.outcome == Outcome::Failed);
    failed.map(|checked| checked.stage.as_str()).collect()
}

#[tokio::test]
async fn a_check_says_what_a_relay_does() {
    let home = Home::new();
    let workbench = Workbench::open(&home.cache()).expect("an engine");
    for Row { what, id, manifest, wasm, rejected_at } in table() {
        home.put(id, &manifest, &wasm);
        let report = workbench.check(&Project::read(&home.folder(id)).expect("files")).await;
        // A relay that remembers nothing of what it met under this name before.
        let options = Options { state_directory: None, ..home.options() };
        let plugins = Plugins::open(options).await.expect("an engine");
        let relay = plugins.list().into_iter().find(|plugin| plugin.id == id).expect("it is listed");
        let error = relay.error.as_ref();
        assert_eq!(error.map(|error| error.stage.as_str()), rejected_at, "{what}: {relay:#?}");
        assert_eq!(relay.state == PluginState::Active, rejected_at.is_none(), "{what}: {relay:#?}");

        assert_eq!(report.loads, rejected_at.is_none(), "{what}: {report:#?}");
        assert_eq!(failed(&report).first().copied(), rejected_at, "{what}: {report:#?}");
        // What was not tried has not passed, and says why.
        let after = report.stages.iter().skip_while(|checked| Some(checked.stage.as_str()) != rejected_at).skip(1);
        let of_plugin = |checked: &&Checked| !["signature", "grants"].contains(&checked.stage.as_str());
        let untested = after.filter(of_plugin).filter(|checked| checked.outcome == Outcome::NotTested);
        assert!(untested.clone().all(|checked| checked.reason.is_some()), "{what}: {report:#?}");
        assert!(rejected_at.is_none() || report.plugin.is_none(), "{what}: {report:#?}");
        std::fs::remove_dir_all(home.folder(id)).expect("removed");
    }
}

#[tokio::test]
async fn what_can_be_tried_after_a_mistake_is_tried() {
    let home = Home::new();
    let workbench = Workbench::open(&home.cache()).expect("an engine");
    let check = async |id: &str, manifest: &str, wasm: &[u8]| {
        home.put(id, manifest, wasm);
        workbench.check(&Project::read(&home.folder(id)).expect("files")).await
    };
    let asked = guest("misbehave");
    let report = check("other", &policy("guard", "decide = 'trap'"), &asked).await;
    assert_eq!(failed(&report), ["manifest", "probe"], "{report:#?}");
    let misnamed = policy("guard", "decide = 'trap'").replacen("id = 'guard'", "id = 'other'", 1);
    let report = check("other", &misnamed, &asked).await;
    assert_eq!(failed(&report), ["describe", "probe"], "{report:#?}");
    let report = check("guard", &policy("guard", "refuse = 'no'"), &asked).await;
    assert_eq!(failed(&report), ["settings"], "{report:#?}");
    let probe = report.stages.iter().find(|checked| checked.stage.as_str() == "probe").expect("it is listed");
    assert_eq!((probe.outcome, probe.reason.as_deref()), (Outcome::NotTested, Some("it failed at settings")));
    let disabled = format!("enabled = false\n{}", policy("guard", ""));
    let report = check("guard", &disabled, &variant(&asked, b'1')).await;
    assert!(report.disabled && !report.loads && failed(&report).is_empty(), "{report:#?}");
}
