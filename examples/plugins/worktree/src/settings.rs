//! What an operator may set.

use std::collections::BTreeMap;

use agent_relay_plugin::settings::{check_arguments, check_executable, check_names, check_text, from_json};
use agent_relay_plugin::{ApprovalMode, Settings};
use serde::Deserialize;

/// How the agent's own program is started.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Launch {
    /// A plain name or an absolute path.
    pub(crate) program: String,
    /// Host variables to pass on; `[grants] env` must name them too.
    pub(crate) pass_env: Vec<String>,
    /// What its screen shows once it is up.
    pub(crate) ready: Vec<String>,
    /// Where the worktrees are, in the approved directory.
    pub(crate) folder: String,
    /// The arguments in each approval mode that it has.
    modes: BTreeMap<Mode, Vec<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    Open,
    Guarded,
    ReadOnly,
}

impl Default for Launch {
    fn default() -> Self {
        Self {
            program: "claude".to_owned(),
            pass_env: Vec::new(),
            ready: Vec::new(),
            folder: ".worktrees".to_owned(),
            modes: BTreeMap::new(),
        }
    }
}

impl Settings for Launch {
    fn read(json: &str) -> Result<Self, String> {
        let launch: Self = from_json(json)?;
        check_executable("program", &launch.program)?;
        check_names("pass_env", &launch.pass_env)?;
        if launch.ready.len() > 16 {
            return Err("settings.ready: at most 16 texts are allowed".to_owned());
        }
        launch.ready.iter().try_for_each(|text| check_text("ready", text))?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let folder = &launch.folder;
        if folder.is_empty() || !folder.bytes().all(plain) || folder == "." || folder == ".." || folder == ".git" {
            return Err(format!("settings.folder: {folder:?} must be one name of letters, digits, `.`, `_` and `-`"));
        }
        if launch.modes.is_empty() {
            return Err("settings.modes: name at least one of open, guarded and read-only".to_owned());
        }
        launch.modes.values().try_for_each(|arguments| check_arguments("modes", arguments, &[]))?;
        Ok(launch)
    }
}

impl Launch {
    /// The arguments in a mode, if the program has it.
    pub(crate) fn arguments(&self, mode: ApprovalMode) -> Option<&[String]> {
        let mode = match mode {
            ApprovalMode::Open => Mode::Open,
            ApprovalMode::Guarded => Mode::Guarded,
            ApprovalMode::ReadOnly => Mode::ReadOnly,
        };
        self.modes.get(&mode).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_that_is_left_out_is_not_offered() {
        let launch = Launch::read(r#"{"modes": {"read-only": ["-r"]}}"#).expect("good settings");
        assert_eq!(launch.arguments(ApprovalMode::ReadOnly), Some(&["-r".to_owned()][..]));
        assert_eq!(launch.arguments(ApprovalMode::Open), None);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let error = |json: &str| Launch::read(json).expect_err("it does not fit");
        assert!(error("{}").starts_with("settings.modes: "));
        assert!(error(r#"{"modes": {"wide": []}}"#).starts_with("settings.modes"));
        assert!(error(r#"{"modes": {"open": ["--"]}}"#).starts_with("settings.modes: "));
        assert!(error(r#"{"modes": {"open": []}, "program": "bin/claude"}"#).starts_with("settings.program: "));
        for folder in ["", ".", "..", ".git", "a/b", "a b", "a'b"] {
            let json = format!(r#"{{"modes": {{"open": []}}, "folder": "{folder}"}}"#);
            assert!(error(&json).starts_with("settings.folder: "), "{folder:?}");
        }
    }
}
