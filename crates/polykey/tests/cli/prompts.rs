//! Prompts at a terminal: what is typed is hidden, and whoever breaks off finds the terminal as it was.

use crate::home::Home;
use crate::terminal::Terminal;

/// A node without an agent.
fn node() -> Home {
    let home = Home::empty();
    home.pk(["bootstrap"]).ok();
    home
}

#[test]
fn breaking_off_at_a_password_leaves_the_terminal_as_it_was() {
    // Ctrl-C, Ctrl-\ and Ctrl-D, with something typed before the first two.
    for keys in ["\u{3}", "hun\u{3}", "hun\u{1c}", "\u{4}"] {
        let home = node();
        let Some(mut terminal) = Terminal::open(&home, &["vaults", "list;", "echo", "END;", "stty", "-a"])
        else {
            return;
        };
        terminal.until("Password: ");
        terminal.keys(keys);
        let said = terminal.until("END");
        let (_, shown) = terminal.end();
        let modes: Vec<&str> = shown.split_whitespace().collect();
        for mode in ["echo", "icanon", "isig"] {
            assert!(modes.contains(&mode), "{keys:?} leaves no {mode}: {shown}");
        }
        assert!(!said.contains("hun"), "{said}");
        assert_eq!(home.status()["status"], "DEAD", "{keys:?}");
    }
}

#[test]
fn ctrl_c_at_a_password_is_a_signal_for_the_shell() {
    let home = node();
    let Some(mut terminal) = Terminal::open(&home, &["vaults", "list;", "echo", "ended=$?"]) else {
        return;
    };
    terminal.until("Password: ");
    terminal.keys("\u{3}");
    terminal.until("ended=130");
    terminal.end();
}

#[test]
fn a_typed_password_is_hidden_and_may_hold_anything() {
    let home = Home::empty();
    let password = "pässwörd \u{1} \"'$(id)";
    home.pk_as(password, ["bootstrap"]).ok();
    let Some(mut terminal) = Terminal::open(&home, &["vaults", "list", "--json"]) else {
        return;
    };
    terminal.until("Password: ");
    terminal.line("wrong");
    terminal.until("wrong, try again");
    terminal.until("Password: ");
    // What the terminal's own keys take back is not part of it.
    terminal.line(&format!("x\u{15}{password}y\u{7f}"));
    let (code, shown) = terminal.end();
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("[]") && !shown.contains("sswörd"), "{shown}");
}
