//! What the user says about the network, and how other nodes are reached.

use crate::home::{Home, run};

#[test]
fn nonsense_about_the_network_is_wrong_usage_and_bad_configuration_in_the_file() {
    let home = Home::empty();
    for (option, variable, bad) in [
        ("--network", "PK_NETWORK", "foo"),
        ("--agent-host", "PK_AGENT_HOST", "foo"),
        ("--agent-host", "PK_AGENT_HOST", "127.0.0.1:7"),
        ("--agent-port", "PK_AGENT_PORT", "foo"),
        ("--agent-port", "PK_AGENT_PORT", "65536"),
        ("--agent-port", "PK_AGENT_PORT", "-1"),
        ("--seed-nodes", "PK_SEED_NODES", "foo"),
        ("--seed-nodes", "PK_SEED_NODES", "foo@127.0.0.1:7"),
    ] {
        for background in [&["--background"][..], &[]] {
            let start = [&["agent", "start"][..], background].concat();
            let mut flag = home.command(&start);
            flag.arg(format!("{option}={bad}")).env_remove(variable);
            run(flag, b"").ended(64).says(bad);
            let mut told = home.command(&start);
            told.env(variable, bad);
            run(told, b"").ended(64).says(bad);
        }
    }
    assert!(!home.node().join("keys").exists(), "no node is made for nothing");
    home.pk(["bootstrap"]).ok();
    for (name, bad) in [("network", "foo"), ("agent-host", "foo"), ("seed-nodes", "foo")] {
        home.pk(["config", "set", name, bad]).ok();
        let variable = format!("PK_{}", name.to_uppercase().replace('-', "_"));
        for args in [&["agent", "start", "--background"][..], &["keys", "public"]] {
            let mut command = home.command(args);
            command.env_remove(&variable);
            run(command, b"").ended(78).says(bad);
            // What is said now beats the file, also when it is as bad.
            let mut command = home.command(args);
            command.env(&variable, "bar");
            run(command, b"").ended(64).says("bar");
        }
        home.pk(["config", "unset", name]).ok();
    }
    // Also a command that starts the agent by itself.
    let mut command = home.command(["keys", "public"]);
    command.env("PK_AGENT_PORT", "foo");
    run(command, b"").ended(64).says("PK_AGENT_PORT");
}
