//! Ending, expected or not, and what outlives what.

use agent_relay::domain::time::Timestamp;

use super::*;
use crate::server::until;

#[tokio::test]
async fn stopping_asks_first_and_is_repeatable() {
    for choice in choices("stop") {
        let bench = Bench::new(choice).await;
        let script = "trap 'echo tidied up; exit 7' TERM; echo up; while :; do sleep 1; done";
        let started = bench.started(bench.script(script)).await;
        bench.sees(&started.name, "up").await;
        let refused = bench.sessions.remove(&started.name);
        assert!(matches!(refused, Err(StopError::Running { .. })), "{refused:?}");
        let exit = bench.stopped(&started.name, 20_000).await;
        assert_eq!(exit.how, Ending::Code(7));
        assert!(exit.last_output.contains("tidied up"), "{exit:?}");
        assert!(!runs(started.pid));
        assert_eq!(bench.stopped(&started.name, 20_000).await, exit, "the same again");
    }
}

/// A key that comes after a program has given its terminal back would be a signal that kills it in its last moment.
#[tokio::test]
async fn keys_end_where_the_program_gives_its_terminal_back() {
    if !has_tmux("keys that end a program") {
        return;
    }
    let bench = Bench::new(TmuxChoice::Auto).await;
    // It takes its time between the terminal and its end, until the gate is opened, or a signal comes.
    let gate = bench.directory.path().join("gate");
    rustix::fs::mknodat(rustix::fs::CWD, &gate, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).expect("a pipe");
    let script = "stty raw -echo; echo up; dd bs=1 count=1 >/dev/null 2>&1; stty sane; echo tidied; read line < gate";
    let started = bench.started(bench.script(&format!("{script}; exit 3"))).await;
    bench.sees(&started.name, "up").await;
    let opened = async {
        bench.sees(&started.name, "tidied").await;
        // Longer than both further keys would take.
        until(Timestamp::now() + 1_000).await;
        tokio::fs::write(&gate, "go\n").await.expect("the gate opens");
    };
    let keys = ["C-c", "C-c", "C-c"].map(str::to_owned).to_vec();
    let plan = StopPlan { keys, grace_ms: 60_000 };
    let (exit, ()) = tokio::join!(bench.sessions.stop(&started.name, &plan), opened);
    assert_eq!(exit.expect("it ends").how, Ending::Code(3));
}

#[tokio::test]
async fn what_ignores_being_asked_is_ended_by_force_with_all_it_started() {
    for choice in choices("stop by force") {
        let bench = Bench::new(choice).await;
        let script = "trap '' TERM HUP INT; setsid sleep 1000 & echo child $!; echo up; while :; do sleep 1; done";
        let started = bench.started(bench.script(script)).await;
        bench.sees(&started.name, "up").await;
        let child = number_behind(&bench.sessions.screen(&started.name).await, "child ");
        assert!(runs(child) && runs(started.pid));
        let exit = bench.stopped(&started.name, 200).await;
        assert_eq!(exit.how, Ending::Signal(9));
        assert!(!runs(started.pid) && !runs(child), "{choice:?}");
    }
}

#[tokio::test]
async fn a_daemon_outlives_the_program_that_left_it_but_no_stop() {
    for choice in choices("daemons") {
        let bench = Bench::new(choice).await;
        // It says when it has left the program's process group.
        let daemon = "mkfifo up$$; setsid sh -c \"echo > up$$; exec sleep 1000\" >/dev/null 2>&1 </dev/null & \
                      echo daemon $!; read line < up$$";
        let left = bench.started(bench.script(&format!("{daemon}; exit 0"))).await;
        let exit = bench.sessions.exited(&left.name).await;
        let pid = number_behind(&exit.last_output, "daemon ");
        assert!(runs(pid), "left on purpose");
        kill_group(pid);

        let script = format!("trap 'exit 0' TERM; {daemon}; echo up; while :; do sleep 1; done");
        let stopped = bench.started(bench.script(&script)).await;
        bench.sees(&stopped.name, "up").await;
        let pid = number_behind(&bench.sessions.screen(&stopped.name).await, "daemon ");
        assert_eq!(bench.stopped(&stopped.name, 20_000).await.how, Ending::Code(0));
        assert!(!runs(pid), "{choice:?}");
    }
}

#[tokio::test]
async fn the_end_is_observed_by_everybody_who_waits() {
    for choice in choices("observed exit") {
        let bench = Bench::new(choice).await;
        let gate = bench.directory.path().join("gate");
        rustix::fs::mknodat(rustix::fs::CWD, &gate, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
            .expect("a pipe");
        let started = bench.started(bench.script("read line < gate; exit 5")).await;
        let (one, other) = (bench.sessions.clone(), bench.sessions.clone());
        let (name, same) = (started.name.clone(), started.name.clone());
        let waiting = tokio::spawn(async move { one.exited(&name).await });
        let waiting_too = tokio::spawn(async move { other.exited(&same).await });
        assert_eq!(bench.sessions.state(&started.name), SessionState::Running { pid: started.pid });
        tokio::fs::write(&gate, "go\n").await.expect("the gate opens");
        let exit = waiting.await.expect("it ends");
        assert_eq!(exit.how, Ending::Code(5));
        assert_eq!(waiting_too.await.expect("it ends"), exit);
        assert_eq!(bench.sessions.exited(&started.name).await, exit, "at once, afterwards");
    }
}

#[tokio::test]
async fn sessions_outlive_a_killed_relay_and_are_found_again() {
    const PARENT: &str = "AGENT_RELAY_TEST_PARENT";
    const CHOICE: &str = "AGENT_RELAY_TEST_DETACHED";
    if let Some(directory) = std::env::var_os(PARENT) {
        // This is the relay to be killed: started below, by the test proper.
        let choice = if std::env::var_os(CHOICE).is_some() { TmuxChoice::Never } else { TmuxChoice::Auto };
        let sessions = open(Path::new(&directory).join("sessions").as_path(), choice).await;
        let bench = Bench { sessions, directory: tempfile::tempdir_in(&directory).expect("a directory") };
        let started = bench.started(bench.script("echo still here; exec sleep 1000")).await;
        println!("started {}", started.name);
        std::future::pending::<()>().await;
    }
    for choice in choices("kill -9 of the relay") {
        let bench = Bench::new(choice).await;
        let mut relay = tokio::process::Command::new(std::env::current_exe().expect("this program"));
        relay.args(["--exact", "sessions::stop::sessions_outlive_a_killed_relay_and_are_found_again", "--nocapture"]);
        relay.env(PARENT, bench.directory.path()).stdout(Stdio::piped()).kill_on_drop(true);
        if choice == TmuxChoice::Never {
            relay.env(CHOICE, "1");
        }
        let mut relay = relay.spawn().expect("a relay");
        let mut lines = BufReader::new(relay.stdout.take().expect("its output")).lines();
        let name = loop {
            let line = lines.next_line().await.expect("a line").expect("a started session");
            if let Some((_, name)) = line.split_once("started ") {
                break SessionName::parse(name).expect("a name");
            }
        };
        relay.kill().await.expect("kill -9");

        let again = open(&bench.path(), choice).await;
        let found = again.list();
        assert_eq!(found.len(), 1);
        assert_eq!((&found[0].name, found[0].identity.agent_id.as_str()), (&name, "docs"));
        let SessionState::Running { pid } = found[0].state else { panic!("{found:?}") };
        assert!(runs(pid));
        bench.sees(&name, "still here").await;
        let exit = again.stop(&name, &StopPlan { keys: Vec::new(), grace_ms: 20_000 }).await.expect("it ends");
        assert_eq!(exit.how, Ending::Signal(15));
        assert!(!runs(pid));
    }
}

#[tokio::test]
async fn a_session_whose_host_was_killed_is_still_ended() {
    let bench = Bench::new(TmuxChoice::Never).await;
    let started = bench.started(bench.script("trap '' TERM; echo up; exec sleep 1000")).await;
    bench.sees(&started.name, "up").await;
    let status = fs::read_to_string(format!("/proc/{}/status", started.pid)).expect("a status");
    let host = i32::try_from(number_behind(&status, "PPid:")).expect("a process id");
    let host = rustix::process::Pid::from_raw(host).expect("a process id");
    rustix::process::kill_process(host, rustix::process::Signal::KILL).expect("kill -9");
    let exit = bench.sessions.exited(&started.name).await;
    assert_eq!(exit.how, Ending::Lost);
    assert_eq!(exit.last_output, "up");
    assert_eq!(bench.sessions.state(&started.name), SessionState::Gone);
    assert!(runs(started.pid), "nobody has ended it yet");
    assert_eq!(bench.stopped(&started.name, 0).await.how, Ending::Lost);
    assert!(!runs(started.pid));
    bench.sessions.remove(&started.name).expect("it is removed");
}

/// Whoever would have ended it all is not there any more: what is away from the program's group is found all the same,
/// and a process of the same name that is none of its own is left alone.
#[tokio::test]
async fn without_its_host_a_program_ends_with_what_it_started() {
    let bench = Bench::new(TmuxChoice::Never).await;
    let stranger = std::process::Command::new("sleep").arg("1000").spawn().expect("a process");
    let script = "setsid sh -c 'sleep 1000 & echo grandchild $!; wait' & echo child $!; echo up; sleep 1000";
    let started = bench.started(bench.script(script)).await;
    bench.sees(&started.name, "grandchild ").await;
    bench.sees(&started.name, "up").await;
    let screen = bench.sessions.screen(&started.name).await;
    let [child, grandchild] = ["\nchild ", "grandchild "].map(|word| number_behind(&format!("\n{screen}"), word));
    let folder = bench.path().canonicalize().expect("a directory").join(started.name.as_str());
    for host in processes_with("cmdline", folder.to_str().expect("a plain path")) {
        let host = rustix::process::Pid::from_raw(i32::try_from(host).expect("a process id")).expect("a process id");
        rustix::process::kill_process(host, rustix::process::Signal::KILL).expect("a living process");
    }
    bench.sessions.exited(&started.name).await;
    assert!([started.pid, child, grandchild].into_iter().all(runs), "they go on");
    assert_eq!(bench.stopped(&started.name, 200).await.how, Ending::Lost);
    crate::server::eventually("they are gone", async || {
        [started.pid, child, grandchild].into_iter().all(|pid| !runs(pid)).then_some(())
    })
    .await;
    assert!(runs(stranger.id()), "it only has the same name");
    kill_group_of(stranger);
}

fn kill_group_of(mut stranger: std::process::Child) {
    stranger.kill().expect("a living process");
    stranger.wait().expect("an ended process");
}
