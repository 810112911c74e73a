//! Plans against the check, and containment against an oracle of its own.

use proptest::prelude::*;

use super::*;
use crate::domain::control::plan::{EnvVar, Readiness, SessionFile};

fn grants() -> Grants {
    Grants {
        executables: vec!["claude".into(), "/opt/bin/claude".into(), "/opt/bin/other".into()],
        env: vec!["TERM".into(), "API_KEY".into()],
        files: vec!["mcp.json".into(), "prompt.txt".into()],
        ..Grants::default()
    }
}

fn site() -> LaunchSite {
    LaunchSite {
        cwd: "/srv/code".into(),
        home: "/home/me".into(),
        hostname: "here".into(),
        session_dir: "/run/session".into(),
        relay_url: "http://127.0.0.1:1".into(),
        token_variable: "AGENT_RELAY_TOKEN".into(),
        mcp_url: None,
        host_variables: vec!["API_KEY".into(), "SECRET".into()],
        root: false,
    }
}

fn good() -> Plan {
    Plan {
        program: "claude".into(),
        args: vec!["--flag".into(), String::new()],
        env: vec![
            EnvVar { name: "TERM".into(), value: EnvValue::Literal("xterm".into()) },
            EnvVar { name: "API_KEY".into(), value: EnvValue::FromHost("API_KEY".into()) },
        ],
        cwd: "/srv/code".into(),
        files: vec![
            SessionFile { name: "mcp.json".into(), contents: "{}".into() },
            SessionFile { name: "prompt.txt".into(), contents: "x".repeat(STRING_BYTES_MAX + 1) },
        ],
        prompt: PromptDelivery::InFile("prompt.txt".into()),
        ready: Readiness { screen_texts: vec!["ready".into()], settle_ms: SETTLE_MS_MAX },
        resumed: false,
    }
}

fn verdict(plan: Plan) -> Result<CheckedPlan, String> {
    verdict_under(plan, &grants(), &site())
}

fn verdict_under(plan: Plan, grants: &Grants, site: &LaunchSite) -> Result<CheckedPlan, String> {
    let author = Author {
        provider: "claude",
        version: "1.0.0",
        digest: "d",
        generation: 1,
        executables: &["claude".to_owned()],
        grants,
    };
    check(plan, site, &author)
}

#[track_caller]
fn refused(expected: &str, change: impl FnOnce(&mut Plan)) {
    let mut plan = good();
    change(&mut plan);
    let problem = verdict(plan).expect_err("a plan that must not pass");
    assert!(problem.starts_with(expected), "{problem}");
}

fn literal(name: &str) -> EnvVar {
    EnvVar { name: name.into(), value: EnvValue::Literal("v".into()) }
}

#[test]
fn a_good_plan_passes_and_is_hashed() {
    let checked = verdict(good()).expect("a good plan");
    assert_eq!(checked.plan(), &good());
    assert_eq!(checked.sha256().len(), 64);
    let mut other = good();
    other.args.push("--more".into());
    assert_ne!(verdict(other).expect("a good plan").sha256(), checked.sha256());
}

#[test]
fn the_program_must_be_described_and_granted() {
    for program in [
        "sh",
        "",
        ".",
        "..",
        "./claude",
        "bin/claude",
        "/opt/bin/../bin/claude",
        "//opt/bin/claude",
        "/tmp/claude",
        "/opt/bin/claude/",
        "claude\n",
    ] {
        refused("program: ", |plan| plan.program = program.into());
    }
    refused("program: \"/opt/bin/other\" is not among the executables described", |plan| {
        plan.program = "/opt/bin/other".into();
    });
    let mut plan = good();
    plan.program = "/opt/bin/claude".into();
    assert!(verdict(plan).is_ok());
}

#[test]
fn the_directory_is_the_approved_one_to_the_letter() {
    for cwd in ["/srv/code/", "/srv", "/srv/code/../code", "", "/srv/code/sub"] {
        refused("cwd: ", |plan| plan.cwd = cwd.into());
    }
}

#[test]
fn the_environment_is_an_allow_list() {
    for name in
        ["LD_PRELOAD", "DYLD_INSERT_LIBRARIES", "PATH", "HOME", "AGENT_RELAY_TOKEN", "OTHER", "", "A=B", "1A", "TERM "]
    {
        refused("env[0]: ", |plan| plan.env[0] = literal(name));
    }
    refused("env[1]: \"TERM\" is there twice", |plan| plan.env[1] = literal("TERM"));
    for name in ["SECRET", "LD_PRELOAD"] {
        refused("env[0]: \"TERM\" takes the host's", |plan| {
            plan.env[0].value = EnvValue::FromHost(name.into());
        });
    }
    // It is granted, and the host does not have it: then it is left out.
    let mut plan = good();
    plan.env[0].value = EnvValue::FromHost("TERM".into());
    verdict(plan).expect("a plan");
}

#[test]
fn no_grant_covers_the_loader() {
    let mut generous = grants();
    generous.env.extend(["LD_PRELOAD", "PATH", "HOME", "AGENT_RELAY_TOKEN"].map(String::from));
    for name in ["LD_PRELOAD", "PATH", "HOME", "AGENT_RELAY_TOKEN"] {
        let mut plan = good();
        plan.env[0] = literal(name);
        let problem = verdict_under(plan, &generous, &site()).expect_err("refused");
        assert!(problem.starts_with("env[0]: "), "{problem}");
    }
}

#[test]
fn files_are_plain_and_granted() {
    for name in ["../x", "a/b", "/etc/passwd", ".", "..", "", "a\n", "other.txt"] {
        refused("files[0]: ", |plan| plan.files[0].name = name.into());
    }
    refused("files[1]: \"mcp.json\" is there twice", |plan| plan.files[1].name = "mcp.json".into());
    refused("prompt.in-file: ", |plan| plan.prompt = PromptDelivery::InFile("elsewhere".into()));
}

#[test]
fn everything_has_a_maximum() {
    refused("args: ", |plan| plan.args = vec![String::new(); ARGS_MAX + 1]);
    refused("env: ", |plan| plan.env = vec![literal("TERM"); ENV_MAX + 1]);
    refused("files: ", |plan| plan.files = vec![plan.files[0].clone(); FILES_MAX + 1]);
    refused("ready.screen-texts: ", |plan| plan.ready.screen_texts = vec![String::new(); SCREEN_TEXTS_MAX + 1]);
    refused("args[0]: ", |plan| plan.args[0] = "x".repeat(STRING_BYTES_MAX + 1));
    refused("the plan has ", |plan| plan.files[1].contents = "x".repeat(TOTAL_BYTES_MAX + 1));
    refused("ready.settle-ms: ", |plan| plan.ready.settle_ms += 1);
}

#[test]
fn no_string_holds_a_nul() {
    refused("args[1]: contains a NUL", |plan| plan.args[1] = "a\0b".into());
    refused("env[0].value: contains a NUL", |plan| plan.env[0].value = EnvValue::Literal("\0".into()));
    refused("files[0].contents: contains a NUL", |plan| plan.files[0].contents = "\0".into());
    refused("program: contains a NUL", |plan| plan.program = "claude\0".into());
}

/// Small alphabets that meet the edges often.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "claude",
            "/opt/bin/claude",
            "mcp.json",
            "TERM",
            "API_KEY",
            "SECRET",
            "/srv/code",
            "AGENT_RELAY_TOKEN",
            "LD_AUDIT",
            "sh"
        ])
        .prop_map(String::from),
        "[./a\\x00A_]{0,6}",
    ]
}

fn plans() -> impl Strategy<Value = Plan> {
    let value = prop_oneof![texts().prop_map(EnvValue::Literal), texts().prop_map(EnvValue::FromHost)];
    let env = prop::collection::vec((texts(), value).prop_map(|(name, value)| EnvVar { name, value }), 0..3);
    let files =
        prop::collection::vec((texts(), texts()).prop_map(|(name, contents)| SessionFile { name, contents }), 0..3);
    let prompt = prop_oneof![Just(PromptDelivery::Typed), texts().prop_map(PromptDelivery::InFile)];
    (texts(), prop::collection::vec(texts(), 0..3), env, texts(), files, prompt, 0..2 * SETTLE_MS_MAX).prop_map(
        |(program, args, env, cwd, files, prompt, settle_ms)| Plan {
            program,
            args,
            env,
            cwd,
            files,
            prompt,
            ready: Readiness { screen_texts: Vec::new(), settle_ms },
            resumed: false,
        },
    )
}

/// Where a session file would be written, found out as the operating system would: by walking
/// from the session directory, one component at a time.
fn written_to(name: &str) -> Option<Vec<&str>> {
    let mut place = if name.starts_with('/') { Vec::new() } else { vec!["run", "session"] };
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                place.pop();
            }
            part => place.push(part),
        }
    }
    (place.len() == 3 && place[..2] == ["run", "session"]).then_some(place)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// An oracle that knows nothing of how the check works: whatever passes can do no harm.
    #[test]
    fn what_passes_is_contained(plan in plans()) {
        let Ok(checked) = verdict(plan) else { return Ok(()) };
        let plan = checked.plan();
        prop_assert!(["claude", "/opt/bin/claude"].contains(&plan.program.as_str()));
        prop_assert_eq!(&plan.cwd, "/srv/code");
        for variable in &plan.env {
            prop_assert!(["TERM", "API_KEY"].contains(&variable.name.as_str()));
            if let EnvValue::FromHost(name) = &variable.value {
                prop_assert!(["TERM", "API_KEY"].contains(&name.as_str()));
            }
        }
        for file in &plan.files {
            prop_assert!(written_to(&file.name).is_some(), "{:?} leaves the session directory", file.name);
        }
        prop_assert!(plan.ready.settle_ms <= SETTLE_MS_MAX);
        prop_assert!(!serde_json::to_string(plan).expect("JSON").contains("\\u0000"));
    }

    /// A plain file name is exactly one that stays in the directory it is joined to.
    #[test]
    fn plain_names_agree_with_a_walk(name in "[./a]{0,6}") {
        if check_file_name(&name).is_ok() {
            prop_assert!(written_to(&name).is_some());
        }
    }
}
