//! The README's tour, run against the real program.

use std::io::ErrorKind;
use std::process::{Command, Stdio};

use crate::program::{Serving, program};

const README: &str = include_str!("../../README.md");

/// The commands between the fences of the block that begins with "```bash tour".
fn tour() -> &'static str {
    let (_, rest) = README.split_once("```bash tour\n").expect("a tour in the README");
    rest.split_once("```").expect("the end of the tour").0
}

#[test]
fn the_tour_works_as_it_is_printed() {
    for tool in ["bash", "curl"] {
        let found = Command::new(tool).arg("--version").stdout(Stdio::null()).status();
        if found.is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            println!("SKIPPED: the README's tour was not run, because {tool} is not installed");
            return;
        }
    }
    let home = tempfile::tempdir().expect("a temporary directory");
    let serving = Serving::start(&mut program(home.path()));
    let default = "http://127.0.0.1:4850";
    assert!(tour().contains(default), "the tour speaks to the default address");
    // A tour that waits for something that never comes is ended by `timeout`, with 124. One that
    // fails must not leave its listener behind, which would hold these pipes open.
    let script = format!("trap 'kill $(jobs -p) 2>/dev/null || :' EXIT\n{}", tour().replace(default, &serving.url));
    let output = Command::new("timeout")
        .args(["60", "bash", "-euo", "pipefail", "-c", &script])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.path())
        .current_dir(home.path())
        .output()
        .expect("coreutils and bash");
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{said}\n{complained}", output.status);
    // What a reader of the README will look for.
    for seen in ["message.new", "already_claimed", "completedAt", "\"program\"", "cwd must be within"] {
        assert!(said.contains(seen), "no {seen} in\n{said}\n{complained}");
    }
}
