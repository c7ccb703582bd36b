//! Changing what is there: `mkdir`, `rm`, `rename`, `mv`, `touch`, `attr`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use clap::Args;
use polykey_api::secrets::{self, Attributes, Mkdir as MkdirQuestion, Remove, SetAttributes, Transfer};
use polykey_api::{Code, Problem};

use super::{Targets, tell_batch, tell_batch_with, to_target};
use crate::context::Context;
use crate::escape;
use crate::output::Done;
use crate::secret_arg::{InVault, SecretArg};
use crate::{commands::sharing::duration, time};

/// Arguments of `mkdir`.
#[derive(Debug, Args)]
pub struct Mkdir {
    #[command(flatten)]
    targets: Targets,
    /// Make missing parents, and take an existing directory as made
    #[arg(long, short = 'p', visible_alias = "recursive")]
    parents: bool,
}

/// Arguments of `rm`.
#[derive(Debug, Args)]
pub struct Rm {
    #[command(flatten)]
    targets: Targets,
    /// Directories with all they hold
    #[arg(long, short = 'r', short_alias = 'R')]
    recursive: bool,
    /// Do not complain about what is not there
    #[arg(long, short = 'f')]
    force: bool,
    /// Form of the output
    // Of the same name as the global one, which so leaves the letter `f` to `--force`.
    #[arg(id = "format", long, value_name = "FORMAT")]
    format: Option<crate::args::Format>,
}

/// Arguments of `touch`.
#[derive(Debug, Args)]
pub struct Touch {
    #[command(flatten)]
    targets: Targets,
}

/// Arguments of `rename`.
#[derive(Debug, Args)]
pub struct Rename {
    /// The secret or directory, as VAULT:PATH
    #[arg(value_name = "VAULT:PATH")]
    secret: InVault,
    /// Its new name; without a slash
    new_name: String,
}

/// Arguments of `mv`.
#[derive(Debug, Args)]
pub struct Mv {
    /// What to move, and last where to: VAULT:PATH each
    #[arg(value_name = "VAULT:PATH", num_args = 2.., required = true)]
    places: Vec<SecretArg>,
}

/// Arguments of `attr`.
#[derive(Debug, Args)]
pub struct Attr {
    /// The secret, as VAULT:PATH
    #[arg(value_name = "VAULT:PATH")]
    secret: InVault,
    /// Attributes to set
    #[arg(value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Attribute to take away
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
}

/// `mkdir`.
///
/// # Errors
/// The problem to tell of.
pub async fn mkdir(cx: &Context<'_>, args: Mkdir) -> Result<Done, Problem> {
    let question = MkdirQuestion {
        targets: args.targets.to_wire(),
        parents: args.parents,
    };
    let batch = cx.call(&secrets::MKDIR, &question).await?;
    if batch.done.is_empty() && batch.failed.is_empty() {
        cx.out.success("Nothing was made: all of it is there already");
    }
    tell_batch(cx, batch, "Made", "directories")
}

/// `rm`.
///
/// # Errors
/// The problem to tell of.
pub async fn rm(cx: &Context<'_>, args: Rm) -> Result<Done, Problem> {
    let question = Remove {
        targets: args.targets.to_wire(),
        recursive: args.recursive,
        force: args.force,
    };
    let batch = cx.call(&secrets::REMOVE, &question).await?;
    tell_batch(cx, batch, "Removed", "paths")
}

/// `touch`.
///
/// # Errors
/// The problem to tell of.
pub async fn touch(cx: &Context<'_>, args: Touch) -> Result<Done, Problem> {
    let question = secrets::Touch {
        targets: args.targets.to_wire(),
    };
    let batch = cx.call(&secrets::TOUCH, &question).await?;
    tell_batch(cx, batch, "Touched", "secrets")
}

/// `rename`.
///
/// # Errors
/// The problem to tell of.
pub async fn rename(cx: &Context<'_>, args: Rename) -> Result<Done, Problem> {
    let secret = args.secret.0;
    // As in the original's later releases, the vault and the directory may stand before the new name as well.
    let place = secret
        .path()
        .trim_matches('/')
        .rsplit_once('/')
        .map_or("", |(directory, _)| directory);
    let new_name = match args.new_name.split_once(':') {
        Some((vault, path)) if vault == secret.vault => path
            .strip_prefix(place)
            .and_then(|rest| rest.strip_prefix('/'))
            .unwrap_or(path)
            .to_owned(),
        _ => args.new_name,
    };
    if new_name.contains('/') {
        return Err(Problem::new(Code::Usage, "the new name holds a slash")
            .hint("`polykey secrets mv` moves to another directory"));
    }
    let question = Transfer {
        to: secrets::Target {
            vault: secret.vault.clone(),
            path: new_name,
        },
        sources: vec![to_target(&secret)],
        recursive: true,
        in_place: true,
    };
    let batch = cx.call(&secrets::MOVE, &question).await?;
    tell_batch(cx, batch, "Renamed", "paths")
}

/// `mv`.
///
/// # Errors
/// The problem to tell of.
pub async fn mv(cx: &Context<'_>, args: Mv) -> Result<Done, Problem> {
    let Some((to, sources)) = args.places.split_last() else {
        return Err(Problem::new(Code::Usage, "there is nothing to move"));
    };
    let question = Transfer {
        sources: sources.iter().map(to_target).collect(),
        to: to_target(to),
        recursive: true,
        in_place: false,
    };
    let batch = cx.call(&secrets::MOVE, &question).await?;
    let changed = batch.commits.iter().filter(|made| made.commit_id.is_some());
    let vaults: BTreeSet<_> = changed.map(|made| made.vault_id.clone()).collect();
    // Taken out of one vault and put into another.
    if vaults.len() > 1 {
        return tell_batch_with(
            cx,
            batch,
            "Moved",
            "paths",
            "; the history begins anew in the other vault",
        );
    }
    tell_batch(cx, batch, "Moved", "paths")
}

/// `attr`.
///
/// # Errors
/// The problem to tell of.
pub async fn attr(cx: &Context<'_>, args: Attr) -> Result<Done, Problem> {
    let secret = args.secret.0;
    let mut set = BTreeMap::new();
    for pair in &args.set {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            Problem::new(Code::Usage, format!("{pair:?} is not KEY=VALUE"))
                .hint("take an attribute away with `--unset KEY`")
        })?;
        let value = if key == "expires" {
            moment(value)?
        } else {
            value.to_owned()
        };
        set.insert(key.to_owned(), value);
    }
    let asked = set.is_empty() && args.unset.is_empty();
    let question = SetAttributes {
        target: to_target(&secret),
        set,
        unset: args.unset,
    };
    let answer = cx.call(&secrets::ATTRIBUTES, &question).await?;
    if asked {
        return cx.out.answer(&answer, shown);
    }
    let verb = if answer.commit_id.is_some() {
        "Changed"
    } else {
        "Nothing to change in"
    };
    cx.out.success(&format!(
        "{verb} the attributes of {}",
        escape::sentence(&secret.to_text())
    ));
    if cx.out.is_json() {
        return cx.out.answer(&answer, |_| String::new());
    }
    Ok(Done::All)
}

/// When a secret expires: a date, or a date and time, as it was typed; or so long from now.
fn moment(text: &str) -> Result<String, Problem> {
    let dated = text.bytes().any(|byte| byte == b'-');
    if dated && time::parse(text).is_ok() {
        return Ok(text.to_owned());
    }
    let now = time::parse("now")?;
    let later = duration(text).ok().and_then(|life| now.checked_add(life));
    // What lies too far off is shown as a number.
    let shown = later.map(time::show).filter(|shown| shown.ends_with('Z'));
    shown.ok_or_else(|| {
        Problem::new(Code::BadData, format!("{text:?} is no time at which a secret expires"))
            .hint("write a date, 2027-01-31; a date and time, 2027-01-31T18:30:00Z; or how long from now, 30d or 12h")
    })
}

fn shown(answer: &Attributes) -> String {
    let mut text = String::new();
    for (key, value) in &answer.attributes {
        let _ = writeln!(text, "{}\t{}", escape::name(key), escape::name(value));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_expires_at_a_date_a_moment_or_after_a_while() {
        for good in ["2027-01-31", "2027-01-31T18:30:00Z", "2027-01-31 18:30"] {
            assert_eq!(moment(good).as_deref(), Ok(good));
        }
        for length in ["30d", "12h", "1m"] {
            let then = moment(length).expect("a length of time");
            assert!(time::parse(&then).ok() > time::parse("now").ok(), "{then}");
        }
        for bad in [
            "",
            "soon",
            "now",
            "2027",
            "2027-13-01",
            "30",
            "0d",
            "-1d",
            "d",
            "99999999999999d",
            "9999999d",
        ] {
            assert_eq!(
                moment(bad).map_err(|problem| problem.code),
                Err(Code::BadData),
                "{bad}"
            );
        }
    }
}
