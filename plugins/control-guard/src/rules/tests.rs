use super::*;
use agent_relay_plugin::Settings as _;
use agent_relay_plugin::{ApprovalMode, Extension, PathFacts};

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
    assert_eq!(shown.as_object().map(serde_json::Map::len), Some(7));
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

/// What is known of the fleet: a and b run at prod-1 with claude, c with codex on the relay's own host.
fn fleet(caller: Caller, facts: &[(&str, &str)]) -> Context {
    let elsewhere =
        RunningAgent { provider: "codex".to_owned(), orchestrator: None, ..running("c", ApprovalMode::Guarded) };
    let extensions =
        facts.iter().map(|(name, value)| Extension { name: (*name).to_owned(), value: (*value).to_owned() });
    Context {
        caller,
        now_ms: 100 * 3_600_000,
        running: vec![running("a", ApprovalMode::Guarded), running("b", ApprovalMode::Guarded), elsewhere],
        extensions: extensions.collect(),
    }
}

fn refused(settings: &str, control: &Control, context: &Context) -> String {
    match decide(&Settings::read(settings).expect(settings), control, context) {
        Verdict::Deny(denial) => format!("{}: {}", denial.code, denial.reason),
        Verdict::Allow => "Allow".to_owned(),
        Verdict::Amend(amendment) => amendment.reason,
    }
}

#[test]
fn only_so_many_may_run() {
    let context = fleet(operator(), &[]);
    let there = spawn(Guarded, Some("prod-1"));
    assert_eq!(refused(r#"{"max_running": 4}"#, &there, &context), "Allow");
    let said = "too_many_running: 3 agents run, and 3 is the most (max_running); shut one down first";
    assert_eq!(refused(r#"{"max_running": 3}"#, &there, &context), said);
    // A limit counts those that it fits.
    let limited =
        r#"{"max_running": 99, "limit": [{"orchestrators": ["prod-*"], "providers": ["claude"], "max_running": 2}]}"#;
    assert!(refused(limited, &there, &context).starts_with("too_many_running: 2 agents run"));
    assert_eq!(refused(limited, &spawn(Guarded, None), &context), "Allow");
}

#[test]
fn only_so_many_may_be_started_in_a_while() {
    let now = 100 * 3_600_000_u64;
    let times = [now - 10_000, now - 50_000, now - 70_000, now - 7_200_000];
    let known = format!("{times:?}");
    let context = fleet(operator(), &[("spawns", &known)]);
    let here = spawn(Guarded, None);
    assert_eq!(refused(r#"{"spawns_per_minute": 3}"#, &here, &context), "Allow");
    assert_eq!(
        refused(r#"{"spawns_per_minute": 2}"#, &here, &context),
        "spawn_rate_exceeded: ops has started 2 agents in the last minute, and 2 is the most (spawns_per_minute); the next \
         may start in 10 s"
    );
    // There is room for another only once all but one have grown old.
    assert!(refused(r#"{"spawns_per_minute": 1}"#, &here, &context).ends_with("the next may start in 50 s"));
    assert!(refused(r#"{"spawns_per_hour": 3}"#, &here, &context).ends_with("the next may start in 59 min"));
    assert!(refused(r#"{"spawns_per_day": 4}"#, &here, &context).ends_with("the next may start in 22 h"));
    assert!(refused(r#"{"spawns_per_day": 0}"#, &here, &context).ends_with("none may be started"));
    let by_caller = r#"{"limit": [{"callers": ["name:other"], "spawns_per_day": 0}]}"#;
    assert_eq!(refused(by_caller, &here, &context), "Allow");
    // What is not known allows nothing.
    assert!(refused(r#"{"spawns_per_hour": 9}"#, &here, &fleet(operator(), &[])).starts_with("not_known_here: "));
}

#[test]
fn agents_start_agents_only_so_deep() {
    let settings = r#"{"agents_may_control": "anyone", "agents_may_widen": true, "max_depth": 1}"#;
    let here = spawn(Guarded, None);
    assert_eq!(refused(settings, &here, &fleet(agent("a"), &[("depth", "1")])), "Allow");
    assert_eq!(
        refused(settings, &here, &fleet(agent("a"), &[("depth", "2")])),
        "too_deep: 2 agents would stand between a person and this one, and 1 is the most (max_depth); ask a person to \
         start it"
    );
    assert!(refused(settings, &here, &fleet(agent("a"), &[])).starts_with("not_known_here: "));
}

#[test]
fn nothing_is_started_on_an_account_at_its_limit() {
    let now = 100 * 3_600_000_u64;
    let settings = r#"{"while_limited": "deny"}"#;
    let limit =
        |agent: &str, until: &str| format!(r#"[{{"agentId": "{agent}", "kind": "limit", "sinceMs": 1{until}}}]"#);
    let ask = |facts: &str, orchestrator| {
        refused(settings, &spawn(Guarded, orchestrator), &fleet(operator(), &[("conditions", facts)]))
    };
    let until = format!(r#", "untilMs": {}"#, now + 43 * 60_000);
    assert_eq!(
        ask(&limit("a", &until), Some("prod-1")),
        "provider_limited: 1 of 2 running claude agents there are at a usage limit, and it ends in 43 min; start it then, or \
         with another provider"
    );
    assert!(ask(&limit("a", ""), Some("prod-1")).contains("until when is not known"));
    // Another host, another provider, an end that is over, another kind of condition.
    assert_eq!(ask(&limit("a", &until), None), "Allow");
    assert_eq!(ask(&limit("c", &until), Some("prod-1")), "Allow");
    assert_eq!(ask(&limit("a", &format!(r#", "untilMs": {now}"#)), Some("prod-1")), "Allow");
    assert_eq!(ask(&limit("a", &until).replace("limit", "dialog"), Some("prod-1")), "Allow");
    let allowed = fleet(operator(), &[("conditions", &limit("a", ""))]);
    assert_eq!(refused("{}", &spawn(Guarded, Some("prod-1")), &allowed), "Allow");
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
