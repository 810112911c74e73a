//! Compiled code is only run when it is the relay's own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use agent_relay::plugins::PluginState;

use super::{Home, decide, denial, guest, policy, status};

fn entries(home: &Home) -> Vec<PathBuf> {
    let listed = fs::read_dir(home.cache()).expect("the cache");
    let mut entries: Vec<_> = listed.map(|entry| entry.expect("an entry").path()).collect();
    entries.retain(|path| path.extension().is_some_and(|extension| extension == "bin"));
    entries
}

#[tokio::test]
async fn what_was_compiled_once_is_loaded_the_next_time() {
    let home = Home::new();
    home.put("guard", &policy("guard", "marker = 'same'"), &guest("misbehave"));
    drop(home.open().await);
    let [entry] = &entries(&home)[..] else { panic!("one entry") };
    let before = fs::metadata(entry).expect("there");
    assert_eq!(before.permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(home.cache()).expect("there").permissions().mode() & 0o777, 0o700);
    let inode = std::os::unix::fs::MetadataExt::ino(&before);

    let plugins = home.open().await;
    assert_eq!(denial(&decide(&plugins, "deny").await).1, "same");
    let after = fs::metadata(entry).expect("there");
    assert_eq!(std::os::unix::fs::MetadataExt::ino(&after), inode, "it was not compiled again");
}

#[tokio::test]
async fn code_that_was_tampered_with_is_compiled_again() {
    let home = Home::new();
    home.put("guard", &policy("guard", "marker = 'same'"), &guest("misbehave"));
    drop(home.open().await);
    let [entry] = &entries(&home)[..] else { panic!("one entry") };
    let good = fs::read(entry).expect("readable");
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x40;
        bytes
    };
    for bad in
        [flipped(0), flipped(good.len() / 2), flipped(good.len() - 1), good[..good.len() / 2].to_vec(), Vec::new()]
    {
        fs::write(entry, &bad).expect("written");
        let plugins = home.open().await;
        status(&plugins, "guard", PluginState::Active);
        assert_eq!(denial(&decide(&plugins, "deny").await).1, "same");
        assert_eq!(fs::read(entry).expect("readable").len(), good.len(), "it was compiled again");
        assert_ne!(fs::read(entry).expect("readable"), bad);
    }
}

/// The code of another plugin, authentic in itself, is not this plugin's.
#[tokio::test]
async fn code_of_another_plugin_is_not_run_in_its_place() {
    let home = Home::new();
    home.put("guard", &policy("guard", ""), &guest("misbehave"));
    drop(home.open().await);
    let [guard] = &entries(&home)[..] else { panic!("one entry") };
    home.put("other", &policy("other", "marker = 'other'"), &super::variant(&guest("misbehave"), 1));
    drop(home.open().await);
    let both = entries(&home);
    let other = both.iter().find(|entry| *entry != guard).expect("a second entry");
    fs::copy(guard, other).expect("copied");
    let plugins = home.open().await;
    status(&plugins, "other", PluginState::Active);
    assert_ne!(fs::read(guard).expect("readable"), fs::read(other).expect("readable"));
}

#[tokio::test]
async fn without_a_usable_cache_everything_still_works() {
    let home = Home::new();
    home.put("guard", &policy("guard", "marker = 'slow'"), &guest("misbehave"));
    fs::write(home.cache(), "a file where the directory should be").expect("written");
    let plugins = home.open().await;
    assert_eq!(denial(&decide(&plugins, "deny").await).1, "slow");
}
