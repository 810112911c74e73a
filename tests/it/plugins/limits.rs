//! What a guest does to itself stays with that one call.

use agent_relay::domain::control::{Context, Outcome, VerdictKind};
use agent_relay::plugins::{ChangeKind, PluginState};

use super::{CALLERS, Home, context, decide, decide_for, failure, guest, handmade, policy, spawn, status};

#[tokio::test]
async fn whatever_a_guest_does_is_a_refusal_with_its_reason() {
    let home = Home::new();
    home.put("misbehave", &policy("misbehave", ""), &guest("misbehave"));
    let cases = [
        ("trap", "trap", "policy misbehave trapped: wasm `unreachable` instruction executed"),
        ("hog", "memory", "policy misbehave wanted more than 64 MiB of memory"),
        ("recurse", "trap", "policy misbehave trapped: stack overflow, by its looks: its calls nest "),
        (
            "huge",
            "output",
            "policy misbehave gave an unusable answer: it hands over more than the 1024 KiB of limits.output_kb",
        ),
        ("nul", "output", "policy misbehave gave an unusable answer: denial.code: "),
        ("no-text", "output", "policy misbehave gave an unusable answer: a text in it is not UTF-8"),
    ];
    for (wish, code, reason) in cases {
        let plugins = home.open().await;
        let decision = decide(&plugins, wish).await;
        let [record] = &decision.verdicts[..] else { panic!("{decision:?}") };
        assert_eq!((record.verdict, record.code.as_deref()), (VerdictKind::Error, Some(code)), "{wish}: {record:?}");
        let said = failure(&decision);
        assert!(said.starts_with(reason), "{wish}: {said}");
        // The next call has an instance of its own.
        let next = decide(&plugins, "").await;
        assert!(matches!(next.outcome, Outcome::Allowed(_)), "{wish}: {next:?}");
        assert_eq!(status(&plugins, "misbehave", PluginState::Active).traps, 1);
    }
}

#[tokio::test]
async fn a_flood_of_log_lines_is_cut_off_and_harmless() {
    let home = Home::new();
    home.put("misbehave", &policy("misbehave", ""), &guest("misbehave"));
    let plugins = home.open().await;
    let decision = decide(&plugins, "flood").await;
    assert!(matches!(decision.outcome, Outcome::Allowed(_)), "{decision:?}");
}

#[tokio::test]
async fn a_long_reason_is_cut_to_two_kilobytes() {
    let home = Home::new();
    home.put("misbehave", &policy("misbehave", ""), &guest("misbehave"));
    let plugins = home.open().await;
    let decision = decide(&plugins, "large").await;
    let (code, reason) = super::denial(&decision);
    assert_eq!((code, reason.len()), ("large", 2048));
}

/// One plugin that is stuck fills its own room, not everybody's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_beyond_the_room_are_told_to_try_again() {
    let home = Home::new();
    let manifest = policy("misbehave", "").replace("5000", "1500");
    home.put("misbehave", &manifest, &guest("misbehave"));
    let plugins = home.open().await;
    let mut changes = plugins.changes();
    let calls: Vec<_> = (0..40)
        .map(|number: usize| {
            let plugins = plugins.clone();
            let ask = async move { decide_for(&plugins, CALLERS[number % 2], &number.to_string(), "loop").await };
            tokio::spawn(ask)
        })
        .collect();
    let mut codes = Vec::new();
    for call in calls {
        let decision = call.await.expect("no panic");
        codes.push(decision.verdicts[0].code.clone().expect("a failure has a code"));
    }
    // Five of these failures and it is not even asked any more.
    codes.retain(|code| code != "quarantined");
    let of = |code: &str| codes.iter().filter(|found| *found == code).count();
    // On a busy machine a call may come so late that it finds room again.
    assert!(of("deadline") >= 16 && of("overloaded") > 0, "{codes:?}");
    assert_eq!(of("deadline") + of("overloaded"), codes.len(), "{codes:?}");
    // The room is free again.
    super::change(&mut changes, ChangeKind::Quarantined, "misbehave").await;
    plugins.reload(None).await;
    assert!(matches!(decide(&plugins, "").await.outcome, Outcome::Allowed(_)));
}

/// The limit is on the call as a whole and comes from the manifest.
#[tokio::test]
async fn a_manifest_may_ask_for_less_memory() {
    let home = Home::new();
    let manifest = policy("misbehave", "").replace("[limits]", "[limits]\nmemory_mb = 4");
    home.put("misbehave", &manifest, &guest("misbehave"));
    let plugins = home.open().await;
    let decision = decide(&plugins, "hog").await;
    assert_eq!(failure(&decision), "policy misbehave wanted more than 4 MiB of memory");
}

/// The manifest says how many calls at once, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_may_ask_for_one_call_at_once() {
    let home = Home::new();
    let manifest = policy("misbehave", "").replace("deadline_ms = 5000", "deadline_ms = 1500\ncalls = 1");
    home.put("misbehave", &manifest, &guest("misbehave"));
    let plugins = home.open().await;
    let (one, other) = tokio::join!(decide(&plugins, "loop"), decide(&plugins, "loop"));
    let mut codes: Vec<_> = [one, other].iter().filter_map(|decision| decision.verdicts[0].code.clone()).collect();
    codes.sort();
    assert_eq!(codes, ["deadline", "overloaded"]);
}

/// A policy that may be asked or may answer less than the host would let it.
fn narrow(limit: &str) -> String {
    policy("misbehave", "").replace("[limits]", &format!("[limits]\n{limit} = 4"))
}

#[tokio::test]
async fn a_question_beyond_the_limit_is_not_asked() {
    let home = Home::new();
    home.put("misbehave", &narrow("input_kb"), &guest("misbehave"));
    let plugins = home.open().await;
    assert!(matches!(decide(&plugins, "").await.outcome, Outcome::Allowed(_)));
    let before = status(&plugins, "misbehave", PluginState::Active);
    for _ in 0..6 {
        let decision = decide(&plugins, &"x".repeat(4 << 10)).await;
        assert_eq!(decision.verdicts[0].code.as_deref(), Some("input"), "{decision:?}");
        let problem = "policy misbehave is not asked: the question has more than the 4 KiB of limits.input_kb";
        assert_eq!(failure(&decision), problem);
    }
    let after = status(&plugins, "misbehave", PluginState::Active);
    assert_eq!((after.calls, after.traps), (before.calls, before.traps), "it is no fault of the plugin's");
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_a_refusal() {
    let home = Home::new();
    home.put("misbehave", &narrow("output_kb"), &guest("misbehave"));
    let plugins = home.open().await;
    assert_eq!(super::denial(&decide(&plugins, "deny").await).0, "denied_on_request");
    let decision = decide(&plugins, "large").await;
    assert_eq!(decision.verdicts[0].code.as_deref(), Some("output"), "{decision:?}");
    assert!(failure(&decision).starts_with("policy misbehave gave an unusable answer: "), "{decision:?}");
}

/// A guest that gives up says why in the last lines of its log; the relay says it on.
#[tokio::test]
async fn a_trap_comes_with_the_last_words() {
    const NOW: i64 = 7;
    let at_now = |body: &str| {
        format!("(if (i64.eq (i64.load offset=NOW (local.get $parameters)) (i64.const {NOW})) (then {body}))")
    };
    let log = |level: u32, from: u32, bytes: u32| {
        format!("(call $log (i32.const {level}) (i32.const {from}) (i32.const {bytes}))")
    };
    let (info, warn, error) = (log(2, 1024, 14), log(3, 1040, 13), log(4, 1056, 17));
    let unreachable = "wasm `unreachable` instruction executed";
    let cases = [
        (format!("{info} unreachable"), format!("trapped: {unreachable}")),
        (
            format!("{warn} {info} {error} unreachable"),
            format!("trapped: {unreachable}; it said at last: panicked at a / no budget is left"),
        ),
        (
            format!("{error} (call $deep)"),
            "trapped: stack overflow: its calls nest deeper than the 1024 KiB that a call has for them; recurse less \
             deeply; it said at last: no budget is left"
                .to_owned(),
        ),
        ("(drop (i32.load (i32.const -4)))".to_owned(), "trapped: out of bounds memory access".to_owned()),
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))".to_owned(), "trapped: integer divide by zero".to_owned()),
        // An answer that is not one: where it should be, and what it should be.
        (
            "(return (i32.const -4))".to_owned(),
            "gave an unusable answer: a text or a list in it lies outside of its memory".to_owned(),
        ),
        (
            "(i32.store8 (i32.const 256) (i32.const 9)) (return (i32.const 256))".to_owned(),
            "gave an unusable answer: a value in it is none of those that its type has".to_owned(),
        ),
        (
            "(return (i32.const 257))".to_owned(),
            "gave an unusable answer: a text or a list in it begins where none can begin".to_owned(),
        ),
    ];
    for (body, said) in cases {
        let component = handmade::edited(|text| {
            let text = text.replace(
                "(global $top",
                "(data (i32.const 1024) \"all is well so \")
                 (data (i32.const 1040) \"panicked at a\")
                 (data (i32.const 1056) \"no budget is left\")
                 (func $deep (call $deep) (i32.store (i32.const 0) (i32.const 0)))
                 (global $top",
            );
            text.replace("DECIDE", &at_now(&body))
        });
        let home = Home::new();
        home.put("guard", &policy("guard", ""), &component);
        let plugins = home.open().await;
        let context = Context { now: NOW, ..context() };
        let decision = plugins.current().decide(spawn(""), &context).await;
        assert_eq!(failure(&decision), format!("policy guard {said}"), "{body}");
    }
}
