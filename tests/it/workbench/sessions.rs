//! Cases about running sessions: what is typed into one, and how one is asked to end.

use serde_json::{Value, json};

use super::{case, plugin, plugin_with, put, shipped};
use crate::plugins::{guest, provider};

/// The provider that answers what it should not, in a folder with a deadline for busy machines.
fn misplan(home: &tempfile::TempDir) -> String {
    let folder = home.path().join("plugins/misplan");
    put(&folder, &provider("misplan", ""), &guest("misplan"));
    folder.to_str().expect("text").to_owned()
}

/// What somebody would write who wants keys pressed in another's session: an end of the paste, a
/// return, a C1 control and a NUL.
const KEYS_IN_A_BODY: &str = "hi\u{1b}[201~\rrm -rf /\n\tdone\u{9b}A\0";

#[test]
fn a_message_and_a_reason_are_put_to_a_provider() {
    let home = tempfile::tempdir().expect("a directory");
    for (id, stop) in [("claude", json!(["Escape", "C-c", "C-c", "C-c"])), ("codex", json!(["C-c", "C-c", "C-c"]))] {
        let folder = shipped(&home, id);
        let ask = |question: &Value| plugin_with(home.path(), &["run", &folder, "--json"], &question.to_string());

        let message = json!({"message": {"subject": "a\nb", "body": KEYS_IN_A_BODY, "interrupt": true}});
        let called = ask(&message).exits(0).json();
        let shown = &called["answer"]["presentation"];
        assert_eq!((&shown["keysBefore"], &shown["submit"]), (&json!(["Escape"]), &json!(true)));
        let text = shown["text"].as_str().expect("text");
        assert!(text.starts_with(r#"[agent-relay] message 1 from "alice" about "a\nb": "hi"#), "{text}");
        assert!(!text.contains(char::is_control), "{text:?}");
        assert!(called["micros"].as_u64() > Some(0) && called["peakBytes"].as_u64() >= Some(65_536), "{called}");
        assert_eq!(called["asked"], true);

        let calm = ask(&json!({"message": {}})).exits(0).json();
        assert_eq!(calm["answer"]["presentation"]["keysBefore"], json!([]));
        for reason in ["shutdown", "restart", "failed"] {
            let plan = ask(&json!({"reason": reason})).exits(0).json()["answer"]["stopPlan"].take();
            assert_eq!(plan, json!({"keys": stop, "graceMs": 10_000}), "{id} {reason}");
        }
    }
}

#[test]
fn what_the_host_refuses_can_be_expected() {
    let home = tempfile::tempdir().expect("a directory");
    let folder = misplan(&home);
    let cases = [
        (
            "taken-out",
            json!({"message": {"id": 9, "body": KEYS_IN_A_BODY}, "expect": {"presentation": {
            "text": "message 9 from alice: hi[201~rm -rf /\n\tdoneA", "keysBefore": ["Escape"], "submit": true}}}),
        ),
        (
            "a-flag",
            json!({"message": {"body": "flag"}, "expect": {"error":
            r#"gave an unusable answer: presentation.keys-before: "-t" is not the name of a key"#}}),
        ),
        (
            "too-long",
            json!({"message": {"body": "x".repeat(330 * 1024)},
            "expect": {"error": "bytes are more than 327680"}}),
        ),
        ("long", json!({"message": {"body": "x".repeat(256 * 1024)}, "expect": {"presentation": {"submit": true}}})),
        ("memory", json!({"message": {"body": "hog"}, "expect": {"error": "wanted more than 64 MiB of memory"}})),
        ("trap", json!({"message": {"body": "trap"}, "expect": {"error": "trapped"}})),
        ("ends", json!({"reason": "restart", "expect": {"stopPlan": {"keys": ["C-c"], "graceMs": 500}}})),
        (
            "never-ends",
            json!({"reason": "failed", "expect": {"error":
            "gave an unusable answer: stop-plan.grace-ms: 600000 is more than 60000"}}),
        ),
    ];
    for (name, question) in &cases {
        case(&folder, &format!("{name}.json"), question);
    }
    let tested = plugin(home.path(), &["test", &folder]);
    assert!(tested.exits(0).out.ends_with("8 cases: 8 passed, 0 failed\n"), "{}", tested.out);

    // Without an expectation a refused answer is a failure, with the code that the relay counts it by.
    let called = plugin_with(home.path(), &["run", &folder, "--json"], r#"{"reason": "failed"}"#);
    assert_eq!(called.exits(1).json()["answer"]["code"], "output");

    // The first case by name is the one that is measured, whatever it asks.
    let figures = plugin(home.path(), &["bench", &folder, "--calls", "20", "--json"]);
    assert!(figures.exits(0).json()["instanceAndCall"]["p50Micros"].as_u64() > Some(0), "{}", figures.out);
}

#[test]
fn another_answer_is_told_as_a_diff() {
    let home = tempfile::tempdir().expect("a directory");
    let folder = misplan(&home);
    case(
        &folder,
        "a.json",
        &json!({"message": {"body": "hi"}, "expect": {"presentation": {"text": "hi", "submit": false}}}),
    );
    case(&folder, "b.json", &json!({"reason": "shutdown", "expect": {"stopPlan": {"keys": [], "graceMs": 500}}}));
    case(&folder, "c.json", &json!({"reason": "failed", "expect": {"stopPlan": {"keys": ["C-c"]}}}));
    let said = plugin(home.path(), &["test", &folder]);
    said.exits(1);
    for part in [
        "    - presentation.submit: false\n    + presentation.submit: true\n",
        "    - presentation.text: \"hi\"\n    + presentation.text: \"message 1 from alice: hi\"\n",
        "    - stopPlan.keys: []\n    + stopPlan.keys: [\"C-c\"]\n",
        "    - {\"stopPlan\":{\"keys\":[\"C-c\"]}}\n    + {",
        "3 cases: 0 passed, 3 failed\n",
    ] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    assert!(!said.out.contains("graceMs: "), "what is as expected is no difference: {}", said.out);
}

#[test]
fn a_case_that_cannot_be_asked_says_why() {
    let home = tempfile::tempdir().expect("a directory");
    let folder = shipped(&home, "containment");
    let ask = |folder: &str, question: &str| plugin_with(home.path(), &["run", folder], question);
    let said = ask(&folder, r#"{"message": {"body": "hi"}}"#);
    let wrong_kind =
        "the case: `message` asks a provider, and this plugin is a policy; known are settings, control, context";
    assert!(said.exits(2).err.contains(wrong_kind), "{}", said.err);
    assert!(ask(&folder, r#"{"present": {}}"#).exits(2).err.contains("unknown key `present`"));

    let folder = misplan(&home);
    let unknown = ask(&folder, r#"{"message": {"from": "bob"}}"#);
    assert!(unknown.exits(2).err.contains("unknown field `from`, expected one of `id`, `sender`"), "{}", unknown.err);
    let both = ask(&folder, r#"{"reason": "failed", "message": {}}"#);
    assert!(both.exits(2).err.contains("are two questions; a case asks one"), "{}", both.err);

    // One such file does not hide how the others came out.
    case(&folder, "bad.json", &json!({"reason": "crashed", "expect": {"stopPlan": {}}}));
    case(&folder, "good.json", &json!({"reason": "restart", "expect": {"stopPlan": {}}}));
    let said = plugin(home.path(), &["test", &folder]);
    assert!(
        said.exits(1).out.contains("reason: must be one of \"shutdown\", \"restart\" and \"failed\""),
        "{}",
        said.out
    );
    assert!(said.out.ends_with("2 cases: 1 passed, 1 failed\n"), "{}", said.out);
}
