//! What a vault's failures are to a caller: code, sentence, hint.

use std::io;
use std::path::Path;

use polykey_api::problem::typed;
use polykey_api::{Code, Problem};
use polykey_core::{PathError, SecretPath};
use polykey_store::StoreError;
use polykey_vault::VaultError;
use polykey_vault::charter::AuthorError;

/// `vault:path`, as one names it; the vault alone for its root.
pub fn place(vault: &str, path: &SecretPath) -> String {
    if path.is_root() {
        return vault.to_owned();
    }
    format!("{vault}:{path}")
}

/// The problem of a change of members that the charter refuses.
fn charter_problem(vault: &str, error: &AuthorError) -> Problem {
    let code = match error {
        AuthorError::NoRight | AuthorError::Outranked { .. } => Code::NotAllowed,
        AuthorError::NotAMember { .. } => Code::NodeNotFound,
        AuthorError::TooManyMembers | AuthorError::TooManyHeads => Code::BadData,
        AuthorError::Keys { .. } | AuthorError::NoteTooLong => Code::Usage,
        _ => Code::BadData,
    };
    Problem::new(code, format!("in the vault {vault}: {error}"))
        .hint(format!("see `polykey vaults members {}`", typed(vault)))
        .caused_by(error)
}

/// The problem of a failed call on the vault that the user knows as `vault`.
pub fn vault_problem(vault: &str, error: VaultError) -> Problem {
    let at = |path: &SecretPath| place(vault, path);
    match error {
        VaultError::NoSuchPath { path } => no_secret(vault, &path),
        VaultError::IsDirectory { path } => {
            Problem::new(Code::Usage, format!("{} is a directory", at(&path)))
        }
        VaultError::NotDirectory { path } => {
            Problem::new(Code::Usage, format!("{} is not a directory", at(&path)))
        }
        VaultError::Exists { path } => Problem::new(Code::Exists, format!("{} exists already", at(&path))),
        VaultError::NotEmpty { path } => {
            Problem::new(Code::Usage, format!("the directory {} is not empty", at(&path)))
                .hint("pass `-r` to remove it with all it holds")
        }
        VaultError::IntoItself { path } => Problem::new(
            Code::Usage,
            format!("the directory {} cannot be moved into itself", at(&path)),
        ),
        VaultError::VersionDiffers {
            path,
            expected,
            found,
        } => Problem::new(
            Code::Changed,
            format!("{} is at version {found}, not {expected}", at(&path)),
        ),
        VaultError::Changed { path } => Problem::new(
            Code::Changed,
            format!("{} was changed since it was read", at(&path)),
        ),
        VaultError::InConflict { path } => Problem::new(
            Code::Changed,
            format!("{} has several versions that stand side by side", at(&path)),
        )
        .hint(format!("see `polykey vaults conflicts {}`", typed(vault))),
        VaultError::NoSuchVersion { path, version } => Problem::new(
            Code::VersionNotFound,
            format!("{} has no version {version}", at(&path)),
        )
        .hint(format!("see `polykey secrets log {}`", typed(&at(&path)))),
        VaultError::NoSuchCommit { commit } => Problem::new(
            Code::VersionNotFound,
            format!("the vault {vault} has no commit {commit}"),
        )
        .hint(format!("see `polykey vaults log {}`", typed(vault))),
        VaultError::Ambiguous { text } => Problem::new(
            Code::Usage,
            format!("several commits of the vault {vault} go by {text}"),
        )
        .hint("type the commit's id, or more of it"),
        VaultError::NotRecord { path } => Problem::new(Code::Usage, format!("{} is not a record", at(&path))),
        VaultError::Purged { path } => Problem::new(
            Code::VersionNotFound,
            format!("the content of that version of {} was purged", at(&path)),
        ),
        // A pull stores a commit before its large objects, and one that is cut in between leaves it so.
        VaultError::NotHereYet { path, .. } => Problem::new(
            Code::Busy,
            format!(
                "the content of {} has not come from the other members yet",
                at(&path)
            ),
        )
        .hint(format!(
            "try again in a moment, or run `polykey vaults pull {}`",
            typed(vault)
        )),
        VaultError::Path(error) => path_problem(vault, error),
        VaultError::TooLarge { .. } | VaultError::ChangeTooLarge => {
            Problem::new(Code::BadData, format!("in the vault {vault}: {error}"))
        }
        VaultError::Attribute(_) => Problem::new(Code::Usage, error.to_string()),
        VaultError::Record(_) => Problem::new(Code::BadData, error.to_string()),
        VaultError::NotAllowed { .. } => {
            Problem::new(Code::NotAllowed, format!("in the vault {vault}: {error}"))
        }
        VaultError::Charter(error) => charter_problem(vault, &error),
        VaultError::Store(error) => store_problem(vault, &error),
        VaultError::Input(error) => {
            Problem::new(Code::Io, "what should be stored could not be read to its end").caused_by(&error)
        }
        error => Problem::new(Code::BadData, format!("the vault {vault} is damaged: {error}"))
            .hint("run `polykey doctor`")
            .caused_by(&error),
    }
}

/// The problem of something that is not there.
pub fn no_secret(vault: &str, path: &SecretPath) -> Problem {
    Problem::new(
        Code::SecretNotFound,
        format!("there is no secret {}", place(vault, path)),
    )
}

/// The problem of a path that breaks a rule.
pub fn path_problem(vault: &str, error: PathError) -> Problem {
    Problem::new(
        Code::BadPath,
        format!("a path in the vault {vault} is not acceptable: {error}"),
    )
}

/// The problem of a failed store.
pub fn store_problem(vault: &str, error: &StoreError) -> Problem {
    let code = match error {
        StoreError::DiskFull { .. } => Code::DiskFull,
        StoreError::Busy { .. } => Code::Busy,
        StoreError::TooLong { .. }
        | StoreError::WrongKey { .. }
        | StoreError::Damaged { .. }
        | StoreError::NotADatabase { .. }
        | StoreError::NewerFormat { .. } => Code::BadData,
        _ => Code::Io,
    };
    let problem = Problem::new(code, format!("the vault {vault} cannot be used: {error}")).caused_by(error);
    match code {
        Code::DiskFull => {
            problem.hint("make room, for example with `polykey secrets rm` and `polykey vaults purge`")
        }
        Code::BadData => problem.hint("run `polykey doctor`"),
        _ => problem,
    }
}

/// The problem of a file or folder.
pub fn disk_problem(doing: &str, path: &Path, error: &io::Error) -> Problem {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::DiskFull,
        _ => Code::Io,
    };
    let reason = crate::failure::reason(error);
    Problem::new(code, format!("cannot {doing} {}{reason}", path.display())).caused_by(error)
}

#[cfg(test)]
mod tests {
    use polykey_core::ObjectId;

    use super::*;

    #[test]
    fn content_that_is_on_its_way_is_worth_another_try() {
        let error = VaultError::NotHereYet {
            path: SecretPath::parse("db/KEY").expect("a path"),
            object: ObjectId::from_bytes([1; 32]),
        };
        let problem = vault_problem("my vault", error);
        assert_eq!((problem.code, problem.code.exit()), (Code::Busy, 75));
        assert!(problem.message.contains("my vault:db/KEY"), "{problem}");
        assert!(problem.hint.is_some_and(|hint| hint.contains("'my vault'")));
    }
}
