//! `set`: records and their fields.

use std::io::{self, IsTerminal, Read};
use std::path::Path;

use clap::Args;
use data_encoding::BASE64;
use polykey_api::secrets::{self, Field, FieldKind, SetFields};
use polykey_api::{Code, Problem};
use zeroize::Zeroizing;

use super::to_target;
use super::write::{open_file, tell};
use crate::context::Context;
use crate::output::Done;
use crate::password;
use crate::secret_arg::InVault;

/// Longest value of a field.
const MAX_FIELD: u64 = 1 << 20;

/// Arguments of `set`.
#[derive(Debug, Args)]
pub struct Set {
    /// The record, as VAULT:PATH
    #[arg(value_name = "VAULT:PATH")]
    secret: InVault,
    /// A field that may be seen
    #[arg(long, value_name = "NAME=VALUE")]
    text: Vec<String>,
    /// A concealed field: asked for, or read from stdin (one line each when there are several)
    #[arg(long, value_name = "NAME")]
    field: Vec<String>,
    /// A field that holds a file (`-` is stdin)
    #[arg(long, value_name = "NAME=PATH")]
    file: Vec<String>,
    /// Take a field away
    #[arg(long, value_name = "NAME")]
    unset: Vec<String>,
    /// Only if the version is still N (0: only if there is none)
    #[arg(long, value_name = "N")]
    cas: Option<u64>,
}

/// `set`.
///
/// # Errors
/// The problem to tell of.
pub async fn set(cx: &Context<'_>, args: Set) -> Result<Done, Problem> {
    if args.text.is_empty() && args.field.is_empty() && args.file.is_empty() && args.unset.is_empty() {
        return Err(Problem::new(Code::Usage, "there is no field to set")
            .hint("pass `--text NAME=VALUE`, `--field NAME`, `--file NAME=PATH` or `--unset NAME`"));
    }
    if let Some(pair) = args.field.iter().find(|name| name.contains('=')) {
        let name = pair.split('=').next().unwrap_or_default();
        return Err(Problem::new(
            Code::Usage,
            format!(
                "the value of the concealed field {name} cannot be on the command line, where others see it"
            ),
        )
        .hint(format!(
            "pass `--field {name}` and give the value on stdin or when asked"
        )));
    }
    let from_stdin = args.file.iter().filter(|pair| pair.ends_with("=-")).count();
    if from_stdin > 1 || (from_stdin == 1 && !args.field.is_empty()) {
        return Err(Problem::new(Code::Usage, "stdin can be read for one thing only"));
    }
    let mut fields = Vec::new();
    for pair in &args.text {
        let (name, value) = split(pair)?;
        fields.push(field(name, FieldKind::Text, value.as_bytes()));
    }
    for pair in &args.file {
        let (name, path) = split(pair)?;
        let bytes = match path {
            "-" => read_all(io::stdin().lock(), "stdin")?,
            path => read_all(open_file(Path::new(path))?, path)?,
        };
        fields.push(field(name, FieldKind::File, &bytes));
    }
    for (name, value) in args.field.iter().zip(concealed(&args.field)?) {
        fields.push(field(name, FieldKind::Concealed, &value));
    }
    let secret = args.secret.0;
    let question = SetFields {
        target: to_target(&secret),
        fields,
        unset: args.unset,
        cas: args.cas,
    };
    let written = cx.call(&secrets::SET, &question).await?;
    tell(cx, &secret, &written)
}

/// One byte more than a field holds is enough to be told so by the agent.
fn read_all(from: impl Read, name: &str) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let mut bytes = Zeroizing::new(Vec::new());
    from.take(MAX_FIELD + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Problem::new(Code::Io, format!("cannot read {name:?}")).caused_by(&error))?;
    Ok(bytes)
}

fn split(pair: &str) -> Result<(&str, &str), Problem> {
    pair.split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| Problem::new(Code::Usage, format!("{pair:?} is not NAME=VALUE")))
}

fn field(name: &str, kind: FieldKind, value: &[u8]) -> Field {
    Field {
        name: name.to_owned(),
        kind: Some(kind),
        value: BASE64.encode(value),
    }
}

/// The values of concealed fields: never from the command line, which other programs can read.
fn concealed(names: &[String]) -> Result<Vec<Zeroizing<Vec<u8>>>, Problem> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    if io::stdin().is_terminal() {
        return names
            .iter()
            .map(|name| {
                let shown = crate::escape::name(name);
                let missing = Problem::new(Code::Usage, format!("the value of the field {shown} is needed"))
                    .hint("give it on stdin: with PK_PASSWORD or PK_TOKEN set nothing prompts");
                password::ask_or(missing, &format!("{shown}: "))
            })
            .collect();
    }
    let mut all = Zeroizing::new(Vec::new());
    io::stdin()
        .take(MAX_FIELD * names.len() as u64 + 1)
        .read_to_end(&mut all)
        .map_err(|error| Problem::new(Code::Io, "stdin cannot be read").caused_by(&error))?;
    from_lines(&all, names.len()).ok_or_else(|| {
        Problem::new(
            Code::Usage,
            format!("stdin must hold one line for each of the {} fields", names.len()),
        )
    })
}

/// One value is all of the input, without one newline at its end; several are its lines.
fn from_lines(all: &[u8], count: usize) -> Option<Vec<Zeroizing<Vec<u8>>>> {
    let whole = all.strip_suffix(b"\n").unwrap_or(all);
    if count == 1 {
        return Some(vec![Zeroizing::new(whole.to_vec())]);
    }
    let lines: Vec<_> = whole
        .split(|byte| *byte == b'\n')
        .map(|line| Zeroizing::new(line.to_vec()))
        .collect();
    (lines.len() == count && !all.is_empty()).then_some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(all: &[u8], count: usize) -> Option<Vec<Vec<u8>>> {
        from_lines(all, count).map(|lines| lines.iter().map(|line| line.to_vec()).collect())
    }

    #[test]
    fn one_value_is_all_of_stdin_and_several_are_lines() {
        assert_eq!(lines(b"pw\n", 1), Some(vec![b"pw".to_vec()]));
        assert_eq!(lines(b"a\nb\n\n", 1), Some(vec![b"a\nb\n".to_vec()]));
        assert_eq!(lines(b"", 1), Some(vec![vec![]]));
        assert_eq!(lines(b"a\nb", 2), Some(vec![b"a".to_vec(), b"b".to_vec()]));
        assert_eq!(lines(b"a\n\n", 2), Some(vec![b"a".to_vec(), vec![]]));
        for bad in [&b""[..], b"a", b"a\n", b"a\nb\nc\n"] {
            assert_eq!(lines(bad, 2), None, "{bad:?}");
        }
    }

    #[test]
    fn pairs_need_a_name() {
        assert_eq!(split("a=b=c").ok(), Some(("a", "b=c")));
        assert_eq!(split("a=").ok(), Some(("a", "")));
        for bad in ["", "a", "=b"] {
            assert!(split(bad).is_err(), "{bad:?}");
        }
    }
}
