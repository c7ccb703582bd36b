//! `edit`: a secret in the user's editor.
//!
//! The text lies in a private folder in memory, not on a disk, and is wiped when the editor has ended,
//! together with whatever the editor left beside it. The editor is called without a shell, so the name
//! of a secret is only ever an argument. Editors of the vi family remember what was cut and copied, and keep
//! swap, undo and backup files wherever the user's settings say: they are told not to.
//!
//! Always: the new text is stored only on top of the version that was shown; when that fails the text
//! stays in its file, and the user hears where.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::Args;
use polykey_api::secrets::{Fetch, Purpose};
use polykey_api::{Code, Problem};
use polykey_client::background;
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

use super::fetch::{Piece, fetch};
use super::{to_target, write};
use crate::context::Context;
use crate::escape;
use crate::output::Done;
use crate::secret_arg::{InVault, SecretArg};

/// What keeps an editor of the vi family from writing elsewhere what it shows. The command runs after the user's own
/// settings, and says nothing where an option is not known.
const KEEPS_NOTHING: [&str; 5] = [
    "-n",
    "-i",
    "NONE",
    "-c",
    "silent! set noundofile nobackup nowritebackup",
];

/// Arguments of `edit`.
#[derive(Debug, Args)]
pub struct Edit {
    /// The secret, as VAULT:PATH; one that is not there yet starts empty
    #[arg(value_name = "VAULT:PATH")]
    secret: InVault,
}

/// `edit`.
///
/// # Errors
/// The problem to tell of.
pub async fn edit(cx: &Context<'_>, args: Edit) -> Result<Done, Problem> {
    let secret = args.secret.0;
    let editor = editor()?;
    let (before, version) = read(cx, &secret).await?;
    let draft = Draft::new(secret.path(), &before)
        .map_err(|error| Problem::new(Code::Io, "there is no place to edit in").caused_by(&error))?;
    run(&editor, &draft.file).await?;
    let after = draft
        .read()
        .map_err(|error| Problem::new(Code::Io, "the edited text cannot be read").caused_by(&error))?;
    if after == before {
        cx.out.success("Nothing was changed");
        return Ok(Done::All);
    }
    let written = write::upload(cx, &secret, false, Some(version), io::Cursor::new(after)).await;
    match written {
        Ok(written) => write::tell(cx, &secret, &written),
        Err(problem) => {
            let kept = draft.keep();
            let kept = escape::bytes(kept.as_os_str().as_encoded_bytes());
            Err(problem.hint(format!(
                "your text is kept in memory at {kept}: look at both, store it with `polykey secrets write`, remove it"
            )))
        }
    }
}

/// The text and its version; empty and 0 when there is none.
async fn read(cx: &Context<'_>, secret: &SecretArg) -> Result<(Zeroizing<Vec<u8>>, u64), Problem> {
    let question = Fetch {
        targets: vec![to_target(secret)],
        purpose: Purpose::Edit,
        at: None,
        at_time: None,
        recursive: false,
    };
    let mut text = Zeroizing::new(Vec::new());
    let mut version = 0;
    fetch(cx, &question, |piece| {
        match piece {
            Piece::Head(head) => version = head.version,
            Piece::Data(data) => text.extend_from_slice(data),
            Piece::End => {}
            Piece::Failed(problem) if problem.code == Code::SecretNotFound => {}
            Piece::Failed(problem) => return Err(problem),
        }
        Ok(())
    })
    .await?;
    Ok((text, version))
}

/// Runs the editor. Ctrl-C is for the editor; other signals end it and us, in that order, so that the
/// text is wiped.
async fn run(editor: &[OsString], file: &Path) -> Result<(), Problem> {
    let failed = |error: io::Error| Problem::new(Code::Io, "signals cannot be caught").caused_by(&error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut quit = signal(SignalKind::quit()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(failed)?;
    let [program, args @ ..] = editor else {
        return Err(Problem::new(Code::Usage, "no editor is named"));
    };
    let shown = escape::bytes(program.as_encoded_bytes());
    let mut command = tokio::process::Command::new(program);
    for name in background::SECRET_VARIABLES {
        command.env_remove(name);
    }
    if is_vim(program, &std::env::var_os("PATH").unwrap_or_default()) {
        command.args(KEEPS_NOTHING);
    }
    let mut child = command.args(args).arg(file).spawn().map_err(|error| {
        Problem::new(Code::FileNotFound, format!("the editor {shown} cannot be run"))
            .hint("set EDITOR or VISUAL")
            .caused_by(&error)
    })?;
    loop {
        tokio::select! {
            ended = child.wait() => {
                let ended = ended.map_err(|error| Problem::new(Code::Io, "the editor was lost").caused_by(&error))?;
                if ended.success() {
                    return Ok(());
                }
                return Err(Problem::new(Code::Io, format!("the editor {shown} failed ({ended}); nothing was stored")));
            }
            _ = interrupt.recv() => {}
            _ = quit.recv() => {}
            _ = terminate.recv() => break,
            _ = hang_up.recv() => break,
        }
    }
    let _ = child.start_kill();
    let _ = child.wait().await;
    Err(Problem::new(
        Code::Io,
        "the editor was ended by a signal; nothing was stored",
    ))
}

/// The editor's program and arguments: VISUAL, then EDITOR, then what systems have.
fn editor() -> Result<Vec<OsString>, Problem> {
    for name in ["VISUAL", "EDITOR"] {
        let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) else {
            continue;
        };
        // A path with blanks in it is a program of its own.
        if Path::new(&value).is_file() {
            return Ok(vec![value]);
        }
        let words = value
            .to_str()
            .and_then(split_words)
            .filter(|words| !words.is_empty());
        return words.ok_or_else(|| Problem::new(Code::Usage, format!("{name} cannot be read as a command")));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    ["editor", "nano", "vim", "vi"]
        .into_iter()
        .find(|program| find(OsStr::new(program), &path).is_some())
        .map(|program| vec![program.into()])
        .ok_or_else(|| Problem::new(Code::Usage, "no editor is known").hint("set EDITOR or VISUAL"))
}

/// Where a program lies; `path` is what PATH says.
fn find(program: &OsStr, path: &OsStr) -> Option<PathBuf> {
    if program.as_encoded_bytes().contains(&b'/') {
        return Some(PathBuf::from(program)).filter(|place| place.is_file());
    }
    let mut places = std::env::split_paths(path).map(|folder| folder.join(program));
    places.find(|place| place.is_file())
}

/// True for Vim and Neovim, whatever links lead to them: `vi` and `editor` are others elsewhere, which do not know
/// the options of these.
fn is_vim(program: &OsStr, path: &OsStr) -> bool {
    let place = find(program, path).and_then(|place| place.canonicalize().ok());
    let name = place
        .as_deref()
        .and_then(Path::file_name)
        .map(OsStr::as_encoded_bytes);
    name.is_some_and(|name| name == b"nvim" || name == b"vim" || name.starts_with(b"vim."))
}

/// Splits a command into words at blanks, with quotes and backslashes as in a shell, and nothing else of
/// one. `None` when a quote is not closed.
fn split_words(text: &str) -> Option<Vec<OsString>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => words.extend(word.take().map(OsString::from)),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), c) if open == c => quote = None,
            (None | Some('"'), '\\') => word.get_or_insert_default().push(chars.next()?),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word.map(OsString::from));
    quote.is_none().then_some(words)
}

/// A file in a private folder in memory. Wiped on drop, unless it is kept.
struct Draft {
    folder: PathBuf,
    file: PathBuf,
    kept: bool,
}

impl Draft {
    fn new(path: &str, text: &[u8]) -> io::Result<Draft> {
        let memory = memory_folder()?;
        let mut random = [0; 8];
        File::open("/dev/urandom")?.read_exact(&mut random)?;
        let folder = memory.join(format!("polykey-{:016x}", u64::from_ne_bytes(random)));
        DirBuilder::new().mode(0o700).create(&folder)?;
        let draft = Draft {
            file: folder.join(file_name(path)),
            folder,
            kept: false,
        };
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft.file)?
            .write_all(text)?;
        Ok(draft)
    }

    /// Some editors put a new file in the place of the old one, so it is found by its name.
    fn read(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        let mut text = Zeroizing::new(Vec::new());
        File::open(&self.file)?.read_to_end(&mut text)?;
        Ok(text)
    }

    fn keep(mut self) -> PathBuf {
        self.kept = true;
        self.file.clone()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept {
            wipe(&self.folder);
        }
    }
}

fn wipe(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        if metadata.is_dir() {
            wipe(&path);
            continue;
        }
        if metadata.is_file()
            && let Ok(mut file) = OpenOptions::new().write(true).open(&path)
        {
            let zeros = vec![0; 64 << 10];
            let mut left = metadata.len();
            while left > 0 {
                let step = left.min(zeros.len() as u64);
                let piece = &zeros[..usize::try_from(step).unwrap_or(0)];
                if file.write_all(piece).is_err() {
                    break;
                }
                left -= step;
            }
        }
        let _ = fs::remove_file(&path);
    }
    let _ = fs::remove_dir(folder);
}

/// A folder that is in memory. A disk would keep what was written to it.
fn memory_folder() -> io::Result<PathBuf> {
    let candidates = [
        Some(PathBuf::from("/dev/shm")),
        std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from),
    ];
    candidates
        .into_iter()
        .flatten()
        .find(|folder| folder.is_absolute() && is_in_memory(folder))
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                "neither /dev/shm nor XDG_RUNTIME_DIR is in memory",
            )
        })
}

#[cfg(target_os = "linux")]
fn is_in_memory(folder: &Path) -> bool {
    const TMPFS: i64 = 0x0102_1994;
    rustix::fs::statfs(folder).is_ok_and(|stat| stat.f_type == TMPFS)
}

/// Elsewhere no folder is known to be in memory.
#[cfg(not(target_os = "linux"))]
fn is_in_memory(_: &Path) -> bool {
    false
}

/// A harmless file name that still tells the editor what kind of text it is.
fn file_name(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    let mut safe: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
                c
            } else {
                '_'
            }
        })
        .collect();
    if safe.len() > 100 {
        safe.drain(..safe.len() - 100);
    }
    if safe.is_empty() || safe.starts_with(['-', '.']) {
        safe.insert_str(0, "secret");
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_words(text: &str, want: Option<&[&str]>) {
        let want = want.map(|words| words.iter().map(OsString::from).collect());
        assert_eq!(split_words(text), want, "{text:?}");
    }

    #[test]
    fn editors_are_split_without_a_shell() {
        check_words("vi", Some(&["vi"]));
        check_words("  code   --wait ", Some(&["code", "--wait"]));
        check_words("'/a b/ed' -c \"x y\"", Some(&["/a b/ed", "-c", "x y"]));
        check_words("a\\ b", Some(&["a b"]));
        check_words("ed ''", Some(&["ed", ""]));
        check_words(
            "ed; rm -rf $HOME `id`",
            Some(&["ed;", "rm", "-rf", "$HOME", "`id`"]),
        );
        check_words("", Some(&[]));
        check_words("ed 'x", None);
        check_words("ed \"x", None);
        check_words("ed \\", None);
    }

    #[test]
    fn editors_of_the_vi_family_are_found_behind_links() {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("bin");
        fs::create_dir(&bin).unwrap();
        for name in [
            "vim.basic",
            "vim",
            "nvim",
            "nano",
            "busybox",
            "vimdiff-wrapper",
            "nvi",
        ] {
            fs::write(bin.join(name), b"").unwrap();
        }
        let link = |name: &str, to: &str| std::os::unix::fs::symlink(bin.join(to), bin.join(name)).unwrap();
        link("alternative", "vim.basic");
        link("vi", "alternative");
        link("editor", "nano");
        link("other-vi", "busybox");
        link("gone", "nothing");
        for (program, want) in [
            ("vim.basic", true),
            ("vim", true),
            ("nvim", true),
            ("vi", true),
            ("nano", false),
            ("editor", false),
            ("other-vi", false),
            ("nvi", false),
            ("vimdiff-wrapper", false),
            ("gone", false),
            ("missing", false),
            ("", false),
        ] {
            assert_eq!(is_vim(OsStr::new(program), bin.as_os_str()), want, "{program}");
        }
        assert!(is_vim(bin.join("vi").as_os_str(), OsStr::new("")));
        assert!(!is_vim(OsStr::new("vi"), OsStr::new("")));
    }

    #[test]
    fn file_names_are_harmless() {
        for (path, want) in [
            ("db/config.json", "config.json"),
            ("a b;$(id)", "a_b___id_"),
            ("-rf", "secret-rf"),
            (".env", "secret.env"),
            ("", "secret"),
            ("dir/", "secret"),
            ("x\n\u{1b}é", "x___"),
        ] {
            assert_eq!(file_name(path), want, "{path:?}");
        }
        assert_eq!(file_name(&format!("{}.toml", "x".repeat(250))).len(), 100);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn drafts_are_private_and_leave_nothing() {
        use std::os::unix::fs::PermissionsExt;

        let draft = Draft::new("a/b.txt", b"text").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&draft.folder), mode(&draft.file)), (0o700, 0o600));
        assert_eq!(*draft.read().unwrap(), b"text");
        fs::write(draft.folder.join(".b.txt.swp"), b"backup").unwrap();
        fs::create_dir(draft.folder.join("undo")).unwrap();
        fs::write(draft.folder.join("undo/x"), b"older").unwrap();
        let folder = draft.folder.clone();
        drop(draft);
        assert!(!folder.exists());
        let kept = Draft::new("x", b"mine").unwrap().keep();
        assert_eq!(fs::read(&kept).unwrap(), b"mine");
        wipe(kept.parent().unwrap());
    }
}
