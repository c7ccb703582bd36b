//! Problems: how every failure travels and is shown.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::code::Code;

/// What went wrong: a code, one sentence that says what was tried and on what, a hint that can be typed
/// where there is one, and causes for those who ask. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What kind of failure.
    pub code: Code,
    /// One sentence, in lower case and without a full stop.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// What led to it, outermost first.
    pub causes: Vec<String>,
}

impl Problem {
    /// A problem with this sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Problem {
            code,
            message: message.into(),
            hint: None,
            causes: Vec::new(),
        }
    }

    /// Adds a hint that can be typed.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds `error` and all that led to it as causes.
    #[must_use]
    pub fn caused_by(mut self, error: &dyn std::error::Error) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            self.causes.push(error.to_string());
            next = error.source();
        }
        self
    }
}

/// `text` as one word of a command that can be typed: quoted for a shell where that is needed.
pub fn typed(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./:@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

/// The wire form of a [`Problem`]: `{"error":{"code","exit","message","hint","causes"}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProblemReply {
    /// The problem.
    pub error: ProblemBody,
}

/// The inside of a [`ProblemReply`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProblemBody {
    /// Stable text of the code.
    pub code: String,
    /// The exit code of the command line.
    pub exit: u8,
    /// One sentence.
    pub message: String,
    /// What to do next, or null.
    pub hint: Option<String>,
    /// What led to it, outermost first.
    #[serde(default)]
    pub causes: Vec<String>,
}

impl From<Problem> for ProblemBody {
    fn from(problem: Problem) -> Self {
        ProblemBody {
            code: problem.code.as_str().to_owned(),
            exit: problem.code.exit(),
            message: problem.message,
            hint: problem.hint,
            causes: problem.causes,
        }
    }
}

impl From<ProblemBody> for Problem {
    /// A code that this version does not know reads as one with the same exit code.
    fn from(body: ProblemBody) -> Self {
        let code = Code::parse(&body.code)
            .or_else(|| Code::ALL.iter().copied().find(|code| code.exit() == body.exit))
            .unwrap_or(Code::Internal);
        Problem {
            code,
            message: body.message,
            hint: body.hint,
            causes: body.causes,
        }
    }
}

impl From<Problem> for ProblemReply {
    fn from(problem: Problem) -> Self {
        ProblemReply {
            error: problem.into(),
        }
    }
}

impl From<ProblemReply> for Problem {
    fn from(reply: ProblemReply) -> Self {
        reply.error.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_when_a_shell_would_change_them() {
        for (word, want) in [
            ("work:db/USER", "work:db/USER"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("$(x)", "'$(x)'"),
        ] {
            assert_eq!(typed(word), want);
        }
    }

    #[test]
    fn problems_survive_the_wire() {
        let problem = Problem::new(Code::Locked, "the agent is locked").hint("run `polykey agent unlock`");
        let text = serde_json::to_string(&ProblemReply::from(problem.clone())).expect("plain data");
        assert_eq!(
            text,
            r#"{"error":{"code":"locked","exit":77,"message":"the agent is locked","hint":"run `polykey agent unlock`","causes":[]}}"#
        );
        let read: ProblemReply = serde_json::from_str(&text).expect("just written");
        assert_eq!(Problem::from(read), problem);
    }

    #[test]
    fn unknown_codes_keep_their_exit_code() {
        let text = r#"{"error":{"code":"from-the-future","exit":67,"message":"m","hint":null}}"#;
        let read: ProblemReply = serde_json::from_str(text).expect("well formed");
        assert_eq!(Problem::from(read).code.exit(), 67);
    }
}
