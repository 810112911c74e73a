//! Components that have to be signed.

use std::fs;

use agent_relay::plugins::{Options, PluginConfig, PluginState, Plugins};

use super::{Home, decide, denial, guest, open, policy, status, variant, write};

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
    let mut options = home.options();
    let config = PluginConfig { public_key: Some(key.into()), ..PluginConfig::default() };
    options.plugins.insert("guard".into(), config);
    options
}

/// The stage at which it was rejected, and why.
fn rejected(plugins: &Plugins) -> (&'static str, String) {
    let error = status(plugins, "guard", PluginState::Rejected).error.expect("a reason");
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
