//! What a courier may name, and how it is told what it may not.

use super::*;
use crate::domain::control::plan::Presentation;

use super::super::super::samples;

fn accept(attempt: Attempt) -> Result<Vec<Attempt>, String> {
    let grants = Grants {
        executables: vec!["queue".into(), "other".into()],
        reads: vec!["{home}/log/*.jsonl".into()],
        sockets: vec!["/tmp/socks/{pid}.sock".into()],
        ..Grants::default()
    };
    Bounds::new(&["queue".to_owned()], &grants, &samples::session()).accept(vec![attempt])
}

fn run(program: &str, args: &[&str]) -> Attempt {
    let args = args.iter().map(|&arg| arg.to_owned()).collect();
    let way = Way::Run { program: program.to_owned(), args };
    Attempt { rung: "queue".into(), carrier: Carrier::Queue, way, evidence: Vec::new(), confirm_ms: 0 }
}

fn write(path: &str, lines: &[&str]) -> Attempt {
    let lines = lines.iter().map(|&line| line.to_owned()).collect();
    Attempt { way: Way::Write { path: path.to_owned(), lines }, ..run("queue", &[]) }
}

fn shown_by(sign: Sign) -> Attempt {
    Attempt { evidence: vec![sign], ..run("queue", &[]) }
}

fn file(path: &str, text: &str) -> Attempt {
    shown_by(Sign::File { path: path.to_owned(), text: text.to_owned() })
}

fn typed(key: &str, text: &str) -> Attempt {
    let presentation = Presentation { keys_before: vec![key.to_owned()], text: text.to_owned(), submit: true };
    Attempt { rung: "typed".into(), carrier: Carrier::Typed, way: Way::Type(presentation), ..run("queue", &[]) }
}

#[test]
fn what_is_granted_may_be_named() {
    for attempt in [
        run("queue", &["--message", "a\nb"]),
        write("/tmp/socks/4711.sock", &["{}", "{\"x\": 1}"]),
        file("/home/probe/log/a.jsonl", "message 17"),
        shown_by(Sign::Turn),
        shown_by(Sign::Screen("message 17".into())),
        typed("Escape", "hello"),
    ] {
        assert_eq!(accept(attempt.clone()), Ok(vec![attempt]));
    }
    let cleaned = accept(typed("Escape", "a\x1b[201~b")).map(|ladder| ladder[0].way.clone());
    let Ok(Way::Type(Presentation { text, .. })) = cleaned else { panic!("typed") };
    assert_eq!(text, "a[201~b");
}

#[test]
fn what_is_not_granted_is_named_in_the_refusal() {
    let far = "x".repeat(SIGN_MAX + 1);
    let long = "x".repeat(BYTES_MAX + 1);
    for (attempt, word) in [
        (run("/bin/sh", &[]), "attempts[0].program: \"/bin/sh\" is not granted"),
        (run("other", &[]), "is not among the executables described"),
        (run("queue", &["\0"]), "attempts[0].args[0]"),
        (run("queue", &[&long]), "attempts[0].args: "),
        (run("queue", &["x"; ARGS_MAX + 1]), "attempts[0].args: "),
        (write("/tmp/socks/1.sock", &[]), "`sockets`"),
        (write("/tmp/socks/../socks/4711.sock", &[]), "`sockets`"),
        (write("/run/docker.sock", &[]), "`sockets`"),
        (write("/tmp/socks/4711.sock", &["a\nb"]), "attempts[0].lines[0]"),
        (write("/tmp/socks/4711.sock", &["x"; LINES_MAX + 1]), "attempts[0].lines: "),
        (file("/home/probe/log/../../x.jsonl", "x"), "`reads`"),
        (file("/home/probe/log/a.txt", "x"), "evidence[0]: path: "),
        (file("/home/probe/log/a.jsonl", " "), "evidence[0]: text: "),
        (shown_by(Sign::Screen("a\nb".into())), "evidence[0]: text: "),
        (shown_by(Sign::Screen(far)), "evidence[0]: text: "),
        (typed("-t", "x"), "is not the name of a key"),
        (Attempt { carrier: Carrier::Queue, ..typed("Escape", "x") }, "attempts[0].carrier: "),
        (Attempt { carrier: Carrier::Typed, ..run("queue", &[]) }, "attempts[0].carrier: "),
        (Attempt { rung: "Inbox".into(), ..run("queue", &[]) }, "attempts[0].rung: "),
        (Attempt { confirm_ms: CONFIRM_MS_MAX + 1, ..run("queue", &[]) }, "attempts[0].confirm-ms: "),
        (Attempt { evidence: vec![Sign::Turn; SIGNS_MAX + 1], ..run("queue", &[]) }, "attempts[0].evidence: "),
    ] {
        let refusal = accept(attempt.clone()).expect_err("it is refused");
        assert!(refusal.contains(word), "{attempt:?}: {refusal}");
    }
}

#[test]
fn a_ladder_has_an_end_and_no_rung_twice() {
    let grants = Grants { executables: vec!["queue".into()], ..Grants::default() };
    let (executables, session) = (["queue".to_owned()], samples::session());
    let bounds = Bounds::new(&executables, &grants, &session);
    assert_eq!(bounds.accept(Vec::new()), Ok(Vec::new()));
    assert!(bounds.accept(vec![run("queue", &[]); 2]).is_err_and(|problem| problem.contains("twice")));
    let many = (0..=ATTEMPTS_MAX).map(|number| Attempt { rung: format!("r{number}"), ..run("queue", &[]) });
    assert!(bounds.accept(many.collect()).is_err());
}
