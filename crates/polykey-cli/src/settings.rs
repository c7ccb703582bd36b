//! Defaults from `config.toml` in the node path.
//!
//! A key is the long name of an option without its dashes. A flag beats the environment, that beats the
//! file, and that beats the built-in default. [`SETTINGS`] is the whole list ([`table`]); what is not in it, or has the
//! wrong type, is refused when the file is read, so a mistyped key never passes for a setting.
//!
//! Always: no secret stands in the file, which backups and dotfile repositories copy freely.

pub mod table;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use polykey_api::{Code, Problem};
use rustix::fs::OFlags;
use toml_edit::{DocumentMut, Item};

pub use table::{Kind, MAX_WORKERS, SETTINGS, Setting, bytes, find_setting, known};

/// Longest file that is read.
const MAX_LEN: u64 = 1 << 20;

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// The environment.
    Environment,
    /// The file.
    File,
    /// Built in.
    Default,
}

impl Origin {
    /// Its name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Origin::Flag => "flag",
            Origin::Environment => "environment",
            Origin::File => "file",
            Origin::Default => "default",
        }
    }
}

/// The file of one node path, read and checked.
#[derive(Debug, Default)]
pub struct Settings {
    values: BTreeMap<&'static str, String>,
}

impl Settings {
    /// Reads the file of `node_path`; none is the same as an empty one.
    ///
    /// # Errors
    /// [`Code::Config`] for a file that cannot be read or understood, an unknown key, or a wrong type.
    pub fn read(node_path: &Path) -> Result<Settings, Problem> {
        let path = path(node_path);
        let values = match text_of(&path)? {
            None => BTreeMap::new(),
            Some(text) => values_of(&path, &parse(&path, &text)?)?,
        };
        Ok(Settings { values })
    }

    /// What the file says.
    pub fn from_file(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// What the environment or the file says.
    pub fn given(&self, name: &str) -> Option<String> {
        from_environment(find_setting(name)?).or_else(|| self.from_file(name).map(str::to_owned))
    }

    /// What holds when no flag says otherwise, and where from.
    pub fn resolve(&self, setting: &Setting) -> (Option<String>, Origin) {
        if let Some(text) = from_environment(setting) {
            return (Some(text), Origin::Environment);
        }
        match self.from_file(setting.name) {
            Some(text) => (Some(text.to_owned()), Origin::File),
            None => (
                Some(setting.default.to_owned()).filter(|text| !text.is_empty()),
                Origin::Default,
            ),
        }
    }

    /// The number that the environment or the file says.
    ///
    /// # Errors
    /// [`Code::Usage`] for a variable that holds none; what the file holds was checked when it was read.
    pub fn number<N: FromStr>(&self, name: &str) -> Result<Option<N>, Problem> {
        let Some(text) = self.given(name) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| {
            let setting = find_setting(name);
            let wants = setting.map(Setting::wants).unwrap_or_default();
            let variable = setting.and_then(|setting| setting.variable).unwrap_or(name);
            Problem::new(Code::Usage, format!("{variable} wants {wants}, not {text:?}"))
        })
    }

    /// True when the file or the environment switches the key on.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.given(name)?.parse().ok()
    }
}

/// Where the file lies.
pub fn path(node_path: &Path) -> PathBuf {
    node_path.join("config.toml")
}

fn from_environment(setting: &Setting) -> Option<String> {
    let text = std::env::var(setting.variable?)
        .ok()
        .filter(|text| !text.is_empty())?;
    if setting.name == "autostart" {
        // The variable says the opposite of the key.
        return match text.as_str() {
            "1" | "true" => Some("false".to_owned()),
            "0" | "false" => Some("true".to_owned()),
            _ => None,
        };
    }
    Some(text)
}

/// Opens a file of the node path, also through a link: people keep their settings in one place. What is no file,
/// such as a pipe, is not waited for.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for what is no file; else what the system says.
pub fn open_plain(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no plain file")),
    }
}

/// The text of the file, if there is one.
///
/// # Errors
/// [`Code::Config`].
pub fn text_of(path: &Path) -> Result<Option<String>, Problem> {
    let mut text = String::new();
    match open_plain(path).and_then(|file| file.take(MAX_LEN + 1).read_to_string(&mut text)) {
        Ok(length) if length as u64 > MAX_LEN => Err(Problem::new(
            Code::Config,
            format!("{} is longer than a configuration can be", path.display()),
        )),
        Ok(_) => Ok(Some(text)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => {
            Err(Problem::new(Code::Config, format!("cannot read {}", path.display())).caused_by(&error))
        }
    }
}

/// The file as TOML.
///
/// # Errors
/// [`Code::Config`] with the line.
pub fn parse(path: &Path, text: &str) -> Result<DocumentMut, Problem> {
    text.parse::<DocumentMut>().map_err(|error| {
        let line = error
            .span()
            .and_then(|span| text.get(..span.start))
            .map_or(1, |before| before.matches('\n').count() + 1);
        // The parser's text quotes the line, which may hold what should not be repeated.
        Problem::new(
            Code::Config,
            format!(
                "{} is not valid TOML at line {line}: {}",
                path.display(),
                error.message().replace('\n', "; ")
            ),
        )
        .hint(format!("mend or remove {}", path.display()))
    })
}

fn values_of(path: &Path, document: &DocumentMut) -> Result<BTreeMap<&'static str, String>, Problem> {
    let mut values = BTreeMap::new();
    for (name, item) in keys(document) {
        let name = &*name;
        let setting = known(name, path).map_err(|problem| match problem.hint {
            Some(_) => problem,
            None => problem.hint(format!("`polykey config unset {name}`")),
        })?;
        let text = match item {
            Item::Value(value) => setting.text(value),
            _ => Err(setting.wants()),
        };
        let text = text.map_err(|wants| wrong_type(path, name, &wants))?;
        values.insert(setting.name, text);
    }
    Ok(values)
}

/// All keys of a file and what they hold, those in the table of a group by their whole name.
fn keys(document: &DocumentMut) -> Vec<(String, &Item)> {
    let mut keys = Vec::new();
    for (name, item) in document.iter() {
        match item.as_table_like() {
            Some(group) if is_group(name) && !group.is_empty() => {
                keys.extend(group.iter().map(|(key, item)| (format!("{name}.{key}"), item)));
            }
            _ => keys.push((name.to_owned(), item)),
        }
    }
    keys
}

/// True when there are settings of this group, such as `keeper`.
fn is_group(name: &str) -> bool {
    let mut groups = SETTINGS.iter().filter_map(|setting| setting.name.split_once('.'));
    groups.any(|(group, _)| group == name)
}

/// The problem of a value that a key cannot hold. The value itself is not repeated.
pub fn wrong_type(path: &Path, name: &str, wants: &str) -> Problem {
    Problem::new(
        Code::Config,
        format!("the key {name:?} of {} wants {wants}", path.display()),
    )
    .hint(format!(
        "`polykey config set {name} VALUE`, or `polykey config unset {name}`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Result<&[(&str, &str)], &str>) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join("config.toml"), text).expect("writes");
        match (Settings::read(dir.path()), want) {
            (Ok(settings), Ok(want)) => {
                let found: Vec<_> = settings
                    .values
                    .iter()
                    .map(|(name, text)| (*name, text.as_str()))
                    .collect();
                assert_eq!(found, want, "{text}");
            }
            (Err(problem), Err(needle)) => {
                assert_eq!(problem.code, Code::Config, "{text}");
                assert!(problem.message.contains(needle), "{text}: {problem}");
                assert!(problem.message.contains("config.toml"), "{problem}");
            }
            (found, want) => panic!("{text}: {found:?} and not {want:?}"),
        }
    }

    #[test]
    fn what_is_understood_is_taken() {
        check("", Ok(&[]));
        check("# nothing\n", Ok(&[]));
        check(
            "verbose = 2 # loud\nquiet = true\nagent-port = 65535\nformat = 'json'\npassword-file = \"/p\"",
            Ok(&[
                ("agent-port", "65535"),
                ("format", "json"),
                ("password-file", "/p"),
                ("quiet", "true"),
                ("verbose", "2"),
            ]),
        );
    }

    #[test]
    fn groups_may_be_tables() {
        for file in [
            "keeper.quota = '10GiB'",
            "[keeper]\nquota = '10GiB'",
            "keeper = { quota = '10GiB' }",
        ] {
            check(file, Ok(&[("keeper.quota", "10GiB")]));
        }
        check("keeper.quota = 1000", Ok(&[("keeper.quota", "1000")]));
        check("keeper = 5", Err("no key \"keeper\""));
        check("[keeper]\nx = 1", Err("no key \"keeper.x\""));
        check("[keeper]", Err("no key \"keeper\""));
        check("keeper.quota.x = 1", Err("\"keeper.quota\""));
        check("keeper.quota = -1", Err("a number of bytes"));
    }

    #[test]
    fn all_else_is_refused_by_name() {
        check("networks = \"offline\"", Err("no key \"networks\""));
        check("[network]\nx = 1", Err("\"network\""));
        check("[[verbose]]", Err("\"verbose\""));
        check("verbose = \"2\"", Err("\"verbose\""));
        check("verbose = 4", Err("from 0 to 3"));
        check("verbose = -1", Err("from 0 to 3"));
        check("verbose = 1.0", Err("\"verbose\""));
        check("quiet = 1", Err("true or false"));
        check("network = \"\"", Err("not empty"));
        check("network = \"a\\u0007\"", Err("not empty"));
        check("network = ['offline']", Err("\"network\""));
        check("agent-port = 65536", Err("65535"));
        check("format = 'xml'", Err("one of human, json"));
        check("password-file = 'relative'", Err("begins with /"));
        check("quiet = true\nquiet = true", Err("line 2"));
        check("quiet = true\n\nnetwork = offline", Err("line 3"));
        check("= 1", Err("line 1"));
    }

    #[test]
    fn secrets_are_refused_and_not_repeated() {
        for name in ["password", "PK_PASSWORD", "pk_token", "recovery_code", "token"] {
            check(&format!("{name} = 's3cret'"), Err("would put a secret"));
        }
        let dir = tempfile::tempdir().expect("a temporary folder");
        for text in ["password = 's3cret'", "format = 's3cret'", "network = s3cret"] {
            std::fs::write(dir.path().join("config.toml"), text).expect("writes");
            let problem = Settings::read(dir.path()).expect_err("refused");
            assert!(!format!("{problem:?}").contains("s3cret"), "{problem:?}");
        }
    }

    #[test]
    fn files_that_cannot_be_read_are_bad_configuration() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("config.toml");
        std::fs::write(&file, b"\xff\xfe").expect("writes");
        assert!(Settings::read(dir.path()).is_err());
        std::fs::write(&file, "#".repeat(2 << 20)).expect("writes");
        assert!(Settings::read(dir.path()).is_err());
        std::fs::remove_file(&file).expect("there");
        std::fs::create_dir(&file).expect("free");
        assert!(Settings::read(dir.path()).is_err());
        // A node path that is not there, or is a file, has no configuration.
        for absent in [dir.path().join("absent"), PathBuf::from("/dev/null")] {
            assert!(Settings::read(&absent).is_ok());
        }
    }
}
