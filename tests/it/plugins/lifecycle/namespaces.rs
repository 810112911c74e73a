//! Plugins on file systems and under limits of the kernel that a test can have only in namespaces of its own. Where the
//! kernel gives none to this user, there is nothing to see: the rules themselves are tested beside their code.

use std::path::Path;
use std::process::{Command, Output};

use crate::plugins::{guest, policy, put};
use crate::program::{Serving, program};
use crate::server::{Client, eventually};

/// Runs a script with a mount table and limits of its own, with these arguments; nothing where that cannot be had.
fn apart(home: &Path, script: &str) -> Option<Command> {
    let may = Command::new("unshare").args(["--user", "--map-root-user", "--mount", "true"]).status();
    if !may.is_ok_and(|status| status.success()) {
        eprintln!("no namespaces for this user: {script} is not tried");
        return None;
    }
    let mut command = Command::new("unshare");
    let of_program = program(home);
    command.args(["--user", "--map-root-user", "--mount", "sh", "-euc", script]).arg(of_program.get_program());
    command.env_clear().envs(of_program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Some(command)
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// As Kubernetes mounts a ConfigMap: everybody may write by its mode, nobody by its mount, and every file is a link.
#[test]
fn a_volume_that_nobody_can_write_is_trusted_whatever_its_mode() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let source = home.path().join("source");
    put(&source, &policy("guard", ""), &guest("misbehave"));
    let volume = home.path().join("guard");
    std::fs::create_dir(&volume).expect("made");
    let script = r#"
        cd "$HOME"
        mount -t tmpfs none guard
        mkdir -p guard/..2026
        cp source/plugin.toml source/plugin.wasm guard/..2026
        ln -s ..2026 guard/..data
        ln -s ..data/plugin.toml guard/plugin.toml
        ln -s ..data/plugin.wasm guard/plugin.wasm
        chmod -R 2777 guard
        "$0" plugin check guard && exit 7
        mount -o remount,ro guard
        exec "$0" plugin check guard
    "#;
    let Some(mut command) = apart(home.path(), script) else { return };
    let output = command.output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("can be written by others"), "{}", said(&output));
}

#[tokio::test]
async fn without_room_to_watch_it_says_so_once_and_goes_on_looking() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let script = "echo 0 > /proc/sys/user/max_inotify_instances; exec \"$0\" \"$@\"";
    let Some(mut command) = apart(home.path(), script) else { return };
    let serving = tokio::task::spawn_blocking(move || Serving::start(&mut command)).await.expect("no panic");
    let client = Client::new(&serving.url, None);
    let health = async || client.get("/api/health").await.text;
    eventually("health says so", async || health().await.contains("fs.inotify.max_user_instances").then_some(())).await;
    let plugins = home.path().join(".local/share/agent-relay/plugins");
    put(&plugins.join("guard"), &policy("guard", ""), &guest("misbehave"));
    eventually("it is found all the same", async || {
        (client.get("/api/plugins/guard").await.status == 200).then_some(())
    })
    .await;
    serving.signal(rustix::process::Signal::TERM);
    let log = tokio::task::spawn_blocking(move || serving.ended().2).await.expect("no panic");
    let told = log.iter().filter(|line| line.contains("max_user_instances")).count();
    assert_eq!(told, 1, "{log:#?}");
}
