//! What is seen in the screens of the real program, and which ways lead into its sessions.

use std::path::Path;

use agent_relay_plugin::clock;
use agent_relay_plugin::session::{
    Attempt, Carrier, FileText, Notice, Observation, RunningSession, Screen, Seen, Sign, Way,
};
use agent_relay_plugin::testing::{Recorded, deliver, observe};

use crate::Codex;

const ID: &str = "01a218f6-18ce-74f2-bce1-6c70f0803e17";
const ROLLOUT: &str =
    "/home/me/.codex/sessions/2026/11/26/rollout-2026-11-26T17-45-02-01a218f6-18ce-74f2-bce1-6c70f0803e17.jsonl";

/// A moment after the recorded screens were taken: 2026-11-26 17:50 UTC.
const NOW_MS: u64 = 1_795_715_400_000;

fn see(session: &RunningSession, screen: &Screen) -> Observation {
    observe::<Codex>("{}", session, screen).expect("no settings are needed")
}

fn session() -> RunningSession {
    RunningSession::sample().at_ms(NOW_MS)
}

#[test]
fn every_recorded_screen_is_seen_for_what_it_is() {
    for recorded in Recorded::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/screens")) {
        let named = recorded.path.display();
        let seen = see(&session(), &recorded.screen);
        let (what, text) = seen.state.words();
        assert_eq!(what, recorded.fact("sees"), "{named}: {seen:?}");
        assert_eq!(text, recorded.fact("says"), "{named}");
        assert_eq!(seen.has_draft, recorded.fact("draft") == "yes", "{named}");
        if let Some(version) = recorded.facts.get("version") {
            assert_eq!(seen.version.as_deref(), Some(version.as_str()), "{named}");
            assert_eq!(seen.conversation.as_deref(), Some(recorded.fact("conversation")), "{named}");
        }
        if let Seen::Limit(limit) = &seen.state {
            let until = clock::time_stamp(recorded.fact("until"));
            assert_eq!(limit.until_ms, until, "{named}");
            // What is over holds nobody back.
            let later = session().at_ms(until.unwrap_or(NOW_MS + 3 * 60 * 60 * 1_000) + 1_000);
            let later = see(&later, &recorded.screen.clone().still_for_ms(later.now_ms - NOW_MS));
            assert_eq!(later.state, Seen::Idle, "{named}");
        }
    }
}

/// A recorded screen.
fn recorded(name: &str) -> Screen {
    let all = Recorded::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/screens"));
    let found = all.into_iter().find(|recorded| recorded.path.ends_with(name));
    found.unwrap_or_else(|| panic!("{name} was not recorded")).screen
}

#[test]
fn what_is_not_known_is_no_idle_session() {
    let mut strange = Screen::of("something new\n\n  [y/n]");
    assert_eq!(see(&session(), &strange).state, Seen::Unknown);
    strange.title = "[ ! ] Action Required | a".to_owned();
    assert_eq!(see(&session(), &strange).state, Seen::Dialog("Action Required".to_owned()));
    assert_eq!(see(&session(), &Screen::of("")).state, Seen::Starting);
}

/// What a model prints may look like an input, a limit or another conversation.
#[test]
fn nothing_that_was_said_is_taken_for_the_program() {
    let mut said = recorded("named-idle.txt");
    let answer = said.rows.iter().position(|row| row.starts_with('•')).expect("an answer");
    said.rows[answer - 1] = "■ You’ve hit your usage limit. Try again later.".to_owned();
    said.rows[answer] = "• 01a218f6-18ce-74f2-bce1-000000000000 · 9.9.9".to_owned();
    let seen = see(&session(), &said);
    assert_eq!(seen.state, Seen::Idle, "an answer came after it");
    assert_eq!((seen.conversation.as_deref(), seen.version.as_deref()), (Some(ID), Some("0.169.0")));
}

#[test]
fn a_conversation_is_named_once_it_had_a_turn() {
    let mut fresh = recorded("named-idle.txt");
    let prompt = fresh.rows.iter().position(|row| row.starts_with('›')).expect("a prompt");
    let input = fresh.rows.iter().rposition(|row| row.starts_with('›')).expect("an input");
    for row in &mut fresh.rows[prompt..input] {
        row.clear();
    }
    assert_eq!(see(&session(), &fresh).conversation, None);
    fresh.rows[input - 2] = "• Working (1s • esc to interrupt)".to_owned();
    assert_eq!(see(&session(), &fresh).conversation.as_deref(), Some(ID));
}

#[test]
fn the_reset_is_counted_from_when_it_was_told() {
    let mut told = recorded("limit.txt");
    let status = told.rows.iter().position(|row| row.contains("scripted default")).expect("a line of status");
    told.rows[status] = format!("  {ID} · 0.169.0 · scripted default");
    let line = r#"{"timestamp":"2026-11-26T17:26:34.427Z","ordinal":133,"type":"event_msg","payload":{"type":"task_complete","error":{"codex_error_info":"usage_limit_exceeded"}}}"#;
    let evening = session().at_ms(clock::time_stamp("2026-11-26T20:00:00Z").expect("a moment"));
    assert!(matches!(see(&evening, &told).state, Seen::Limit(_)), "all that is known is that the screen changed");
    assert_eq!(see(&evening.with_file(ROLLOUT, line), &told).state, Seen::Idle);
}

#[test]
fn a_turn_is_known_from_the_record_before_it_is_on_the_screen() {
    let event = |name: &str| format!(r#"{{"ordinal":9,"type":"event_msg","payload":{{"type":"{name}"}}}}"#);
    let screen = recorded("named-idle.txt");
    let with = |events: [&str; 2]| session().with_file(ROLLOUT, &events.map(event).join("\n"));
    let begun = with(["turn_aborted", "task_started"]);
    assert_eq!(see(&begun, &screen).state, Seen::Busy);
    // What a killed program left behind.
    assert_eq!(see(&begun.at_ms(NOW_MS + 5_000), &screen).state, Seen::Idle);
    assert_eq!(see(&with(["task_started", "task_complete"]), &screen).state, Seen::Idle);
}

/// The ladder for a session whose version and conversation are known.
fn ladder(settings: &str, notice: &Notice, session: &RunningSession, state: Seen) -> Vec<Attempt> {
    let (conversation, version) = (Some(ID.to_owned()), Some("0.169.0".to_owned()));
    let seen = Observation { conversation, version, ..Observation::of(state) };
    deliver::<Codex>(settings, notice, session, &seen).expect("the settings are fine")
}

/// The notice among what was said.
fn shown() -> Sign {
    Sign::Screen("› [agent-relay] message 17 from \"alice\"".to_owned())
}

fn rungs(ladder: &[Attempt]) -> Vec<&str> {
    ladder.iter().map(|attempt| attempt.rung.as_str()).collect()
}

#[test]
fn the_queue_comes_before_the_terminal() {
    let notice = Notice::sample();
    let session = session().with_file(ROLLOUT, "");
    let [queue, typed] = &ladder("{}", &notice, &session, Seen::Idle)[..] else { panic!("two rungs") };
    assert_eq!((queue.rung.as_str(), queue.carrier), ("queue", Carrier::Queue));
    let Way::Command(command) = &queue.way else { panic!("{queue:?}") };
    assert_eq!(command.program, "codex");
    assert_eq!(command.args, ["queue", "--thread", ID, "--message", &notice.text]);
    let text = r#""role":"user","content":[{"type":"input_text","text":"[agent-relay] message 17 from \"alice\"""#;
    let taken = Sign::File(FileText { path: ROLLOUT.to_owned(), text: text.to_owned() });
    assert_eq!(queue.evidence, std::slice::from_ref(&taken));
    assert_eq!((typed.rung.as_str(), typed.carrier), ("typed", Carrier::Typed));
    let Way::Typing(typing) = &typed.way else { panic!("{typed:?}") };
    assert!(typing.keys_before.is_empty() && typing.submit && typing.text == notice.text, "{typing:?}");
    assert_eq!(typed.evidence, [taken, shown(), Sign::Turn]);
}

#[test]
fn without_the_rollout_the_screen_is_evidence() {
    let ladder = ladder("{}", &Notice::sample(), &session(), Seen::Idle);
    assert_eq!(ladder[0].evidence, [shown()]);
    assert_eq!(ladder[1].evidence, [shown(), Sign::Turn]);
}

#[test]
fn a_queue_that_is_not_looked_at_is_left_out() {
    let event = |name: &str| {
        format!(
            r#"{{"timestamp":"2026-11-26T17:25:08.580Z","ordinal":79,"type":"event_msg","payload":{{"type":"{name}"}}}}"#
        )
    };
    let with = |events: &[&str]| {
        session().with_file(ROLLOUT, &events.iter().map(|name| event(name) + "\n").collect::<String>())
    };
    let of = |session: &RunningSession| ladder("{}", &Notice::sample(), session, Seen::Idle);
    assert_eq!(rungs(&of(&with(&["task_started", "turn_aborted"]))), ["typed"]);
    assert_eq!(rungs(&of(&with(&["turn_aborted", "task_started", "task_complete"]))), ["queue", "typed"]);
}

#[test]
fn an_interruption_is_typed_after_escape() {
    let notice = Notice { interrupt: true, ..Notice::sample() };
    for (state, keys) in [(Seen::Busy, vec!["Escape".to_owned()]), (Seen::Idle, Vec::new())] {
        let ladder = ladder("{}", &notice, &session(), state);
        assert_eq!(rungs(&ladder), ["typed"]);
        let Way::Typing(typing) = &ladder[0].way else { panic!("{ladder:?}") };
        assert_eq!(typing.keys_before, keys);
    }
}

#[test]
fn a_version_that_is_not_known_is_typed_to() {
    let notice = Notice::sample();
    let deliver = |settings: &str, seen: &Observation| {
        let ladder = deliver::<Codex>(settings, &notice, &session(), seen).expect("the settings are fine");
        ladder.into_iter().map(|attempt| attempt.rung).collect::<Vec<_>>()
    };
    let mut seen = Observation::of(Seen::Idle);
    assert_eq!(deliver("{}", &seen), ["typed"]);
    seen.version = Some("0.169.0".to_owned());
    assert_eq!(deliver("{}", &seen), ["typed"], "which conversation it is, is not known");
    seen.conversation = Some(ID.to_owned());
    assert_eq!(deliver("{}", &seen), ["queue", "typed"]);
    seen.version = Some("0.170.0".to_owned());
    assert_eq!(deliver("{}", &seen), ["typed"]);
    assert_eq!(deliver(r#"{"queue_versions": ["0.170.0"]}"#, &seen), ["queue", "typed"]);
}
