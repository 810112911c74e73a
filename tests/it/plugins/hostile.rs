//! Damaged candidates by the hundred: whatever is cut off or changed, what was active goes on as it was.

use std::fs;

use agent_relay::domain::control::Outcome;
use agent_relay::plugins::{PluginState, Plugins};
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::{Home, decide, denial, guest, policy, put, status};

/// Damaged components that are tried.
const DAMAGED: usize = 150;

fn manifest() -> String {
    policy("guard", "marker = 'incumbent'")
}

async fn incumbent() -> (Home, Plugins, Vec<u8>) {
    let home = Home::new();
    let wasm = guest("misbehave");
    home.put("guard", &manifest(), &wasm);
    let plugins = home.open().await;
    status(&plugins, "guard", PluginState::Active);
    (home, plugins, wasm)
}

/// The incumbent still has its generation, its digest and its behaviour.
async fn stands(plugins: &Plugins, digest: Option<&String>, what: &str) {
    let active = status(plugins, "guard", PluginState::Active);
    assert_eq!((active.generation, active.digest.as_ref()), (Some(1), digest), "{what}");
    assert_eq!(denial(&decide(plugins, "deny").await).1, "incumbent", "{what}");
}

#[tokio::test]
async fn a_component_cut_off_anywhere_is_rejected() {
    let (home, plugins, wasm) = incumbent().await;
    let digest = status(&plugins, "guard", PluginState::Active).digest;
    for kept in (0..wasm.len()).step_by(64) {
        home.put("guard", &manifest(), &wasm[..kept]);
        plugins.reload(None).await;
        let error = status(&plugins, "guard", PluginState::Rejected).error.expect("a reason");
        let stage = error.stage.as_str();
        assert!(["compile", "world"].contains(&stage), "{kept} bytes: {stage}: {}", error.reason);
        stands(&plugins, digest.as_ref(), &format!("{kept} bytes")).await;
    }
}

/// A changed byte may be one of a text that nobody compares, so a damaged component may be a good one.
/// Either it is rejected and changes nothing, or it is active and every call of it ends.
#[tokio::test]
async fn damaged_bytes_stop_nothing() {
    let (home, plugins, wasm) = incumbent().await;
    let digest = status(&plugins, "guard", PluginState::Active).digest;
    let mut dice = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut rejected = 0;
    for number in 0..DAMAGED {
        let mut damaged = wasm.clone();
        for _ in 0..=dice.next_u32() % 8 {
            let place = dice.next_u32() as usize % damaged.len();
            damaged[place] ^= 1 << (dice.next_u32() % 8);
        }
        // A folder of its own, so that one that loads does not become the incumbent.
        let manifest = manifest().replace("deadline_ms = 5000", "deadline_ms = 200").replace("'guard'", "'damaged'");
        put(&home.folder("damaged"), &manifest, &damaged);
        plugins.reload(None).await;
        let list = plugins.list();
        let candidate = list.iter().find(|plugin| plugin.id == "damaged").expect("it is listed");
        if candidate.state == PluginState::Rejected {
            rejected += 1;
            assert!(candidate.error.as_ref().is_some_and(|error| !error.reason.is_empty()), "{number}: {candidate:?}");
        }
        // It is asked as well while it is active; whatever it does, the request ends.
        let decision = decide(&plugins, "deny").await;
        // Damaged, it is last or second to be asked, and never keeps the incumbent from refusing.
        assert!(!matches!(decision.outcome, Outcome::Allowed(_)), "{number}: {decision:?}");
        fs::remove_dir_all(home.folder("damaged")).expect("removed");
        plugins.reload(None).await;
    }
    assert!(rejected > DAMAGED / 2, "only {rejected} of {DAMAGED} were rejected");
    stands(&plugins, digest.as_ref(), "after all of them").await;
}
