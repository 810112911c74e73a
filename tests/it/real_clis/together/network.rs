//! Hosts of their own on this machine: network namespaces on a bridge, whose cables can be pulled.

use std::process::{Command, Output};

/// A bridge and two hosts on it. Dropping it takes all of that away.
pub(super) struct Network {
    name: String,
    prefix: String,
    hosts: usize,
}

impl Network {
    /// A network of two hosts, or none where the system does not let us make one, which is said for everybody to see.
    pub(super) fn make() -> Option<Self> {
        let pid = std::process::id();
        // Tests run side by side, each in a process of its own.
        let prefix = format!("10.{}.{}", 200 + pid / 250 % 50, 2 + pid % 250);
        let mut network = Self { name: format!("ar{pid}"), prefix, hosts: 0 };
        let bridge = network.bridge();
        let made = try_ip(&["link", "add", &bridge, "type", "bridge"]);
        if !made.as_ref().is_ok_and(|output| output.status.success()) {
            eprintln!("SKIPPED with two hosts: no network namespaces can be made here: {made:?}");
            return None;
        }
        ip(&["addr", "add", &format!("{}.1/24", network.prefix), "dev", &bridge]);
        ip(&["link", "set", &bridge, "up"]);
        for _ in 0..2 {
            network.add_host();
        }
        Some(network)
    }

    fn add_host(&mut self) {
        let number = self.hosts;
        self.hosts += 1;
        let (host, cable, bridge) = (self.host(number), self.cable(number), self.bridge());
        ip(&["netns", "add", &host]);
        ip(&["link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", &host]);
        ip(&["link", "set", &cable, "master", &bridge, "up"]);
        let address = format!("{}.{}/24", self.prefix, 11 + number);
        ip(&["-n", &host, "addr", "add", &address, "dev", "eth0"]);
        ip(&["-n", &host, "link", "set", "eth0", "up"]);
        ip(&["-n", &host, "link", "set", "lo", "up"]);
    }

    /// The address of this machine on it.
    pub(super) fn address(&self) -> String {
        format!("{}.1", self.prefix)
    }

    /// A command that runs this program on one of the hosts.
    pub(super) fn on_host(&self, number: usize, program: &Command) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.host(number)]).arg(program.get_program()).args(program.get_args());
        command.env_clear();
        for (name, value) in program.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        command
    }

    /// Pulls the cable of a host.
    pub(super) fn cut(&self, number: usize) {
        ip(&["link", "set", &self.cable(number), "down"]);
    }

    /// Puts it back.
    pub(super) fn mend(&self, number: usize) {
        ip(&["link", "set", &self.cable(number), "up"]);
    }

    fn bridge(&self) -> String {
        format!("{}b", self.name)
    }

    fn cable(&self, number: usize) -> String {
        format!("{}v{number}", self.name)
    }

    fn host(&self, number: usize) -> String {
        format!("{}h{number}", self.name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for number in 0..self.hosts {
            let _ = try_ip(&["netns", "del", &self.host(number)]);
            let _ = try_ip(&["link", "del", &self.cable(number)]);
        }
        let _ = try_ip(&["link", "del", &self.bridge()]);
    }
}

fn ip(args: &[&str]) {
    let output = try_ip(args).expect("ip");
    assert!(output.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn try_ip(args: &[&str]) -> std::io::Result<Output> {
    Command::new("ip").args(args).output()
}
