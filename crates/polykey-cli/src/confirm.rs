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
    let attended = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let told = ["PK_PASSWORD", "PK_TOKEN"]
        .iter()
        .any(|name| std::env::var_os(name).is_some());
    if !attended || told || cx.out.is_json() {
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
