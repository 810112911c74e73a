//! What a project of each language begins with.

use agent_relay::plugins::PluginKind;

/// The text of a file below `plugins/`, where the templates and the SDKs are.
macro_rules! shipped {
    ($path:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/plugins/", $path))
    };
}
pub(super) use shipped;

/// A file of a project: its path, and its text with `PLUGIN_ID` for the id.
pub(super) type File = (&'static str, &'static str);

/// The languages a project can begin in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Language {
    /// With the traits of the SDK, which is copied into the project
    Rust,
    /// On QuickJS, by componentize-qjs
    Js,
    /// By componentize-py
    Python,
    /// By clang or zig, without a C library
    C,
}

/// The SDK, as the project gets it: `sdk/` is a crate of its own there, beside `wit/`.
const SDK: [File; 14] = [
    ("sdk/Cargo.toml", shipped!("templates/rust/sdk.toml.in")),
    ("sdk/src/lib.rs", shipped!("sdk/src/lib.rs")),
    ("sdk/src/bindings.rs", shipped!("sdk/src/bindings.rs")),
    ("sdk/src/clock.rs", shipped!("sdk/src/clock.rs")),
    ("sdk/src/memory.rs", shipped!("sdk/src/memory.rs")),
    ("sdk/src/policy.rs", shipped!("sdk/src/policy.rs")),
    ("sdk/src/policy/facts.rs", shipped!("sdk/src/policy/facts.rs")),
    ("sdk/src/provider.rs", shipped!("sdk/src/provider.rs")),
    ("sdk/src/provider/environment.rs", shipped!("sdk/src/provider/environment.rs")),
    ("sdk/src/provider/words.rs", shipped!("sdk/src/provider/words.rs")),
    ("sdk/src/session.rs", shipped!("sdk/src/session.rs")),
    ("sdk/src/settings.rs", shipped!("sdk/src/settings.rs")),
    ("sdk/src/testing.rs", shipped!("sdk/src/testing.rs")),
    ("sdk/src/testing/recorded.rs", shipped!("sdk/src/testing/recorded.rs")),
];

impl Language {
    /// The name on the command line.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Js => "js",
            Self::Python => "python",
            Self::C => "c",
        }
    }

    /// What has to be run once in a new project.
    pub(super) fn prepare(self) -> Option<&'static str> {
        match self {
            Self::Rust | Self::C => None,
            Self::Js => Some("npm install"),
            Self::Python => Some("python3 -m venv .venv && .venv/bin/pip install componentize-py==0.25.1"),
        }
    }

    /// MiB and milliseconds of a call: an interpreter needs more of both.
    pub(super) fn limits(self) -> (u32, u32) {
        match self {
            Self::Rust | Self::C => (16, 100),
            Self::Js => (32, 250),
            Self::Python => (64, 500),
        }
    }

    /// What a new provider types for the message of its case, as JSON. The SDK quotes what others
    /// wrote; elsewhere the project begins with the bare text, out of which the host takes each escape.
    pub(super) fn presented(self) -> &'static str {
        match self {
            Self::Rust => r#""[agent-relay] message 7 from \"alice\": \"Say hello.\\u{1b}\"""#,
            Self::Js | Self::Python | Self::C => r#""Say hello.""#,
        }
    }

    /// The files of a project, beside those that every project has.
    pub(super) fn files(self, kind: PluginKind) -> Vec<File> {
        let policy = kind == PluginKind::Policy;
        let pick = |one: &'static str, other: &'static str| if policy { one } else { other };
        match self {
            Self::Rust => {
                let mut files = SDK.to_vec();
                files.push(("Cargo.toml", shipped!("templates/rust/Cargo.toml.in")));
                files.push((
                    "src/lib.rs",
                    pick(shipped!("templates/rust/policy.rs"), shipped!("templates/rust/provider.rs")),
                ));
                files
            }
            Self::Js => vec![
                ("package.json", shipped!("templates/js/package.json.in")),
                ("relay.js", shipped!("templates/js/relay.js")),
                ("plugin.js", pick(shipped!("templates/js/policy.js"), shipped!("templates/js/provider.js"))),
            ],
            Self::Python => vec![
                ("relay.py", shipped!("templates/python/relay.py")),
                ("app.py", pick(shipped!("templates/python/policy.py"), shipped!("templates/python/provider.py"))),
            ],
            Self::C => {
                let bindings: [File; 2] = if policy {
                    [
                        ("bindings/policy_plugin.c", shipped!("sdk-c/bindings/policy_plugin.c")),
                        ("bindings/policy_plugin.h", shipped!("sdk-c/bindings/policy_plugin.h")),
                    ]
                } else {
                    [
                        ("bindings/provider_plugin.c", shipped!("sdk-c/bindings/provider_plugin.c")),
                        ("bindings/provider_plugin.h", shipped!("sdk-c/bindings/provider_plugin.h")),
                    ]
                };
                let mut files = bindings.to_vec();
                files.push(("plugin.c", pick(shipped!("templates/c/policy.c"), shipped!("templates/c/provider.c"))));
                files.push(("bindings/world.c", shipped!("templates/c/world.c")));
                files.push(("libc/json.h", shipped!("sdk-c/json.h")));
                files.push(("libc/text.h", shipped!("sdk-c/text.h")));
                files.push(("libc/memory.c", shipped!("sdk-c/freestanding/memory.c")));
                files.push(("libc/stdlib.h", shipped!("sdk-c/freestanding/stdlib.h")));
                files.push(("libc/string.h", shipped!("sdk-c/freestanding/string.h")));
                files
            }
        }
    }
}
