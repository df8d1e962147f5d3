//! A network of its own for some processes of a story, on one cable that can be pulled out.
//!
//! Unlike behind a proxy, the kernels at both ends see what they would see when a switch fails: no answer at all, and
//! what was sent is sent again once the cable is back.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Story;

pub struct Network {
    name: String,
    number: u32,
}

impl Network {
    /// Lays the cable. Panics where that is not allowed: it needs root and iproute2.
    #[track_caller]
    pub fn new() -> Network {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // A /30 of 10.213.0.0/16 each: test processes that run side by side begin at different places.
        let number = (std::process::id() * 64 + NEXT.fetch_add(1, Ordering::Relaxed)) % (1 << 14);
        let network = Network { name: format!("story{}-{number}", std::process::id()), number };
        let Network { name, .. } = &network;
        let (cable, host, guest) = (network.cable(), network.host(), network.guest());
        ip(&["netns", "add", name]);
        ip(&["link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", name]);
        ip(&["address", "add", &format!("{host}/30"), "dev", &cable]);
        ip(&["link", "set", &cable, "up"]);
        ip(&["-n", name, "address", "add", &format!("{guest}/30"), "dev", "eth0"]);
        ip(&["-n", name, "link", "set", "eth0", "up"]);
        ip(&["-n", name, "link", "set", "lo", "up"]);
        network
    }

    /// The address of this machine as seen from inside: where a server, or a proxy `at` it, must listen.
    pub fn host(&self) -> IpAddr {
        self.address(1)
    }

    /// The address of the inside as seen from this machine.
    pub fn guest(&self) -> IpAddr {
        self.address(2)
    }

    /// The same command, inside.
    pub fn inside(&self, story: &Story, command: &Command) -> Command {
        let mut inside = story.command("ip");
        inside.args(["netns", "exec", &self.name]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            inside.current_dir(folder);
        }
        inside
    }

    /// Pulls the cable out: nothing passes, and nobody is told.
    #[track_caller]
    pub fn cut(&self) {
        // At the inner end: taking the outer one down would tell the host's sockets at once.
        ip(&["-n", &self.name, "link", "set", "eth0", "down"]);
    }

    #[track_caller]
    pub fn mend(&self) {
        ip(&["-n", &self.name, "link", "set", "eth0", "up"]);
    }

    fn address(&self, end: u32) -> IpAddr {
        let base = u32::from(Ipv4Addr::new(10, 213, 0, 0));
        Ipv4Addr::from(base + self.number * 4 + end).into()
    }

    /// The outer end's name; there is room for 15 bytes.
    fn cable(&self) -> String {
        format!("tsk{}", self.number)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "delete", &self.cable()]).output();
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).output();
    }
}

#[track_caller]
fn ip(arguments: &[&str]) {
    let done = Command::new("ip").args(arguments).output().expect("iproute2 is installed (./setup)");
    assert!(
        done.status.success(),
        "this story needs a network of its own, and may not have one: `ip {}` says: {}\nrun ./test as root",
        arguments.join(" "),
        String::from_utf8_lossy(&done.stderr).trim()
    );
}
