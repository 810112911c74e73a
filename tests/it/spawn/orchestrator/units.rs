//! The unit files under `examples/systemd`: systemd takes them, and agents outlive a restart of either service.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

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

/// A unit of the user's own systemd, and what it leaves in its control group. Dropping it ends both.
struct Running {
    name: String,
    path: PathBuf,
}

impl Running {
    /// Starts the relay's unit as it is, with this program and this home.
    fn start(home: &Path) -> Option<Self> {
        let runtime = PathBuf::from(std::env::var_os("XDG_RUNTIME_DIR")?);
        if !systemctl(&["show-environment"]) {
            return None;
        }
        let name = format!("agent-relay-test-{}.service", std::process::id());
        let folder = runtime.join("systemd/user");
        fs::create_dir_all(&folder).ok()?;
        let (program, home) = (env!("CARGO_BIN_EXE_agent-relay"), home.display());
        let paths = std::env::var("PATH").unwrap_or_default();
        let text = fs::read_to_string(unit(UNITS[0])).expect("the unit");
        let text = text.replace("/usr/local/bin/agent-relay serve", &format!("{program} serve --listen 127.0.0.1:0"));
        let text = text.replace(
            "KillMode=process",
            &format!(
                "KillMode=process\nEnvironment=\"HOME={home}\" \"PATH={paths}\" AGENT_RELAY_DATA_DIR={home}/data \
                 AGENT_RELAY_BASE_DIR={home}/base AGENT_RELAY_CONFIG={home}/relay.toml\nStandardOutput=append:{home}/out"
            ),
        );
        let path = folder.join(&name);
        fs::write(&path, text).expect("a unit");
        let running = Self { name, path };
        assert!(systemctl(&["daemon-reload"]) && systemctl(&["start", &running.name]), "it starts");
        Some(running)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        systemctl(&["stop", &self.name]);
        systemctl(&["kill", "--signal=SIGKILL", &self.name]);
        let _ = fs::remove_file(&self.path);
        systemctl(&["daemon-reload"]);
    }
}

fn systemctl(arguments: &[&str]) -> bool {
    let ran = Command::new("systemctl").arg("--user").args(arguments).output();
    ran.is_ok_and(|output| output.status.success())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_outlive_a_restart_of_the_service() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let path = home.path().canonicalize().expect("the directory");
    fs::create_dir_all(path.join("base")).expect("a base directory");
    let program = install(&path, "claude", UP);
    let own = format!("[plugin.claude]\ngrants.executables = [{program:?}]\nsettings.executable = {program:?}\n");
    fs::write(path.join("relay.toml"), format!("[spawn]\ntmux = 'never'\n{own}")).expect("settings");
    let Some(running) = Running::start(&path) else {
        eprintln!("SKIPPED: a restart of the service: no systemd runs for this user");
        return;
    };
    let address = async |starts: usize| {
        let out = path.join("out");
        let url = eventually("it listens", async || {
            let lines = fs::read_to_string(&out).unwrap_or_default();
            lines.lines().nth(starts - 1)?.strip_prefix("listening on ").map(str::to_owned)
        });
        Client::new(&url.await, None)
    };
    let client = address(1).await;
    let agent = Spawned::read(&client.post("/api/agents/spawn", json!({"provider": "claude"})).await.expect(202));
    assert!(systemctl(&["restart", &running.name]), "it restarts");
    let client = address(2).await;
    assert!(runs(agent.pid), "it goes on");
    let ended = act(&client, &agent, "shutdown").await;
    assert_eq!(ended.status.as_str(), "succeeded", "{ended:?}");
    assert!(!runs(agent.pid));
}
