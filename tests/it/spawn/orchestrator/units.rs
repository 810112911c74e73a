//! The unit files under `examples/systemd`: systemd takes them, and agents outlive a restart of either service.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::systemd::Systemd;
use crate::server::{Client, eventually};
use crate::sessions::runs;
use crate::spawn::{Running as Spawned, UP, act, install};

const UNITS: [&str; 2] = ["agent-relay.service", "agent-relay-orchestrator.service"];

fn unit(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/systemd").join(name)
}

#[test]
fn a_service_that_restarts_leaves_its_agents_alone() {
    for name in UNITS {
        let text = fs::read_to_string(unit(name)).expect(name);
        let has = |setting: &str| text.lines().any(|line| line == setting);
        // systemd's own default kills everything in the unit's group.
        for setting in ["KillMode=process", "OOMPolicy=continue"] {
            assert!(has(setting), "{name} lacks {setting}");
        }
        // Agents inherit what the service has.
        for setting in ["PrivateTmp=yes", "DynamicUser=yes", "MemoryDenyWriteExecute=yes", "ProtectHome=yes"] {
            assert!(!has(setting), "{name} has {setting}, which agents would inherit");
        }
    }
}

#[test]
fn systemd_takes_the_units() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let is_there =
        Command::new("systemd-analyze").arg("--version").output().is_ok_and(|output| output.status.success());
    if !is_there {
        eprintln!("SKIPPED: the unit files: no systemd-analyze on PATH");
        return;
    }
    let program = env!("CARGO_BIN_EXE_agent-relay");
    for name in UNITS {
        // It looks whether the program is there, which is installed elsewhere.
        let text = fs::read_to_string(unit(name)).expect(name);
        assert!(text.contains("/usr/local/bin/agent-relay"), "{name}");
        let path = directory.path().join(name);
        fs::write(&path, text.replace("/usr/local/bin/agent-relay", program)).expect("a unit");
        let verified = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output();
        let verified = verified.expect("systemd-analyze");
        let said = String::from_utf8_lossy(&verified.stderr).into_owned();
        let about_ours: Vec<_> = said.lines().filter(|line| line.contains("agent-relay")).collect();
        assert!(about_ours.is_empty(), "{name}: {about_ours:?}");
        assert!(verified.status.success(), "{name}: {said}");
    }
}

/// The relay and a daemon as services, with the settings in the files that the units name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_outlive_restarts_of_both_services() {
    let Some(mut systemd) = Systemd::find().await else { return };
    let home = tempfile::tempdir().expect("a temporary directory");
    let path = home.path().canonicalize().expect("the directory");
    let settings = path.join(".config/agent-relay");
    for folder in [&settings, &path.join("base"), &path.join("far")] {
        fs::create_dir_all(folder).expect("a folder");
    }
    let program = install(&path, "claude", UP);
    let own = format!("[plugin.claude]\ngrants.executables = [{program:?}]\nsettings.executable = {program:?}\n");
    fs::write(settings.join("relay.toml"), format!("[spawn]\ntmux = 'never'\n{own}")).expect("settings");
    let common = format!(
        "HOME={}\nPATH={}\nAGENT_RELAY_CONFIG={}\n",
        path.display(),
        std::env::var("PATH").unwrap_or_default(),
        settings.join("relay.toml").display()
    );
    let write = |file: &str, more: &str| fs::write(settings.join(file), format!("{common}{more}")).expect("settings");
    // Where the program is, whose settings these are, and where it says something is all that differs.
    let here = |command: &str, file: &str| {
        let (program, home) = (env!("CARGO_BIN_EXE_agent-relay"), path.display());
        format!(
            "ExecStart=\nExecStart={program} {command}\nEnvironmentFile=\n\
             EnvironmentFile={home}/.config/agent-relay/{file}\nStandardOutput=append:{home}/{command}.out\n\
             StandardError=append:{home}/{command}.log\n"
        )
    };
    let said = async |command: &str, number: usize| {
        let out = path.join(format!("{command}.out"));
        eventually("it says that it is up", async || {
            let lines = fs::read_to_string(&out).unwrap_or_default();
            lines.lines().nth(number - 1).map(str::to_owned)
        })
        .await
    };

    let base = format!("AGENT_RELAY_BASE_DIR={}\n", path.join("base").display());
    write("relay.env", &format!("{base}AGENT_RELAY_LISTEN=127.0.0.1:0\n"));
    let relay = systemd.run(&unit(UNITS[0]), &here("serve", "relay.env"));
    let url = said("serve", 1).await;
    let url = url.strip_prefix("listening on ").expect("an address");
    let client = Client::new(url, None);
    let near = Spawned::read(&client.post("/api/agents/spawn", json!({"provider": "claude"})).await.expect(202));

    let far = format!("AGENT_RELAY_URL={url}\nAGENT_RELAY_BASE_DIR={}\n", path.join("far").display());
    write("orchestrator.env", &far);
    let daemon = systemd.run(&unit(UNITS[1]), &here("orchestrator", "orchestrator.env"));
    let registered = said("orchestrator", 1).await;
    let id = registered.split_whitespace().nth(2).expect("its id");
    let spawn = client.post(&format!("/api/orchestrators/{id}/spawn"), json!({"provider": "claude"})).await;
    let spawn: Value = spawn.expect(202);
    let done = client.outcome(spawn["command"]["id"].as_i64().expect("a command")).await;
    let result = done.result.expect("a result").value();
    let far = Spawned::read(&json!({
        "agentId": spawn["command"]["request"]["agentId"], "session": result["session"], "pid": result["pid"],
        "command": spawn["command"],
    }));

    // Where a relay is does not change by a restart.
    let address = url.strip_prefix("http://").expect("an address");
    write("relay.env", &format!("{base}AGENT_RELAY_LISTEN={address}\n"));
    assert!(systemd.ctl(&["restart", &relay]) && systemd.ctl(&["restart", &daemon]), "they restart");
    assert_eq!(said("serve", 2).await, format!("listening on {url}"));
    said("orchestrator", 2).await;
    // A daemon that is killed comes back by itself.
    assert!(systemd.ctl(&["kill", "--kill-who=main", "--signal=SIGKILL", &daemon]));
    said("orchestrator", 3).await;
    for agent in [near, far] {
        assert!(runs(agent.pid), "{} goes on", agent.id);
        let ended = act(&client, &agent, "shutdown").await;
        assert_eq!(ended.status.as_str(), "succeeded", "{ended:?}");
        assert!(!runs(agent.pid));
    }
}
