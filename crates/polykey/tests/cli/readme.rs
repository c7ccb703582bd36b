//! What the README tells a newcomer to type does what it says: its `sh` blocks, as written, in an empty home, and its
//! `console` blocks, in which a prompt says at whose node a command is typed.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::home::{Ended, Home, run};
use crate::node::{Node, until};
use crate::servers::NameServer;

/// The blocks of this kind in `text`, in order.
fn blocks(text: &str, kind: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        match (&mut open, line) {
            (None, line) if line.strip_prefix("```") == Some(kind) => open = Some(String::new()),
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

fn readme() -> String {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    std::fs::read_to_string(&readme).expect("the README is there")
}

#[test]
fn the_readme_does_what_it_says() {
    let blocks = blocks(&readme(), "sh");
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

/// The people and machines of the README.
struct Story {
    dns: NameServer,
    nodes: BTreeMap<String, Node>,
    /// The machine that has no node yet, and its recovery code.
    new: Option<Home>,
    /// What was shown in short, and what it was.
    shown: BTreeMap<String, String>,
}

impl Story {
    fn begin(dns: NameServer) -> Story {
        let home = || {
            let home = Home::empty();
            home.pk(["config", "set", "identities.dns-server", &dns.address()])
                .ok();
            home
        };
        let alice = home();
        alice
            .pk(["bootstrap", "--recovery-code-out-file", "code.txt"])
            .ok();
        let new = Home::empty();
        std::fs::copy(alice.path().join("code.txt"), new.path().join("code.txt")).expect("room");
        let alice = Node::in_home(alice);
        alice.pk(["vaults", "create", "work"]).ok();
        alice.write("work:db/PASSWORD", "s3cret");
        let (bob, phone) = (Node::in_home(home()), Node::in_home(home()));
        let nodes = [("alice", alice), ("bob", bob), ("phone", phone)];
        Story {
            dns,
            nodes: nodes.map(|(name, node)| (name.to_owned(), node)).into(),
            new: Some(new),
            shown: BTreeMap::new(),
        }
    }

    /// The words of a command, with what the README shows in short as it was.
    fn words(&self, command: &str) -> Vec<String> {
        let bob = &self.nodes["bob"];
        let whole = |word: &str| match word {
            "BOB-ID" => bob.id.clone(),
            "192.0.2.7" => "127.0.0.1".to_owned(),
            "4433" => bob.port(),
            word if word.ends_with("...") => self.shown[word].clone(),
            word => word.to_owned(),
        };
        command.split_whitespace().map(whole).collect()
    }

    /// Types a command, and compares what it prints.
    fn types(&mut self, who: &str, command: &str, want: &[&str]) {
        let mut words = self.words(command);
        if command.starts_with("vaults share") {
            // Nobody is there to be asked.
            words.push("--yes".to_owned());
        }
        self.lose_machines_for(who);
        // News may be on their way while a person reads on.
        let is_patient = ["vaults clone", "identities graph", "secrets cat"];
        let lines = match is_patient.iter().any(|begin| command.starts_with(begin)) {
            true => until(&format!("{who}$ {command}"), || {
                let lines = self.run(who, &words).ok()?;
                is_like(&lines, want).then_some(lines)
            }),
            false => match self.run(who, &words) {
                Ok(lines) => lines,
                // The harness has started it already.
                Err(ended) if command.starts_with("agent start") && ended.code == 75 => return,
                Err(ended) => panic!("{who}$ {command}: {} {}", ended.text(), ended.stderr),
            },
        };
        assert!(
            is_like(&lines, want),
            "{who}$ {command}: {lines:#?} and not {want:#?}"
        );
        if command.starts_with("bootstrap") {
            let home = self.new.take().expect("it was there");
            self.nodes.insert(who.to_owned(), Node::in_home(home));
        }
        for (line, want) in lines.iter().zip(want) {
            self.shown.insert((*want).to_owned(), line.clone());
        }
        if command.starts_with("identities claim") {
            self.dns.change(&[&lines[0]]);
        }
    }

    /// Where somebody begins on a new machine, the others are lost.
    fn lose_machines_for(&mut self, who: &str) {
        if self.nodes.contains_key(who) {
            return;
        }
        for lost in ["alice", "phone"] {
            if let Some(node) = self.nodes.remove(lost) {
                node.kill();
            }
        }
    }

    /// The lines that a command prints, or how it failed.
    fn run(&self, who: &str, words: &[String]) -> Result<Vec<String>, Ended> {
        let args = words.iter().map(String::as_str);
        let ended = match (self.nodes.get(who), &self.new) {
            (Some(node), _) => node.pk(args),
            (None, Some(new)) => new.pk(args),
            (None, None) => panic!("nobody is called {who}"),
        };
        match ended.code {
            // Whether something changed depends on who looked first.
            0 => Ok((ended.text().lines())
                .map(|line| line.trim_end_matches("\tCHANGED").to_owned())
                .collect()),
            _ => Err(ended),
        }
    }
}

/// True when lines are what the README shows, if it shows any: `...` stands for anything, and words to compare differ
/// each time.
fn is_like(lines: &[String], shown: &[&str]) -> bool {
    let is_one = |(line, shown): (&String, &&str)| {
        let (parts, shown_parts) = (line.split(' '), shown.split(' '));
        let same_shape = parts.clone().count() == shown_parts.clone().count();
        (are_words(line) && are_words(shown)) || (same_shape && parts.zip(shown_parts).all(is_part))
    };
    shown.is_empty() || (lines.len() == shown.len() && lines.iter().zip(shown).all(is_one))
}

fn are_words(text: &str) -> bool {
    let words: Vec<&str> = text.split(' ').collect();
    let is_word = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase());
    words.len() == 8 && words.iter().all(is_word)
}

/// The first letters of an id or a ticket say what it is; the rest is chance.
fn is_part((part, shown): (&str, &str)) -> bool {
    match shown.contains("...") {
        true => part.get(..1) == shown.get(..1),
        false => part == shown,
    }
}

#[test]
fn the_stories_of_the_readme_happen() {
    let Some(dns) = NameServer::start(&[]) else {
        return;
    };
    let mut story = Story::begin(dns);
    let blocks = blocks(&readme(), "console");
    assert!(blocks.len() >= 6, "the README tells of people and devices");
    for block in &blocks {
        let lines: Vec<&str> = block.lines().collect();
        let command = |line: &&str| {
            line.split_once("$ pk ")
                .map(|(who, rest)| (who.to_owned(), rest.to_owned()))
        };
        let mut at = 0;
        while at < lines.len() {
            let (who, typed) = command(&lines[at]).expect("a prompt comes first");
            let output = lines[at + 1..].iter().take_while(|line| command(line).is_none());
            let output: Vec<&str> = output.copied().collect();
            at += 1 + output.len();
            story.types(&who, &typed, &output);
        }
    }
}
