//! `doctor`: what is wrong, and what to do about it.

use std::fmt::Write as _;

use clap::Args;
use polykey_api::agent::State;
use polykey_api::doctor::{EXAMINE, Finding, Findings, Health, Verdict};
use polykey_api::nodes::{self, OneNode};
use polykey_api::{Code, Nothing, Problem};

use crate::context::{Autostart, Context};
use crate::escape;
use crate::output::Done;
use crate::password::{self, Given};
use crate::settings::Settings;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Say why this node can or cannot be reached
    #[arg(long, value_name = "NODE")]
    network: Option<String>,
}

/// Looks at everything that can be looked at now. Ends well when all is fine, with 65 or 74 when something is
/// damaged or the disk fails, and with 1 when something else is to be done.
///
/// # Errors
/// When a password was given that cannot be read or is wrong, or the answer cannot be printed. All else is a
/// finding.
pub async fn run(cx: &Context<'_>, args: Doctor) -> Result<Done, Problem> {
    if let Some(who) = args.network {
        let all = cx.call(&nodes::EXAMINE, &OneNode { who }).await?;
        cx.out.answer(&all, text)?;
        return Ok(match all.verdict() {
            None => Done::All,
            Some(Verdict::Findings) => Done::Partly,
            Some(Verdict::Failed(code)) => Done::Except(code),
        });
    }
    let mut findings = cx.local.examine_files(&cx.node_path);
    findings.push(match Settings::read(&cx.node_path) {
        Ok(_) => Finding::new("configuration", Health::Good, "config.toml is fine, or not there"),
        Err(problem) => Finding::bad("configuration", problem),
    });
    if cx.local.node_exists(&cx.node_path) {
        findings.extend(examine_sealed(cx).await?);
    }
    let all = Findings { findings };
    cx.out.answer(&all, text)?;
    Ok(match all.verdict() {
        None => Done::All,
        Some(Verdict::Findings) => Done::Partly,
        Some(Verdict::Failed(code)) => Done::Except(code),
    })
}

/// What needs the keys: by the agent, or here when none runs.
async fn examine_sealed(cx: &Context<'_>) -> Result<Vec<Finding>, Problem> {
    let state = match cx.status() {
        Ok(status) => status.status,
        Err(problem) => return Ok(vec![Finding::bad("agent", problem)]),
    };
    if state == State::Dead {
        let agent = Finding::new("agent", Health::Good, "the agent is not running");
        let mut findings = vec![agent];
        // A look at the files does not ask for passwords.
        match password::given(cx.global.password_file.as_deref())? {
            Given::Password(password) => {
                let sealed = cx.local.examine_node(&cx.node_path, &password);
                let wrong = sealed
                    .iter()
                    .any(|finding| finding.code.as_deref() == Some(Code::WrongPassword.as_str()));
                if wrong {
                    return Err(Problem::new(Code::WrongPassword, "the password is wrong"));
                }
                findings.extend(sealed);
            }
            Given::Token(_) | Given::Nothing => findings.push(not_looked_at()),
        }
        return Ok(findings);
    }
    let mut link = match cx.link(Autostart::Never).await {
        Ok(link) => link,
        Err(problem) => return Ok(vec![Finding::bad("agent", problem)]),
    };
    let given = !link.may_ask();
    match link.client().call(&EXAMINE, &Nothing {}).await {
        Ok(inside) => {
            let mut findings = vec![Finding::new("agent", Health::Good, "the agent answers")];
            findings.extend(inside.findings);
            Ok(findings)
        }
        Err(problem) if problem.code.wants_password() && given => Err(problem),
        Err(problem) if problem.code.wants_password() || problem.code == Code::Locked => Ok(vec![
            Finding::new("agent", Health::Good, "the agent answers"),
            not_looked_at(),
        ]),
        Err(problem) => Ok(vec![Finding::bad("agent", problem)]),
    }
}

fn not_looked_at() -> Finding {
    Finding::new(
        "node database",
        Health::Unknown,
        "what is sealed was not looked at: no password was given",
    )
    .hint("run `polykey agent unlock` first, or give the password by `--password-file` or PK_PASSWORD")
}

fn text(all: &Findings) -> String {
    let mut text = String::new();
    for finding in &all.findings {
        let mark = match finding.health {
            Health::Good => "good",
            Health::Note => "note",
            Health::Warning => "warning",
            Health::Bad => "BAD",
            Health::Unknown => "unknown",
        };
        let _ = writeln!(
            text,
            "{mark:<8} {}: {}",
            escape::name(&finding.check),
            escape::sentence(&finding.message)
        );
        if let Some(hint) = &finding.hint {
            let _ = writeln!(text, "         {}", escape::sentence(hint));
        }
    }
    text
}
