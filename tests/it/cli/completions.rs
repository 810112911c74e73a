//! Completions: what each shell takes without a complaint.

use std::io::ErrorKind;
use std::process::Command;

use super::shell::typed;
use crate::program::program;

#[test]
fn every_shell_takes_its_completions() {
    let home = tempfile::tempdir().expect("a temporary directory");
    for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let script = typed(program(home.path()).args(["completions", shell]), None).done();
        for word in ["attention", "tasks", "wait-for", "completed"] {
            assert!(script.contains(word), "no {word} for {shell}");
        }
        let file = home.path().join(shell);
        std::fs::write(&file, script).expect("a script");
        match Command::new(shell).arg(check).arg(&file).output() {
            Ok(checked) => assert!(checked.status.success(), "{shell}: {checked:?}"),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                println!("SKIPPED: completions of {shell} were not checked, because it is not installed");
            }
            Err(error) => panic!("{shell}: {error}"),
        }
    }
    assert!(typed(program(home.path()).args(["completions", "csh"]), None).failed(2).contains("bash"));
}
