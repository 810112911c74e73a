//! `plugin.toml`: what a plugin is and what it wants.

use serde::Deserialize;

use crate::domain::control::PolicyMode;

use super::grants::Grants;
use super::kind::PluginKind;
use super::limits::LimitsWanted;
use super::names::{check_id, check_version};

/// The manifest as it is written.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) id: String,
    pub(crate) kind: PluginKind,
    pub(crate) version: Option<String>,
    pub(crate) sha256: Option<String>,
    #[serde(default = "default_order")]
    pub(super) order: i32,
    #[serde(default = "default_enabled")]
    pub(super) enabled: bool,
    pub(super) mode: Option<PolicyMode>,
    #[serde(default)]
    pub(super) required: bool,
    #[serde(default)]
    pub(super) grants: Grants,
    #[serde(default)]
    pub(super) limits: LimitsWanted,
    #[serde(default)]
    pub(super) settings: toml::Table,
}

fn default_order() -> i32 {
    100
}

fn default_enabled() -> bool {
    true
}

impl Manifest {
    /// Reads a manifest. Errors name the key and what it may be.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let manifest: Self = toml::from_str(text).map_err(|error| with_line(text, &error))?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Whether its verdicts are obeyed, as far as it says.
    pub(crate) fn is_obeyed(&self) -> bool {
        self.kind.gives_verdicts() && self.enabled && self.mode.unwrap_or_default() == PolicyMode::Enforce
    }

    fn check(&self) -> Result<(), String> {
        check_id(&self.id).map_err(|problem| format!("`id`: {problem}"))?;
        if let Some(version) = &self.version {
            check_version(version).map_err(|problem| format!("`version`: {problem}"))?;
        }
        if let Some(digest) = &self.sha256
            && !(digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()))
        {
            return Err("`sha256` must be 64 hexadecimal digits".into());
        }
        if !self.kind.gives_verdicts() && (self.mode.is_some() || self.required) {
            return Err("`mode` and `required` are for policies".into());
        }
        if !self.kind.takes_grants() && self.grants != Grants::default() {
            return Err("`[grants]` are for providers: a policy runs nothing".into());
        }
        self.limits.check().map_err(|problem| format!("`[limits]`: {problem}"))?;
        let grants = self.grants.check().and_then(|()| self.grants.check_variables());
        grants.map_err(|problem| format!("`[grants]`: {problem}"))
    }
}

/// A TOML error with the line it is about, since serde's own text may not name the key.
fn with_line(text: &str, error: &toml::de::Error) -> String {
    let Some(span) = error.span() else {
        return error.message().to_owned();
    };
    let before = text.get(..span.start).unwrap_or(text);
    let number = before.matches('\n').count();
    let line = text.lines().nth(number).unwrap_or_default().trim();
    format!("line {}, `{line}`: {}", number + 1, error.message())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refusal(text: &str) -> String {
        Manifest::parse(text).expect_err("a bad manifest")
    }

    #[test]
    fn errors_name_the_key_and_what_it_may_be() {
        let cases = [
            (
                "id = 'p'\nkind = 'polcy'",
                "line 2, `kind = 'polcy'`: unknown variant `polcy`, expected `policy` or `provider`",
            ),
            ("id = 'p'\nkind = 'policy'\ngrant = 1", "unknown field `grant`, expected one of"),
            (
                "id = 'p'\nkind = 'policy'\n[limits]\nmemory = 1",
                "unknown field `memory`, expected one of `memory_mb`, `deadline_ms`, `log_lines`, `input_kb`, \
                 `output_kb`, `calls`",
            ),
            ("id = 'p'\nkind = 'policy'\n[limits]\nmemory_mb = 0", "`memory_mb` must be 1 to 512, not 0"),
            ("id = 'P'\nkind = 'policy'", "`id`: must be 1 to 64 of a-z"),
            ("id = 'p'\nkind = 'policy'\nmode = 'advise'", "expected one of `enforce`, `monitor`, `off`"),
            ("id = 'p'\nkind = 'policy'\nsha256 = 'abc'", "`sha256` must be 64 hexadecimal digits"),
            ("id = 'p'\nkind = 'provider'\nrequired = true", "`mode` and `required` are for policies"),
            ("id = 'p'\nkind = 'policy'\n[grants]\nenv = ['A']", "`[grants]` are for providers"),
            ("id = 'p'\nkind = 'provider'\n[grants]\nenv = ['LD_PRELOAD']", "`env`: \"LD_PRELOAD\""),
            ("id = 'p'\nkind = 'provider'\n[grants]\nexecutables = ['../sh']", "`executables`: \"../sh\""),
            (
                "id = 'p'\nkind = 'provider'\n[grants]\nreads = ['/a/../b']",
                "`reads`: \"/a/../b\" must be of components",
            ),
            (
                "id = 'p'\nkind = 'provider'\n[grants]\nsockets = ['x.sock']",
                "`sockets`: \"x.sock\" must begin with `/`",
            ),
            (
                "id = 'p'\nkind = 'provider'\n[grants]\nreads = ['{A_HOME}/b']",
                "`[grants]`: \"{A_HOME}/b\" begins with A_HOME, which is not among `env`",
            ),
            ("kind = 'policy'", "missing field `id`"),
        ];
        for (text, expected) in cases {
            let refusal = refusal(text);
            assert!(refusal.contains(expected), "{text}: {refusal}");
        }
    }

    const WHOLE: &str = "id = 'p'\nversion = '1.2.3'\nkind = 'provider'\n[limits]\nmemory_mb = 64\n\
        deadline_ms = 5\n[grants]\nenv = ['A']\nexecutables = ['sh']\nreads = ['{A}/*/{pid}']\n[settings]\nk = 'v'\n";

    #[test]
    fn what_is_changed_below_is_a_manifest() {
        Manifest::parse(WHOLE).unwrap();
    }

    proptest! {
        /// What is almost a manifest: one with some of its characters taken out, put in or put twice.
        #[test]
        fn what_is_almost_a_manifest_is_parsed_or_refused(
            edits in prop::collection::vec((0..WHOLE.len(), 0..8_usize, "[\\PC\\n]{0,4}"), 0..6),
        ) {
            let mut text = WHOLE.to_owned();
            for (at, length, put) in edits {
                let start = text.floor_char_boundary(at);
                let end = text.floor_char_boundary(at + length).max(start);
                text.replace_range(start..end, &put);
            }
            if let Err(refusal) = Manifest::parse(&text) {
                prop_assert!(!refusal.is_empty());
            }
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in any::<String>()) {
            if let Err(refusal) = Manifest::parse(&text) {
                prop_assert!(!refusal.is_empty());
            }
        }
    }
}
