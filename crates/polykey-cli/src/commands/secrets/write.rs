//! Writing: `write` and `create`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use clap::Args;
use polykey_api::secrets::{self, Written};
use polykey_api::{Code, Problem};

use crate::context::{Autostart, Context};
use crate::escape;
use crate::output::Done;
use crate::progress::{Meter, Metered};
use crate::secret_arg::{InVault, SecretArg};

/// Arguments of `write`.
#[derive(Debug, Args)]
pub struct Write {
    /// The secret, as VAULT:PATH
    #[arg(value_name = "VAULT:PATH")]
    secret: InVault,
    /// Only if its version is still N (0: only if there is none)
    #[arg(long, value_name = "N")]
    cas: Option<u64>,
}

/// Arguments of `create`.
#[derive(Debug, Args)]
pub struct Create {
    /// File to take the bytes from; `-` is stdin
    file: OsString,
    /// The secret, as VAULT:PATH
    #[arg(value_name = "VAULT:PATH")]
    secret: InVault,
}

/// `write`.
///
/// # Errors
/// The problem to tell of.
pub async fn write(cx: &Context<'_>, args: Write) -> Result<Done, Problem> {
    note_terminal(cx);
    let written = upload(cx, &args.secret.0, false, args.cas, io::stdin()).await?;
    tell(cx, &args.secret.0, &written)
}

/// `create`.
///
/// # Errors
/// The problem to tell of.
pub async fn create(cx: &Context<'_>, args: Create) -> Result<Done, Problem> {
    let written = if args.file == "-" {
        note_terminal(cx);
        upload(cx, &args.secret.0, true, None, io::stdin()).await?
    } else {
        let file = open_file(Path::new(&args.file))?;
        upload(cx, &args.secret.0, true, None, file).await?
    };
    tell(cx, &args.secret.0, &written)
}

/// Says that something has to be typed, to whoever sits there.
pub fn note_terminal(cx: &Context<'_>) {
    if io::stdin().is_terminal() {
        cx.out.line("Type the secret, then Ctrl-D on a line of its own.");
    }
}

/// Opens a file of the user's for reading.
///
/// # Errors
/// [`Code::FileNotFound`], [`Code::Usage`] for a folder, [`Code::Io`].
pub fn open_file(path: &Path) -> Result<File, Problem> {
    let shown = escape::bytes(path.as_os_str().as_encoded_bytes());
    let file = File::open(path).map_err(|error| {
        let code = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Code::FileNotFound,
            io::ErrorKind::PermissionDenied => Code::NotAllowed,
            _ => Code::Io,
        };
        Problem::new(code, format!("cannot open {shown}")).caused_by(&error)
    })?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(Problem::new(Code::Usage, format!("{shown} is a folder"))
            .hint("import a folder with `polykey secrets dir`, or `cp -r`"));
    }
    Ok(file)
}

/// Sends `source` to be the content of `secret`.
///
/// # Errors
/// What the agent answers.
pub async fn upload(
    cx: &Context<'_>,
    secret: &SecretArg,
    create: bool,
    cas: Option<u64>,
    source: impl Read + Send + 'static,
) -> Result<Written, Problem> {
    let question = secrets::Write {
        vault: secret.vault.clone(),
        path: secret.path().to_owned(),
        create,
        cas,
    };
    let mut link = cx.link(Autostart::Allowed).await?;
    link.authorized()
        .await?
        .upload(
            &secrets::WRITE,
            &question,
            Metered::new(source, Meter::new(cx.out, None)),
        )
        .await
}

/// Tells of a write.
///
/// # Errors
/// When the output cannot be written.
pub fn tell(cx: &Context<'_>, secret: &SecretArg, written: &Written) -> Result<Done, Problem> {
    let verb = match (&written.commit_id, written.created) {
        (None, _) => "Nothing to change in",
        (_, true) => "Created",
        _ => "Wrote",
    };
    cx.out
        .success(&format!("{verb} {}", escape::sentence(&secret.to_text())));
    if cx.out.is_json() {
        return cx.out.answer(written, |_| String::new());
    }
    Ok(Done::All)
}
