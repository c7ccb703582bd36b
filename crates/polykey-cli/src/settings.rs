//! Defaults from `config.toml` in the node path.
//!
//! A key is the long name of an option without its dashes. A flag beats the environment, that beats the
//! file, and that beats the built-in default. [`SETTINGS`] is the whole list; what is not in it, or has the
//! wrong type, is refused when the file is read, so a mistyped key never passes for a setting.
//!
//! Always: no secret stands in the file, which backups and dotfile repositories copy freely.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use polykey_api::{Code, Problem};
use rustix::fs::OFlags;
use toml_edit::{DocumentMut, Item, Value};

/// Longest file that is read.
const MAX_LEN: u64 = 1 << 20;
/// Most threads that serve requests.
pub const MAX_WORKERS: u16 = 512;
/// Names that hold a secret wherever they are met.
const SECRETS: &[&str] = &[
    "passphrase",
    "password",
    "password-new",
    "private-key",
    "recovery-code",
    "secret",
    "token",
];

/// What a key may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text but an empty one.
    Text,
    /// A path from the root.
    Path,
    /// True or false.
    Flag,
    /// A whole number from 0 to this.
    Number(u32),
    /// A number of bytes with a unit, such as `10GiB`.
    Size,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// One key.
#[derive(Debug)]
pub struct Setting {
    /// The key.
    pub name: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// The variable that beats the file.
    pub variable: Option<&'static str>,
    /// What holds when nothing says otherwise; empty when nothing does.
    pub default: &'static str,
    /// What it is about.
    pub about: &'static str,
}

const LEVELS: Kind = Kind::Choice(&["min", "interactive", "moderate", "sensitive", "max"]);

/// Every key, sorted.
pub const SETTINGS: &[Setting] = &[
    setting(
        "agent-host",
        Kind::Text,
        Some("PK_AGENT_HOST"),
        "",
        "address on which other nodes reach this one",
    ),
    setting(
        "agent-port",
        Kind::Number(u16::MAX as u32),
        Some("PK_AGENT_PORT"),
        "",
        "port on which other nodes reach this one",
    ),
    setting(
        "audit-keep",
        Kind::Number(u32::MAX),
        None,
        "1000000",
        "so many audit records are kept; 0 keeps all",
    ),
    setting(
        "autostart",
        Kind::Flag,
        Some("PK_NO_AUTOSTART"),
        "true",
        "start an agent when a command finds none",
    ),
    setting(
        "connection-timeout",
        Kind::Number(600_000),
        None,
        "5000",
        "milliseconds that an attempt to reach another node may take",
    ),
    setting(
        "dns-servers",
        Kind::Text,
        Some("PK_DNS_SERVERS"),
        "",
        "DNS servers to ask for relays: address or address:port, parted by semicolons",
    ),
    setting(
        "env-duplicate",
        Kind::Choice(&["keep", "overwrite", "warn", "error"]),
        None,
        "overwrite",
        "`secrets env`: two secrets give one name",
    ),
    setting(
        "env-format",
        Kind::Choice(&["auto", "unix", "cmd", "powershell", "json", "dotenv"]),
        None,
        "auto",
        "`secrets env`: form of the output",
    ),
    setting(
        "env-invalid",
        Kind::Choice(&["error", "warn", "ignore"]),
        None,
        "error",
        "`secrets env`: a name that no variable can have",
    ),
    setting(
        "format",
        Kind::Choice(&["human", "json"]),
        None,
        "human",
        "form of the output",
    ),
    setting(
        "identities.ca",
        Kind::Path,
        None,
        "",
        "file with certificates that vouch for identity providers",
    ),
    setting(
        "identities.dns-server",
        Kind::Text,
        None,
        "",
        "DNS servers to ask for identities: address or address:port, parted by semicolons",
    ),
    setting(
        "identities.github-client",
        Kind::Text,
        None,
        "",
        "OAuth app with which to log in at GitHub",
    ),
    setting(
        "identities.https-url",
        Kind::Text,
        None,
        "",
        "base URL to ask for the pages of all domains, instead of the domains",
    ),
    setting(
        "identities.recheck-hours",
        Kind::Number(8760),
        None,
        "24",
        "hours between two looks at a known link",
    ),
    setting(
        "identities.services",
        Kind::Text,
        None,
        "",
        "more services with accounts: HOST=KIND or HOST=KIND@URL, parted by semicolons",
    ),
    setting(
        "keeper.quota",
        Kind::Size,
        None,
        "10GiB",
        "so much is kept for others in all; 0 keeps nothing",
    ),
    setting(
        "network",
        Kind::Text,
        Some("PK_NETWORK"),
        "mainnet",
        "mainnet, local, offline, or the URL of a relay",
    ),
    setting(
        "network-members",
        Kind::Text,
        None,
        "",
        "only nodes of these may connect: nodes, petnames, identities, domains, parted by semicolons",
    ),
    setting(
        "node-id",
        Kind::Text,
        Some("PK_NODE_ID"),
        "",
        "go on only if the agent is this node",
    ),
    setting(
        "password-file",
        Kind::Path,
        None,
        "",
        "file to read the password from, unless PK_PASSWORD or PK_TOKEN is set",
    ),
    setting(
        "password-mem-limit",
        LEVELS,
        Some("PK_PASSWORD_MEM_LIMIT"),
        "moderate",
        "memory of one guess at a new password",
    ),
    setting(
        "password-ops-limit",
        LEVELS,
        Some("PK_PASSWORD_OPS_LIMIT"),
        "moderate",
        "work of one guess at a new password",
    ),
    setting(
        "publish",
        Kind::Flag,
        None,
        "false",
        "let everybody look up this node's addresses",
    ),
    setting("quiet", Kind::Flag, None, "false", "say nothing about success"),
    setting(
        "relay-ca",
        Kind::Path,
        None,
        "",
        "file with certificates that vouch for the relays",
    ),
    setting(
        "relays",
        Kind::Text,
        None,
        "",
        "relays to use: URLs, parted by semicolons",
    ),
    setting(
        "seed-nodes",
        Kind::Text,
        Some("PK_SEED_NODES"),
        "",
        "nodes to begin with: id@address:port, parted by semicolons",
    ),
    setting("verbose", Kind::Number(3), None, "0", "how much to say"),
    setting(
        "workers",
        Kind::Number(MAX_WORKERS as u32),
        None,
        "2",
        "threads that serve requests; 0 for one for each processor",
    ),
];

const fn setting(
    name: &'static str,
    kind: Kind,
    variable: Option<&'static str>,
    default: &'static str,
    about: &'static str,
) -> Setting {
    Setting {
        name,
        kind,
        variable,
        default,
        about,
    }
}

impl Setting {
    /// Reads `text` as a person types it.
    ///
    /// # Errors
    /// What it should have been.
    pub fn value(&self, text: &str) -> Result<Value, String> {
        let value = match self.kind {
            Kind::Flag => text.parse::<bool>().ok().map(Value::from),
            Kind::Number(_) => text.parse::<i64>().ok().map(Value::from),
            _ => Some(Value::from(text)),
        };
        let value = value.ok_or_else(|| self.wants())?;
        self.text(&value).map(|_| value)
    }

    /// The text of a value in the file.
    fn text(&self, value: &Value) -> Result<String, String> {
        let text = match (self.kind, value) {
            (Kind::Flag, Value::Boolean(flag)) => Some(flag.value().to_string()),
            (Kind::Number(max), Value::Integer(number)) => {
                let number = *number.value();
                (0..=i64::from(max)).contains(&number).then(|| number.to_string())
            }
            (Kind::Text, Value::String(text)) => Some(text.value().clone())
                .filter(|text| !text.is_empty() && !text.chars().any(char::is_control)),
            (Kind::Path, Value::String(text)) => Some(text.value().clone())
                .filter(|text| Path::new(text).is_absolute() && !text.contains('\0')),
            (Kind::Size, Value::String(text)) => {
                Some(text.value().clone()).filter(|text| bytes(text).is_some())
            }
            (Kind::Size, Value::Integer(number)) => {
                u64::try_from(*number.value()).ok().map(|bytes| bytes.to_string())
            }
            (Kind::Choice(words), Value::String(text)) => {
                Some(text.value().clone()).filter(|text| words.contains(&text.as_str()))
            }
            _ => None,
        };
        text.ok_or_else(|| self.wants())
    }

    /// What the key wants, as the end of a sentence.
    fn wants(&self) -> String {
        match self.kind {
            Kind::Text => "a text that is not empty".to_owned(),
            Kind::Path => "a path that begins with /".to_owned(),
            Kind::Flag => "true or false".to_owned(),
            Kind::Number(max) => format!("a whole number from 0 to {max}"),
            Kind::Size => "a number of bytes with a unit, such as 500MB or 10GiB".to_owned(),
            Kind::Choice(words) => format!("one of {}", words.join(", ")),
        }
    }
}

/// The bytes that a size means: a whole number, and perhaps `B`, `kB`, `KiB`, `MB`, `MiB`, `GB`, `GiB`, `TB` or `TiB`.
pub fn bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = match unit.strip_prefix(' ').unwrap_or(unit) {
        "" if unit.is_empty() => 1,
        "B" => 1,
        "kB" => 1000,
        "KiB" => 1 << 10,
        "MB" => 1000_u64.pow(2),
        "MiB" => 1 << 20,
        "GB" => 1000_u64.pow(3),
        "GiB" => 1 << 30,
        "TB" => 1000_u64.pow(4),
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

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

/// The setting of this name.
pub fn find_setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// The setting that a person names.
///
/// # Errors
/// [`Code::Config`] for a name that is unknown, or that is one of a secret.
pub fn known(name: &str, path: &Path) -> Result<&'static Setting, Problem> {
    if let Some(setting) = find_setting(name) {
        return Ok(setting);
    }
    let plain = name.to_lowercase().replace('_', "-");
    let plain = plain.strip_prefix("pk-").unwrap_or(&plain);
    if SECRETS.contains(&plain) {
        return Err(Problem::new(
            Code::Config,
            format!(
                "the key {name:?} would put a secret into {}, where none may stand",
                path.display()
            ),
        )
        .hint("keep it in a file of its own and name that: `polykey config set password-file /path`"));
    }
    let names: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
    Err(
        Problem::new(Code::Config, format!("{} has no key {name:?}", path.display()))
            .hint(format!("the keys are {}", names.join(", "))),
    )
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
    use clap::CommandFactory;

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
    fn sizes_have_a_unit_and_groups_may_be_tables() {
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
        for (text, want) in [
            ("0", 0),
            ("7B", 7),
            ("1 kB", 1000),
            ("1KiB", 1024),
            ("500MB", 500_000_000),
            ("10GiB", 10 << 30),
            ("2TiB", 2 << 40),
        ] {
            assert_eq!(bytes(text), Some(want), "{text}");
        }
        for bad in [
            "",
            "GiB",
            "-1",
            "+1",
            "1.5GiB",
            "1 ",
            "1gib",
            "1  GiB",
            "1GiBs",
            "٣GiB",
            "99999999TiB",
            "99999999999999999999",
        ] {
            assert_eq!(bytes(bad), None, "{bad:?}");
            let quota = find_setting("keeper.quota").expect("in the table");
            assert!(quota.value(bad).is_err(), "{bad:?}");
        }
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

    #[test]
    fn typed_values_become_toml_of_the_right_type() {
        for (name, text, want) in [
            ("verbose", "2", Ok("2")),
            ("quiet", "true", Ok("true")),
            ("network", "offline", Ok("\"offline\"")),
            ("verbose", "two", Err(())),
            ("verbose", "9", Err(())),
            ("quiet", "yes", Err(())),
            ("format", "", Err(())),
            ("password-file", "p", Err(())),
        ] {
            let setting = find_setting(name).expect("in the table");
            let found = setting.value(text).map(|value| value.to_string()).map_err(|_| ());
            assert_eq!(found, want.map(str::to_owned), "{name} {text}");
        }
    }

    #[test]
    fn every_key_is_an_option_with_the_same_variable() {
        let mut tree = crate::args::Cli::command();
        tree.build();
        assert!(SETTINGS.windows(2).all(|pair| pair[0].name < pair[1].name));
        // What is set once for a node and not for one call stands in the file alone.
        let file_only = [
            "audit-keep",
            "identities.ca",
            "identities.dns-server",
            "identities.github-client",
            "identities.https-url",
            "identities.recheck-hours",
            "identities.services",
            "keeper.quota",
            "network-members",
            "publish",
            "relay-ca",
            "relays",
        ];
        for setting in SETTINGS {
            let long = match setting.name {
                name if file_only.contains(&name) => {
                    assert!(
                        find(&tree, name).is_none() && setting.variable.is_none(),
                        "{name}"
                    );
                    continue;
                }
                "autostart" => "no-autostart",
                name => name,
            };
            let arg = find(&tree, long).unwrap_or_else(|| panic!("no --{long}"));
            let variable = arg.get_env().and_then(|name| name.to_str());
            if setting.name != "autostart" {
                assert_eq!(variable, setting.variable, "{long}");
            }
            assert!(
                setting.default.is_empty() || setting.value(setting.default).is_ok(),
                "{long}"
            );
        }
    }

    fn find<'a>(command: &'a clap::Command, long: &str) -> Option<&'a clap::Arg> {
        command
            .get_arguments()
            .find(|arg| arg.get_long() == Some(long))
            .or_else(|| command.get_subcommands().find_map(|inner| find(inner, long)))
    }
}
