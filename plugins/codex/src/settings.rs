//! What an operator may set.

use agent_relay_plugin::settings;
use serde::Deserialize;

/// Arguments that follow from the approval mode, the site and the request, or that would take the
/// session elsewhere.
const OWN_ARGUMENTS: [&str; 15] = [
    "--ask-for-approval",
    "-a",
    "--sandbox",
    "-s",
    "--dangerously-",
    "--approve-for-me",
    "--cd",
    "-C",
    "--add-dir",
    "--worktree",
    "--remote",
    "--no-daemon",
    "--model",
    "-m",
    // A profile may hold any of the keys below.
    "--profile",
];

/// The same as keys of the configuration, which follow a `-c`.
const OWN_KEYS: [&str; 10] = [
    "approval_policy",
    "approvals_reviewer",
    "sandbox_",
    "default_permissions",
    "permissions",
    "mcp_servers.relay",
    "developer_instructions",
    "tui.status_line",
    "projects",
    "model=",
];

#[derive(Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// The program, which `[grants] executables` must name too.
    pub(crate) executable: String,
    pub(crate) model: Option<String>,
    /// Put before the plugin's own arguments.
    pub(crate) extra_args: Vec<String>,
    /// Host variables to pass on beside the usual ones; `[grants] env` must name them too.
    pub(crate) pass_env: Vec<String>,
    /// Whether the approved directory counts as trusted: its own configuration, hooks included,
    /// then takes effect. Otherwise Codex asks a person once for each repository.
    pub(crate) trust_folders: bool,
    /// The versions whose queue is used. In any other, notices are typed.
    pub(crate) queue_versions: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            executable: "codex".to_owned(),
            model: None,
            extra_args: Vec::new(),
            pass_env: Vec::new(),
            trust_folders: false,
            queue_versions: vec!["0.169.0".to_owned()],
        }
    }
}

impl settings::Settings for Settings {
    fn read(json: &str) -> Result<Self, String> {
        let read: Self = settings::from_json(json)?;
        settings::check_executable("executable", &read.executable)?;
        if let Some(model) = &read.model {
            settings::check_text("model", model)?;
        }
        settings::check_arguments("extra_args", &read.extra_args, &OWN_ARGUMENTS)?;
        let values: Vec<String> = read.extra_args.iter().map(|arg| config_key(arg)).collect();
        settings::check_arguments("extra_args", &values, &OWN_KEYS)?;
        settings::check_names("pass_env", &read.pass_env)?;
        for version in &read.queue_versions {
            settings::check_text("queue_versions", version)?;
        }
        Ok(read)
    }
}

/// An argument without what makes it an assignment of the configuration: `-c`, `--config=`. An
/// assignment may also be an argument of its own, after a `-c`.
fn config_key(argument: &str) -> String {
    let key = argument.strip_prefix("--config").or_else(|| argument.strip_prefix("-c"));
    let key = key.unwrap_or(argument).trim_start_matches(['=', ' ']);
    // Nothing but `-c`: the assignment follows.
    if key.is_empty() { argument.to_owned() } else { key.to_owned() }
}

#[cfg(test)]
mod tests {
    use agent_relay_plugin::Settings as _;

    use super::*;

    #[test]
    fn nothing_needs_to_be_set() {
        assert_eq!(Settings::read("{}"), Ok(Settings::default()));
    }

    #[test]
    fn every_setting_is_read() {
        let json = r#"{"executable": "/opt/codex", "model": "m", "extra_args": ["--search", "-c", "tui.theme=\"x\""],
            "pass_env": ["MOCK_KEY"], "trust_folders": true, "queue_versions": []}"#;
        let settings = Settings::read(json).expect("every setting is known");
        assert_eq!(settings.executable, "/opt/codex");
        assert_eq!(settings.model.as_deref(), Some("m"));
        assert_eq!(settings.extra_args.len(), 3);
        assert_eq!(settings.pass_env, ["MOCK_KEY"]);
        assert!(settings.trust_folders);
        assert!(settings.queue_versions.is_empty());
    }

    #[test]
    fn no_argument_may_widen_the_approval_mode() {
        for argument in [
            "--dangerously-bypass-approvals-and-sandbox",
            "--sandbox=danger-full-access",
            "-sdanger-full-access",
            "-a",
            "-c=sandbox_mode=danger-full-access",
            "-capproval_policy=never",
            "--config=sandbox_workspace_write.network_access=true",
            "approval_policy=never",
            "--profile=wide",
            "--",
        ] {
            let json = format!(r#"{{"extra_args": ["--search", "{argument}"]}}"#);
            let error = Settings::read(&json).expect_err(argument);
            assert!(error.starts_with("settings.extra_args: "), "{error}");
        }
    }

    #[test]
    fn a_misspelt_setting_is_refused() {
        let error = Settings::read(r#"{"trust_folder": true}"#).expect_err("it is unknown");
        assert!(error.contains("`trust_folders`"), "{error}");
    }
}
