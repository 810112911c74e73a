//! What patterns of paths stand for, and what they never do.

use proptest::prelude::*;

use super::*;
use crate::domain::control::ApprovalMode;

fn session() -> RunningSession {
    RunningSession {
        agent_id: "a1".into(),
        label: None,
        approval_mode: ApprovalMode::Guarded,
        cwd: "/code/my.app_x".into(),
        home: "/home/me".into(),
        session_dir: "/data/s/files".into(),
        pids: vec![7, 8],
        conversation: Some("c-1".into()),
        now_ms: 0,
        utc_offset_minutes: 0,
        files: Vec::new(),
        variables: [("CODEX_HOME".to_owned(), "/opt/codex/".to_owned())].into(),
    }
}

fn covers(pattern: &str, path: &str) -> bool {
    globs(pattern, &session()).iter().any(|glob| glob.below(path).is_some())
}

#[test]
fn placeholders_are_filled_in() {
    for (pattern, path) in [
        ("/etc/hosts", "/etc/hosts"),
        ("{home}/.claude/sessions/{pid}.json", "/home/me/.claude/sessions/8.json"),
        ("{home}/.claude/projects/{cwd-dashed}/*.jsonl", "/home/me/.claude/projects/-code-my-app-x/9.jsonl"),
        ("{CODEX_HOME}/sessions/*/*/*/rollout-*-{conversation}.jsonl", "/opt/codex/sessions/1/2/3/rollout-x-c-1.jsonl"),
        ("{cwd}/a", "/code/my.app_x/a"),
        ("{session-dir}/*a*b*", "/data/s/files/xaab"),
        ("/tmp/*", "/tmp/x"),
    ] {
        assert!(check_path_pattern(pattern).is_ok(), "{pattern}");
        assert!(covers(pattern, path), "{pattern} covers {path}");
    }
}

#[test]
fn a_star_stays_within_a_component_and_nothing_leads_up() {
    for (pattern, path) in [
        ("/tmp/*", "/tmp/x/y"),
        ("/tmp/*", "/tmp/.."),
        ("/tmp/*", "/tmp/"),
        ("/tmp/*/x", "/tmp/../x"),
        ("{home}/*", "/home/men"),
        ("{home}/*", "/home/me"),
        ("{home}/*", "/home/other/x"),
        ("{home}/{pid}", "/home/me/9"),
        ("{home}/a*b", "/home/me/ab.c"),
        ("{home}/ab*ba", "/home/me/aba"),
        ("{UNSET}/x", "/x"),
        ("/etc/hosts", "etc/hosts"),
        ("/etc/hosts", "//etc/hosts"),
    ] {
        assert!(!covers(pattern, path), "{pattern} must not cover {path}");
    }
}

#[test]
fn what_fills_a_placeholder_is_only_text() {
    for conversation in ["..", "*", "a/../b", "", "a\0"] {
        let session = RunningSession { conversation: Some(conversation.into()), ..session() };
        for glob in globs("{home}/{conversation}", &session) {
            assert_eq!(glob.name_at(0), Some("*"), "{conversation:?}");
            assert!(glob.below("/home/me/x").is_none(), "a star that was filled in is a star");
        }
    }
    let unknown = RunningSession { conversation: None, ..session() };
    assert_eq!(globs("{home}/{conversation}*", &unknown), []);
    for home in ["", "home/me", "/home/../root", "/home/./me\0"] {
        let session = RunningSession { home: home.into(), ..session() };
        assert_eq!(globs("{home}/x", &session), [], "{home:?}");
    }
}

#[test]
fn a_pattern_that_is_none_is_refused() {
    for pattern in [
        "",
        "x",
        "~/x",
        "{home}",
        "{home}x",
        "{nowhere}/x",
        "{Home}/x",
        "{PATH}/x",
        "{LD_X}/x",
        "/a/../b",
        "/a//b",
        "/",
        "/a/./b",
        "/a/**",
        "/a/{home}",
        "/a/{pid",
        "/a/pid}",
        "/a\n",
        "{cwd-dashed}/x",
    ] {
        assert!(check_path_pattern(pattern).is_err(), "{pattern:?}");
    }
    assert!(check_path_pattern(&format!("/{}", "x".repeat(PATTERN_BYTES_MAX))).is_err());
    assert_eq!(variable_of("{CODEX_HOME}/x"), Some("CODEX_HOME"));
    assert_eq!(variable_of("{home}/x"), None);
}

proptest! {
    /// Whatever is granted and whatever is asked: what is covered lies below the base, at the pattern's depth.
    #[test]
    fn nothing_outside_the_base_is_covered(
        pattern in "(\\{home\\}|\\{cwd\\}|)(/[a-b*.]{1,3}){1,3}",
        path in "(/home/me|/code|)(/[a-b*.]{0,3}){0,4}",
    ) {
        for glob in globs(&pattern, &session()) {
            if let Some(names) = glob.below(&path) {
                prop_assert_eq!(glob.base().join(names.join("/")), PathBuf::from(&path));
                prop_assert!(!names.iter().any(|name| matches!(*name, "" | "." | "..")));
            }
        }
    }
}
