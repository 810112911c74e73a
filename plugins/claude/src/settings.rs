//! What an operator may set.

use agent_relay_plugin::settings;
use serde::Deserialize;

/// Arguments that follow from the approval mode, the site and the request, or that would make the
/// session another kind of thing: printing, in the background, in another directory.
const OWN_ARGUMENTS: [&str; 25] = [
    "--permission-mode",
    "--dangerously-skip-permissions",
    "--allow-dangerously-skip-permissions",
    "--allowed",
    "--disallowed",
    "--tools",
    "--settings",
    "--mcp-config",
    "--append-system-prompt",
    "--add-dir",
    "--worktree",
    "-w",
    "--print",
    "-p",
    "--background",
    "--bg",
    "--model",
    "--name",
    "-n",
    "--session-id",
    "--resume",
    "-r",
    "--continue",
    "-c",
    "--fork-session",
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
    /// The versions whose inbox is written to. In any other, notices are typed.
    pub(crate) inbox_versions: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            executable: "claude".to_owned(),
            model: None,
            extra_args: Vec::new(),
            pass_env: Vec::new(),
            inbox_versions: vec!["2.1.332".to_owned()],
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
        settings::check_names("pass_env", &read.pass_env)?;
        for version in &read.inbox_versions {
            settings::check_text("inbox_versions", version)?;
        }
        Ok(read)
    }
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
        let json = r#"{"executable": "/opt/claude", "model": "opus", "extra_args": ["--effort", "high"], "pass_env": ["AWS_REGION"],
            "inbox_versions": []}"#;
        let settings = Settings::read(json).expect("every setting is known");
        assert_eq!(settings.executable, "/opt/claude");
        assert_eq!(settings.model.as_deref(), Some("opus"));
        assert_eq!(settings.extra_args, ["--effort", "high"]);
        assert_eq!(settings.pass_env, ["AWS_REGION"]);
        assert!(settings.inbox_versions.is_empty());
    }

    #[test]
    fn no_argument_may_widen_the_approval_mode() {
        for argument in [
            "--dangerously-skip-permissions",
            "--permission-mode=bypassPermissions",
            "--allowedTools",
            "--allowed-tools=Bash",
            "--settings={}",
            "-p",
            "--resume=x",
            "--",
        ] {
            let json = format!(r#"{{"extra_args": ["--verbose", "{argument}"]}}"#);
            let error = Settings::read(&json).expect_err(argument);
            assert!(error.starts_with("settings.extra_args: "), "{error}");
        }
    }

    #[test]
    fn a_misspelt_setting_is_refused() {
        let error = Settings::read(r#"{"modell": "opus"}"#).expect_err("it is unknown");
        assert!(error.contains("`model`"), "{error}");
    }
}
