//! Which relay is asked, as whom, and what is said when it does not answer.

use std::os::unix::fs::PermissionsExt as _;

use rustix::process::Signal;

use super::shell::{Shell, typed};
use crate::program::{Serving, program};

#[test]
fn the_relay_of_the_data_directory_is_found_and_forgotten() {
    let shell = Shell::new();
    let running = shell.home.path().join(".local/share/agent-relay/running.json");
    let mode = std::fs::metadata(&running).expect("what it announced").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(shell.run(&["agents"]).done().contains("no agents"));
    shell.serving.signal(Signal::KILL);
    let Shell { home, serving } = shell;
    serving.ended();
    assert!(running.exists(), "nobody removed it");
    let said = typed(program(home.path()).args(["agents", "--url", "http://127.0.0.1:1"]), None).failed(1);
    assert!(said.contains("no relay listens at http://127.0.0.1:1: start one with `agent-relay serve`"), "{said}");
    // What a relay left that is gone leads nowhere, whoever has its port now.
    let gone = typed(program(home.path()).args(["agents"]), None);
    assert!(!gone.err.contains("that of"), "{gone:?}");
}

#[test]
fn a_relay_elsewhere_is_found_by_its_data_directory() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let data = home.path().join("elsewhere");
    let _serving = Serving::start(program(home.path()).env("AGENT_RELAY_DATA_DIR", &data));
    let data = data.to_str().expect("a plain path");
    typed(program(home.path()).args(["attention", "--data-dir", data]), None).done();
    typed(program(home.path()).args(["attention"]).env("AGENT_RELAY_DATA_DIR", data), None).done();
    let config = home.path().join("relay.toml");
    std::fs::write(&config, format!("data_dir = \"{data}\"\n")).expect("settings");
    typed(program(home.path()).args(["attention"]).env("AGENT_RELAY_CONFIG", &config), None).done();
}

#[test]
fn the_token_comes_from_a_file_or_the_environment_and_what_was_tried_is_said() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let file = home.path().join("token");
    std::fs::write(&file, "ar_the-administrator\n").expect("a token");
    let config = home.path().join("relay.toml");
    std::fs::write(&config, format!("token_file = \"{}\"\n", file.display())).expect("settings");
    let serving = Serving::start(program(home.path()).env("AGENT_RELAY_CONFIG", &config));
    let run = |args: &[&str], token: Option<&str>| {
        typed(program(home.path()).args(args).envs(token.map(|token| ("AGENT_RELAY_TOKEN", token))), None)
    };
    // The relay beside it says which file its token came from.
    run(&["agents"], None).done();
    // Elsewhere nobody vouches for the address, so what was found here is not sent there.
    let elsewhere = run(&["agents", "--url", &serving.url], None).failed(1);
    assert!(elsewhere.contains("401") && elsewhere.contains("AGENT_RELAY_TOKEN is not set"), "{elsewhere}");
    let named = file.to_str().expect("a plain path");
    run(&["agents", "--url", &serving.url, "--token-file", named], None).done();
    let wrong = run(&["agents"], Some("ar_wrong")).failed(1);
    assert!(wrong.contains("401") && wrong.contains("tried: that of AGENT_RELAY_TOKEN"), "{wrong}");
    assert!(!wrong.contains("ar_wrong"), "{wrong}");
    assert!(run(&["agents", "--token-file", "/nowhere"], None).failed(2).contains("/nowhere"));
    std::fs::remove_file(&file).expect("a file");
    let gone = run(&["agents"], None).failed(2);
    assert!(gone.contains("started with a token file") && gone.contains(named), "{gone}");
    let weak = run(&["token", "list"], Some("not good")).failed(2);
    assert!(weak.contains("AGENT_RELAY_TOKEN: a token is"), "{weak}");
}
