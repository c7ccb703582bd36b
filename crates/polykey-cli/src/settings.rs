//! Settings: what `config.toml` in the node path and the environment say.
//!
//! Flag beats environment beats file beats default. One table lists every setting; nothing else may stand
//! in the file, so that a typing error is noticed and not ignored.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use polykey_api::{Code, Problem};

/// Longest file that is read.
const MAX_LEN: u64 = 1 << 20;

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its name in the file.
    pub name: &'static str,
    /// The variable that holds it.
    pub variable: Option<&'static str>,
    /// What holds when nobody says anything.
    pub default: Option<&'static str>,
    /// What it may be.
    pub kind: Kind,
}

/// What a setting may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A number of a port.
    Port,
    /// `true` or `false`.
    Flag,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

const LEVELS: Kind = Kind::OneOf(&["min", "interactive", "moderate", "sensitive", "max"]);

/// Every setting.
pub const ALL: &[Setting] = &[
    setting("agent-host", Some("PK_AGENT_HOST"), None, Kind::Text),
    setting("agent-port", Some("PK_AGENT_PORT"), None, Kind::Port),
    setting("autostart", None, Some("true"), Kind::Flag),
    setting("dns-servers", Some("PK_DNS_SERVERS"), None, Kind::Text),
    setting("format", None, Some("human"), Kind::OneOf(&["human", "json"])),
    setting("network", Some("PK_NETWORK"), Some("mainnet"), Kind::Text),
    setting(
        "password-mem-limit",
        Some("PK_PASSWORD_MEM_LIMIT"),
        Some("moderate"),
        LEVELS,
    ),
    setting(
        "password-ops-limit",
        Some("PK_PASSWORD_OPS_LIMIT"),
        Some("moderate"),
        LEVELS,
    ),
    setting("seed-nodes", Some("PK_SEED_NODES"), None, Kind::Text),
];

const fn setting(
    name: &'static str,
    variable: Option<&'static str>,
    default: Option<&'static str>,
    kind: Kind,
) -> Setting {
    Setting {
        name,
        variable,
        default,
        kind,
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A variable of the environment.
    Environment,
    /// `config.toml`.
    File,
    /// Nobody said anything.
    Default,
}

impl Origin {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Origin::Environment => "environment",
            Origin::File => "file",
            Origin::Default => "default",
        }
    }
}

/// The settings of a node path.
#[derive(Debug, Default)]
pub struct Settings {
    file: BTreeMap<&'static str, String>,
}

/// Where the file lies.
pub fn path(node_path: &Path) -> PathBuf {
    node_path.join("config.toml")
}

impl Settings {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// [`Code::Config`], with what is wrong with it.
    pub fn read(node_path: &Path) -> Result<Settings, Problem> {
        let path = path(node_path);
        let text = match std::fs::metadata(&path).and_then(|meta| {
            if meta.len() > MAX_LEN {
                return Err(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    "the file is too long",
                ));
            }
            std::fs::read_to_string(&path)
        }) {
            Ok(text) => text,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(Settings::default());
            }
            Err(error) => {
                return Err(
                    Problem::new(Code::Config, format!("cannot read {}", path.display())).caused_by(&error),
                );
            }
        };
        parse(&text).map_err(|what| {
            Problem::new(Code::Config, format!("{}: {what}", path.display()))
                .hint("`polykey config show` lists what can be set")
        })
    }

    /// The value of the setting `name` and where it comes from. `None` when nobody says anything.
    ///
    /// # Panics
    /// When the table has no such name.
    pub fn value(&self, name: &str) -> Option<(String, Origin)> {
        let setting = find(name).expect("names in the code stand in the table");
        let variable = setting.variable.and_then(|variable| std::env::var(variable).ok());
        let file = self.file.get(setting.name).cloned();
        variable
            .map(|value| (value, Origin::Environment))
            .or_else(|| file.map(|value| (value, Origin::File)))
            .or_else(|| setting.default.map(|value| (value.to_owned(), Origin::Default)))
    }

    /// The value that the environment or the file gives, without the default.
    pub fn given(&self, name: &str) -> Option<String> {
        self.value(name)
            .filter(|(_, origin)| *origin != Origin::Default)
            .map(|(value, _)| value)
    }
}

/// The setting `name`.
pub fn find(name: &str) -> Option<&'static Setting> {
    ALL.iter().find(|setting| setting.name == name)
}

impl Setting {
    /// Checks a value.
    ///
    /// # Errors
    /// Says what it may be.
    pub fn check(&self, value: &str) -> Result<(), String> {
        let good = match self.kind {
            Kind::Text => !value.chars().any(char::is_control),
            Kind::Port => value.parse::<u16>().is_ok(),
            Kind::Flag => matches!(value, "true" | "false"),
            Kind::OneOf(words) => words.contains(&value),
        };
        if good {
            return Ok(());
        }
        Err(match self.kind {
            Kind::Text => format!("{} must be one line of text", self.name),
            Kind::Port => format!("{} must be a number from 0 to 65535", self.name),
            Kind::Flag => format!("{} must be true or false", self.name),
            Kind::OneOf(words) => format!("{} must be one of {}", self.name, words.join(", ")),
        })
    }

    /// The value as it stands in the file.
    fn to_toml(self, value: &str) -> String {
        match self.kind {
            Kind::Port | Kind::Flag => value.to_owned(),
            Kind::Text | Kind::OneOf(_) => toml::Value::String(value.to_owned()).to_string(),
        }
    }
}

fn parse(text: &str) -> Result<Settings, String> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| {
            text[..span.start.min(text.len())].matches('\n').count() + 1
        });
        format!("line {line}: {}", error.message())
    })?;
    let mut settings = Settings::default();
    for (name, value) in table {
        let setting = find(&name).ok_or_else(|| format!("there is no setting {name:?}"))?;
        let value = match value {
            toml::Value::String(value) => value,
            toml::Value::Integer(value) => value.to_string(),
            toml::Value::Boolean(value) => value.to_string(),
            _ => return Err(format!("{name} must be a text, a number, true or false")),
        };
        setting.check(&value)?;
        settings.file.insert(setting.name, value);
    }
    Ok(settings)
}

/// The text of the file with `name` set to `value`, or without it. Comments and order stay.
///
/// # Errors
/// What is wrong with the text, before or after.
pub fn edit(text: &str, setting: &Setting, value: Option<&str>) -> Result<String, String> {
    parse(text)?;
    let is_it = |line: &&str| {
        line.split_once('=')
            .is_some_and(|(name, _)| name.trim().trim_matches(['"', '\'']) == setting.name)
    };
    let line = value.map(|value| format!("{} = {}", setting.name, setting.to_toml(value)));
    let mut lines: Vec<String> = Vec::new();
    let mut written = false;
    for old in text.lines() {
        if is_it(&old) {
            if !written {
                lines.extend(line.clone());
            }
            written = true;
        } else {
            lines.push(old.to_owned());
        }
    }
    if !written {
        lines.extend(line);
    }
    let mut edited = lines.join("\n");
    if !edited.is_empty() {
        edited.push('\n');
    }
    parse(&edited)?;
    Ok(edited)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refuse(text: &str, what: &str) {
        let error = parse(text).expect_err("refused");
        assert!(error.contains(what), "{text:?}: {error}");
    }

    #[test]
    fn only_known_settings_with_good_values_are_taken() {
        let settings = parse("network = \"local\"\nagent-port = 7\nautostart = false\n").expect("good");
        assert_eq!(settings.file["network"], "local");
        assert_eq!(settings.file["agent-port"], "7");
        refuse("netwrok = \"local\"", "no setting");
        refuse("agent-port = 70000", "65535");
        refuse("agent-port = -1", "65535");
        refuse("autostart = \"yes\"", "true or false");
        refuse("format = \"xml\"", "human, json");
        refuse("network = [1]", "must be a text");
        refuse("network = \"a\\nb\"", "one line");
        refuse("a = 1\n=\n", "line 2");
        refuse("[network]\nx = 1", "must be a text");
    }

    #[test]
    fn an_edit_keeps_everything_else() {
        let text = "# mine\nnetwork = \"local\" # here\n\nautostart = true\n";
        let network = find("network").expect("known");
        let edited = edit(text, network, Some("off\"line")).expect("good");
        assert_eq!(parse(&edited).expect("good").file["network"], "off\"line");
        assert!(edited.starts_with("# mine\n") && edited.ends_with("\n\nautostart = true\n"));
        let without = edit(&edited, network, None).expect("good");
        assert_eq!(without, "# mine\n\nautostart = true\n");
        assert_eq!(
            edit("", network, Some("local")).expect("good"),
            "network = \"local\"\n"
        );
        assert!(edit("broken", network, Some("local")).is_err());
    }

    #[test]
    fn defaults_are_good_values() {
        for setting in ALL {
            assert!(
                setting
                    .default
                    .is_none_or(|default| setting.check(default).is_ok()),
                "{setting:?}"
            );
        }
    }
}
