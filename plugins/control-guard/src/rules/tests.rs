use super::*;
use agent_relay_plugin::Settings as _;
use agent_relay_plugin::{ApprovalMode, PathFacts};

/// Somebody with a token that is bound to no agent.
fn operator() -> Caller {
    Caller {
        name: "ops".to_owned(),
        agent_id: None,
        administrator: false,
        scopes: vec!["control".to_owned()],
        loopback: false,
    }
}

fn administrator() -> Caller {
    Caller { name: "root".to_owned(), administrator: true, loopback: true, ..operator() }
}

fn agent(id: &str) -> Caller {
    Caller {
        name: format!("session {id}"),
        agent_id: Some(id.to_owned()),
        scopes: vec!["agent".to_owned()],
        ..operator()
    }
}

fn site(orchestrator: Option<&str>) -> Site {
    let base = PathFacts { given: "/b".to_owned(), normalised: "/b".to_owned(), resolved: None };
    Site { orchestrator: orchestrator.map(str::to_owned), hostname: "h".to_owned(), base_dir: base }
}

fn spawn(mode: ApprovalMode, orchestrator: Option<&str>) -> Control {
    Control::Spawn(Spawn {
        provider: "claude".to_owned(),
        approval_mode: mode,
        cwd: site(None).base_dir,
        label: None,
        prompt: None,
        site: site(orchestrator),
        extensions: Vec::new(),
    })
}

fn facts(id: &str) -> AgentFacts {
    AgentFacts {
        id: id.to_owned(),
        name: id.to_owned(),
        label: Some("worker".to_owned()),
        tags: vec!["infra".to_owned()],
        capabilities: Vec::new(),
        machine: None,
        status: "idle".to_owned(),
        site: Some(site(Some("prod-1"))),
    }
}

fn running(id: &str, mode: ApprovalMode) -> RunningAgent {
    RunningAgent {
        agent_id: id.to_owned(),
        provider: "claude".to_owned(),
        cwd: "/b".to_owned(),
        label: Some("worker".to_owned()),
        approval_mode: mode,
        orchestrator: Some("prod-1".to_owned()),
        started_at_ms: 1,
    }
}

fn shutdown(id: &str) -> Control {
    Control::Shutdown(Target::Agent(facts(id)))
}

fn restart(id: &str) -> Control {
    Control::Restart(Target::Agent(facts(id)))
}

fn every() -> Control {
    Control::Shutdown(Target::EveryAgentOf(site(Some("prod-1"))))
}

/// The verdict in one word: `allow`, `amend MODE` or the denial's code. The relay runs a guarded
/// agent `a` at `prod-1`.
fn check(settings: &str, caller: Caller, control: &Control) -> String {
    let settings = Settings::read(settings).expect(settings);
    let context =
        Context { caller, now_ms: 1, running: vec![running("a", ApprovalMode::Guarded)], extensions: Vec::new() };
    match decide(&settings, control, &context) {
        Verdict::Allow => "allow".to_owned(),
        Verdict::Deny(denial) => denial.code,
        Verdict::Amend(amendment) => {
            format!("amend {}", amendment.approval_mode.map_or("", |mode| Mode::from(mode).name()))
        }
    }
}

use ApprovalMode::{Guarded, Open, ReadOnly};

#[test]
fn by_default_people_may_do_everything_and_agents_nothing() {
    for control in [spawn(Open, None), spawn(Open, Some("prod-1")), shutdown("a"), restart("a"), every()] {
        assert_eq!(check("{}", administrator(), &control), "allow");
        assert_eq!(check("{}", agent("a"), &control), "agent_may_not_control");
    }
    assert_eq!(check("{}", operator(), &spawn(Open, None)), "allow");
    assert_eq!(check("{}", operator(), &shutdown("a")), "allow");
    assert_eq!(check("{}", operator(), &every()), "administrator_required");
    assert_eq!(check(r#"{"every_agent_needs_administrator": false}"#, operator(), &every()), "allow");
}

#[test]
fn the_shipped_settings_are_the_defaults() {
    // The manifest is for reading; this keeps what it shows and what holds without it the same.
    let manifest: toml::Table = include_str!("../../plugin.toml").parse().expect("it is TOML");
    let shown = serde_json::to_value(&manifest["settings"]).expect("settings are plain values");
    assert_eq!(shown.as_object().map(serde_json::Map::len), Some(6));
    assert_eq!(Settings::read(&shown.to_string()), Ok(Settings::default()));
}

#[test]
fn an_agent_may_control_itself_and_no_other() {
    let settings = r#"{"agents_may_control": "itself"}"#;
    assert_eq!(check(settings, agent("a"), &shutdown("a")), "allow");
    assert_eq!(check(settings, agent("a"), &restart("a")), "allow");
    assert_eq!(check(settings, agent("a"), &shutdown("b")), "agent_may_not_control");
    assert_eq!(check(settings, agent("a"), &spawn(ReadOnly, None)), "agent_may_not_control");
    assert_eq!(check(settings, agent("a"), &every()), "agent_may_not_control");
}

#[test]
fn an_agent_may_not_widen_its_own_mode_through_another() {
    let settings = r#"{"agents_may_control": "anyone"}"#;
    assert_eq!(check(settings, agent("a"), &shutdown("b")), "allow");
    assert_eq!(check(settings, agent("a"), &spawn(Guarded, None)), "allow");
    assert_eq!(check(settings, agent("a"), &spawn(Open, None)), "approval_mode_exceeded");
    // The relay did not start b.
    assert_eq!(check(settings, agent("b"), &spawn(ReadOnly, None)), "allow");
    assert_eq!(check(settings, agent("b"), &spawn(Guarded, None)), "approval_mode_exceeded");
    let settings = r#"{"agents_may_control": "anyone", "agents_may_widen": true}"#;
    assert_eq!(check(settings, agent("b"), &spawn(Open, None)), "allow");
}

#[test]
fn a_wider_mode_is_refused_with_the_widest_allowed_or_narrowed_to_it() {
    let limit = r#""max_approval_mode": "guarded""#;
    assert_eq!(check(&format!("{{{limit}}}"), administrator(), &spawn(Guarded, None)), "allow");
    assert_eq!(check(&format!("{{{limit}}}"), administrator(), &spawn(Open, None)), "approval_mode_exceeded");
    assert_eq!(
        check(&format!(r#"{{{limit}, "on_excess": "amend"}}"#), operator(), &spawn(Open, None)),
        "amend guarded"
    );

    let settings = Settings::read(&format!("{{{limit}}}")).expect("it fits");
    let context = Context { caller: operator(), now_ms: 1, running: Vec::new(), extensions: Vec::new() };
    assert_eq!(
        decide(&settings, &spawn(Open, None), &context),
        Verdict::Deny(denial(
            "approval_mode_exceeded",
            "approval mode open is wider than allowed; the widest is guarded at the relay's own host for provider claude".to_owned()
        ))
    );
}

#[test]
fn the_first_limit_that_fits_counts() {
    let settings = r#"{"max_approval_mode": "read-only", "limit": [
        {"callers": ["name:op*"], "orchestrators": ["prod-*"], "providers": ["claude"], "max_approval_mode": "guarded"},
        {"callers": ["name:op*"], "orchestrators": ["prod-*"], "allow": ["restart"]},
        {"orchestrators": ["@relay"], "max_approval_mode": "open"}]}"#;
    assert_eq!(check(settings, operator(), &spawn(Guarded, Some("prod-1"))), "allow");
    assert_eq!(check(settings, operator(), &spawn(Open, Some("prod-1"))), "approval_mode_exceeded");
    // The provider of a is known, that of b is not.
    assert_eq!(check(settings, operator(), &shutdown("a")), "allow");
    assert_eq!(check(settings, operator(), &shutdown("b")), "control_not_allowed");
    assert_eq!(check(settings, operator(), &restart("b")), "allow");
    assert_eq!(check(settings, administrator(), &spawn(Guarded, Some("prod-1"))), "approval_mode_exceeded");
    assert_eq!(check(settings, operator(), &spawn(Open, None)), "allow");
    assert_eq!(check(settings, operator(), &spawn(Open, Some("@relay"))), "approval_mode_exceeded");
}

#[test]
fn callers_are_matched_by_what_they_are() {
    for (pattern, caller, fits) in [
        ("administrator", administrator(), true),
        ("administrator", operator(), false),
        ("loopback", administrator(), true),
        ("loopback", operator(), false),
        ("remote", operator(), true),
        ("name:ops", operator(), true),
        ("name:administrator", administrator(), false),
        ("scope:contr*", operator(), true),
        ("scope:admin", operator(), false),
        ("agent:*", operator(), false),
        ("agent:a", agent("a"), true),
        ("*", agent("a"), true),
    ] {
        assert_eq!(matches_caller(pattern, &caller), fits, "{pattern} {}", caller.name);
    }
}

#[test]
fn protected_agents_are_nobodys_to_end() {
    for pattern in ["id:a", "id:*", "tag:infra", "label:work*"] {
        let settings = format!(r#"{{"protected_agents": ["id:other", "{pattern}"]}}"#);
        for control in [shutdown("a"), restart("a"), every()] {
            assert_eq!(check(&settings, administrator(), &control), "agent_protected", "{pattern}");
        }
        assert_eq!(check(&settings, administrator(), &spawn(Open, None)), "allow");
    }
    let settings = r#"{"protected_agents": ["id:other", "label:x"]}"#;
    assert_eq!(check(settings, administrator(), &shutdown("a")), "allow");
    assert_eq!(check(settings, administrator(), &every()), "allow");
}

#[test]
fn protected_agents_elsewhere_do_not_matter_until_too_many_run() {
    let settings = Settings::read(r#"{"protected_agents": ["tag:infra"]}"#).expect("it fits");
    let mut context =
        Context { caller: administrator(), now_ms: 1, running: vec![running("a", Open)], extensions: Vec::new() };
    let elsewhere = Control::Shutdown(Target::EveryAgentOf(site(None)));
    assert_eq!(decide(&settings, &elsewhere, &context), Verdict::Allow);
    context.running = vec![running("a", Open); RUNNING_MAX];
    assert!(matches!(decide(&settings, &elsewhere, &context), Verdict::Deny(_)));
}

#[test]
fn a_star_stands_for_anything() {
    for (pattern, text, fits) in [
        ("", "", true),
        ("a", "a", true),
        ("a", "ab", false),
        ("*", "", true),
        ("*", "ab", true),
        ("a*", "ab", true),
        ("a*", "ba", false),
        ("*b", "ab", true),
        ("*b", "ba", false),
        ("a*a", "a", false),
        ("a*a", "aa", true),
        ("a*b*c", "a1b2c", true),
        ("a*b*c", "a1c2b", false),
        ("*ab*ab", "ab", false),
        ("*ab*ab", "abab", true),
        ("**", "x", true),
        ("ä*ö", "äxö", true),
    ] {
        assert_eq!(matches(pattern, text), fits, "{pattern:?} {text:?}");
    }
}
