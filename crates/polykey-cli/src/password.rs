//! Where a password comes from.
//!
//! `--password-file`, then `PK_PASSWORD`, then `PK_TOKEN`, then the session token that was saved, then a
//! prompt. With `PK_PASSWORD` or `PK_TOKEN` set, or with a file named, nothing ever prompts.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use polykey_api::{Code, Problem};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// Longest password file.
const MAX_LEN: u64 = 1 << 20;

/// Secret text on its way from the user to the agent.
pub type Secret = Zeroizing<Vec<u8>>;

/// What the caller gave before any prompt.
pub enum Given {
    /// A password, from a file or the environment.
    Password(Secret),
    /// A token from the environment.
    Token(String),
    /// Nothing: the saved session and then a prompt are next.
    Nothing,
}

/// Looks into the file of `--password-file` and the environment.
///
/// # Errors
/// [`Code::FileNotFound`] and the like for the file; [`Code::Usage`] for a token that is no text.
pub fn given(file: Option<&Path>) -> Result<Given, Problem> {
    if let Some(file) = file {
        return read_file(file).map(Given::Password);
    }
    if let Some(password) = variable("PK_PASSWORD") {
        return Ok(Given::Password(password));
    }
    match variable("PK_TOKEN") {
        None => Ok(Given::Nothing),
        Some(token) => String::from_utf8(token.to_vec())
            .map(Given::Token)
            .map_err(|_| Problem::new(Code::Usage, "PK_TOKEN holds no token")),
    }
}

/// A secret from the environment.
pub fn variable(name: &str) -> Option<Secret> {
    use std::os::unix::ffi::OsStringExt;
    std::env::var_os(name).map(|value| Zeroizing::new(value.into_vec()))
}

/// A password file (`-` for stdin) without the white space around its content.
///
/// # Errors
/// [`Code::FileNotFound`] or [`Code::Io`].
pub fn read_file(path: &Path) -> Result<Secret, Problem> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    let read = if path == Path::new("-") {
        io::stdin().lock().take(MAX_LEN).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(MAX_LEN).read_to_end(&mut bytes))
    };
    read.map_err(|error| {
        let code = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::IsADirectory => {
                Code::FileNotFound
            }
            _ => Code::Io,
        };
        Problem::new(code, format!("cannot read the file {}", path.display())).caused_by(&error)
    })?;
    Ok(Zeroizing::new(bytes.trim_ascii().to_vec()))
}

/// Asks on the terminal, never on stdout.
///
/// # Errors
/// [`Code::Unauthenticated`] when there is no terminal; [`Code::Usage`] when the user breaks off.
pub fn ask(prompt: &str) -> Result<Secret, Problem> {
    // Whoever types at once, or pastes, would be faster than the prompt's own switching off.
    let _hidden = Hidden::new();
    rpassword::prompt_password(prompt)
        .map(|text| Zeroizing::new(text.into_bytes()))
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::Interrupted => {
                Problem::new(Code::Usage, "no password was given")
            }
            _ => Problem::new(
                Code::Unauthenticated,
                "a password is needed, and there is no terminal to ask on",
            )
            .hint("set PK_PASSWORD, or use `--password-file`"),
        })
}

/// The terminal shows nothing that is typed while this lives.
struct Hidden(Option<(File, Termios)>);

impl Hidden {
    fn new() -> Hidden {
        Hidden(Hidden::switch_off())
    }

    fn switch_off() -> Option<(File, Termios)> {
        let terminal = File::options().read(true).write(true).open("/dev/tty").ok()?;
        let before = tcgetattr(&terminal).ok()?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&terminal, OptionalActions::Now, &silent).ok()?;
        Some((terminal, before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some((terminal, before)) = &self.0 {
            let _ = tcsetattr(terminal, OptionalActions::Now, before);
        }
    }
}

/// Asks on the terminal; gives `missing` where the environment says that nothing ever prompts.
///
/// # Errors
/// As [`ask`].
pub fn ask_or(missing: Problem, prompt: &str) -> Result<Secret, Problem> {
    if std::env::var_os("PK_PASSWORD").is_some() || std::env::var_os("PK_TOKEN").is_some() {
        return Err(missing);
    }
    ask(prompt)
}

/// Asks twice, until both are the same.
///
/// # Errors
/// As [`ask`].
pub fn ask_new(prompt: &str) -> Result<Secret, Problem> {
    loop {
        let first = ask(prompt)?;
        if first.is_empty() {
            eprintln!("The password is empty, try again.");
            continue;
        }
        if *ask("Again: ")? == *first {
            return Ok(first);
        }
        eprintln!("The two differ, try again.");
    }
}

/// A new password: a file, `PK_PASSWORD_NEW`, or two prompts.
///
/// # Errors
/// As [`ask`] and [`read_file`].
pub fn new_password(file: Option<&Path>, prompt: &str) -> Result<Secret, Problem> {
    if let Some(file) = file {
        return read_file(file);
    }
    if let Some(password) = variable("PK_PASSWORD_NEW") {
        return Ok(password);
    }
    if std::env::var_os("PK_PASSWORD").is_some() || std::env::var_os("PK_TOKEN").is_some() {
        return Err(Problem::new(Code::Usage, "a new password is needed")
            .hint("set PK_PASSWORD_NEW, or use `--password-new-file`"));
    }
    ask_new(prompt)
}
