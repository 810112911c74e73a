//! Changes of the directory are noticed without anybody asking.

use std::fs;

use agent_relay::plugins::{ChangeKind, PluginState, Plugins};

use crate::plugins::{Home, change, decide, denial, guest, open, policy, provider, put, status, variant, write};

async fn watching(home: &Home) -> Plugins {
    let mut options = home.options();
    options.watch = true;
    open(options).await
}

fn marked(marker: &str) -> String {
    policy("guard", &format!("marker = '{marker}'"))
}

#[tokio::test]
async fn a_file_renamed_into_place() {
    let home = Home::new();
    home.put("guard", &marked("one"), &guest("misbehave"));
    let plugins = watching(&home).await;
    let mut changes = plugins.changes();
    let next = home.folder("guard").join("plugin.toml.tmp");
    write(&next, marked("two").as_bytes());
    fs::rename(&next, home.folder("guard").join("plugin.toml")).expect("renamed");
    change(&mut changes, ChangeKind::Activated, "guard").await;
    assert_eq!(denial(&decide(&plugins, "deny").await).1, "two");
}

#[tokio::test]
async fn a_component_rewritten_in_place() {
    let home = Home::new();
    let wasm = guest("misbehave");
    home.put("guard", &marked("one"), &wasm);
    let plugins = watching(&home).await;
    let before = status(&plugins, "guard", PluginState::Active);
    let mut changes = plugins.changes();
    write(&home.folder("guard").join("plugin.wasm"), &variant(&wasm, 1));
    change(&mut changes, ChangeKind::Activated, "guard").await;
    let after = status(&plugins, "guard", PluginState::Active);
    assert_ne!(before.digest, after.digest);
    assert_eq!(denial(&decide(&plugins, "deny").await).1, "one");
}

/// Editors and copies replace by deleting and creating: nobody must see the gap.
#[tokio::test]
async fn a_folder_deleted_and_made_again() {
    let home = Home::new();
    home.put("guard", &marked("one"), &guest("misbehave"));
    let plugins = watching(&home).await;
    let mut changes = plugins.changes();
    fs::remove_dir_all(home.folder("guard")).expect("removed");
    home.put("guard", &marked("two"), &guest("misbehave"));
    let before = change(&mut changes, ChangeKind::Activated, "guard").await;
    assert!(before.iter().all(|change| change.kind != ChangeKind::Removed), "{before:#?}");
    assert_eq!(denial(&decide(&plugins, "deny").await).1, "two");
}

#[tokio::test]
async fn a_folder_deleted_for_good() {
    let home = Home::new();
    home.put("misplan", &provider("misplan", ""), &guest("misplan"));
    let plugins = watching(&home).await;
    assert_eq!(plugins.current().provider_ids(), ["misplan"]);
    let mut changes = plugins.changes();
    fs::remove_dir_all(home.folder("misplan")).expect("removed");
    change(&mut changes, ChangeKind::Removed, "misplan").await;
    assert!(plugins.current().provider_ids().is_empty());
    assert!(plugins.list().is_empty());
}

#[tokio::test]
async fn a_bad_candidate_is_announced_and_a_better_one_too() {
    let home = Home::new();
    home.put("guard", &marked("one"), &guest("misbehave"));
    let plugins = watching(&home).await;
    let mut changes = plugins.changes();
    write(&home.folder("guard").join("plugin.wasm"), b"garbage");
    change(&mut changes, ChangeKind::Rejected, "guard").await;
    assert_eq!(denial(&decide(&plugins, "deny").await).1, "one");
    home.put("guard", &marked("two"), &guest("misbehave"));
    change(&mut changes, ChangeKind::Activated, "guard").await;
    assert_eq!(denial(&decide(&plugins, "deny").await).1, "two");
}

#[tokio::test]
async fn a_directory_that_comes_goes_and_comes_back() {
    let home = Home::new();
    fs::remove_dir(home.plugins()).expect("removed");
    let plugins = watching(&home).await;
    let mut changes = plugins.changes();

    // Made elsewhere and moved into place, so that it is complete when it appears.
    let elsewhere = home.directory.path().join("elsewhere");
    put(&elsewhere.join("guard"), &marked("one"), &guest("misbehave"));
    crate::plugins::make_directory(&elsewhere);
    fs::rename(&elsewhere, home.plugins()).expect("moved");
    change(&mut changes, ChangeKind::Activated, "guard").await;

    fs::remove_dir_all(home.plugins()).expect("removed");
    change(&mut changes, ChangeKind::Removed, "guard").await;
    assert!(plugins.list().is_empty());

    crate::plugins::make_directory(&home.plugins());
    home.put("guard", &marked("two"), &guest("misbehave"));
    change(&mut changes, ChangeKind::Activated, "guard").await;
    assert_eq!(denial(&decide(&plugins, "deny").await).1, "two");
}

#[tokio::test]
async fn what_is_new_pushes_nothing_out_of_a_full_directory() {
    let home = Home::new();
    home.put("zz-guard", &policy("zz-guard", ""), &guest("misbehave"));
    let plugins = open(home.options()).await;
    assert_eq!(denial(&decide(&plugins, "deny").await).0, "denied_on_request");
    for n in 0..300 {
        crate::plugins::make_directory(&home.plugins().join(format!("a{n:03}")));
    }
    plugins.reload(None).await;
    assert_eq!(denial(&decide(&plugins, "deny").await).0, "denied_on_request", "it is still asked");
    // Nor do empty folders keep it out when a relay begins.
    drop(plugins);
    let plugins = open(home.options()).await;
    assert_eq!(denial(&decide(&plugins, "deny").await).0, "denied_on_request");
}

/// As a volume of Kubernetes is updated: all files are links through one, which is exchanged for another.
#[tokio::test]
async fn a_link_that_all_files_lead_through_is_exchanged() {
    use std::os::unix::fs::symlink;

    let home = Home::new();
    let state = |name: &str, marker: &str, number: u8| {
        put(&home.folder("guard").join(name), &marked(marker), &variant(&guest("misbehave"), number));
    };
    state("..2026_01", "one", 1);
    symlink("..2026_01", home.folder("guard").join("..data")).expect("a link");
    for name in ["plugin.toml", "plugin.wasm"] {
        symlink(format!("..data/{name}"), home.folder("guard").join(name)).expect("a link");
    }
    crate::plugins::make_directory(&home.folder("guard"));
    let plugins = watching(&home).await;
    assert_eq!(denial(&decide(&plugins, "deny").await).1, "one");
    let mut changes = plugins.changes();
    state("..2026_02", "two", 2);
    symlink("..2026_02", home.folder("guard").join("..data_tmp")).expect("a link");
    fs::rename(home.folder("guard").join("..data_tmp"), home.folder("guard").join("..data")).expect("renamed");
    fs::remove_dir_all(home.folder("guard").join("..2026_01")).expect("removed");
    let before = change(&mut changes, ChangeKind::Activated, "guard").await;
    assert!(before.is_empty(), "{before:#?}");
    assert_eq!(denial(&decide(&plugins, "deny").await).1, "two");
    // Looked at once more, it is the same.
    plugins.reload(None).await;
    let now = status(&plugins, "guard", PluginState::Active);
    assert_eq!((now.generation, plugins.list().len()), (Some(2), 1), "one change");
}
