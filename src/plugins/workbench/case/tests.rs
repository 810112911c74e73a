//! What a case leaves out, what it must not say, and how answers are compared.

use serde_json::json;

use super::super::super::kinds::policy::Decide;
use super::super::super::kinds::provider::Ask;
use super::*;
use crate::domain::control::observation::Doing;
use crate::domain::control::plan::StopReason;
use crate::domain::control::{ApprovalMode, Context, Control, ControlTarget};

fn policy(text: &str) -> Result<Case, String> {
    Case::parse(PluginKind::Policy, &Grants::default(), text)
}

fn provider(text: &str) -> Result<Case, String> {
    Case::parse(PluginKind::Provider, &Grants::default(), text)
}

/// What a good case asks a provider.
fn ask(text: &str) -> Ask {
    let question = provider(text).expect("a good case").question;
    question.get::<Ask>().expect("a question for a provider").clone()
}

fn asked(text: &str) -> (Control, Context) {
    let question = policy(text).expect("a good case").question;
    let Decide { control, context } = question.get().expect("a question for a policy");
    (control.clone(), context.clone())
}

#[test]
fn what_is_left_out_comes_from_the_sample() {
    let (control, context) = asked(r#"{"control": {"spawn": {}}}"#);
    let Control::Spawn(spawn) = control else { panic!("a spawn") };
    assert_eq!((spawn.provider.as_str(), spawn.approval_mode), ("claude", ApprovalMode::Guarded));
    assert_eq!(spawn.cwd.resolved.as_deref(), Some("/code/a"));
    assert_eq!(spawn.site.base_dir.normalised, "/code");
    assert!(context.caller.administrator && context.running.is_empty());
    assert_eq!(asked("{}").0, Control::Spawn(spawn), "a case that says nothing asks about the sample");
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
        (r#"{"control": null}"#, "control: must be"),
        (r#"[]"#, "must be a JSON object"),
    ];
    for (text, expected) in cases {
        let refusal = policy(text).expect_err(text);
        assert!(refusal.contains(expected), "{text}: {refusal}");
    }
    let cases = [
        (r#"{"request": {"cwd": "/x"}}"#, "`cwd`"),
        (
            r#"{"present": {}}"#,
            "`present`; known are settings, request, site, message, reason, observe, deliver, expect",
        ),
        (r#"{"message": {"text": "x"}}"#, "unknown field `text`, expected one of `id`, `sender`, `subject`, `body`"),
        (r#"{"message": {"interrupt": "yes"}}"#, "message: invalid type: string \"yes\", expected a boolean"),
        (r#"{"message": "x"}"#, "message: must be an object"),
        (r#"{"reason": "crashed"}"#, "reason: must be one of \"shutdown\", \"restart\" and \"failed\""),
        (r#"{"reason": {"shutdown": null}}"#, "reason: must be one of"),
        (r#"{"message": {}, "expect": {"presentation": {"keys": []}}}"#, "known are keysBefore, text, submit"),
        (r#"{"reason": "restart", "expect": {"stopPlan": {"grace": 1}}}"#, "known are keys, graceMs"),
        (r#"{"reason": "restart", "expect": {"stopPlan": 1}}"#, "expect.stopPlan: must be an object"),
        (r#"{"message": {}, "expect": {"error": 1}}"#, "expect.error: must be text"),
    ];
    for (text, expected) in cases {
        let refusal = provider(text).expect_err(text);
        assert!(refusal.contains(expected), "{text}: {refusal}");
    }
}

#[test]
fn a_message_is_completed_and_a_reason_is_said() {
    let Ask::Present(message) = ask(r#"{"message": {"body": "\u001b[A"}}"#) else { panic!("a message") };
    assert_eq!((message.sender.as_str(), message.body.as_str()), ("alice", "\u{1b}[A"));
    assert!(message.subject.is_none() && !message.interrupt);

    let reasons =
        [("shutdown", StopReason::Shutdown), ("restart", StopReason::Restart), ("failed", StopReason::Failed)];
    for (word, reason) in reasons {
        let asked = ask(&format!(r#"{{"reason": "{word}", "expect": {{"stopPlan": {{"keys": []}}}}}}"#));
        assert_eq!(asked, Ask::Stop(reason));
    }
    assert!(matches!(ask("{}"), Ask::Plan { .. }));
}

#[test]
fn a_session_is_completed_and_what_was_seen_of_it() {
    let text = r#"{"observe": {"session": {"files": [{"path": "/x", "contents": "y"}]},
        "screen": {"rows": ["> "], "cursor": {"column": 2, "row": 0}}},
        "expect": {"observation": {"state": {"limit": {"untilMs": 5}}}}}"#;
    let Ask::Observe { session, screen } = ask(text) else { panic!("a screen") };
    assert_eq!((session.pids.as_slice(), session.files[0].path.as_str()), (&[4711][..], "/x"));
    assert_eq!((screen.rows.as_slice(), screen.still_ms), (&["> ".to_owned()][..], 10_000));

    let text = r#"{"deliver": {"notice": {"interrupt": true}, "seen": {"state": {"dialog": "trust?"}}}, "expect": {"attempts": []}}"#;
    let Ask::Deliver { notice, seen, .. } = ask(text) else { panic!("a notice") };
    assert_eq!((notice.id, notice.interrupt), (17, true));
    assert_eq!(seen.doing, Doing::Dialog("trust?".into()));

    for (text, expected) in [
        (r#"{"observe": {"rows": []}}"#, "unknown key `observe.rows`; known are session, screen"),
        (r#"{"observe": 1}"#, "observe: must be an object"),
        (r#"{"observe": {"screen": {"cursor": "below"}}}"#, "observe.screen: "),
        (r#"{"deliver": {}, "expect": {"attempts": {}}}"#, "expect.attempts: must be a list"),
        (r#"{"observe": {}, "expect": {"observation": []}}"#, "expect.observation: must be an object"),
        (
            r#"{"observe": {}, "expect": {"observation": {"doing": 1}}}"#,
            "known are state, hasDraft, conversation, version",
        ),
    ] {
        let refusal = provider(text).expect_err(text);
        assert!(refusal.contains(expected), "{text}: {refusal}");
    }
}

#[test]
fn a_case_asks_one_question_of_the_plugins_own_kind() {
    let refusal = policy(r#"{"message": {"body": "x"}}"#).expect_err("a policy presents nothing");
    assert_eq!(
        refusal,
        "`message` asks a provider, and this plugin is a policy; known are settings, control, context, expect"
    );
    let refusal = provider(r#"{"control": {"spawn": {}}}"#).expect_err("a provider decides nothing");
    assert!(refusal.starts_with("`control` asks a policy, and this plugin is a provider; "), "{refusal}");
    let refusal = provider(r#"{"message": {}, "site": {}}"#).expect_err("two questions");
    assert_eq!(refusal, "`message` and `site` are two questions; a case asks one");

    // An answer that the question cannot have is a mistake in the case, not a difference.
    let cases = [
        (
            r#"{"message": {}, "expect": {"plan": {}}}"#,
            "expect: must be an object with one of `presentation` and `error`",
        ),
        (r#"{"reason": "failed", "expect": "allow"}"#, "expect: must be an object with one of `stopPlan` and `error`"),
        (r#"{"expect": {"presentation": {}}}"#, "expect: must be an object with one of `plan` and `error`"),
    ];
    for (text, expected) in cases {
        assert_eq!(provider(text).expect_err(text), expected);
    }
    let refusal = policy(r#"{"control": {"spawn": {}}, "expect": {"plan": {}}}"#).expect_err("no verdict");
    assert_eq!(refusal, "expect: must be \"allow\", or an object with one of `deny`, `amend` and `error`");
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
