//! A systemd for the tests: the user's, where one runs, or one of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::server::eventually;

/// Starts a manager of services in a control group of its own. It only does so where the system looks as if another
/// systemd had started it, so it sees a `/run` that says so.
const START: &str = r#"set -e
for root in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
    if [ -e $root/cgroup.procs ]; then mkdir -p $root/$GROUP; echo $$ > $root/$GROUP/cgroup.procs; fi
done
mkdir -p /run/systemd
mount -t tmpfs none /run/systemd
mkdir /run/systemd/system
exec "$SYSTEMD" --user"#;

/// Whoever runs services. Dropping it ends those that a test started, and itself where it is the tests' own.
pub(super) struct Systemd {
    /// Where units of a user are put until the machine goes down.
    units: PathBuf,
    started: Vec<PathBuf>,
    own: Option<Own>,
}

struct Own {
    process: Child,
    group: String,
    runtime: TempDir,
}

impl Systemd {
    /// None where there is none and none can be started, which is said for everybody to see.
    pub(super) async fn find() -> Option<Self> {
        if let Some(runtime) = std::env::var_os("XDG_RUNTIME_DIR") {
            let units = PathBuf::from(runtime).join("systemd/user");
            let users = Self { units, started: Vec::new(), own: None };
            if users.ctl(&["show-environment"]) {
                return Some(users);
            }
        }
        let own = Self::start().await;
        if own.is_none() {
            eprintln!("SKIPPED with a real systemd: none runs for this user, and none can be started");
        }
        own
    }

    async fn start() -> Option<Self> {
        let program =
            ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"].into_iter().find(|it| Path::new(it).is_file())?;
        let runtime = tempfile::tempdir().expect("a temporary directory");
        let group = format!("agent-relay-test-{}", std::process::id());
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", START]).env("GROUP", &group).env("SYSTEMD", program);
        command.env("XDG_RUNTIME_DIR", runtime.path()).env("HOME", runtime.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().ok()?;
        let units = runtime.path().join("systemd/user");
        let mut own = Self { units, started: Vec::new(), own: Some(Own { process, group, runtime }) };
        let runs = eventually("systemd runs", async || {
            let ended = own.own.as_mut().is_none_or(|own| own.process.try_wait().is_ok_and(|ended| ended.is_some()));
            if ended { Some(false) } else { own.ctl(&["show-environment"]).then_some(true) }
        });
        runs.await.then_some(own)
    }

    /// Starts a service from this file of ours, with a few settings that differ here.
    pub(super) fn run(&mut self, unit: &Path, settings: &str) -> String {
        let stem = unit.file_stem().expect("a name").to_str().expect("text");
        let name = format!("{stem}-test-{}.service", std::process::id());
        let (path, more) = (self.units.join(&name), self.units.join(format!("{name}.d")));
        fs::create_dir_all(&more).expect("a folder");
        fs::copy(unit, &path).expect("the unit");
        fs::write(more.join("here.conf"), format!("[Service]\n{settings}")).expect("its settings");
        self.started.extend([more, path]);
        assert!(self.ctl(&["daemon-reload"]) && self.ctl(&["start", &name]), "{name} starts");
        name
    }

    pub(super) fn ctl(&self, arguments: &[&str]) -> bool {
        let mut command = match &self.own {
            None => Command::new("systemctl"),
            Some(own) => {
                let mut within = Command::new("nsenter");
                within.args(["--mount", &format!("--target={}", own.process.id()), "systemctl"]);
                within.env("XDG_RUNTIME_DIR", own.runtime.path());
                within
            }
        };
        command.arg("--user").args(arguments).output().is_ok_and(|output| output.status.success())
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        for path in &self.started {
            if let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|_| path.is_file()) {
                self.ctl(&["stop", name]);
                // What a service leaves behind on purpose.
                self.ctl(&["kill", "--signal=SIGKILL", name]);
            }
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
        self.ctl(&["daemon-reload"]);
        if let Some(own) = &mut self.own {
            let _ = own.process.kill();
            let _ = own.process.wait();
            for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"] {
                end_group(&Path::new(root).join(&own.group));
            }
        }
    }
}

/// Ends what is in a control group, and removes it.
fn end_group(group: &Path) {
    let processes = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    for pid in processes.lines().filter_map(|pid| pid.parse().ok()) {
        crate::sessions::kill_group(pid);
    }
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            end_group(&entry.path());
        }
    }
    // A group goes once nobody is in it: one that is left is empty, and costs nothing.
    let _ = fs::remove_dir(group);
}
