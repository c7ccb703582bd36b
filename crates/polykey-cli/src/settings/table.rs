//! The table of settings: every key, what it may hold, and what holds without it.
//!
//! Always: sorted by name; no key holds a secret, and the names of secrets are refused with a word on why.

use std::path::Path;

use polykey_api::{Code, Problem};
use toml_edit::Value;

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
    pub(super) fn text(&self, value: &Value) -> Result<String, String> {
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
    pub(super) fn wants(&self) -> String {
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn sizes_have_a_unit() {
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
