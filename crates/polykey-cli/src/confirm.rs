//! Asking before something is taken away.

use std::io::{IsTerminal, Write};

use polykey_api::{Code, Problem};

use crate::context::Context;
use crate::escape;

/// Asks `question` on the terminal. Where nobody is there to be asked, in scripts and pipes, the command
/// itself is the answer.
///
/// # Errors
/// [`Code::Usage`] when the answer is not yes.
pub fn confirm(cx: &Context<'_>, question: &str) -> Result<(), Problem> {
    if !is_attended(cx) {
        return Ok(());
    }
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "{} [y/N] ", escape::sentence(question));
    let _ = stderr.flush();
    let mut answer = String::new();
    let _ = std::io::stdin().read_line(&mut answer);
    if !answer.ends_with('\n') {
        // Ctrl-D leaves the cursor behind the question.
        let _ = writeln!(stderr);
    }
    if matches!(answer.trim(), "y" | "Y" | "yes" | "Yes") {
        return Ok(());
    }
    Err(Problem::new(Code::Usage, "nothing was done").hint("answer y, or pass `--yes`"))
}

/// As [`confirm`], for what nobody is to do by mistake: where nobody can be asked, only `--yes` is an answer.
///
/// # Errors
/// [`Code::Usage`] when the answer is not yes, or there is nobody to be asked.
pub fn confirm_attended(cx: &Context<'_>, question: &str) -> Result<(), Problem> {
    match is_attended(cx) {
        true => confirm(cx, question),
        false => Err(Problem::new(Code::Usage, "there is nobody here to be asked")
            .hint("run it on a terminal; `--yes` says that you checked it")),
    }
}

fn is_attended(cx: &Context<'_>) -> bool {
    let attended = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let told = ["PK_PASSWORD", "PK_TOKEN"]
        .iter()
        .any(|name| std::env::var_os(name).is_some());
    attended && !told && !cx.out.is_json()
}
