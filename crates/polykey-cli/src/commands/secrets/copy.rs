//! Copying: `cp` and `dir`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use polykey_api::secrets::{self, Fetch, Import, Imported, Purpose, Target, Transfer};
use polykey_api::{Code, Problem};
use serde_json::json;

use super::fetch::{Piece, fetch};
use super::tree::{TreeReader, TreeWriter, walk};
use super::{ended, tell_batch, to_target, write};
use crate::context::{Autostart, Context};
use crate::escape;
use crate::output::{Done, cannot_write, counted};
use crate::progress::{Meter, Metered};
use crate::secret_arg::{ParsedPlace, Place, SecretArg};

/// Arguments of `dir`.
#[derive(Debug, Args)]
pub struct Dir {
    /// The folder on the disk
    directory: OsString,
    /// Where to: VAULT, or a directory in it
    #[arg(value_name = "VAULT[:PATH]")]
    to: SecretArg,
}

/// Arguments of `cp`.
#[derive(Debug, Args)]
pub struct Cp {
    /// What to copy, and last where to: VAULT:PATH, a path on the disk, or `-`
    #[arg(value_name = "PLACE", num_args = 2.., required = true)]
    places: Vec<ParsedPlace>,
    /// Directories with all they hold
    #[arg(long, short = 'r', short_alias = 'R')]
    recursive: bool,
}

/// `dir`.
///
/// # Errors
/// The problem to tell of.
pub async fn dir(cx: &Context<'_>, args: Dir) -> Result<Done, Problem> {
    let path = Path::new(&args.directory);
    if !path.is_dir() {
        let shown = escape::bytes(args.directory.as_encoded_bytes());
        return Err(if path.exists() {
            Problem::new(Code::Usage, format!("{shown} is not a folder"))
        } else {
            Problem::new(Code::FileNotFound, format!("there is no folder {shown}"))
        });
    }
    let imported = import(cx, &[path], &args.to, true, false).await?;
    tell_import(cx, &imported, &args.to)
}

/// `cp`.
///
/// # Errors
/// The problem to tell of.
pub async fn cp(cx: &Context<'_>, args: Cp) -> Result<Done, Problem> {
    let mut places = args
        .places
        .into_iter()
        .map(|place| {
            place
                .0
                .map_err(|error| Problem::new(Code::Usage, error.to_string()))
        })
        .collect::<Result<Vec<Place>, Problem>>()?;
    let to = places
        .pop()
        .ok_or_else(|| Problem::new(Code::Usage, "there is nothing to copy"))?;
    if let ([Place::Stream], Place::Vault(to)) = (places.as_slice(), &to) {
        write::note_terminal(cx);
        let written = write::upload(cx, to, false, None, std::io::stdin()).await?;
        return write::tell(cx, to, &written);
    }
    let (mut disk, mut vault) = (Vec::new(), Vec::new());
    for place in &places {
        match place {
            Place::Disk(path) => disk.push(path.as_path()),
            Place::Vault(arg) => vault.push(to_target(arg)),
            Place::Stream => {
                return Err(Problem::new(
                    Code::Usage,
                    "`-` can only be copied alone, into a secret",
                ));
            }
        }
    }
    match (to, disk.is_empty(), vault.is_empty()) {
        (Place::Vault(to), true, false) => {
            let question = Transfer {
                sources: vault,
                to: to_target(&to),
                recursive: args.recursive,
                in_place: false,
            };
            let batch = cx.call(&secrets::COPY, &question).await?;
            tell_batch(cx, batch, "Copied", "paths")
        }
        (Place::Vault(to), false, true) => {
            let imported = import(cx, &disk, &to, args.recursive, disk.len() == 1).await?;
            tell_import(cx, &imported, &to)
        }
        (Place::Disk(to), true, false) => export(cx, vault, &to, args.recursive).await,
        (Place::Stream, true, false) => print(cx, vault).await,
        (Place::Vault(_), ..) => Err(Problem::new(
            Code::Usage,
            "files and secrets cannot be copied in one command",
        )),
        _ => Err(Problem::new(Code::Usage, "neither side is in a vault")
            .hint("a secret is VAULT:PATH; for files there is `cp`")),
    }
}

async fn import(
    cx: &Context<'_>,
    roots: &[&Path],
    to: &SecretArg,
    recursive: bool,
    rename: bool,
) -> Result<Imported, Problem> {
    let mut items = Vec::new();
    for root in roots {
        items.extend(walk(root, recursive)?);
    }
    let question = Import {
        vault: to.vault.clone(),
        path: to.path().to_owned(),
        rename,
    };
    let mut link = cx.link(Autostart::Allowed).await?;
    let client = link.authorized().await?;
    client
        .upload(
            &secrets::IMPORT,
            &question,
            Metered::new(TreeReader::new(items), Meter::new(cx.out, None)),
        )
        .await
}

fn tell_import(cx: &Context<'_>, imported: &Imported, to: &SecretArg) -> Result<Done, Problem> {
    let to = to.to_text();
    cx.out.success(&match imported.commit_id {
        Some(_) => format!(
            "Copied {} to {}",
            counted(imported.secrets, "secret"),
            escape::sentence(&to)
        ),
        None => format!("Nothing to change in {}", escape::sentence(&to)),
    });
    if cx.out.is_json() {
        return cx.out.answer(imported, |_| String::new());
    }
    Ok(Done::All)
}

async fn export(cx: &Context<'_>, targets: Vec<Target>, to: &Path, recursive: bool) -> Result<Done, Problem> {
    let shown = escape::bytes(to.as_os_str().as_encoded_bytes());
    let is_folder = to.is_dir();
    let wants_folder = to.as_os_str().as_encoded_bytes().ends_with(b"/");
    if !is_folder && (wants_folder || targets.len() > 1) {
        return Err(Problem::new(
            Code::FileNotFound,
            format!("there is no folder {shown}"),
        ));
    }
    let parent = to.parent().filter(|parent| *parent != Path::new(""));
    if let Some(parent) = parent.filter(|parent| !is_folder && !parent.is_dir()) {
        let parent = escape::bytes(parent.as_os_str().as_encoded_bytes());
        return Err(Problem::new(
            Code::FileNotFound,
            format!("there is no folder {parent}"),
        ));
    }
    let question = Fetch {
        targets,
        purpose: Purpose::Copy,
        at: None,
        at_time: None,
        recursive,
    };
    let mut writer = TreeWriter::new(PathBuf::from(to), !is_folder);
    let mut failed = Vec::new();
    fetch(cx, &question, |piece| match piece {
        Piece::Head(head) => {
            // A pattern may have found several where one place was named.
            if !is_folder && writer.count > 0 && !head.name.contains('/') {
                return Err(
                    Problem::new(Code::Usage, format!("several secrets cannot all become {shown}"))
                        .hint("name a folder that exists"),
                );
            }
            writer.begin(&head)
        }
        Piece::Data(data) => writer.data(data),
        Piece::End => writer.end(),
        Piece::Failed(problem) => {
            failed.push(problem.code.exit());
            cx.out.problem(problem);
            Ok(())
        }
    })
    .await?;
    let done = ended(writer.count == 0, failed.into_iter());
    if writer.count > 0 || done == Done::All {
        cx.out
            .success(&format!("Copied {} to {shown}", counted(writer.count, "secret")));
    }
    if cx.out.is_json() {
        cx.out
            .answer(&json!({ "secrets": writer.count }), |_| String::new())?;
    }
    Ok(done)
}

async fn print(cx: &Context<'_>, targets: Vec<Target>) -> Result<Done, Problem> {
    use std::io::Write;

    let question = Fetch {
        targets,
        purpose: Purpose::Cat,
        at: None,
        at_time: None,
        recursive: false,
    };
    let mut out = std::io::stdout().lock();
    let mut failed = None;
    fetch(cx, &question, |piece| {
        match piece {
            Piece::Data(data) => out.write_all(data).map_err(|error| cannot_write(&error))?,
            Piece::Failed(problem) => {
                failed.get_or_insert(problem.code);
                cx.out.problem(problem);
            }
            Piece::Head(_) | Piece::End => {}
        }
        Ok(())
    })
    .await?;
    out.flush().map_err(|error| cannot_write(&error))?;
    Ok(failed.map_or(Done::All, Done::Except))
}
