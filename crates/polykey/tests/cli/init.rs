//! `init`: what a person sees, and that breaking off leaves nothing.

use std::collections::BTreeMap;

use crate::home::Home;
use crate::terminal::Terminal;

const CHOSEN: &str = "violet anchor muddy teapot";

/// The numbered words of the code that is on the screen.
fn code(screen: &str) -> BTreeMap<usize, String> {
    let pieces: Vec<&str> = screen.split_whitespace().collect();
    pieces
        .windows(2)
        .filter_map(|pair| Some((pair[0].parse().ok()?, pair[1].to_owned())))
        .collect()
}

/// Types back the words that are asked for, changed by `change`.
fn type_back(terminal: &mut Terminal, words: &BTreeMap<usize, String>, change: impl Fn(&str) -> String) {
    for _ in 0..3 {
        terminal.until("Type word ");
        let number: usize = terminal.until(":").parse().expect("a number");
        terminal.line(&change(&words[&number]));
    }
}

#[track_caller]
fn nothing_was_made(home: &Home) {
    assert!(!home.node().join("keys").exists());
    assert!(!home.node().join("node.db").exists());
    assert_eq!(home.status()["status"], "DEAD");
}

#[test]
fn a_person_gets_a_live_node_and_its_code() {
    let home = Home::empty();
    let Some(mut terminal) = Terminal::open(&home, &["init"]) else {
        return;
    };
    terminal.until("new node in");
    terminal.until("Password: ");
    terminal.line("");
    terminal.until("empty");
    terminal.until("Password: ");
    terminal.line("hunter2");
    terminal.until("Strength: weak.");
    terminal.until("The same again: ");
    terminal.line("hunter3");
    terminal.until("differ");
    terminal.until("Password: ");
    terminal.line(CHOSEN);
    terminal.until("Strength: good.");
    terminal.until("The same again: ");
    terminal.line(CHOSEN);
    terminal.until("shown only now.");
    let first = code(&terminal.until("Type word"));
    assert_eq!(first.len(), 24, "{first:?}");
    nothing_was_made(&home);
    let number: usize = terminal.until(":").trim().parse().expect("a number");
    terminal.line("wrong");
    assert!(first.contains_key(&number));
    for _ in 0..2 {
        terminal.until("Type word ");
        let number: usize = terminal.until(":").parse().expect("a number");
        terminal.line(&first[&number]);
    }
    terminal.until("Here it is again");
    type_back(&mut terminal, &first, |word| {
        format!("  {} ", word.to_uppercase())
    });
    terminal.until("What to do next");
    let (exit, screen) = terminal.end();
    assert_eq!(exit, 0, "{screen}");
    assert!(
        !screen.contains(CHOSEN) && !screen.contains("hunter2"),
        "passwords are not shown"
    );

    // The agent is live, the session is open, the password and the code are good.
    home.pk_without_password(["keys", "public"]).ok();
    home.pk_as(CHOSEN, ["vaults", "create", "mine"]).ok();
    home.pk_as(CHOSEN, ["agent", "stop"]).ok();
    let words: Vec<&str> = first.values().map(String::as_str).collect();
    let mut command = home.command(["agent", "start", "--background"]);
    command
        .env("PK_RECOVERY_CODE", words.join(" "))
        .env("PK_PASSWORD", "another one");
    crate::home::run(command, b"").ok();
    home.pk_as("another one", ["vaults", "list"]).ok();

    let Some(terminal) = Terminal::open(&home, &["init"]) else {
        return;
    };
    let (exit, screen) = terminal.end();
    assert_eq!(exit, 73, "{screen}");
    assert!(screen.contains("there is a node in"), "{screen}");
}

#[test]
fn breaking_off_at_any_prompt_makes_nothing() {
    // Ctrl-C ends the program by its signal; Ctrl-D is an end of input.
    for (keys, codes) in [("\u{3}", &[130][..]), ("\u{4}", &[64])] {
        for prompt in 0..3 {
            let home = Home::empty();
            let Some(mut terminal) = Terminal::open(&home, &["init"]) else {
                return;
            };
            terminal.until("Password: ");
            if prompt > 0 {
                terminal.line(CHOSEN);
                terminal.until("The same again: ");
            }
            if prompt > 1 {
                terminal.line(CHOSEN);
                terminal.until("Type word ");
            }
            terminal.keys(keys);
            let (exit, screen) = terminal.end();
            assert!(
                codes.contains(&exit),
                "{exit} at {prompt} after {keys:?}: {screen}"
            );
            nothing_was_made(&home);
            home.pk(["bootstrap"]).ok();
        }
    }
}

#[test]
fn a_closed_terminal_makes_nothing() {
    let home = Home::empty();
    let Some(mut terminal) = Terminal::open(&home, &["init"]) else {
        return;
    };
    terminal.until("Password: ");
    terminal.line(CHOSEN);
    terminal.until("The same again: ");
    terminal.line(CHOSEN);
    terminal.until("Type word ");
    terminal.close();
    nothing_was_made(&home);
}

#[test]
fn without_a_terminal_the_way_for_scripts_is_named() {
    let home = Home::empty();
    home.pk(["init"]).ended(64).silent().says("polykey bootstrap");
    home.pk_without_password(["init"]).ended(64).silent();
    nothing_was_made(&home);
    home.pk(["bootstrap"]).ok();
    home.pk(["init"]).ended(73).silent().says("already");
}
