//! `plugin.toml`: what a plugin is, what it wants, and what the operator makes of that.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::control::PolicyMode;

use super::limits::{CALLS_MAX, DEADLINE_MS_MAX, INPUT_KB_MAX, LOG_LINES_MAX, Limits, MEMORY_MB_MAX, OUTPUT_KB_MAX};
use super::plan_check;

/// Names in each list of grants.
const GRANTS_MAX: usize = 64;
/// Bytes of the settings, as JSON.
const SETTINGS_BYTES_MAX: usize = 64 * 1024;

/// What a plugin does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PluginKind {
    /// Decides whether control actions may happen.
    Policy,
    /// Plans how agents are started.
    Provider,
}

impl PluginKind {
    /// The name in manifests and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Provider => "provider",
        }
    }
}

/// What plans of a provider may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    /// Programs: plain names, looked up on the host's PATH, or absolute paths.
    pub executables: Vec<String>,
    /// Environment variables a plan may set or pass on.
    pub env: Vec<String>,
    /// Files a plan may write into the session directory, by plain name.
    pub files: Vec<String>,
}

/// What the operator says about one plugin, in the relay's own configuration. What is left out is
/// as the manifest says.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PluginConfig {
    /// Whether the plugin is loaded.
    pub enabled: Option<bool>,
    /// Where a policy stands among the others: lower is asked earlier.
    pub order: Option<i32>,
    /// Whether a policy's verdicts are obeyed.
    pub mode: Option<PolicyMode>,
    /// What a call may use.
    pub limits: LimitsWanted,
    /// What a provider's plans may use.
    pub grants: AllowedGrants,
    /// The key of minisign that the component must be signed with, in `plugin.wasm.minisig`.
    pub public_key: Option<String>,
    /// Settings, laid over the manifest's key by key.
    pub settings: toml::Table,
}

/// What the operator allows of what a manifest wants. A list that is left out allows all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AllowedGrants {
    /// Programs. An absolute path allows that path to a manifest which wants its file name.
    pub executables: Option<Vec<String>>,
    /// Environment variables.
    pub env: Option<Vec<String>>,
    /// Session files.
    pub files: Option<Vec<String>>,
}

/// Limits of a call, as far as somebody has an opinion on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsWanted {
    /// 1 to [`MEMORY_MB_MAX`].
    pub memory_mb: Option<u32>,
    /// 1 to [`DEADLINE_MS_MAX`].
    pub deadline_ms: Option<u32>,
    /// 1 to [`LOG_LINES_MAX`].
    pub log_lines: Option<u32>,
    /// 1 to [`INPUT_KB_MAX`].
    pub input_kb: Option<u32>,
    /// 1 to [`OUTPUT_KB_MAX`].
    pub output_kb: Option<u32>,
    /// 1 to [`CALLS_MAX`].
    pub calls: Option<u32>,
}

/// The manifest as it is written.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) id: String,
    pub(super) kind: PluginKind,
    pub(super) version: Option<String>,
    pub(super) sha256: Option<String>,
    #[serde(default = "default_order")]
    order: i32,
    #[serde(default = "default_enabled")]
    enabled: bool,
    mode: Option<PolicyMode>,
    #[serde(default)]
    required: bool,
    #[serde(default)]
    grants: Grants,
    #[serde(default)]
    limits: LimitsWanted,
    #[serde(default)]
    settings: toml::Table,
}

fn default_order() -> i32 {
    100
}

fn default_enabled() -> bool {
    true
}

/// What holds for a plugin once the manifest and the operator have been heard.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Terms {
    pub(super) id: String,
    pub(super) kind: PluginKind,
    pub(super) version: Option<String>,
    pub(super) order: i32,
    pub(super) enabled: bool,
    pub(super) mode: PolicyMode,
    pub(super) required: bool,
    pub(super) grants: Grants,
    pub(super) limits: Limits,
    /// A JSON object.
    pub(super) settings: String,
}

impl Manifest {
    /// Reads a manifest. Errors name the key and what it may be.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let manifest: Self = toml::from_str(text).map_err(|error| place(text, &error))?;
        manifest.check()?;
        Ok(manifest)
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
        if self.kind == PluginKind::Provider && (self.mode.is_some() || self.required) {
            return Err("`mode` and `required` are for policies".into());
        }
        if self.kind == PluginKind::Policy && self.grants != Grants::default() {
            return Err("`[grants]` are for providers: a policy runs nothing".into());
        }
        check_limits(self.limits).map_err(|problem| format!("`[limits]`: {problem}"))?;
        check_grants(&self.grants).map_err(|problem| format!("`[grants]`: {problem}"))
    }

    /// What holds under this operator's configuration.
    pub(super) fn under(&self, config: &PluginConfig, defaults: Limits) -> Result<Terms, String> {
        check_limits(config.limits).map_err(|problem| format!("the relay's configuration: `limits`: {problem}"))?;
        let pick = |ours: Option<u32>, theirs: Option<u32>, default| ours.or(theirs).unwrap_or(default);
        let grants = granted(&self.grants, &config.grants);
        check_grants(&grants).map_err(|problem| format!("the relay's configuration: `grants`: {problem}"))?;
        Ok(Terms {
            id: self.id.clone(),
            kind: self.kind,
            version: self.version.clone(),
            order: config.order.unwrap_or(self.order),
            enabled: config.enabled.unwrap_or(self.enabled),
            mode: config.mode.or(self.mode).unwrap_or_default(),
            required: self.required,
            grants,
            limits: Limits {
                memory_mb: pick(config.limits.memory_mb, self.limits.memory_mb, defaults.memory_mb),
                deadline_ms: pick(config.limits.deadline_ms, self.limits.deadline_ms, defaults.deadline_ms),
                log_lines: pick(config.limits.log_lines, self.limits.log_lines, defaults.log_lines),
                input_kb: pick(config.limits.input_kb, self.limits.input_kb, defaults.input_kb),
                output_kb: pick(config.limits.output_kb, self.limits.output_kb, defaults.output_kb),
                calls: pick(config.limits.calls, self.limits.calls, defaults.calls),
            },
            settings: settings_json(&self.settings, &config.settings)?,
        })
    }
}

/// Checks the id of a plugin, which is also the name of its folder.
pub(super) fn check_id(id: &str) -> Result<(), String> {
    let fits = (1..=64).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !id.starts_with('-');
    if fits { Ok(()) } else { Err("must be 1 to 64 of a-z, 0-9 and `-`, and not begin with `-`".into()) }
}

/// Checks the version a plugin gives itself.
pub(super) fn check_version(version: &str) -> Result<(), String> {
    if (1..=64).contains(&version.len()) && version.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(())
    } else {
        Err("must be 1 to 64 printable characters without spaces".into())
    }
}

fn check_limits(limits: LimitsWanted) -> Result<(), String> {
    let check = |key, value: Option<u32>, max| match value {
        Some(value) if !(1..=max).contains(&value) => Err(format!("`{key}` must be 1 to {max}, not {value}")),
        _ => Ok(()),
    };
    check("memory_mb", limits.memory_mb, MEMORY_MB_MAX)?;
    check("deadline_ms", limits.deadline_ms, DEADLINE_MS_MAX)?;
    check("log_lines", limits.log_lines, LOG_LINES_MAX)?;
    check("input_kb", limits.input_kb, INPUT_KB_MAX)?;
    check("output_kb", limits.output_kb, OUTPUT_KB_MAX)?;
    check("calls", limits.calls, CALLS_MAX)
}

fn check_grants(grants: &Grants) -> Result<(), String> {
    let check = |key: &str, names: &[String], allowed: fn(&str) -> Result<(), String>| {
        if names.len() > GRANTS_MAX {
            return Err(format!("`{key}` may have at most {GRANTS_MAX} entries"));
        }
        names.iter().try_for_each(|name| allowed(name).map_err(|problem| format!("`{key}`: {name:?} {problem}")))
    };
    check("executables", &grants.executables, plan_check::check_executable)?;
    check("env", &grants.env, plan_check::check_env_name)?;
    check("files", &grants.files, plan_check::check_file_name)
}

/// What is wanted and allowed.
fn granted(wanted: &Grants, allowed: &AllowedGrants) -> Grants {
    let both = |wanted: &[String], allowed: &Option<Vec<String>>| match allowed {
        None => wanted.to_vec(),
        Some(allowed) => wanted.iter().filter(|name| allowed.contains(name)).cloned().collect(),
    };
    let mut executables: Vec<String> = both(&wanted.executables, &allowed.executables);
    for path in allowed.executables.iter().flatten() {
        let wants_its_name = plan_check::file_name_of_absolute(path)
            .is_some_and(|name| wanted.executables.iter().any(|wanted| wanted == name));
        if wants_its_name && !executables.contains(path) {
            executables.push(path.clone());
        }
    }
    Grants { executables, env: both(&wanted.env, &allowed.env), files: both(&wanted.files, &allowed.files) }
}

fn settings_json(wanted: &toml::Table, ours: &toml::Table) -> Result<String, String> {
    let mut settings = wanted.clone();
    settings.extend(ours.clone());
    let text = json(toml::Value::Table(settings)).to_string();
    if text.len() > SETTINGS_BYTES_MAX {
        return Err(format!("`[settings]` may have at most {SETTINGS_BYTES_MAX} bytes as JSON"));
    }
    Ok(text)
}

/// A TOML value as JSON: dates become strings, which JSON has no other form for.
fn json(value: toml::Value) -> serde_json::Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(truth) => truth.into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(values) => values.into_iter().map(json).collect(),
        toml::Value::Table(table) => {
            table.into_iter().map(|(key, value)| (key, json(value))).collect::<serde_json::Map<_, _>>().into()
        }
    }
}

/// A TOML error with the line it is about, since serde's own text may not name the key.
fn place(text: &str, error: &toml::de::Error) -> String {
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

    const PROVIDER: &str = r#"
        id = "claude"
        kind = "provider"
        [grants]
        executables = ["claude"]
        env = ["ANTHROPIC_API_KEY", "TERM"]
        files = ["mcp.json"]
        [settings]
        model = "fast"
        since = 2026-01-01
        [settings.nested]
        deep = [1, 2.5, true]
    "#;

    fn parse(text: &str) -> Manifest {
        Manifest::parse(text).expect("a good manifest")
    }

    fn refusal(text: &str) -> String {
        Manifest::parse(text).expect_err("a bad manifest")
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let terms =
            parse("id = 'p'\nkind = 'policy'").under(&PluginConfig::default(), Limits::default()).expect("good terms");
        assert_eq!(terms.order, 100);
        assert!(terms.enabled && !terms.required);
        assert_eq!(terms.mode, PolicyMode::Enforce);
        assert_eq!(terms.limits, Limits::default());
        assert_eq!(terms.settings, "{}");
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
            ("kind = 'policy'", "missing field `id`"),
        ];
        for (text, expected) in cases {
            let refusal = refusal(text);
            assert!(refusal.contains(expected), "{text}: {refusal}");
        }
    }

    #[test]
    fn the_operator_allows_less_and_sets_more() {
        let config: PluginConfig = toml::from_str(
            r#"
            enabled = false
            [limits]
            deadline_ms = 250
            calls = 2
            [grants]
            executables = ["/opt/bin/claude", "/bin/sh", "bash"]
            env = ["TERM", "HOME"]
            [settings]
            model = "slow"
            "#,
        )
        .expect("a good configuration");
        let terms = parse(PROVIDER).under(&config, Limits::default()).expect("good terms");
        assert!(!terms.enabled);
        assert_eq!(terms.limits, Limits { deadline_ms: 250, calls: 2, ..Limits::default() });
        assert_eq!(terms.grants.executables, ["/opt/bin/claude"]);
        assert_eq!(terms.grants.env, ["TERM"]);
        assert_eq!(terms.grants.files, ["mcp.json"]);
        let settings: serde_json::Value = serde_json::from_str(&terms.settings).expect("JSON");
        assert_eq!(
            settings,
            serde_json::json!({"model": "slow", "since": "2026-01-01", "nested": {"deep": [1, 2.5, true]}})
        );
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in any::<String>()) {
            if let Err(refusal) = Manifest::parse(&text) {
                prop_assert!(!refusal.is_empty());
            }
        }
    }
}
