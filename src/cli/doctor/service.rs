//! The service that the relay runs in: what its end means for the agents.

use std::process::Command;

use super::Finding;
use super::programs::SearchPath;

/// Whether agents survive the end of the relay's service; nothing where it runs in none.
pub(super) fn kill_mode(pid: u32, path: &SearchPath) -> Option<Finding> {
    const NAME: &str = "service";
    let (unit, is_users) = unit_of(&std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)?;
    let systemctl = path.find("systemctl")?;
    let mut command = Command::new(systemctl);
    if is_users {
        command.arg("--user");
    }
    let told = command.args(["show", "-p", "KillMode", "--value", &unit]).output().ok()?;
    let mode = String::from_utf8(told.stdout).ok()?.trim().to_owned();
    let edit = if is_users { "systemctl --user edit" } else { "systemctl edit" };
    Some(match mode.as_str() {
        "" => return None,
        "process" | "none" => Finding::ok(NAME, format!("{unit} ends without its agents (KillMode={mode})")),
        _ => Finding::error(
            NAME,
            format!("{unit} ends with every agent that it started, at a restart too (KillMode={mode})"),
            format!("{edit} {unit}: [Service] KillMode=process"),
        ),
    })
}

/// The unit of a process, and whether it is one of a user's own.
fn unit_of(cgroup: &str) -> Option<(String, bool)> {
    let path = cgroup.lines().find_map(|line| line.splitn(3, ':').nth(2))?;
    let unit = path.rsplit('/').find(|part| part.ends_with(".service"))?;
    // The manager of a user is a service itself; what runs below it is the user's.
    let is_manager = unit.starts_with("user@");
    (!is_manager).then(|| (unit.to_owned(), path.contains("/user@")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_found_where_there_is_one() {
        let unit = |text: &str| unit_of(text);
        assert_eq!(unit("0::/system.slice/agent-relay.service\n"), Some(("agent-relay.service".to_owned(), false)));
        assert_eq!(
            unit("0::/user.slice/user-1000.slice/user@1000.service/app.slice/relay.service\n"),
            Some(("relay.service".to_owned(), true))
        );
        assert_eq!(unit("0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope\n"), None);
        assert_eq!(unit("0::/\n"), None);
        assert_eq!(unit(""), None);
    }
}
