//! What a started program finds around it: its environment, and the program itself on its PATH.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::domain::control::plan::{EnvValue, EnvVar};

/// Host variables every session gets. TERM is not among them: the terminal a session runs in sets it.
const HOST_VARIABLES: [&str; 10] =
    ["HOME", "LANG", "LOGNAME", "PATH", "SHELL", "SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR", "TZ", "USER"];
/// Beginnings of further host variables every session gets.
const HOST_PREFIXES: [&str; 2] = ["LC_", "XDG_"];
/// Variables of the relay itself. They hold the credentials of whoever runs it, so no plan may pass them on.
const RELAY_PREFIX: &str = "AGENT_RELAY_";

/// The whole environment of a session's program: the allowed part of the `host`'s, then what the
/// `plan` names, then what the `relay` gives, each over the one before. Host values that are not UTF-8 are
/// left out, and the relay's own variables are never inherited.
pub fn environment(
    host: impl IntoIterator<Item = (OsString, OsString)>,
    plan: &[EnvVar],
    relay: &[(String, String)],
) -> BTreeMap<String, String> {
    let host: BTreeMap<String, String> = host
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| !name.starts_with(RELAY_PREFIX))
        .collect();
    let mut made = inherited(&host);
    for variable in plan {
        let value = match &variable.value {
            EnvValue::Literal(text) => Some(text),
            EnvValue::FromHost(name) => host.get(name),
        };
        if let Some(value) = value {
            made.insert(variable.name.clone(), value.clone());
        }
    }
    made.extend(relay.iter().cloned());
    made
}

/// The allowed part of this process's own environment.
pub(super) fn own() -> BTreeMap<String, String> {
    environment(std::env::vars_os(), &[], &[])
}

/// Where `program` is: itself when it is an absolute path, else the first executable file of that name in `path`. Relative
/// paths, and empty and relative entries of `path`, are passed over: they would run what lies in the agent's project.
pub(super) fn find_program(program: &str, path: &str) -> Option<PathBuf> {
    if program.starts_with('/') {
        return Some(PathBuf::from(program)).filter(|path| is_executable(path));
    }
    if program.is_empty() || program.contains('/') {
        return None;
    }
    path.split(':')
        .filter(|folder| folder.starts_with('/'))
        .map(|folder| Path::new(folder).join(program))
        .find(|file| is_executable(file))
}

fn inherited(host: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let allowed =
        |name: &str| HOST_VARIABLES.contains(&name) || HOST_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    host.iter().filter(|(name, _)| allowed(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn os(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
    }

    fn variable(name: &str, value: EnvValue) -> EnvVar {
        EnvVar { name: name.to_owned(), value }
    }

    #[test]
    fn only_what_is_allowed_named_or_given_gets_in() {
        let host = os(&[
            ("PATH", "/bin"),
            ("LC_ALL", "C.UTF-8"),
            ("AWS_SECRET_ACCESS_KEY", "no"),
            ("ANTHROPIC_API_KEY", "yes"),
            ("AGENT_RELAY_TOKEN", "the operator's"),
            ("TERM", "xterm"),
        ]);
        let plan = [
            variable("ANTHROPIC_API_KEY", EnvValue::FromHost("ANTHROPIC_API_KEY".to_owned())),
            variable("ABSENT", EnvValue::FromHost("NOT_THERE".to_owned())),
            variable("STOLEN", EnvValue::FromHost("AGENT_RELAY_TOKEN".to_owned())),
            variable("AGENT_RELAY_ID", EnvValue::Literal("forged".to_owned())),
            variable("PATH", EnvValue::Literal("/opt/bin:/bin".to_owned())),
        ];
        let relay = [("AGENT_RELAY_ID".to_owned(), "docs".to_owned())];
        let made = environment(host, &plan, &relay);
        let expected = [
            ("AGENT_RELAY_ID", "docs"),
            ("ANTHROPIC_API_KEY", "yes"),
            ("LC_ALL", "C.UTF-8"),
            ("PATH", "/opt/bin:/bin"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(made, BTreeMap::from(expected));
    }

    #[test]
    fn programs_are_found_on_absolute_entries_of_the_path_only() {
        assert!(find_program("sh", "/nowhere:/bin").is_some());
        assert!(find_program("/bin/sh", "").is_some());
        assert_eq!(find_program("/etc/passwd", "/bin"), None, "not executable");
        for (program, path) in [("sh", ""), ("sh", ":.:bin"), ("", "/bin"), ("./sh", "/bin"), ("../bin/sh", "/bin")] {
            assert_eq!(find_program(program, path), None, "{program:?}");
        }
    }
}
