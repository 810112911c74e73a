//! What is seen in the screens of the real program, and which ways lead into its sessions.

use std::path::Path;

use agent_relay_plugin::clock;
use agent_relay_plugin::session::{
    Attempt, Carrier, FileText, Notice, Observation, RunningSession, Screen, Seen, Sign, Typing, Way,
};
use agent_relay_plugin::testing::{Recorded, deliver, observe};

use crate::Claude;

const ID: &str = "e33d5e62-d65a-4bb1-bcbc-c0fbc051e4d1";

/// A moment after the recorded screens were taken: 2026-11-26 17:30 UTC.
const NOW_MS: u64 = 1_795_714_200_000;

fn see(session: &RunningSession, screen: &Screen) -> Observation {
    observe::<Claude>("{}", session, screen).expect("no settings are needed")
}

/// What the program writes of itself; `status` is `idle`, or `waiting/dialog open`.
fn status(version: &str, status: &str) -> String {
    let (status, waiting_for) = status.split_once('/').unwrap_or((status, ""));
    let socket = if version == "2.1.332" { r#","messagingSocketPath":"/tmp/cc-socks/4711.sock""# } else { "" };
    let waiting_for = if waiting_for.is_empty() { String::new() } else { format!(r#","waitingFor":"{waiting_for}""#) };
    format!(
        r#"{{"pid":4711,"sessionId":"{ID}","cwd":"/code/a","version":"{version}","peerProtocol":1,"kind":"interactive",
            "status":"{status}"{waiting_for}{socket}}}"#
    )
}

fn session() -> RunningSession {
    RunningSession::sample().at_ms(NOW_MS)
}

fn with_status(version: &str, doing: &str) -> RunningSession {
    session().with_file("/home/me/.claude/sessions/4711.json", &status(version, doing))
}

#[test]
fn every_recorded_screen_is_seen_for_what_it_is() {
    for recorded in Recorded::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/screens")) {
        let version =
            recorded.path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).expect("a version");
        let named = recorded.path.display();
        let doing = recorded.fact("status");
        let with = if doing.is_empty() { session() } else { with_status(version, doing) };
        // With what the program writes of itself, and from the screen alone.
        for mut session in [with, session()] {
            session.utc_offset_minutes = recorded.fact("zone").parse().unwrap_or(0);
            let seen = see(&session, &recorded.screen);
            let (what, text) = seen.state.words();
            assert_eq!(what, recorded.fact("sees"), "{named}: {seen:?}");
            assert_eq!(text, recorded.fact("says"), "{named}");
            assert_eq!(seen.has_draft, recorded.fact("draft") == "yes", "{named}");
            if let Seen::Limit(limit) = &seen.state {
                let until = clock::time_stamp(recorded.fact("until"));
                assert_eq!(limit.until_ms, until, "{named}");
                // What is over holds nobody back.
                let later = session.clone().at_ms(until.expect("a moment") + 1_000);
                let later = see(&later, &recorded.screen.clone().still_for_ms(NOW_MS / 2));
                assert!(!matches!(later.state, Seen::Limit(_)), "{named}: {later:?}");
            }
        }
    }
}

/// A recorded screen of 2.1.332.
fn recorded(name: &str) -> Screen {
    let all = Recorded::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/screens/2.1.332"));
    let found = all.into_iter().find(|recorded| recorded.path.ends_with(name));
    found.unwrap_or_else(|| panic!("{name} was not recorded")).screen
}

#[test]
fn a_question_outranks_a_file_that_is_late() {
    for said in ["idle", "busy"] {
        let seen = see(&with_status("2.1.332", said), &recorded("permission.txt"));
        assert!(matches!(seen.state, Seen::Approval(_)), "{seen:?}");
    }
}

#[test]
fn a_turn_that_either_shows_counts() {
    assert_eq!(see(&with_status("2.1.332", "idle"), &recorded("busy.txt")).state, Seen::Busy);
    assert_eq!(see(&with_status("2.1.332", "busy"), &recorded("idle.txt")).state, Seen::Busy);
    // A turn that nothing was seen of for so long is one that a file was left with.
    let still = recorded("idle.txt").still_for_ms(60_000);
    assert_eq!(see(&with_status("2.1.332", "busy"), &still).state, Seen::Idle);
}

#[test]
fn what_waits_behind_a_screen_that_is_not_known_is_no_idle_session() {
    let strange = Screen::of("something new\n\n  [y/n]");
    assert_eq!(see(&session(), &strange).state, Seen::Unknown);
    assert_eq!(see(&with_status("2.1.332", "idle"), &strange).state, Seen::Unknown);
    let seen = see(&with_status("2.1.332", "waiting/dialog open"), &strange);
    assert_eq!(seen.state, Seen::Dialog("dialog open".to_owned()));
    let seen = see(&with_status("2.1.332", "waiting/permission prompt"), &strange);
    assert_eq!(seen.state, Seen::Approval("permission prompt".to_owned()));
    assert_eq!(
        see(&with_status("2.1.332", "waiting/something new"), &recorded("idle.txt")).state,
        Seen::Dialog("something new".to_owned())
    );
}

/// What a model prints may look like an input or like a limit.
#[test]
fn nothing_that_was_said_is_taken_for_the_program() {
    let rule = "─".repeat(40);
    let mut faked = recorded("permission.txt");
    let above = [rule.clone(), "❯".to_owned(), rule];
    faked.rows.splice(5..8, above);
    assert!(matches!(see(&session(), &faked).state, Seen::Approval(_)));
    let mut said = recorded("idle.txt");
    let answer = said.rows.iter().position(|row| row.starts_with('●')).expect("an answer");
    said.rows[answer - 1] = "  ⎿  You've hit your 5-hour limit · resets 6:53pm (UTC)".to_owned();
    assert_eq!(see(&session(), &said).state, Seen::Idle, "an answer came after it");
}

#[test]
fn the_reset_is_counted_from_when_it_was_told() {
    let line = r#"{"type":"assistant","timestamp":"2026-11-26T17:23:47.411Z","message":{},"error":"rate_limit"}"#;
    let transcript = format!("/home/me/.claude/projects/-code-a/{ID}.jsonl");
    let session = with_status("2.1.332", "idle").with_file(&transcript, line);
    // Somebody looked at the terminal in the evening, so that its screen changed after the limit had ended.
    let evening = session.at_ms(clock::time_stamp("2026-11-26T20:00:00Z").expect("a moment"));
    assert_eq!(see(&evening, &recorded("limit-dismissed.txt")).state, Seen::Idle);
}

#[test]
fn a_conversation_is_named_once_there_is_something_to_resume() {
    let named = |session: &RunningSession, screen: &str| see(session, &recorded(screen)).conversation;
    assert_eq!(named(&with_status("2.1.332", "idle"), "fresh.txt"), None);
    assert_eq!(named(&with_status("2.1.332", "idle"), "idle.txt").as_deref(), Some(ID));
    let transcript = format!("/home/me/.claude/projects/-code-a/{ID}.jsonl");
    let said = with_status("2.1.332", "idle").with_file(&transcript, r#"{"type":"user","message":{}}"#);
    assert_eq!(named(&said, "fresh.txt").as_deref(), Some(ID));
    assert_eq!(named(&session(), "idle.txt"), None, "the screen names none");
    assert_eq!(see(&session(), &recorded("fresh.txt")).version.as_deref(), Some("2.1.332"));
}

/// The ladder for a session that does this.
fn ladder(settings: &str, notice: &Notice, session: &RunningSession, state: Seen) -> Vec<Attempt> {
    deliver::<Claude>(settings, notice, session, &Observation::of(state)).expect("the settings are fine")
}

#[test]
fn the_inbox_comes_before_the_terminal() {
    let transcript = format!("/home/me/.claude/projects/-code-a/{ID}.jsonl");
    let session = with_status("2.1.332", "idle").with_file(&transcript, "");
    let notice = Notice::sample();
    let [inbox, typed] = &ladder("{}", &notice, &session, Seen::Idle)[..] else { panic!("two rungs") };
    assert_eq!((inbox.rung.as_str(), inbox.carrier), ("inbox", Carrier::Queue));
    let Way::Socket(socket) = &inbox.way else { panic!("{inbox:?}") };
    assert_eq!(socket.path, "/tmp/cc-socks/4711.sock");
    let [line] = &socket.lines[..] else { panic!("{socket:?}") };
    let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
    assert_eq!(line["priority"], "next");
    let content = line["message"]["content"].as_str().expect("text");
    assert!(content.contains("\n[agent-relay] message 17 from \"alice\"\n</cross-session-message>"), "{content}");
    let named = format!("\"msg_id\":\"{}\"", notice.attempt_id);
    assert_eq!(inbox.evidence, [Sign::File(FileText { path: transcript.clone(), text: named })]);

    assert_eq!((typed.rung.as_str(), typed.carrier), ("typed", Carrier::Typed));
    let Way::Typing(Typing { keys_before, text, submit }) = &typed.way else { panic!("{typed:?}") };
    assert_eq!((keys_before.len(), text, *submit), (0, &notice.text, true));
    let written = r#""role":"user","content":"[agent-relay] message 17 from \"alice\"""#.to_owned();
    let shown = Sign::Screen("❯ [agent-relay] message 17 from \"alice\"".to_owned());
    assert_eq!(typed.evidence, [Sign::File(FileText { path: transcript, text: written }), shown, Sign::Turn]);
}

#[test]
fn the_token_of_the_inbox_is_shown_where_there_is_one() {
    let key = "/home/me/.claude/sessions/4711.00ff.key";
    let session = with_status("2.1.332", "idle").with_file(key, r#"{"peerToken":"0123","procStart":"7"}"#);
    let ladder = ladder("{}", &Notice::sample(), &session, Seen::Idle);
    let Way::Socket(socket) = &ladder[0].way else { panic!("{ladder:?}") };
    assert_eq!(socket.lines[0], r#"{"token":"0123","type":"auth"}"#);
    assert_eq!(socket.lines.len(), 2);
}

#[test]
fn an_interruption_breaks_into_a_turn() {
    let notice = Notice { interrupt: true, ..Notice::sample() };
    let busy = ladder("{}", &notice, &with_status("2.1.332", "busy"), Seen::Busy);
    let Way::Socket(socket) = &busy[0].way else { panic!("{busy:?}") };
    assert!(socket.lines[0].contains(r#""priority":"now""#), "{socket:?}");
    let keys = |attempt: &Attempt| match &attempt.way {
        Way::Typing(typing) => typing.keys_before.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(keys(&busy[1]), ["Escape"]);
    // Where no turn runs, the key would do something else.
    assert!(keys(&ladder("{}", &notice, &with_status("2.1.332", "idle"), Seen::Idle)[1]).is_empty());
}

#[test]
fn a_version_that_is_not_known_is_typed_to() {
    let rungs = |settings, session: &RunningSession| -> Vec<String> {
        ladder(settings, &Notice::sample(), session, Seen::Idle).into_iter().map(|attempt| attempt.rung).collect()
    };
    assert_eq!(rungs("{}", &session()), ["typed"]);
    assert_eq!(rungs("{}", &with_status("2.1.197", "idle")), ["typed"]);
    let newer = status("2.1.332", "idle").replace("2.1.332", "2.2.0");
    let newer = session().with_file("/home/me/.claude/sessions/4711.json", &newer);
    assert_eq!(rungs("{}", &newer), ["typed"]);
    assert_eq!(rungs(r#"{"inbox_versions": ["2.2.0"]}"#, &newer), ["inbox", "typed"]);
    let changed = status("2.1.332", "idle").replace(r#""peerProtocol":1"#, r#""peerProtocol":2"#);
    assert_eq!(rungs("{}", &session().with_file("/home/me/.claude/sessions/4711.json", &changed)), ["typed"]);
    let broken = session().with_file("/home/me/.claude/sessions/4711.json", "{\"pid\": 4711");
    assert_eq!(rungs("{}", &broken), ["typed"]);
    let others = session().with_file("/home/me/.claude/sessions/815.json", &status("2.1.332", "idle"));
    assert_eq!(rungs("{}", &others), ["typed"], "a session of somebody else");
}
