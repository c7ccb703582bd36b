//! What the README tells a newcomer to type does what it says: its `sh` blocks, as written, in an empty home.

use std::path::Path;
use std::process::Command;

use crate::home::{Home, run};

/// The blocks of `sh` in `text`, in order.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        match (&mut open, line) {
            (None, "```sh") => open = Some(String::new()),
            (Some(_), "```") => blocks.extend(open.take()),
            (Some(block), line) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    assert!(open.is_none(), "the last block does not end");
    blocks
}

#[test]
fn the_readme_does_what_it_says() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let text = std::fs::read_to_string(&readme).expect("the README is there");
    let blocks = blocks(&text);
    assert!(blocks.len() >= 5, "the README shows how to begin");
    let home = Home::empty();
    let programs = Path::new(env!("CARGO_BIN_EXE_polykey"))
        .parent()
        .expect("in a folder");
    let mut path = programs.as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    // The names of the blocks tell which one failed.
    let mut script = String::new();
    for (number, block) in blocks.iter().enumerate() {
        script.push_str(&format!("echo '== block {}' >&2\n{block}", number + 1));
    }
    let mut command = Command::new("sh");
    command
        .args(["-eu", "-c", &script])
        .current_dir(home.path())
        .env_clear()
        .env("PATH", path)
        .env("HOME", home.path())
        // No other machine is asked.
        .env("PK_NETWORK", "offline");
    let ended = run(command, b"").ok();
    assert!(
        home.path().join(".local/share/polykey/keys").is_file(),
        "{ended:#?}"
    );
}
