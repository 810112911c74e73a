//! The rule itself, as plain functions of the facts.

use agent_relay_plugin::policy::{Verdict, deny};
use agent_relay_plugin::{PathFacts, Site};

/// Whether a process may start in `cwd` at `site`.
///
/// Where the base directory is resolved but `cwd` is not, this host is the one that would start
/// the process and yet cannot say where `cwd` leads; that is refused, for a symlink might leave
/// the base directory.
pub(crate) fn decide(cwd: &PathFacts, site: &Site) -> Verdict {
    let base = &site.base_dir;
    let outside = || {
        deny(
            "cwd_outside_base",
            // Clients of earlier relays know this text by heart.
            format!("cwd must be within orchestrator base directory: {}", base.given),
        )
    };
    if !is_within(&cwd.normalised, &base.normalised) {
        return outside();
    }
    match (&cwd.resolved, &base.resolved) {
        (None, None) => Verdict::Allow,
        (None, Some(_)) => deny(
            "cwd_unresolved",
            format!(
                "cwd cannot be resolved on {}: {}; name an existing directory within {}",
                site.hostname, cwd.normalised, base.given
            ),
        ),
        (Some(path), base_resolved) => {
            if is_within(path, base_resolved.as_ref().unwrap_or(&base.normalised)) {
                Verdict::Allow
            } else {
                outside()
            }
        }
    }
}

/// Whether `path` is `base` or lies below it. A path that is not absolute, or that holds a NUL,
/// is within nothing and holds nothing.
fn is_within(path: &str, base: &str) -> bool {
    match (components(path), components(base)) {
        (Some(path), Some(base)) => path.starts_with(&base),
        _ => false,
    }
}

/// The components of an absolute path with `.` and `..` resolved; a `..` at the root stays there.
///
/// `std::path` is not used: on WebAssembly without an operating system it holds no path to be
/// absolute.
fn components(path: &str) -> Option<Vec<&str>> {
    let relative = path.strip_prefix('/')?;
    if path.contains('\0') {
        return None;
    }
    let mut components = Vec::new();
    for component in relative.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                components.pop();
            }
            name => components.push(name),
        }
    }
    Some(components)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(path: &str, resolved: Option<&str>) -> PathFacts {
        PathFacts { given: path.to_owned(), normalised: path.to_owned(), resolved: resolved.map(str::to_owned) }
    }

    fn site(base: &str, resolved: Option<&str>) -> Site {
        Site { orchestrator: None, hostname: "here".to_owned(), base_dir: facts(base, resolved) }
    }

    /// What the rule says of a host that knows no symlinks.
    fn elsewhere(cwd: &str, base: &str) -> Verdict {
        decide(&facts(cwd, None), &site(base, None))
    }

    fn code(verdict: &Verdict) -> &str {
        match verdict {
            Verdict::Deny(denial) => &denial.code,
            Verdict::Allow => "allow",
            Verdict::Amend(_) => "amend",
        }
    }

    #[test]
    fn the_base_and_what_lies_below_it_is_allowed() {
        for cwd in ["/base", "/base/", "/base/a", "/base/./a//b", "/base/a/../b", "/other/../base/x"] {
            assert_eq!(elsewhere(cwd, "/base"), Verdict::Allow, "{cwd}");
        }
        assert_eq!(elsewhere("/anything", "/"), Verdict::Allow);
    }

    #[test]
    fn everything_else_is_outside() {
        for cwd in [
            "/",
            "/bas",
            "/base-evil",
            "/basement/base",
            "/base/../etc",
            "/base/a/../../b",
            "/Base",
            "",
            "base",
            "./base",
            "../base",
            "/base\0",
            "/base/\0/x",
        ] {
            assert_eq!(code(&elsewhere(cwd, "/base")), "cwd_outside_base", "{cwd:?}");
        }
    }

    #[test]
    fn a_base_that_is_no_absolute_path_holds_nothing() {
        for base in ["", "base", ".", "/base\0"] {
            assert_eq!(code(&elsewhere("/base", base)), "cwd_outside_base", "{base:?}");
        }
    }

    #[test]
    fn the_reason_is_the_text_that_clients_know() {
        let mut site = site("/home/x/../me", None);
        site.base_dir.given = "~me".to_owned();
        assert_eq!(
            decide(&facts("/etc", None), &site),
            deny("cwd_outside_base", "cwd must be within orchestrator base directory: ~me".to_owned())
        );
    }

    #[test]
    fn a_symlink_may_not_leave_the_base() {
        let site = site("/base", Some("/mnt/base"));
        let verdict = |resolved| decide(&facts("/base/link", resolved), &site);
        assert_eq!(verdict(Some("/mnt/base/link")), Verdict::Allow);
        assert_eq!(code(&verdict(Some("/etc"))), "cwd_outside_base");
        assert_eq!(code(&verdict(Some("/mnt/base-evil"))), "cwd_outside_base");
        assert_eq!(code(&verdict(Some("mnt/base/link"))), "cwd_outside_base");
        assert_eq!(code(&verdict(None)), "cwd_unresolved");
    }

    #[test]
    fn a_path_that_is_outside_as_written_stays_outside_wherever_it_leads() {
        let verdict = decide(&facts("/elsewhere/link", Some("/base/a")), &site("/base", Some("/base")));
        assert_eq!(code(&verdict), "cwd_outside_base");
    }

    #[test]
    fn a_resolved_cwd_is_held_against_the_base_as_far_as_that_is_known() {
        let site = site("/base", None);
        assert_eq!(decide(&facts("/base/a", Some("/base/a")), &site), Verdict::Allow);
        assert_eq!(code(&decide(&facts("/base/a", Some("/mnt/a")), &site)), "cwd_outside_base");
    }
}
