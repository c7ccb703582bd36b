//! Prompts at a terminal: what is typed is hidden, and whoever breaks off finds the terminal as it was.

use crate::home::{Home, skip};
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

/// Files below a folder that hold this text.
fn holding(folder: &std::path::Path, text: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(holding(&path, text));
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes.windows(text.len()).any(|window| window == text.as_bytes())
        {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_full_screen_editor_has_the_terminal_and_keeps_nothing_of_what_it_showed() {
    let home = Home::live();
    home.pk(["vaults", "create", "v"]).ok();
    home.pk_with_input(["secrets", "write", "v:a"], b"hunter2-secret\nkept\n")
        .ok();
    let is_vim = std::process::Command::new("vim").arg("--version").output();
    if !is_vim.is_ok_and(|output| output.status.success()) {
        return skip("there is no vim here");
    }
    // As somebody has set it up who wants to lose nothing.
    let settings = "set undofile undodir=~ backup backupdir=~ directory=~ viminfo='100,<50,n~/.viminfo";
    std::fs::write(home.path().join(".vimrc"), settings).expect("written");
    let program = format!("'{}'", env!("CARGO_BIN_EXE_polykey"));
    let edit = ["--version;", "VISUAL=vim", &program, "secrets", "edit", "v:a"];
    let Some(mut terminal) = Terminal::open(&home, &edit) else {
        return;
    };
    terminal.until("Password: ");
    terminal.line(crate::home::PASSWORD);
    terminal.until("hunter2");
    terminal.until("kept");
    terminal.keys("dd:wq\r");
    terminal.until("Wrote v:a");
    assert_eq!(terminal.end().0, 0);
    assert_eq!(home.pk(["secrets", "cat", "v:a"]).ok().text(), "kept\n");
    assert_eq!(
        holding(home.path(), "hunter2"),
        [""; 0].map(std::path::PathBuf::from)
    );
}
