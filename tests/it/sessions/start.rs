//! Starting: what a program is given, and what is told when it does not run.

use std::collections::BTreeMap;

use super::*;

#[tokio::test]
async fn a_program_that_is_not_there_is_named_with_the_path_searched() {
    for choice in choices("a program that is not there") {
        let bench = Bench::new(choice).await;
        let mut launch = bench.program("no-such-agent", &[]);
        launch.plan.env =
            vec![EnvVar { name: "PATH".to_owned(), value: EnvValue::Literal("/nowhere:/bin".to_owned()) }];
        let error = bench.start(launch).await.expect_err("there is no such program");
        assert!(
            matches!(&error, StartError::NotFound { program, path } if program == "no-such-agent" && path == "/nowhere:/bin")
        );
        assert_eq!(bench.sessions.list(), [], "nothing is left of it");
        assert_eq!(folders(&bench.path()), Vec::<String>::new(), "nothing is left of it");
    }
}

#[tokio::test]
async fn what_the_system_refuses_to_run_is_reported() {
    for choice in choices("a file that is no program") {
        let bench = Bench::new(choice).await;
        let script = bench.directory.path().join("agent");
        fs::write(&script, "#!/no/such/interpreter\n").expect("a script");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("an executable script");
        let error = bench.start(bench.program(script.to_str().expect("a plain path"), &[])).await;
        assert!(
            matches!(&error, Err(StartError::Refused { reason, .. }) if reason.contains("No such file")),
            "{error:?}"
        );

        let mut launch = bench.script("true");
        launch.plan.cwd = "/no/such/directory".to_owned();
        assert!(matches!(bench.start(launch).await, Err(StartError::Cwd { .. })));
        assert_eq!(folders(&bench.path()), Vec::<String>::new(), "nothing is left of it");
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
            let exit = bench.sessions.exited(&started.name).await;
            assert_eq!(exit.how, Ending::Code(3));
            assert_eq!(exit.last_output, format!("no credentials {round}\nlog in first"), "{choice:?}");
            let log = fs::read_to_string(&started.log_path).expect("a log");
            assert!(log.contains("log in first"), "{log:?}");
            assert_eq!(bench.sessions.state(&started.name), SessionState::Exited(exit));
            bench.sessions.remove(&started.name).expect("it is removed");
            assert_eq!(bench.sessions.state(&started.name), SessionState::Gone);
        }
    }
}

#[tokio::test]
async fn a_secret_is_in_the_programs_environment_and_nowhere_else() {
    for choice in choices("secrets") {
        let bench = Bench::new(choice).await;
        let mut launch = bench.script("echo up; read line || sleep 1000");
        launch.variables = vec![("AGENT_RELAY_TOKEN".to_owned(), SECRET.to_owned())];
        launch.plan.files = vec![SessionFile { name: "settings.json".to_owned(), contents: "{}".to_owned() }];
        let started = bench.started(launch).await;
        bench.sees(&started.name, "up").await;
        let holders = processes_with("environ", SECRET);
        assert!(holders.contains(&started.pid), "the program has it");
        let host =
            number_behind(&fs::read_to_string(format!("/proc/{}/status", started.pid)).expect("a status"), "PPid:");
        assert!(!holders.contains(&host), "its host has not");
        assert_eq!(processes_with("cmdline", SECRET), Vec::<u32>::new(), "no argument list has it");
        for file in files_below(&bench.path()) {
            let contents = fs::read(&file).expect("a readable file");
            let holds = contents.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
            assert!(!holds, "{} holds it", file.display());
            let mode = fs::metadata(&file).expect("a file").permissions().mode();
            assert_eq!(mode & 0o077, 0, "{} is open to others: {mode:o}", file.display());
        }
        let settings = bench.path().join(started.name.as_str()).join("files/settings.json");
        assert_eq!(fs::read_to_string(settings).expect("the plan's file"), "{}");
        bench.stopped(&started.name, 20_000).await;
    }
}

#[tokio::test]
async fn the_programs_environment_is_the_one_built_for_it() {
    for choice in choices("environment") {
        let bench = Bench::new(choice).await;
        let mut launch = bench.program("env", &[]);
        launch.plan.env = vec![EnvVar { name: "MODEL".to_owned(), value: EnvValue::Literal("a b=c".to_owned()) }];
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
async fn hostile_labels_and_files_go_nowhere() {
    for choice in choices("hostile labels") {
        let bench = Bench::new(choice).await;
        for label in
            ["../../../etc", "a:b.c;kill-server", "$(touch pwned)`id`", "\u{1b}]0;x\u{7}\n\0", "=", "", "#{host}"]
        {
            let mut launch = bench.script("exit 0");
            launch.spec.label = Some(label.to_owned());
            launch.spec.agent_id = label.into();
            let started = bench.started(launch).await;
            assert_eq!(bench.sessions.exited(&started.name).await.how, Ending::Code(0), "{label:?}");
            let found = bench.sessions.find(&started.name).expect("it is found");
            assert_eq!(found.identity.label.as_deref(), Some(label), "kept as it is");
        }
        for file in ["../escaped", "/tmp/escaped", "..", "", "a/b", "a\0b"] {
            let mut launch = bench.script("exit 0");
            launch.plan.files = vec![SessionFile { name: file.to_owned(), contents: "x".to_owned() }];
            assert!(matches!(bench.start(launch).await, Err(StartError::Invalid { .. })), "{file:?}");
        }
        let nul = bench.program("sh", &["-c", "exit 0\0"]);
        assert!(matches!(bench.start(nul).await, Err(StartError::Invalid { .. })));
        let large = bench.program("sh", &["-c", &"x".repeat(2_000_000)]);
        assert!(matches!(bench.start(large).await, Err(StartError::TooLarge { .. })));
        assert!(!bench.directory.path().join("pwned").exists(), "no shell read it");
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
async fn a_program_ignores_no_signal_it_did_not_ask_to_ignore() {
    for choice in choices("signals") {
        let bench = Bench::new(choice).await;
        let started = bench.started(bench.program("grep", &["Sig[BI]", "/proc/self/status"])).await;
        let exit = bench.sessions.exited(&started.name).await;
        for line in exit.last_output.lines() {
            let mask = line.split_whitespace().last().map(|mask| u64::from_str_radix(mask, 16));
            // Signals 32 and 33 are the C library's own.
            assert_eq!(mask.map(|mask| mask.map(|mask| mask & 0x7fff_ffff)), Some(Ok(0)), "{line}");
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
    let long = bench.directory.path().join("d".repeat(120)).join("sessions");
    bench.sessions = open(&long, TmuxChoice::Auto).await;
    let started = bench.started(bench.script("echo up; exec sleep 1000")).await;
    assert_eq!(started.mode, Mode::Tmux);
    bench.sees(&started.name, "up").await;
    bench.stopped(&started.name, 20_000).await;
    // The socket is in a directory of its own elsewhere, which this test alone knows to be of no more use.
    let attach = started.attach_command.expect("a terminal");
    let socket = attach.split(" -S ").nth(1).and_then(|rest| rest.split(' ').next());
    let private = Path::new(socket.expect("a socket")).parent().expect("its directory");
    assert!(!private.starts_with(bench.directory.path()));
    fs::remove_dir_all(private).expect("it is removed");
}
