//! Typing into sessions, and their terminals.

use super::*;

#[tokio::test]
async fn a_typed_text_arrives_whole() {
    if !has_tmux("typing") {
        return;
    }
    let bench = Bench::new(TmuxChoice::Auto).await;
    let mut launch = bench.script("echo ready; exec cat");
    launch.plan.ready.screen_texts = vec!["ready".to_owned()];
    let started = bench.started(launch).await;
    assert_eq!(started.mode, Mode::Tmux);
    assert!(started.attach_command.is_some_and(|command| command.contains(started.name.as_str())));
    bench.sees(&started.name, "ready").await;
    let text = "-t $(touch pwned); `id` | \"ž\" #{pane_id} ;";
    // It does not ask to be told what is pasted, and each line would be one for itself.
    let presentation = Presentation { keys_before: Vec::new(), text: format!("{text}\n\tsecond line\n"), submit: true };
    bench.sessions.type_text(&started.name, &presentation).await.expect("it is typed");
    let line = format!("{text}  second line");
    let both = format!("ready\n{line}\n{line}");
    bench.sees(&started.name, &both).await;
    assert_eq!(bench.sessions.screen(&started.name).await, both, "once as it is typed, once as it is printed");
    assert!(!bench.directory.path().join("pwned").exists(), "no shell read it");

    let unknown = Presentation { keys_before: vec!["; kill-server".to_owned()], text: String::new(), submit: false };
    let refused = bench.sessions.type_text(&started.name, &unknown).await;
    assert!(matches!(refused, Err(TypeError::UnknownKey(_))), "{refused:?}");
    let long = Presentation { keys_before: Vec::new(), text: "x".repeat(100_000), submit: true };
    let refused = bench.sessions.type_text(&started.name, &long).await;
    assert!(matches!(refused, Err(TypeError::TooLong { bytes: 100_000 })), "{refused:?}");

    // Keys end it: what Ctrl-C is for the foreground job of a terminal.
    let plan = StopPlan { keys: vec!["C-c".to_owned()], grace_ms: 20_000 };
    let exit = bench.sessions.stop(&started.name, &plan).await.expect("it ends");
    assert_eq!(exit.how, Ending::Signal(2));
    let late = bench.sessions.type_text(&started.name, &presentation).await;
    assert!(matches!(late, Err(TypeError::NotRunning(_))), "{late:?}");
}

#[tokio::test]
async fn a_detached_session_has_no_terminal() {
    let bench = Bench::new(TmuxChoice::Never).await;
    let started = bench.started(bench.script("echo up; exec sleep 1000")).await;
    assert_eq!((started.mode, started.attach_command), (Mode::Detached, None));
    bench.sees(&started.name, "up").await;
    let presentation = Presentation { keys_before: Vec::new(), text: "hello".to_owned(), submit: true };
    let refused = bench.sessions.type_text(&started.name, &presentation).await;
    assert!(matches!(refused, Err(TypeError::NoTerminal(_))), "{refused:?}");
    // Keys it cannot press do not keep it from ending.
    let plan = StopPlan { keys: vec!["C-c".to_owned()], grace_ms: 20_000 };
    assert_eq!(bench.sessions.stop(&started.name, &plan).await.expect("it ends").how, Ending::Signal(15));
}

#[tokio::test]
async fn two_at_once_do_not_mix() {
    for choice in choices("two at once") {
        let bench = Bench::new(choice).await;
        let script = |word: &str| {
            let script = format!("echo I am {word}; read line; echo {word} got $line; exec sleep 1000");
            let mut launch = bench.script(&script);
            launch.plan.ready.screen_texts = vec![format!("I am {word}")];
            launch
        };
        let (one, other) = tokio::join!(bench.started(script("one")), bench.started(script("other")));
        assert_ne!(one.name, other.name);
        bench.sees(&one.name, "I am one").await;
        bench.sees(&other.name, "I am other").await;
        if choice == TmuxChoice::Auto {
            let say = |text: &str| Presentation { keys_before: Vec::new(), text: text.to_owned(), submit: true };
            let (to_one, to_other) = (say("apples"), say("pears"));
            let (first, second) = tokio::join!(
                bench.sessions.type_text(&one.name, &to_one),
                bench.sessions.type_text(&other.name, &to_other)
            );
            first.and(second).expect("both are typed");
            bench.sees(&one.name, "one got apples").await;
            bench.sees(&other.name, "other got pears").await;
        }
        bench.stopped(&one.name, 20_000).await;
        assert!(runs(other.pid), "the other goes on");
        assert_eq!(bench.sessions.list().len(), 2);
        bench.stopped(&other.name, 20_000).await;
    }
}

#[tokio::test]
async fn a_program_that_stops_itself_is_continued() {
    if !has_tmux("a suspended program") {
        return;
    }
    let bench = Bench::new(TmuxChoice::Auto).await;
    // No shell waits in the terminal that could bring it back to the foreground.
    let started = bench.started(bench.script("kill -TSTP $$; echo back again; exec sleep 1000")).await;
    bench.sees(&started.name, "back again").await;
    bench.stopped(&started.name, 20_000).await;
}
