//! `init`: the first start, for people.
//!
//! Always: nothing is made before the user has shown that the recovery code is written down, so whoever
//! breaks off at a prompt, or closes the terminal, leaves everything as it was.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, IsTerminal, Read, Write};

use polykey_api::agent::{LOGIN, UnlockRequest};
use polykey_api::start::StartOrder;
use polykey_api::{Code, Problem};
use polykey_client::{Auth, Client};
use zeroize::Zeroizing;

use crate::context::{Autostart, Context};
use crate::escape;
use crate::output::Done;
use crate::password::{self, Secret};
use crate::strength::strength;

/// So many words of the recovery code are typed back.
const TYPED_BACK: usize = 3;
/// The longest line that is read for a word.
const MAX_LINE: u64 = 1 << 10;

/// Makes a node, shows its recovery code and starts its agent. Gives the password that was chosen.
///
/// # Errors
/// [`Code::Usage`] without a terminal or when the user breaks off; [`Code::Exists`] when there is a node;
/// what the start says.
pub fn make(cx: &Context<'_>) -> Result<Secret, Problem> {
    if cx.local.node_exists(&cx.node_path) {
        return Err(Problem::new(
            Code::Exists,
            format!("there is a node in {} already", cx.node_path.display()),
        )
        .hint("start it: `polykey agent start --background`"));
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(
            Problem::new(Code::Usage, "`polykey init` asks questions and needs a terminal")
                .hint("in a script: `polykey bootstrap`, with PK_PASSWORD set"),
        );
    }
    let out = cx.out;
    out.line(&format!("This makes a new node in {}.", cx.node_path.display()));
    out.line("Choose a password. Whoever knows it and has this disk can read everything.");
    let password = choose_password(cx)?;
    let words = Zeroizing::new(cx.local.new_recovery_code());
    confirm_words(cx, &words)?;
    out.line("Making the node ...");
    let order = StartOrder {
        recovery_code: Some(words.to_string()),
        new_code: true,
        ..cx.start_order(Some(&password))?
    };
    let started = cx.start_background(&order)?;
    out.line(&format!("Node {} is live.", started.node_id));
    out.line("");
    out.line("What to do next:");
    out.line("  polykey vaults create mine");
    out.line("  polykey secrets edit mine:first");
    out.line("  polykey secrets cat mine:first");
    out.line("  polykey help");
    Ok(password)
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
    let user = std::env::var("USER").unwrap_or_default();
    loop {
        let first = password::ask("Password: ")?;
        if first.is_empty() {
            cx.out.line("It is empty, try again.");
            continue;
        }
        let (strength, advice) = strength(&String::from_utf8_lossy(&first), &[&user]);
        cx.out
            .line(format!("Strength: {}. {advice}", strength.as_str()).trim_end());
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
            let typed = ask_word(place + 1)?;
            right &= typed.trim().eq_ignore_ascii_case(words[place]);
        }
        if right {
            return Ok(());
        }
        out.line("That is not what the code says. Here it is again.");
    }
}

fn ask_word(number: usize) -> Result<Zeroizing<String>, Problem> {
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "{} ", escape::sentence(&format!("Type word {number}:")));
    let _ = stderr.flush();
    let mut line = Zeroizing::new(String::with_capacity(64));
    match io::stdin().lock().take(MAX_LINE).read_line(&mut line) {
        Ok(count) if count > 0 => Ok(line),
        _ => Err(Problem::new(
            Code::Usage,
            "the recovery code was not confirmed, so no node was made",
        )
        .hint("run `polykey init` again when there is pen and paper")),
    }
}

/// Three different places, in ascending order. They guard against nobody, so any chance will do.
fn places(count: usize) -> Vec<usize> {
    let mut chosen = BTreeSet::new();
    let chance = RandomState::new();
    let mut at = 0_u64;
    while chosen.len() < TYPED_BACK.min(count) {
        at += 1;
        chosen.insert(usize::try_from(chance.hash_one(at) % count as u64).unwrap_or_default());
    }
    chosen.into_iter().collect()
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
