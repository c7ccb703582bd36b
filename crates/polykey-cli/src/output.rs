//! What is said, and where: the answer goes to stdout, all else to stderr.

use std::io::{self, Write};
use std::process::ExitCode;

use polykey_api::problem::ProblemReply;
use polykey_api::{Code, Problem};
use serde::Serialize;

use crate::args::Format;
use crate::escape;

/// How a command ended without a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// All of it.
    All,
    /// In part, or the answer is "no".
    Partly,
    /// In part, and the rest failed for this reason, which was told already.
    Except(Code),
}

impl Done {
    /// The exit code.
    pub fn exit(self) -> ExitCode {
        match self {
            Done::All => ExitCode::SUCCESS,
            Done::Partly => ExitCode::from(1),
            Done::Except(code) => ExitCode::from(code.exit()),
        }
    }
}

/// `1 secret`, `2 secrets`.
pub fn counted(count: u64, thing: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{s}")
}

/// Where a command speaks.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    format: Format,
    quiet: bool,
    verbose: u8,
}

impl Output {
    /// Speaks in `format`.
    pub fn new(format: Format, quiet: bool, verbose: u8) -> Self {
        Output {
            format,
            quiet,
            verbose,
        }
    }

    /// True when programs read the output.
    pub fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// True when success is not to be told.
    pub fn is_quiet(self) -> bool {
        self.quiet
    }

    /// Prints the answer: one JSON document, or what `human` makes of it (a missing newline at its end is
    /// added). Text from elsewhere must come escaped out of `human`.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn answer<A: Serialize>(self, answer: &A, human: impl FnOnce(&A) -> String) -> Result<Done, Problem> {
        let mut text = match self.format {
            Format::Json => serde_json::to_string(answer)
                .map_err(|error| Problem::new(Code::Internal, "the answer has no form").caused_by(&error))?,
            Format::Human => human(answer),
        };
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        self.bytes(text.as_bytes())?;
        Ok(Done::All)
    }

    /// Writes raw bytes to stdout.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn bytes(self, bytes: &[u8]) -> Result<(), Problem> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)
            .and_then(|()| out.flush())
            .map_err(|error| cannot_write(&error))
    }

    /// One line about a success, on stderr.
    pub fn success(self, sentence: &str) {
        if !self.quiet && !self.is_json() {
            self.line(sentence);
        }
    }

    /// A warning, on stderr.
    pub fn warn(self, sentence: &str) {
        self.line(&format!("polykey: warning: {sentence}"));
    }

    /// A line for people, on stderr, whatever the format.
    pub fn line(self, text: &str) {
        // Nowhere to complain when stderr is gone.
        let _ = writeln!(io::stderr().lock(), "{}", escape::sentence(text));
    }

    /// Our own text of several lines, on stderr.
    pub fn lines(self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{}", escape::lines(text));
    }

    /// Tells of a problem, on stderr, and gives the exit code.
    pub fn problem(self, problem: Problem) -> ExitCode {
        let exit = ExitCode::from(problem.code.exit());
        if problem.causes.iter().any(|cause| cause == BROKEN_PIPE) {
            return exit;
        }
        if self.is_json() {
            if let Ok(text) = serde_json::to_string(&ProblemReply::from(problem)) {
                let _ = writeln!(io::stderr().lock(), "{text}");
            }
            return exit;
        }
        self.line(&format!("polykey: error: {}", problem.message));
        if self.verbose > 0 {
            for cause in &problem.causes {
                self.line(&format!("polykey: cause: {cause}"));
            }
        }
        if let Some(hint) = &problem.hint {
            self.line(&format!("polykey: hint: {hint}"));
        }
        exit
    }
}

/// The reader of stdout has gone: it does not want to hear why we end.
const BROKEN_PIPE: &str = "the reader of the output has gone";

/// The problem of an output that cannot be written.
pub fn cannot_write(error: &io::Error) -> Problem {
    let mut problem = Problem::new(Code::Io, "the output cannot be written").caused_by(error);
    if error.kind() == io::ErrorKind::BrokenPipe {
        problem.causes.push(BROKEN_PIPE.to_owned());
    }
    problem
}
