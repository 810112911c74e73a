//! What holds for a plugin once its manifest and the operator have been heard.

use serde::Deserialize;

use crate::domain::control::PolicyMode;

use super::grants::{AllowedGrants, Grants};
use super::kind::PluginKind;
use super::limits::{Limits, LimitsWanted};
use super::manifest::Manifest;

/// Bytes of the settings, as JSON.
const SETTINGS_BYTES_MAX: usize = 64 * 1024;

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

/// What holds for a plugin once the manifest and the operator have been heard.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Terms {
    pub(crate) id: String,
    pub(crate) kind: PluginKind,
    pub(crate) version: Option<String>,
    pub(crate) order: i32,
    pub(crate) enabled: bool,
    pub(crate) mode: PolicyMode,
    pub(crate) required: bool,
    pub(crate) grants: Grants,
    pub(crate) limits: Limits,
    /// A JSON object.
    pub(crate) settings: String,
}

impl Manifest {
    /// What holds under this operator's configuration.
    pub(crate) fn under(&self, config: &PluginConfig, defaults: Limits) -> Result<Terms, String> {
        config.limits.check().map_err(|problem| format!("the relay's configuration: `limits`: {problem}"))?;
        let grants = self.grants.allowed_by(&config.grants);
        grants.check().map_err(|problem| format!("the relay's configuration: `grants`: {problem}"))?;
        Ok(Terms {
            id: self.id.clone(),
            kind: self.kind,
            version: self.version.clone(),
            order: config.order.unwrap_or(self.order),
            enabled: config.enabled.unwrap_or(self.enabled),
            mode: config.mode.or(self.mode).unwrap_or_default(),
            required: self.required,
            grants,
            limits: config.limits.or(self.limits.or(defaults)),
            settings: settings_json(&self.settings, &config.settings)?,
        })
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
