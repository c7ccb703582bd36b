//! Where a password comes from.
//!
//! `--password-file`, then `PK_PASSWORD`, then `PK_TOKEN`, then the session token that was saved, then a
//! prompt. With `PK_PASSWORD` or `PK_TOKEN` set, or with a file named, nothing ever prompts.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use polykey_api::{Code, Problem};
use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
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
    let mut terminal = Hidden::open().map_err(|error| {
        Problem::new(
            Code::Unauthenticated,
            "a password is needed, and there is no terminal to ask on",
        )
        .hint("set PK_PASSWORD, or use `--password-file`")
        .caused_by(&error)
    })?;
    let typed = terminal.line(prompt);
    drop(terminal);
    let given_up = || Problem::new(Code::Usage, "no password was given");
    match typed {
        Ok(Typed::Line(line)) => Ok(line),
        Ok(Typed::End) => Err(given_up()),
        Ok(Typed::Key(signal)) => {
            // The shell that waits for us must see the signal, or a script goes on after a Ctrl-C.
            let _ = kill_process(getpid(), signal);
            Err(given_up())
        }
        Err(error) => Err(given_up().caused_by(&error)),
    }
}

/// What a person typed.
enum Typed {
    /// A line, without its end.
    Line(Secret),
    /// Nothing more will come.
    End,
    /// The key that sends this signal.
    Key(Signal),
}

/// The terminal, which shows nothing that is typed while this lives.
///
/// Its keys for interrupt and quit send no signal meanwhile but end the line, as Enter does: a signal would end
/// the process before the terminal is as it was, and the shell would go on without showing what is typed.
struct Hidden {
    terminal: File,
    before: Termios,
}

impl Hidden {
    fn open() -> io::Result<Hidden> {
        let terminal = File::options().read(true).write(true).open("/dev/tty")?;
        let before = tcgetattr(&terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        silent.local_modes.insert(LocalModes::ICANON);
        silent.special_codes[SpecialCodeIndex::VEOL] = before.special_codes[SpecialCodeIndex::VINTR];
        silent.special_codes[SpecialCodeIndex::VEOL2] = before.special_codes[SpecialCodeIndex::VQUIT];
        tcsetattr(&terminal, OptionalActions::Now, &silent)?;
        Ok(Hidden { terminal, before })
    }

    /// Shows `prompt` and reads a line.
    fn line(&mut self, prompt: &str) -> io::Result<Typed> {
        self.terminal.write_all(prompt.as_bytes())?;
        let typed = self.read();
        // Whatever ended the line was not shown.
        self.terminal.write_all(b"\n")?;
        typed
    }

    fn read(&mut self) -> io::Result<Typed> {
        let key = |index| Some(self.before.special_codes[index]).filter(|key| *key != 0);
        let (interrupt, quit) = (key(SpecialCodeIndex::VINTR), key(SpecialCodeIndex::VQUIT));
        // No terminal gives more of a line at once.
        let mut buffer = Zeroizing::new([0; 4096]);
        let mut line = Zeroizing::new(Vec::with_capacity(buffer.len()));
        while line.len() < buffer.len() {
            let count = self.terminal.read(&mut buffer[..])?;
            let Some((last, rest)) = buffer[..count].split_last() else {
                break;
            };
            line.extend_from_slice(rest);
            match *last {
                b'\n' => return Ok(Typed::Line(line)),
                key if Some(key) == interrupt => return Ok(Typed::Key(Signal::INT)),
                key if Some(key) == quit => return Ok(Typed::Key(Signal::QUIT)),
                byte => line.push(byte),
            }
        }
        Ok(if line.is_empty() {
            Typed::End
        } else {
            Typed::Line(line)
        })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
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
    let given = match file {
        Some(file) => Some(read_file(file)?),
        None => variable("PK_PASSWORD_NEW"),
    };
    match given {
        // Before anything else is done, such as showing a recovery code that would never hold.
        Some(empty) if empty.is_empty() => {
            return Err(Problem::new(Code::Usage, "the new password is empty"));
        }
        Some(password) => return Ok(password),
        None => {}
    }
    if std::env::var_os("PK_PASSWORD").is_some() || std::env::var_os("PK_TOKEN").is_some() {
        return Err(Problem::new(Code::Usage, "a new password is needed")
            .hint("set PK_PASSWORD_NEW, or use `--password-new-file`"));
    }
    ask_new(prompt)
}
