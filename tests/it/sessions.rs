//! Agent processes, started for real: in tmux where it is installed, and always detached.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use agent_relay::domain::control::ApprovalMode;
use agent_relay::domain::plan::{
    EnvValue, EnvVar, Plan, Presentation, PromptDelivery, Readiness, SessionFile, StopPlan,
};
use agent_relay::sessions::{
    Ending, Exit, LOG_BYTES_MAX, Launch, Mode, Options, SessionName, SessionState, Sessions,
    StartError, Started, StopError, TmuxChoice, TypeError, environment,
};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};

const SECRET: &str = "ar_secret-that-must-stay-one";

/// Sessions in a directory of their own; nothing of them is left when the test ends, however it ends.
pub(crate) struct Bench {
    pub(crate) sessions: Sessions,
    directory: TempDir,
}

impl Bench {
    pub(crate) async fn new(tmux: TmuxChoice) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let sessions = open(&directory.path().join("sessions"), tmux).await;
        Self {
            sessions,
            directory,
        }
    }

    /// A new folder of the test's own, resolved.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let folder = self.directory.path().join(name);
        fs::create_dir_all(&folder).expect("a folder");
        folder.canonicalize().expect("a folder")
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("sessions")
    }

    fn cwd(&self) -> String {
        self.directory
            .path()
            .to_str()
            .expect("a plain path")
            .to_owned()
    }

    /// A launch of `sh -c SCRIPT`.
    fn script(&self, script: &str) -> Launch {
        self.program("sh", &["-c", script])
    }

    fn program(&self, program: &str, args: &[&str]) -> Launch {
        Launch {
            agent_id: "docs".to_owned(),
            provider: "shell".to_owned(),
            label: Some("Docs".to_owned()),
            approval_mode: ApprovalMode::Guarded,
            plan: Plan {
                program: program.to_owned(),
                args: args.iter().map(|argument| (*argument).to_owned()).collect(),
                env: Vec::new(),
                cwd: self.cwd(),
                files: Vec::new(),
                prompt: PromptDelivery::InArguments,
                ready: Readiness {
                    screen_texts: Vec::new(),
                    settle_ms: 0,
                },
            },
            variables: Vec::new(),
        }
    }

    pub(crate) async fn start(&self, launch: Launch) -> Result<Started, StartError> {
        let label = launch.label.clone().unwrap_or_default();
        let reservation = self.sessions.reserve(&launch.provider, &label)?;
        self.sessions.start(reservation, launch).await
    }

    async fn started(&self, launch: Launch) -> Started {
        self.start(launch).await.expect("the program starts")
    }

    /// Waits until `text` is on the screen, and fails with what is there instead.
    pub(crate) async fn sees(&self, name: &SessionName, text: &str) {
        let ready = Readiness {
            screen_texts: vec![text.to_owned()],
            settle_ms: 30_000,
        };
        let up = self.sessions.wait_ready(name, &ready).await;
        let screen = self.sessions.screen(name).await;
        assert!(
            screen.contains(text),
            "{text:?} is not on the screen ({up:?}):\n{screen}"
        );
    }

    async fn stopped(&self, name: &SessionName, grace_ms: u32) -> Exit {
        let plan = StopPlan {
            keys: Vec::new(),
            grace_ms,
        };
        self.sessions
            .stop(name, &plan)
            .await
            .expect("the session ends")
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for session in self.sessions.list() {
            if let SessionState::Running { pid } = session.state {
                kill_group(pid);
            }
        }
        let socket = self.path().join("tmux.sock");
        if socket.exists() {
            _ = Command::new("tmux")
                .arg("-S")
                .arg(socket)
                .arg("kill-server")
                .stderr(Stdio::null())
                .status();
        }
    }
}

async fn open(directory: &Path, tmux: TmuxChoice) -> Sessions {
    let host_program = PathBuf::from(env!("CARGO_BIN_EXE_agent-relay"));
    let options = Options {
        directory: directory.to_owned(),
        tmux,
        host_program,
    };
    Sessions::open(options).await.expect("the sessions open")
}

/// Whether tmux is installed. Where it is not, says so for everybody to see.
pub(crate) fn has_tmux(test: &str) -> bool {
    let found = Command::new("tmux")
        .arg("-V")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        eprintln!("SKIPPED in tmux: {test}: no tmux on PATH");
    }
    found
}

/// Where a test runs: detached, and in tmux if that is installed.
fn choices(test: &str) -> Vec<TmuxChoice> {
    let mut choices = vec![TmuxChoice::Never];
    if has_tmux(test) {
        choices.push(TmuxChoice::Auto);
    }
    choices
}

fn kill_group(pid: u32) {
    let group = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .expect("a process id");
    _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
}

/// Whether the process runs: neither gone nor a zombie.
fn runs(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = status
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// The number a program printed behind `word` on its screen.
fn number_behind(screen: &str, word: &str) -> u32 {
    let number = screen
        .split(word)
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no {word} in {screen:?}"))
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named_with_the_path_searched() {
    for choice in choices("a program that is not there") {
        let bench = Bench::new(choice).await;
        let mut launch = bench.program("no-such-agent", &[]);
        launch.plan.env = vec![EnvVar {
            name: "PATH".to_owned(),
            value: EnvValue::Literal("/nowhere:/bin".to_owned()),
        }];
        let error = bench
            .start(launch)
            .await
            .expect_err("there is no such program");
        assert!(
            matches!(&error, StartError::NotFound { program, path } if program == "no-such-agent" && path == "/nowhere:/bin")
        );
        assert_eq!(bench.sessions.list(), [], "nothing is left of it");
        assert_eq!(
            folders(&bench.path()),
            Vec::<String>::new(),
            "nothing is left of it"
        );
    }
}

#[tokio::test]
async fn what_the_system_refuses_to_run_is_reported() {
    for choice in choices("a file that is no program") {
        let bench = Bench::new(choice).await;
        let script = bench.directory.path().join("agent");
        fs::write(&script, "#!/no/such/interpreter\n").expect("a script");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))
            .expect("an executable script");
        let error = bench
            .start(bench.program(script.to_str().expect("a plain path"), &[]))
            .await;
        assert!(
            matches!(&error, Err(StartError::Refused { reason, .. }) if reason.contains("No such file")),
            "{error:?}"
        );

        let mut launch = bench.script("true");
        launch.plan.cwd = "/no/such/directory".to_owned();
        assert!(matches!(
            bench.start(launch).await,
            Err(StartError::Cwd { .. })
        ));
        assert_eq!(
            folders(&bench.path()),
            Vec::<String>::new(),
            "nothing is left of it"
        );
    }
}

#[tokio::test]
async fn the_last_words_of_a_program_that_dies_at_once_are_kept() {
    for choice in choices("dies at once") {
        let bench = Bench::new(choice).await;
        // Often, because what is tested is that no moment is the wrong one.
        for round in 0..10 {
            let script = format!("echo no credentials {round}; echo log in first >&2; exit 3");
            let started = bench.started(bench.script(&script)).await;
            let ready = Readiness {
                screen_texts: vec!["never shown".to_owned()],
                settle_ms: 30_000,
            };
            let died = bench
                .sessions
                .wait_ready(&started.name, &ready)
                .await
                .expect_err("it dies");
            assert_eq!(died.exit.how, Ending::Code(3));
            assert_eq!(
                died.exit.last_output,
                format!("no credentials {round}\nlog in first"),
                "{choice:?}"
            );
            let log = fs::read_to_string(&started.log_path).expect("a log");
            assert!(log.contains("log in first"), "{log:?}");
            assert_eq!(
                bench.sessions.state(&started.name),
                SessionState::Exited(died.exit)
            );
            bench.sessions.remove(&started.name).expect("it is removed");
            assert_eq!(bench.sessions.state(&started.name), SessionState::Gone);
        }
    }
}

#[tokio::test]
async fn a_typed_text_arrives_whole() {
    if !has_tmux("typing") {
        return;
    }
    let bench = Bench::new(TmuxChoice::Auto).await;
    let started = bench
        .started(bench.script("stty -echo; echo ready; exec cat"))
        .await;
    assert_eq!(started.mode, Mode::Tmux);
    assert!(
        started
            .attach_command
            .is_some_and(|command| command.contains(started.name.as_str()))
    );
    bench.sees(&started.name, "ready").await;
    let text = "-t $(touch pwned); `id` | \"ž\" #{pane_id} ;";
    let presentation = Presentation {
        keys_before: Vec::new(),
        text: format!("{text}\nsecond line"),
        submit: true,
    };
    bench
        .sessions
        .type_text(&started.name, &presentation)
        .await
        .expect("it is typed");
    bench.sees(&started.name, "second line").await;
    let screen = bench.sessions.screen(&started.name).await;
    assert_eq!(screen, format!("ready\n{text}\nsecond line"));
    assert!(
        !bench.directory.path().join("pwned").exists(),
        "no shell read it"
    );

    let unknown = Presentation {
        keys_before: vec!["; kill-server".to_owned()],
        text: String::new(),
        submit: false,
    };
    let refused = bench.sessions.type_text(&started.name, &unknown).await;
    assert!(
        matches!(refused, Err(TypeError::UnknownKey(_))),
        "{refused:?}"
    );
    let long = Presentation {
        keys_before: Vec::new(),
        text: "x".repeat(100_000),
        submit: true,
    };
    let refused = bench.sessions.type_text(&started.name, &long).await;
    assert!(
        matches!(refused, Err(TypeError::TooLong { bytes: 100_000 })),
        "{refused:?}"
    );

    // Keys end it: what Ctrl-C is for the foreground job of a terminal.
    let plan = StopPlan {
        keys: vec!["C-c".to_owned()],
        grace_ms: 20_000,
    };
    let exit = bench
        .sessions
        .stop(&started.name, &plan)
        .await
        .expect("it ends");
    assert_eq!(exit.how, Ending::Signal(2));
    let late = bench.sessions.type_text(&started.name, &presentation).await;
    assert!(matches!(late, Err(TypeError::NotRunning(_))), "{late:?}");
}

#[tokio::test]
async fn a_detached_session_has_no_terminal() {
    let bench = Bench::new(TmuxChoice::Never).await;
    let started = bench
        .started(bench.script("echo up; exec sleep 1000"))
        .await;
    assert_eq!(
        (started.mode, started.attach_command),
        (Mode::Detached, None)
    );
    bench.sees(&started.name, "up").await;
    let presentation = Presentation {
        keys_before: Vec::new(),
        text: "hello".to_owned(),
        submit: true,
    };
    let refused = bench.sessions.type_text(&started.name, &presentation).await;
    assert!(
        matches!(refused, Err(TypeError::NoTerminal(_))),
        "{refused:?}"
    );
    // Keys it cannot press do not keep it from ending.
    let plan = StopPlan {
        keys: vec!["C-c".to_owned()],
        grace_ms: 20_000,
    };
    assert_eq!(
        bench
            .sessions
            .stop(&started.name, &plan)
            .await
            .expect("it ends")
            .how,
        Ending::Signal(15)
    );
}

#[tokio::test]
async fn stopping_asks_first_and_is_repeatable() {
    for choice in choices("stop") {
        let bench = Bench::new(choice).await;
        let script = "trap 'echo tidied up; exit 7' TERM; echo up; while :; do sleep 1; done";
        let started = bench.started(bench.script(script)).await;
        bench.sees(&started.name, "up").await;
        let refused = bench.sessions.remove(&started.name);
        assert!(
            matches!(refused, Err(StopError::Running { .. })),
            "{refused:?}"
        );
        let exit = bench.stopped(&started.name, 20_000).await;
        assert_eq!(exit.how, Ending::Code(7));
        assert!(exit.last_output.contains("tidied up"), "{exit:?}");
        assert!(!runs(started.pid));
        assert_eq!(
            bench.stopped(&started.name, 20_000).await,
            exit,
            "the same again"
        );
    }
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
        let left = bench
            .started(bench.script(&format!("{daemon}; exit 0")))
            .await;
        let exit = bench.sessions.exited(&left.name).await;
        let pid = number_behind(&exit.last_output, "daemon ");
        assert!(runs(pid), "left on purpose");
        kill_group(pid);

        let script = format!("trap 'exit 0' TERM; {daemon}; echo up; while :; do sleep 1; done");
        let stopped = bench.started(bench.script(&script)).await;
        bench.sees(&stopped.name, "up").await;
        let pid = number_behind(&bench.sessions.screen(&stopped.name).await, "daemon ");
        assert_eq!(
            bench.stopped(&stopped.name, 20_000).await.how,
            Ending::Code(0)
        );
        assert!(!runs(pid), "{choice:?}");
    }
}

#[tokio::test]
async fn the_end_is_observed_by_everybody_who_waits() {
    for choice in choices("observed exit") {
        let bench = Bench::new(choice).await;
        let gate = bench.directory.path().join("gate");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &gate,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .expect("a pipe");
        let started = bench
            .started(bench.script("read line < gate; exit 5"))
            .await;
        let (one, other) = (bench.sessions.clone(), bench.sessions.clone());
        let (name, same) = (started.name.clone(), started.name.clone());
        let waiting = tokio::spawn(async move { one.exited(&name).await });
        let waiting_too = tokio::spawn(async move { other.exited(&same).await });
        assert_eq!(
            bench.sessions.state(&started.name),
            SessionState::Running { pid: started.pid }
        );
        tokio::fs::write(&gate, "go\n")
            .await
            .expect("the gate opens");
        let exit = waiting.await.expect("it ends");
        assert_eq!(exit.how, Ending::Code(5));
        assert_eq!(waiting_too.await.expect("it ends"), exit);
        assert_eq!(
            bench.sessions.exited(&started.name).await,
            exit,
            "at once, afterwards"
        );
    }
}

#[tokio::test]
async fn a_secret_is_in_the_programs_environment_and_nowhere_else() {
    for choice in choices("secrets") {
        let bench = Bench::new(choice).await;
        let mut launch = bench.script("echo up; read line || sleep 1000");
        launch.variables = vec![("AGENT_RELAY_TOKEN".to_owned(), SECRET.to_owned())];
        launch.plan.files = vec![SessionFile {
            name: "settings.json".to_owned(),
            contents: "{}".to_owned(),
        }];
        let started = bench.started(launch).await;
        bench.sees(&started.name, "up").await;
        let holders = processes_with("environ", SECRET);
        assert!(holders.contains(&started.pid), "the program has it");
        let host = number_behind(
            &fs::read_to_string(format!("/proc/{}/status", started.pid)).expect("a status"),
            "PPid:",
        );
        assert!(!holders.contains(&host), "its host has not");
        assert_eq!(
            processes_with("cmdline", SECRET),
            Vec::<u32>::new(),
            "no argument list has it"
        );
        for file in files_below(&bench.path()) {
            let contents = fs::read(&file).expect("a readable file");
            let holds = contents
                .windows(SECRET.len())
                .any(|window| window == SECRET.as_bytes());
            assert!(!holds, "{} holds it", file.display());
            let mode = fs::metadata(&file).expect("a file").permissions().mode();
            assert_eq!(
                mode & 0o077,
                0,
                "{} is open to others: {mode:o}",
                file.display()
            );
        }
        let settings = bench
            .path()
            .join(started.name.as_str())
            .join("files/settings.json");
        assert_eq!(fs::read_to_string(settings).expect("the plan's file"), "{}");
        bench.stopped(&started.name, 20_000).await;
    }
}

#[tokio::test]
async fn the_programs_environment_is_the_one_built_for_it() {
    for choice in choices("environment") {
        let bench = Bench::new(choice).await;
        let mut launch = bench.program("env", &[]);
        launch.plan.env = vec![EnvVar {
            name: "MODEL".to_owned(),
            value: EnvValue::Literal("a b=c".to_owned()),
        }];
        launch.variables = vec![("AGENT_RELAY_ID".to_owned(), "docs".to_owned())];
        let mut expected = environment(std::env::vars_os(), &launch.plan.env, &launch.variables);
        if bench.sessions.mode() == Mode::Tmux {
            expected.insert("TERM".to_owned(), "screen-256color".to_owned());
        }
        let started = bench.started(launch).await;
        let exit = bench.sessions.exited(&started.name).await;
        assert_eq!(exit.how, Ending::Code(0));
        let log = fs::read_to_string(&started.log_path).expect("a log");
        let got: BTreeMap<String, String> = log
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        assert_eq!(got, expected);
    }
}

#[tokio::test]
async fn sessions_outlive_a_killed_relay_and_are_found_again() {
    const PARENT: &str = "AGENT_RELAY_TEST_PARENT";
    const CHOICE: &str = "AGENT_RELAY_TEST_DETACHED";
    if let Some(directory) = std::env::var_os(PARENT) {
        // This is the relay to be killed: started below, by the test proper.
        let choice = if std::env::var_os(CHOICE).is_some() {
            TmuxChoice::Never
        } else {
            TmuxChoice::Auto
        };
        let sessions = open(Path::new(&directory).join("sessions").as_path(), choice).await;
        let bench = Bench {
            sessions,
            directory: tempfile::tempdir_in(&directory).expect("a directory"),
        };
        let started = bench
            .started(bench.script("echo still here; exec sleep 1000"))
            .await;
        println!("started {}", started.name);
        std::future::pending::<()>().await;
    }
    for choice in choices("kill -9 of the relay") {
        let bench = Bench::new(choice).await;
        let mut relay =
            tokio::process::Command::new(std::env::current_exe().expect("this program"));
        relay.args([
            "--exact",
            "sessions::sessions_outlive_a_killed_relay_and_are_found_again",
            "--nocapture",
        ]);
        relay
            .env(PARENT, bench.directory.path())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        if choice == TmuxChoice::Never {
            relay.env(CHOICE, "1");
        }
        let mut relay = relay.spawn().expect("a relay");
        let mut lines = BufReader::new(relay.stdout.take().expect("its output")).lines();
        let name = loop {
            let line = lines
                .next_line()
                .await
                .expect("a line")
                .expect("a started session");
            if let Some((_, name)) = line.split_once("started ") {
                break SessionName::parse(name).expect("a name");
            }
        };
        relay.kill().await.expect("kill -9");

        let again = open(&bench.path(), choice).await;
        let found = again.list();
        assert_eq!(found.len(), 1);
        assert_eq!(
            (&found[0].name, found[0].identity.agent_id.as_str()),
            (&name, "docs")
        );
        let SessionState::Running { pid } = found[0].state else {
            panic!("{found:?}")
        };
        assert!(runs(pid));
        bench.sees(&name, "still here").await;
        let exit = again
            .stop(
                &name,
                &StopPlan {
                    keys: Vec::new(),
                    grace_ms: 20_000,
                },
            )
            .await
            .expect("it ends");
        assert_eq!(exit.how, Ending::Signal(15));
        assert!(!runs(pid));
    }
}

#[tokio::test]
async fn a_session_whose_host_was_killed_is_still_ended() {
    let bench = Bench::new(TmuxChoice::Never).await;
    let started = bench
        .started(bench.script("trap '' TERM; echo up; exec sleep 1000"))
        .await;
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

#[tokio::test]
async fn two_at_once_do_not_mix() {
    for choice in choices("two at once") {
        let bench = Bench::new(choice).await;
        let script = |word: &str| {
            bench.script(&format!(
                "echo I am {word}; read line; echo {word} got $line; exec sleep 1000"
            ))
        };
        let (one, other) =
            tokio::join!(bench.started(script("one")), bench.started(script("other")));
        assert_ne!(one.name, other.name);
        bench.sees(&one.name, "I am one").await;
        bench.sees(&other.name, "I am other").await;
        if choice == TmuxChoice::Auto {
            let say = |text: &str| Presentation {
                keys_before: Vec::new(),
                text: text.to_owned(),
                submit: true,
            };
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
async fn hostile_labels_and_files_go_nowhere() {
    for choice in choices("hostile labels") {
        let bench = Bench::new(choice).await;
        for label in [
            "../../../etc",
            "a:b.c;kill-server",
            "$(touch pwned)`id`",
            "\u{1b}]0;x\u{7}\n\0",
            "=",
            "",
            "#{host}",
        ] {
            let mut launch = bench.script("exit 0");
            launch.label = Some(label.to_owned());
            launch.agent_id = label.to_owned();
            let started = bench.started(launch).await;
            assert_eq!(
                bench.sessions.exited(&started.name).await.how,
                Ending::Code(0),
                "{label:?}"
            );
            let found = bench.sessions.find(&started.name).expect("it is found");
            assert_eq!(
                found.identity.label.as_deref(),
                Some(label),
                "kept as it is"
            );
        }
        for file in ["../escaped", "/tmp/escaped", "..", "", "a/b", "a\0b"] {
            let mut launch = bench.script("exit 0");
            launch.plan.files = vec![SessionFile {
                name: file.to_owned(),
                contents: "x".to_owned(),
            }];
            assert!(
                matches!(bench.start(launch).await, Err(StartError::Invalid { .. })),
                "{file:?}"
            );
        }
        let nul = bench.program("sh", &["-c", "exit 0\0"]);
        assert!(matches!(
            bench.start(nul).await,
            Err(StartError::Invalid { .. })
        ));
        let large = bench.program("sh", &["-c", &"x".repeat(2_000_000)]);
        assert!(matches!(
            bench.start(large).await,
            Err(StartError::TooLarge { .. })
        ));
        assert!(
            !bench.directory.path().join("pwned").exists(),
            "no shell read it"
        );
    }
}

#[tokio::test]
async fn a_flood_of_output_is_kept_within_bounds() {
    for choice in choices("flood") {
        let bench = Bench::new(choice).await;
        let script = "yes 'a line of sixty-four characters that is repeated over and over ...' | head -c 10000000; echo; echo the end";
        let started = bench.started(bench.script(script)).await;
        let exit = bench.sessions.exited(&started.name).await;
        assert_eq!(exit.how, Ending::Code(0));
        assert!(exit.last_output.ends_with("the end"), "{exit:?}");
        let log = fs::metadata(&started.log_path).expect("a log").len();
        assert!((10_000..=LOG_BYTES_MAX).contains(&log), "{log}");
        assert!(bench.sessions.screen(&started.name).await.len() <= 64 * 1024);
    }
}

#[tokio::test]
async fn a_program_that_stops_itself_is_continued() {
    if !has_tmux("a suspended program") {
        return;
    }
    let bench = Bench::new(TmuxChoice::Auto).await;
    // No shell waits in the terminal that could bring it back to the foreground.
    let started = bench
        .started(bench.script("kill -TSTP $$; echo back again; exec sleep 1000"))
        .await;
    bench.sees(&started.name, "back again").await;
    bench.stopped(&started.name, 20_000).await;
}

#[tokio::test]
async fn a_program_ignores_no_signal_it_did_not_ask_to_ignore() {
    for choice in choices("signals") {
        let bench = Bench::new(choice).await;
        let started = bench
            .started(bench.program("grep", &["Sig[BI]", "/proc/self/status"]))
            .await;
        let exit = bench.sessions.exited(&started.name).await;
        for line in exit.last_output.lines() {
            let mask = line
                .split_whitespace()
                .last()
                .map(|mask| u64::from_str_radix(mask, 16));
            // Signals 32 and 33 are the C library's own.
            assert_eq!(
                mask.map(|mask| mask.map(|mask| mask & 0x7fff_ffff)),
                Some(Ok(0)),
                "{line}"
            );
        }
        assert_eq!(exit.last_output.lines().count(), 2, "{exit:?}");
    }
}

#[tokio::test]
async fn a_directory_with_a_path_too_long_for_a_socket_works() {
    if !has_tmux("a long path") {
        return;
    }
    let mut bench = Bench::new(TmuxChoice::Auto).await;
    let long = bench
        .directory
        .path()
        .join("d".repeat(120))
        .join("sessions");
    bench.sessions = open(&long, TmuxChoice::Auto).await;
    let started = bench
        .started(bench.script("echo up; exec sleep 1000"))
        .await;
    assert_eq!(started.mode, Mode::Tmux);
    bench.sees(&started.name, "up").await;
    bench.stopped(&started.name, 20_000).await;
    // The socket is in a directory of its own elsewhere, which this test alone knows to be of no more use.
    let attach = started.attach_command.expect("a terminal");
    let socket = attach
        .split(" -S ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let private = Path::new(socket.expect("a socket"))
        .parent()
        .expect("its directory");
    assert!(!private.starts_with(bench.directory.path()));
    fs::remove_dir_all(private).expect("it is removed");
}

/// The names of what is in a sessions directory, tmux's socket aside.
fn folders(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let names = entries.map(|entry| {
        entry
            .expect("an entry")
            .file_name()
            .to_string_lossy()
            .into_owned()
    });
    names.filter(|name| name.starts_with("ar-")).collect()
}

/// The processes whose file `what` below /proc holds `text`.
pub(crate) fn processes_with(what: &str, text: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("the processes");
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    ids.filter(|id: &u32| {
        let contents = fs::read(format!("/proc/{id}/{what}")).unwrap_or_default();
        contents
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    })
    .collect()
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry"));
    entries
        .flat_map(|entry| match entry.file_type().expect("a type") {
            kind if kind.is_dir() => files_below(&entry.path()),
            kind if kind.is_file() => vec![entry.path()],
            _ => Vec::new(),
        })
        .collect()
}
