//! What `doctor` finds.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::endpoint::{Endpoint, Nothing};
use crate::{Code, Problem};

/// Looks at everything that an open node can look at.
pub const EXAMINE: Endpoint<Nothing, Findings> =
    Endpoint::json("/v1/agent/examine", "Check databases, audit log and keys");

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// As it should be.
    Good,
    /// As the user chose it, although there is a safer choice.
    Note,
    /// Works, but could be better.
    Warning,
    /// Something is broken.
    Bad,
    /// Could not be looked at.
    Unknown,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// What was looked at.
    pub check: String,
    /// How it is.
    pub health: Health,
    /// In one sentence.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
    /// The code of the error that was met, by its stable text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<String>,
}

impl Finding {
    /// A check with its outcome.
    pub fn new(check: &str, health: Health, message: impl Into<String>) -> Self {
        Finding {
            check: check.to_owned(),
            health,
            message: message.into(),
            hint: None,
            code: None,
        }
    }

    /// A check that ended in this problem.
    pub fn bad(check: &str, problem: Problem) -> Self {
        Finding {
            hint: problem.hint,
            ..Finding::new(check, Health::Bad, problem.message).code(problem.code)
        }
    }

    /// Adds the code of what was met.
    #[must_use]
    pub fn code(mut self, code: Code) -> Self {
        self.code = Some(code.as_str().to_owned());
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl Findings {
    /// What a command that found these ends with: damage and disk errors by their own codes, which scripts
    /// wait for; `None` when nothing is to be done, and done in part for all else.
    pub fn verdict(&self) -> Option<Verdict> {
        let met = |exit: u8| {
            self.findings
                .iter()
                .filter(|finding| finding.health == Health::Bad)
                .filter_map(|finding| Code::parse(finding.code.as_deref()?))
                .find(|code| code.exit() == exit)
        };
        if let Some(code) = met(Code::BadData.exit()).or_else(|| met(Code::Io.exit())) {
            return Some(Verdict::Failed(code));
        }
        self.findings
            .iter()
            .any(|finding| matches!(finding.health, Health::Bad | Health::Warning))
            .then_some(Verdict::Findings)
    }
}

/// That something is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Something is to be done.
    Findings,
    /// Something is damaged, or the disk fails.
    Failed(Code),
}

/// All checks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Findings {
    /// In the order in which they were made.
    pub findings: Vec<Finding>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(findings: &[Finding], want: Option<Verdict>) {
        let findings = findings.to_vec();
        assert_eq!(Findings { findings }.verdict(), want);
    }

    #[test]
    fn the_worst_finding_decides() {
        let good = Finding::new("a", Health::Good, "");
        let unknown = Finding::new("b", Health::Unknown, "");
        let note = Finding::new("n", Health::Note, "");
        let warning = Finding::new("c", Health::Warning, "").code(Code::BadData);
        let config = Finding::bad("d", Problem::new(Code::Config, ""));
        let disk = Finding::bad("e", Problem::new(Code::DiskFull, ""));
        let damage = Finding::bad("f", Problem::new(Code::BadData, ""));
        check(&[], None);
        check(&[good.clone(), unknown.clone(), note], None);
        check(&[good.clone(), warning.clone()], Some(Verdict::Findings));
        check(&[config.clone(), good], Some(Verdict::Findings));
        check(
            &[config, disk.clone(), warning],
            Some(Verdict::Failed(Code::DiskFull)),
        );
        check(&[disk, damage, unknown], Some(Verdict::Failed(Code::BadData)));
    }
}
