//! What a case leaves out, what it must not say, and how answers are compared.

use super::*;
use crate::domain::control::{ApprovalMode, ControlTarget};

fn policy(text: &str) -> Result<Case, String> {
    Case::parse(PluginKind::Policy, &Grants::default(), text)
}

fn asked(text: &str) -> (Control, Context) {
    match policy(text).expect("a good case").question {
        Question::Policy { control, context } => (*control, context),
        Question::Provider { .. } => panic!("a question for a policy"),
    }
}

#[test]
fn what_is_left_out_comes_from_the_sample() {
    let (control, context) = asked(r#"{"control": {"spawn": {}}}"#);
    let Control::Spawn(spawn) = control else { panic!("a spawn") };
    assert_eq!((spawn.provider.as_str(), spawn.approval_mode), ("claude", ApprovalMode::Guarded));
    assert_eq!(spawn.cwd.resolved.as_deref(), Some("/code/a"));
    assert_eq!(spawn.site.base_dir.normalised, "/code");
    assert!(context.caller.administrator && context.running.is_empty());
}

#[test]
fn paths_are_completed_and_those_of_other_hosts_are_not_resolved() {
    let (control, _) = asked(r#"{"control": {"spawn": {"cwd": {"given": "x/../../b"}}}}"#);
    let Control::Spawn(spawn) = control else { panic!("a spawn") };
    assert_eq!((spawn.cwd.normalised.as_str(), spawn.cwd.resolved.as_deref()), ("/b", Some("/b")));

    let (control, _) =
        asked(r#"{"control": {"spawn": {"cwd": {"given": "/srv/x"}, "site": {"orchestrator": "far"}}}}"#);
    let Control::Spawn(spawn) = control else { panic!("a spawn") };
    assert_eq!(spawn.cwd.resolved, None);
    assert_eq!(spawn.site.base_dir.resolved, None);

    let (control, _) = asked(r#"{"control": {"spawn": {"cwd": {"given": "/w", "resolved": "/real"}}}}"#);
    let Control::Spawn(spawn) = control else { panic!("a spawn") };
    assert_eq!(spawn.cwd.resolved.as_deref(), Some("/real"));
}

#[test]
fn targets_are_one_agent_or_every_agent_of_a_site() {
    let (control, _) = asked(r#"{"control": {"restart": {"agent": {"id": "x", "tags": ["keep"]}}}}"#);
    let Control::Restart(ControlTarget::Agent(agent)) = control else { panic!("a restart of one agent") };
    assert_eq!((agent.id.as_str(), agent.tags.as_slice()), ("x", &["keep".to_owned()][..]));
    assert!(agent.site.is_some(), "it runs on the relay's host");

    let (control, _) = asked(r#"{"control": {"shutdown": {"agent": {"id": "x", "site": null}}}}"#);
    let Control::Shutdown(ControlTarget::Agent(agent)) = control else { panic!("a shutdown of one agent") };
    assert_eq!(agent.site, None);

    let (control, _) = asked(r#"{"control": {"shutdown": {"everyAgentOf": {"orchestrator": "far"}}}}"#);
    let Control::Shutdown(ControlTarget::EveryAgentOf(site)) = control else { panic!("a shutdown of all") };
    assert_eq!(site.orchestrator.as_deref(), Some("far"));
}

#[test]
fn running_agents_need_not_say_everything() {
    let (_, context) = asked(r#"{"control": {"spawn": {}}, "context": {"nowMs": 5, "running": [{"cwd": "/x"}]}}"#);
    assert_eq!((context.now, context.running[0].cwd.as_str()), (5, "/x"));
    assert_eq!(context.running[0].provider, "claude");
}

#[test]
fn unknown_keys_are_named() {
    let cases = [
        (r#"{"control": {"spawn": {}}, "contxt": {}}"#, "`contxt`"),
        (r#"{"control": {"spwan": {}}}"#, "`control.spwan`"),
        (r#"{"control": {"spawn": {"promt": "x"}}}"#, "`promt`"),
        (r#"{"control": {"restart": {"agnet": {}}}}"#, "`control.agnet`"),
        (r#"{"control": {"restart": {"agent": {"ident": "x"}}}}"#, "`ident`"),
        (r#"{"control": {"spawn": {}}, "context": {"caller": {"admin": true}}}"#, "`admin`"),
        (r#"{"control": {"spawn": {}}, "context": {"running": [{"id": "a"}]}}"#, "`id`"),
        (r#"{"control": {"spawn": {}}, "expect": {"deny": {"kode": "x"}}}"#, "`expect.deny.kode`"),
        (r#"{"control": {"spawn": {}}, "expect": "deny"}"#, "expect: must be"),
        (r#"{"control": {}}"#, "control: must be"),
        (r#"{}"#, "control: must be"),
        (r#"[]"#, "must be a JSON object"),
    ];
    for (text, expected) in cases {
        let refusal = policy(text).expect_err(text);
        assert!(refusal.contains(expected), "{text}: {refusal}");
    }
    let refusal = Case::parse(PluginKind::Provider, &Grants::default(), r#"{"request": {"cwd": "/x"}}"#);
    assert!(refusal.expect_err("no such key").contains("`cwd`"));
}

#[test]
fn an_answer_differs_only_where_something_was_expected() {
    let denial = json!({"deny": {"code": "no", "reason": "not here"}});
    assert!(differences(&json!({"deny": {}}), &denial).is_empty());
    assert!(differences(&json!({"deny": {"code": "no"}}), &denial).is_empty());
    let found = differences(&json!({"deny": {"code": "never"}}), &denial);
    assert_eq!(found[0].at, "deny.code");
    assert_eq!(differences(&json!("allow"), &denial)[0].at, "");
    assert_eq!(differences(&json!({"amend": {}}), &denial)[0].answered, denial);

    let plan = json!({"plan": {"args": ["-c", "x"], "ready": {"settleMs": 5, "screenTexts": []}}});
    assert!(differences(&json!({"plan": {"ready": {"settleMs": 5}}}), &plan).is_empty());
    assert_eq!(differences(&json!({"plan": {"args": ["-c"]}}), &plan)[0].at, "plan.args");

    let error = json!({"error": "cannot tell: no idea", "code": "cannot_tell"});
    assert!(differences(&json!({"error": "no idea"}), &error).is_empty());
    assert_eq!(differences(&json!({"error": "trapped"}), &error).len(), 1);
    assert_eq!(differences(&json!({"error": "trapped"}), &denial).len(), 1);
}
