//! Reading: `cat`, and what other commands read with.

use std::io::{IsTerminal, Read, Write};

use clap::Args;
use data_encoding::BASE64;
use polykey_api::frames::{self, Frame, FrameReader};
use polykey_api::problem::ProblemBody;
use polykey_api::secrets::{FETCH, Fetch, Purpose, SecretHead};
use polykey_api::{Code, Problem};
use polykey_client::Download;
use serde_json::json;

use super::to_target;
use crate::context::{Autostart, Context};
use crate::escape;
use crate::moment::At;
use crate::output::{Done, cannot_write};
use crate::progress::Meter;
use crate::secret_arg::SecretArg;

/// Arguments of `cat`.
#[derive(Debug, Args)]
pub struct Cat {
    /// Secrets, as VAULT:PATH; `#field` for one field of a record, `-` for stdin
    #[arg(value_name = "VAULT:PATH")]
    targets: Vec<SecretArg>,
    /// As of this commit or date
    #[arg(long, value_name = "COMMIT|DATE")]
    at: Option<String>,
}

/// What comes out of a fetch, in order.
pub enum Piece<'a> {
    /// A secret begins.
    Head(SecretHead),
    /// Some of its bytes.
    Data(&'a [u8]),
    /// It is whole.
    End,
    /// It, or its rest, cannot be had.
    Failed(Problem),
}

/// Asks for `question` and hands over what comes.
///
/// # Errors
/// What the agent answers; [`Code::Protocol`] and [`Code::Io`] when the answer is cut off; those of `each`.
pub async fn fetch(
    cx: &Context<'_>,
    question: &Fetch,
    mut each: impl FnMut(Piece<'_>) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let mut link = cx.link(Autostart::Allowed).await?;
    let mut body = link
        .ask(async |client| client.download(&FETCH, question).await)
        .await?;
    // A bar on the terminal that the secret itself goes to would mix with it.
    let quiet = std::io::stdout().is_terminal();
    let meter = (!quiet).then(|| Meter::new(cx.out, None));
    read_frames(&mut body, meter, &mut each).await
}

async fn read_frames(
    body: &mut Download,
    mut meter: Option<Meter>,
    each: &mut impl FnMut(Piece<'_>) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let malformed = |error: frames::FrameError| {
        Problem::new(Code::Protocol, "the agent's answer cannot be read").caused_by(&error)
    };
    let mut reader = FrameReader::new();
    while let Some(bytes) = body.piece().await? {
        reader.push(&bytes);
        if let Some(meter) = &mut meter {
            meter.add(bytes.len());
        }
        while let Some(frame) = reader.next_frame().map_err(malformed)? {
            each(match frame {
                Frame::Head(head) => Piece::Head(frames::parse(head).map_err(malformed)?),
                Frame::Data(data) => Piece::Data(data),
                Frame::End => Piece::End,
                Frame::Failed(problem) => {
                    Piece::Failed(frames::parse::<ProblemBody>(problem).map_err(malformed)?.into())
                }
                Frame::Close => continue,
            })?;
        }
    }
    reader.finish().map_err(malformed)
}

/// `cat`.
///
/// # Errors
/// The problem to tell of.
pub async fn cat(cx: &Context<'_>, args: Cat) -> Result<Done, Problem> {
    let at = args.at.as_deref().map(At::parse).transpose()?;
    if args.targets.is_empty() {
        return copy_stdin();
    }
    let mut done = Done::All;
    // A whole vault is nothing to print, so `-` alone is free to mean stdin.
    let is_stdin = |target: &SecretArg| target.to_text() == "-";
    for targets in args.targets.chunk_by(|a, b| !is_stdin(a) && !is_stdin(b)) {
        let ended = match targets {
            [one] if is_stdin(one) => copy_stdin()?,
            secrets => print_secrets(cx, secrets, at.as_ref()).await?,
        };
        done = if done == Done::All { ended } else { done };
    }
    Ok(done)
}

async fn print_secrets(cx: &Context<'_>, targets: &[SecretArg], at: Option<&At>) -> Result<Done, Problem> {
    let question = Fetch {
        targets: targets.iter().map(to_target).collect(),
        purpose: Purpose::Cat,
        at: at.and_then(At::commit),
        at_time: at.and_then(At::time),
        recursive: false,
    };
    let explained = |problem| match at {
        Some(at) => at.explain(problem),
        None => problem,
    };
    let json = cx.out.is_json();
    let mut out = std::io::stdout().lock();
    let mut whole: Option<(SecretHead, Vec<u8>)> = None;
    let mut failed = None;
    fetch(cx, &question, |piece| {
        if let Piece::Head(head) = &piece
            && head.set_aside
        {
            cx.out.warn(&format!(
                "{}:{} is from a commit that is set aside and does not count; see `polykey vaults set-aside`",
                escape::name(&head.vault),
                escape::name(&head.path)
            ));
        }
        match piece {
            Piece::Head(head) if json => whole = Some((head, Vec::new())),
            Piece::Data(data) => match &mut whole {
                Some((_, value)) => value.extend_from_slice(data),
                None => out.write_all(data).map_err(|error| cannot_write(&error))?,
            },
            Piece::End => {
                if let Some((head, value)) = whole.take() {
                    let mut line = in_json(&head, &value).to_string();
                    line.push('\n');
                    out.write_all(line.as_bytes())
                        .map_err(|error| cannot_write(&error))?;
                }
            }
            Piece::Head(_) => {}
            Piece::Failed(problem) => {
                out.flush().map_err(|error| cannot_write(&error))?;
                failed.get_or_insert(problem.code);
                cx.out.problem(explained(problem));
            }
        }
        Ok(())
    })
    .await
    .map_err(explained)?;
    out.flush().map_err(|error| cannot_write(&error))?;
    Ok(failed.map_or(Done::All, Done::Except))
}

fn in_json(head: &SecretHead, value: &[u8]) -> serde_json::Value {
    let value = match std::str::from_utf8(value) {
        Ok(text) => json!(text),
        Err(_) => json!({"encoding": "base64", "value": BASE64.encode(value)}),
    };
    let mut shown = json!({
        "vault": head.vault,
        "path": head.path,
        "version": head.version,
        "value": value,
    });
    if let Some(field) = &head.field {
        shown["field"] = json!(field);
    }
    if head.set_aside {
        shown["setAside"] = json!(true);
    }
    shown
}

fn copy_stdin() -> Result<Done, Problem> {
    let (mut from, mut to) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = from
            .read(&mut buffer)
            .map_err(|error| Problem::new(Code::Io, "stdin cannot be read").caused_by(&error))?;
        if count == 0 {
            break;
        }
        to.write_all(&buffer[..count])
            .map_err(|error| cannot_write(&error))?;
    }
    to.flush().map_err(|error| cannot_write(&error))?;
    Ok(Done::All)
}
