//! Machines that a test wires up as it likes: network namespaces, which only root may make.
//!
//! Always: names carry the id of this process, so that tests do not meet; what was made goes with [`Wires`].

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::home::skip;

/// Machines, and the right to make more.
pub struct Wires {
    mark: String,
    machines: Vec<Machine>,
}

/// A network namespace with a loopback interface and no way out yet.
#[derive(Clone)]
pub struct Machine {
    space: String,
    address: &'static str,
}

impl Wires {
    /// `None` where machines cannot be made, with the reason printed; on a server that is a failure.
    pub fn lay() -> Option<Wires> {
        static LAID: AtomicU32 = AtomicU32::new(0);
        let number = LAID.fetch_add(1, Ordering::Relaxed);
        let mut wires = Wires {
            mark: format!("pk{}-{number}", std::process::id()),
            machines: Vec::new(),
        };
        match wires.prove() {
            Ok(()) => Some(wires),
            Err(reason) => {
                skip(&format!("no networks of one's own can be made here: {reason}"));
                None
            }
        }
    }

    /// Tries once all that the tests need.
    fn prove(&mut self) -> Result<(), String> {
        let machine = self.try_machine("proof", "10.99.0.1")?;
        machine.try_to("iptables -A INPUT -p udp -m length --length 1400:65535 -j DROP")?;
        machine.try_to("iptables -t nat -A POSTROUTING -j MASQUERADE")?;
        machine.try_to("tc qdisc add dev lo root tbf rate 100mbit burst 128kb latency 100ms")
    }

    /// A new machine. Others reach it at `address`, once it is given that.
    pub fn machine(&mut self, name: &str, address: &'static str) -> Machine {
        self.try_machine(name, address)
            .unwrap_or_else(|reason| panic!("{reason}"))
    }

    fn try_machine(&mut self, name: &str, address: &'static str) -> Result<Machine, String> {
        let space = format!("{}-{name}", self.mark);
        try_run(Command::new("ip").args(["netns", "add", &space]))?;
        let machine = Machine { space, address };
        self.machines.push(machine.clone());
        machine.try_to("ip link set lo up")?;
        Ok(machine)
    }

    /// Wires two machines together: each gets an interface named for the other end, with an address and the
    /// length of its network.
    pub fn join(&self, one: (&Machine, &str, &str), two: (&Machine, &str, &str)) {
        let ((one, name_of_one, at_one), (two, name_of_two, at_two)) = (one, two);
        let link = [
            "link",
            "add",
            name_of_one,
            "netns",
            &one.space,
            "type",
            "veth",
            "peer",
            "name",
            name_of_two,
            "netns",
            &two.space,
        ];
        try_run(Command::new("ip").args(link)).unwrap_or_else(|reason| panic!("{reason}"));
        for (machine, name, at) in [(one, name_of_one, at_one), (two, name_of_two, at_two)] {
            machine.does(&format!("ip addr add {at} dev {name}"));
            machine.does(&format!("ip link set {name} up"));
        }
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        for machine in &self.machines {
            let _ = try_run(Command::new("ip").args(["netns", "del", &machine.space]));
        }
    }
}

impl Machine {
    /// Where others reach it.
    pub fn address(&self) -> &'static str {
        self.address
    }

    /// `command` as this machine runs it.
    pub fn runs(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside
            .arg(format!("--net=/run/netns/{}", self.space))
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear();
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                inside.env(name, value);
            }
        }
        if let Some(folder) = command.get_current_dir() {
            inside.current_dir(folder);
        }
        inside
    }

    /// Runs a command of the system, written with single spaces.
    #[track_caller]
    pub fn does(&self, line: &str) {
        self.try_to(line).unwrap_or_else(|reason| panic!("{reason}"));
    }

    /// Makes it pass on what is for others, or not.
    #[track_caller]
    pub fn forwards(&self, yes: bool) {
        let mut command = Command::new("sh");
        let write = format!("echo {} > /proc/sys/net/ipv4/ip_forward", u8::from(yes));
        command.args(["-c", &write]);
        try_run(&mut self.runs(&command)).unwrap_or_else(|reason| panic!("{reason}"));
    }

    fn try_to(&self, line: &str) -> Result<(), String> {
        let mut words = line.split(' ');
        let mut command = Command::new(words.next().expect("a command"));
        command
            .args(words)
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        try_run(&mut self.runs(&command))
    }
}

fn try_run(command: &mut Command) -> Result<(), String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}
