//! `doctor`: what is wrong, and what to do about it.

use std::fmt::Write as _;

use polykey_api::agent::State;
use polykey_api::doctor::{EXAMINE, Finding, Findings, Health};
use polykey_api::{Nothing, Problem};
use polykey_client::Client;

use crate::context::{Autostart, Context};
use crate::escape;
use crate::output::Done;
use crate::password::{self, Given};
use crate::settings::Settings;

/// Looks at everything that can be looked at now.
///
/// # Errors
/// Only when the answer cannot be printed: problems are findings here.
pub async fn run(cx: &Context<'_>) -> Result<Done, Problem> {
    let mut findings = cx.local.examine_files(&cx.node_path);
    findings.push(match Settings::read(&cx.node_path) {
        Ok(_) => Finding::new("configuration", Health::Good, "config.toml is fine, or not there"),
        Err(problem) => bad("configuration", problem),
    });
    findings.extend(examine_agent(cx).await);
    let all = Findings { findings };
    cx.out.answer(&all, text)?;
    let any_bad = all.findings.iter().any(|finding| finding.health == Health::Bad);
    Ok(if any_bad { Done::Partly } else { Done::All })
}

async fn examine_agent(cx: &Context<'_>) -> Vec<Finding> {
    let state = match cx.status() {
        Ok(status) => status.status,
        Err(problem) => return vec![bad("agent", problem)],
    };
    let given = password::given(cx.global.password_file.as_deref());
    // A look at the files must not start to ask for passwords.
    if state == State::Dead && !matches!(given, Ok(Given::Password(_))) {
        return vec![
            Finding::new("agent", Health::Good, "the agent is not running"),
            Finding::new(
                "node database",
                Health::Unknown,
                "not looked at: the agent is not running",
            )
            .hint("start it with `polykey agent start --background`, then ask again"),
        ];
    }
    let asked = async {
        let mut link = cx.link(Autostart::Allowed).await?;
        link.ask(async |client: &mut Client| client.call(&EXAMINE, &Nothing {}).await)
            .await
    };
    match asked.await {
        Ok(inside) => {
            let mut findings = vec![Finding::new("agent", Health::Good, "the agent answers")];
            findings.extend(inside.findings);
            findings
        }
        Err(problem) => vec![bad("agent", problem)],
    }
}

fn bad(check: &str, problem: Problem) -> Finding {
    let finding = Finding::new(check, Health::Bad, problem.message);
    match problem.hint {
        Some(hint) => finding.hint(hint),
        None => finding,
    }
}

fn text(all: &Findings) -> String {
    let mut text = String::new();
    for finding in &all.findings {
        let mark = match finding.health {
            Health::Good => "good",
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
