//! `init`: the first start, for people.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, IsTerminal};

use polykey_api::agent::{LOGIN, UnlockRequest};
use polykey_api::{Code, Problem};
use polykey_client::{Auth, Client};
use zeroize::Zeroizing;

use crate::context::{Autostart, Context};
use crate::output::Done;
use crate::password::{self, Secret};
use crate::strength::strength;

/// So many words of the recovery code are typed back.
const TYPED_BACK: usize = 3;

/// Makes a node, shows its recovery code and starts its agent.
///
/// # Errors
/// [`Code::Usage`] without a terminal; [`Code::Exists`] when there is a node; what the start says.
pub fn make(cx: &Context<'_>) -> Result<Option<Secret>, Problem> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(
            Problem::new(Code::Usage, "`polykey init` asks questions and needs a terminal")
                .hint("in a script: `polykey bootstrap`, with PK_PASSWORD set"),
        );
    }
    if cx.local.node_exists(&cx.node_path) {
        return Err(Problem::new(
            Code::Exists,
            format!("there is a node in {} already", cx.node_path.display()),
        )
        .hint("start it: `polykey agent start --background`"));
    }
    let out = cx.out;
    out.line(&format!("This makes a new node in {}.", cx.node_path.display()));
    out.line("Choose a password. Whoever knows it and has this disk can read everything.");
    let password = choose_password(cx)?;
    out.line("Making the node ...");
    let started = cx.start_background(&cx.start_order(Some(&password)))?;
    let words = Zeroizing::new(started.recovery_code.clone().unwrap_or_default());
    confirm_words(cx, &words)?;
    out.line("");
    out.line(&format!("Node {} is live.", started.node_id));
    out.line("What to do next:");
    out.line("  polykey vaults create mine");
    out.line("  polykey secrets write mine:token     (then type the secret, and Ctrl-D)");
    out.line("  polykey secrets env mine -- your-program");
    out.line("  polykey --help");
    Ok(Some(password))
}

/// Keeps a session for whoever just typed the password.
///
/// # Errors
/// When the agent has gone again.
pub async fn open_session(cx: &Context<'_>, password: &Secret) -> Result<Done, Problem> {
    let mut link = cx.link(Autostart::Never).await?;
    let client: &mut Client = link.client();
    client.authorize(Some(&Auth::Password(password.to_vec())))?;
    let request = UnlockRequest {
        name: Some("cli".to_owned()),
    };
    let session = client.call(&LOGIN, &request).await?;
    cx.save_token(&session.token)?;
    Ok(Done::All)
}

fn choose_password(cx: &Context<'_>) -> Result<Secret, Problem> {
    loop {
        let first = password::ask("Password: ")?;
        if first.is_empty() {
            cx.out.line("It is empty, try again.");
            continue;
        }
        let strength = strength(&String::from_utf8_lossy(&first));
        cx.out.line(&format!("Strength: {}.", strength.as_str()));
        if *password::ask("The same again: ")? == *first {
            return Ok(first);
        }
        cx.out.line("The two differ, try again.");
    }
}

/// Shows the words until three of them are typed back.
fn confirm_words(cx: &Context<'_>, words: &str) -> Result<(), Problem> {
    let out = cx.out;
    let words: Vec<&str> = words.split(' ').collect();
    loop {
        out.line("");
        out.line("This is your recovery code. With it everything comes back when the password is lost.");
        out.line("Write it on paper and keep it where nobody else finds it; it is shown only now.");
        out.line("");
        for (row, four) in words.chunks(4).enumerate() {
            let cells: Vec<String> = four
                .iter()
                .enumerate()
                .map(|(i, word)| format!("{:>2} {word:<9}", row * 4 + i + 1))
                .collect();
            out.line(&format!("  {}", cells.join("  ")));
        }
        out.line("");
        let mut right = true;
        for place in places(words.len()) {
            out.line(&format!("Type word {}:", place + 1));
            let mut line = Zeroizing::new(String::new());
            let read = io::stdin().lock().read_line(&mut line);
            if !matches!(read, Ok(count) if count > 0) {
                out.warn("the node is made, but you did not confirm that you have its recovery code");
                out.line("`polykey keys reset` gives a new one.");
                return Ok(());
            }
            right &= line.trim().eq_ignore_ascii_case(words[place]);
        }
        if right {
            return Ok(());
        }
        out.line("That is not what the code says. Here it is again.");
    }
}

/// Three different places, in ascending order. They guard against nobody, so any chance will do.
fn places(count: usize) -> Vec<usize> {
    let mut chosen = HashSet::new();
    let chance = RandomState::new();
    let mut at = 0_u64;
    while chosen.len() < TYPED_BACK.min(count) {
        at += 1;
        chosen.insert(usize::try_from(chance.hash_one(at) % count as u64).unwrap_or_default());
    }
    let mut chosen: Vec<usize> = chosen.into_iter().collect();
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_different_and_inside() {
        for count in [1, 2, 3, 12, 24] {
            let places = places(count);
            assert_eq!(places.len(), count.min(TYPED_BACK));
            assert!(places.is_sorted_by(|a, b| a < b) && places.iter().all(|place| *place < count));
        }
    }
}
