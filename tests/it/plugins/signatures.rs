//! Components that have to be signed.

mod minisign;

use std::fs;
use std::path::Path;

use agent_relay::domain::control::{Control, Decision, Outcome, Spawn};
use agent_relay::plugins::{Action, ActionError, ChangeKind, Options, PluginConfig, PluginState, Plugins};

use super::{
    Home, change, context, decide, denial, facts, fail_too_often, failure, guest, open, policy, spawn, status, variant,
    write,
};
use minisign::Signer;

/// Two keys made for this test, and what each signed: the component without anything in it.
const KEYS: [&str; 2] = [
    "RWTQpfoqG4pk7gRKeCT+LZPQqInLLQu88uM7UsKgCc3d/MSdBKVS0Yte",
    "RWQ0vdIuDvx0UxmVgNH1pTnyqVE2ziohtA5/DLuydfdQqSYKz912MlEw",
];
const SIGNATURES: [&str; 2] = [
    "untrusted comment: signature of a test\n\
     RUTQpfoqG4pk7lD3Us8F1YPFNfPgH+GGMKyF1XwLmwS1Hen8LpGCoz5QbVJXG60Rue9EG7Gjd7JGWI5drWMePwTcOeOwSNyoXwI=\n\
     trusted comment: an empty component\n\
     9AW+t2h/CQLnxTO1NbBtj7WZVzsCN2vQKn2B2OWkMCSvLhsf0/w9cH+eGJXObSjfQ5JdvV95F692+YTCGBchAg==\n",
    "untrusted comment: signature of a test\n\
     RUQ0vdIuDvx0U1ipaYEQDYfFStRE4dz6lMaQSQL6eT/QW2kOhS3MxBjLaFuzYy/x9SUvJTZpvocUmvwKdmOiHA3P27SEIHwlNQA=\n\
     trusted comment: an empty component\n\
     bPnYc7RSe1g9Ha2IYfr4aySNwKYIHn/Z+wdnAryUctquB2hfYF/I34r09+zfuAnuDCltt/T42o/tcqom3oFrBQ==\n",
];

fn signed(home: &Home, key: &str) -> Options {
    signed_as(home, "guard", key)
}

fn signed_as(home: &Home, id: &str, key: &str) -> Options {
    let mut options = home.options();
    let config = PluginConfig { public_key: Some(key.into()), ..PluginConfig::default() };
    options.plugins.insert(id.into(), config);
    options
}

/// The stage at which it was rejected, and why.
fn rejected(plugins: &Plugins) -> (&'static str, String) {
    rejected_as(plugins, "guard")
}

fn rejected_as(plugins: &Plugins, id: &str) -> (&'static str, String) {
    let error = status(plugins, id, PluginState::Rejected).error.expect("a reason");
    (error.stage.as_str(), error.reason)
}

#[tokio::test]
async fn a_component_is_looked_at_only_with_its_signature() {
    let home = Home::new();
    let empty = wat::parse_str("(component)").expect("good text");
    home.put("guard", &policy("guard", ""), &empty);
    let minisig = home.folder("guard").join("plugin.wasm.minisig");
    let plugins = open(signed(&home, KEYS[0])).await;
    let (stage, reason) = rejected(&plugins);
    assert_eq!(stage, "signature");
    assert!(reason.contains("no plugin.wasm.minisig") && reason.contains("minisign -Sm plugin.wasm"), "{reason}");

    let cut = &SIGNATURES[0][..SIGNATURES[0].len() / 2];
    let comment = SIGNATURES[0].replace("an empty", "another");
    for (bad, expected) in [(cut, "not a signature"), (SIGNATURES[1], "not by the"), (&comment, "not by the")] {
        write(&minisig, bad.as_bytes());
        plugins.reload(None).await;
        let (stage, reason) = rejected(&plugins);
        assert_eq!(stage, "signature", "{reason}");
        assert!(reason.contains(expected), "{reason}");
    }
    write(&minisig, &[b'x'; 4096]);
    plugins.reload(None).await;
    assert_eq!(rejected(&plugins).0, "read");

    // Signed well it goes on, to where it fails because there is nothing in it.
    write(&minisig, SIGNATURES[0].as_bytes());
    plugins.reload(None).await;
    assert_eq!(rejected(&plugins).0, "world");
    // The same signature is for no other component.
    home.put("guard", &policy("guard", ""), &variant(&empty, 1));
    plugins.reload(None).await;
    assert_eq!(rejected(&plugins).0, "signature");
}

/// A key that is named later holds for what was kept before it, too.
#[tokio::test]
async fn nothing_unsigned_is_taken_back() {
    let home = Home::new();
    home.put("guard", &policy("guard", "marker = 'unsigned'"), &guest("misbehave"));
    let plugins = home.open().await;
    assert_eq!(denial(&decide(&plugins, "deny").await).1, "unsigned");
    drop(plugins);
    fs::write(home.folder("guard").join("plugin.wasm"), "garbage").expect("written");
    let plugins = open(signed(&home, KEYS[1])).await;
    assert_eq!(rejected(&plugins).0, "signature");
    assert_eq!(plugins.list().len(), 1, "{:#?}", plugins.list());
}

/// The shipped policy `containment` in a folder that has to be signed, and who may sign it.
struct Contained {
    home: Home,
    signer: Signer,
    manifest: String,
    component: Vec<u8>,
}

impl Contained {
    /// Nothing is in the folder yet.
    fn new() -> Self {
        let folder = Path::new("plugins/containment");
        let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join("plugin.toml"));
        Self {
            home: Home::new(),
            signer: Signer::new(),
            // The deadline is for machines that do little else.
            manifest: manifest.expect("a shipped manifest").replace("deadline_ms = 100", "deadline_ms = 5000"),
            component: fs::read(crate::plugins::components::component(folder)).expect("a built component"),
        }
    }

    async fn open(&self, key: &str) -> Plugins {
        open(signed_as(&self.home, "containment", key)).await
    }

    fn put(&self, manifest: &str, component: &[u8], minisig: Option<&str>) {
        self.home.put("containment", manifest, component);
        let path = self.home.folder("containment").join("plugin.wasm.minisig");
        match minisig {
            Some(minisig) => write(&path, minisig.as_bytes()),
            None => drop(fs::remove_file(path)),
        }
    }

    /// This component is rejected for its signature, and the one before it neither moved nor changed.
    async fn withstands(&self, plugins: &Plugins, component: &[u8], minisig: Option<&str>, reason: &str) {
        let before = status(plugins, "containment", PluginState::Active);
        // Under these settings it would allow everything.
        for manifest in [&self.manifest, &policy("containment", "decide = 'whatever'")] {
            self.put(manifest, component, minisig);
            plugins.reload(None).await;
            let (stage, told) = rejected_as(plugins, "containment");
            assert_eq!(stage, "signature", "{told}");
            assert!(told.contains(reason), "{told:?} does not say {reason:?}");
            let now = status(plugins, "containment", PluginState::Active);
            assert_eq!((now.digest, now.generation), (before.digest.clone(), before.generation));
            contains(plugins).await;
        }
    }
}

/// A spawn that asks for a place outside the base directory.
async fn leaves(plugins: &Plugins) -> Decision {
    let Control::Spawn(wish) = spawn("runaway") else { unreachable!("a spawn is a spawn") };
    plugins.current().decide(Control::Spawn(Spawn { cwd: facts("/elsewhere"), ..wish }), &context()).await
}

/// It is asked, and decides as the shipped policy does.
async fn contains(plugins: &Plugins) {
    assert_eq!(denial(&leaves(plugins).await).0, "cwd_outside_base");
    let inside = decide(plugins, "homely").await;
    assert!(matches!(inside.outcome, Outcome::Allowed(_)), "{inside:?}");
    let asked: Vec<&str> = inside.verdicts.iter().map(|verdict| verdict.plugin.as_str()).collect();
    assert_eq!(asked, ["containment"]);
}

/// Nobody decides, and without this policy that is a refusal of everything.
async fn refuses_everything(plugins: &Plugins) {
    for decision in [leaves(plugins).await, decide(plugins, "homely").await] {
        assert!(matches!(decision.outcome, Outcome::Failed { .. }), "{decision:?}");
    }
}

#[tokio::test]
async fn a_signed_plugin_decides_until_another_that_is_signed_replaces_it() {
    let contained = Contained::new();
    let (signer, stranger, wasm) = (&contained.signer, Signer::new(), &contained.component);
    let first = signer.sign(wasm, "containment, first");
    contained.put(&contained.manifest, wasm, Some(&first));
    let plugins = contained.open(&signer.public_key()).await;
    assert_eq!(status(&plugins, "containment", PluginState::Active).generation, Some(1));
    contains(&plugins).await;

    let hostile = guest("misbehave");
    let by_stranger = stranger.sign(&hostile, "containment, second");
    contained.withstands(&plugins, &hostile, Some(&by_stranger), "not by the configured `public_key`").await;
    // Who signs is not what a signature says of itself.
    let claimed = stranger.sign_as(signer, &hostile, "containment, second");
    contained.withstands(&plugins, &hostile, Some(&claimed), "not by the configured `public_key`").await;
    contained.withstands(&plugins, &hostile, None, "there is no plugin.wasm.minisig").await;
    contained.withstands(&plugins, &hostile, Some(&first), "not by the configured `public_key`").await;
    let second = variant(wasm, 1);
    contained.withstands(&plugins, &second, None, "there is no plugin.wasm.minisig").await;
    let mut changed = wasm.clone();
    for place in [0, 8, wasm.len() / 2, wasm.len() - 1] {
        changed[place] ^= 1;
        contained.withstands(&plugins, &changed, Some(&first), "not by the configured `public_key`").await;
        changed[place] ^= 1;
    }

    let minisig = signer.sign(&second, "containment, second");
    contained.put(&contained.manifest, &second, Some(&minisig));
    plugins.reload(None).await;
    let active = status(&plugins, "containment", PluginState::Active);
    assert_eq!((active.generation, plugins.list().len()), (Some(2), 1), "{:#?}", plugins.list());
    contains(&plugins).await;
}

#[tokio::test]
async fn a_signature_counts_after_a_restart_and_for_going_back() {
    let contained = Contained::new();
    let (signer, wasm) = (&contained.signer, &contained.component);
    let second = variant(wasm, 1);
    let key = signer.public_key();
    contained.put(&contained.manifest, wasm, Some(&signer.sign(wasm, "first")));
    let plugins = contained.open(&key).await;
    let first = status(&plugins, "containment", PluginState::Active).digest;
    contained.put(&contained.manifest, &second, Some(&signer.sign(&second, "second")));
    plugins.reload(None).await;
    drop(plugins);

    // Neither the folder nor anything kept is signed by a key that is named later.
    let plugins = contained.open(&Signer::new().public_key()).await;
    assert_eq!(rejected_as(&plugins, "containment").0, "signature");
    assert_eq!(plugins.list().len(), 1, "{:#?}", plugins.list());
    refuses_everything(&plugins).await;
    drop(plugins);

    let plugins = contained.open(&key).await;
    let restarted = status(&plugins, "containment", PluginState::Active);
    assert!(restarted.digest.is_some() && restarted.digest != first, "{restarted:#?}");
    contains(&plugins).await;

    // The folder has another component and another signature: those of the first are the relay's own copies.
    let back = plugins.act("containment", Action::RollBack, None).await.expect("its signature was kept with it");
    assert_eq!((back.state, &back.digest), (PluginState::Active, &first));
    contains(&plugins).await;
    drop(plugins);
    let plugins = contained.open(&key).await;
    assert_eq!(status(&plugins, "containment", PluginState::Active).digest, first, "gone back to for good");
    contains(&plugins).await;
}

/// An operator who names a key does not want back what nobody signed: not by asking for it, and not
/// because what is signed fails.
#[tokio::test]
async fn nothing_unsigned_is_gone_back_to() {
    let contained = Contained::new();
    let (signer, wasm) = (&contained.signer, &contained.component);
    contained.put(&contained.manifest, wasm, None);
    let plugins = contained.home.open().await;
    contains(&plugins).await;
    drop(plugins);

    let second = variant(wasm, 1);
    contained.put(&contained.manifest, &second, Some(&signer.sign(&second, "second")));
    let plugins = contained.open(&signer.public_key()).await;
    let active = status(&plugins, "containment", PluginState::Active);
    let Err(ActionError::Conflict(reason)) = plugins.act("containment", Action::RollBack, None).await else {
        panic!("went back to {:#?}", plugins.list());
    };
    assert!(reason.contains("signature: there is no plugin.wasm.minisig"), "{reason}");
    let now = status(&plugins, "containment", PluginState::Active);
    assert_eq!((now.digest, now.generation), (active.digest, active.generation));
    assert_eq!(plugins.list().len(), 1, "{:#?}", plugins.list());
    contains(&plugins).await;
}

#[tokio::test]
async fn what_is_signed_and_fails_is_quarantined_rather_than_put_back_to_what_is_not() {
    let home = Home::new();
    let wasm = guest("misbehave");
    home.put("guard", &policy("guard", "marker = 'unsigned'"), &wasm);
    let plugins = home.open().await;
    assert_eq!(denial(&decide(&plugins, "deny").await).1, "unsigned");
    drop(plugins);

    let signer = Signer::new();
    home.put("guard", &policy("guard", "marker = 'signed'"), &wasm);
    write(&home.folder("guard").join("plugin.wasm.minisig"), signer.sign(&wasm, "guard").as_bytes());
    let plugins = open(signed(&home, &signer.public_key())).await;
    assert_eq!(denial(&decide(&plugins, "deny").await).1, "signed");
    let mut changes = plugins.changes();
    fail_too_often(&plugins).await;
    change(&mut changes, ChangeKind::Quarantined, "guard").await;
    assert!(failure(&decide(&plugins, "deny").await).contains("is quarantined"));
    assert_eq!(plugins.list().len(), 1, "{:#?}", plugins.list());
}
