//! Variables as text for a shell: each format reads back the exact bytes.
//!
//! The values come from vaults that others may write to, and the text is made to be sourced; so the
//! quoting is what keeps a value from being run. What a format cannot carry (PowerShell has no bytes
//! that are not text, `cmd` no carriage return) is an error that names the variable, never a value
//! that is nearly right.
//!
//! Always: names were checked by [`env_names`](crate::env_names) before. Start at [`write_env`].

use std::fmt::Write as _;

use data_encoding::BASE64;

/// How to write the variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum EnvFormat {
    /// The one that fits this operating system
    Auto,
    /// POSIX shells: `NAME='value'`
    Unix,
    /// Batch files of cmd.exe
    Cmd,
    /// PowerShell
    #[value(name = "powershell")]
    PowerShell,
    /// One JSON object
    Json,
    /// `.env` files
    Dotenv,
}

/// A value that the format cannot carry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the value of {name} cannot be written for {format}: {reason}")]
pub struct FormatError {
    /// The variable.
    pub name: String,
    /// The format, in words.
    pub format: &'static str,
    /// What it cannot carry.
    pub reason: &'static str,
}

/// Writes `variables` (name and value), one after the other. With `export` they also reach the
/// programs that the shell starts; only the formats for POSIX shells and `.env` files distinguish that.
///
/// # Errors
/// [`FormatError`] for a NUL byte in any format but JSON, and for what the format cannot carry.
/// Nothing has been written then.
pub fn write_env<'a>(
    variables: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    format: EnvFormat,
    export: bool,
) -> Result<Vec<u8>, FormatError> {
    let format = match format {
        EnvFormat::Auto if cfg!(windows) => EnvFormat::PowerShell,
        EnvFormat::Auto => EnvFormat::Unix,
        format => format,
    };
    let mut out = Vec::new();
    if format == EnvFormat::Json {
        write_json(&mut out, variables);
        return Ok(out);
    }
    for (name, value) in variables {
        let written = match format {
            _ if value.contains(&0) => Err(("this format", "it holds a NUL byte")),
            EnvFormat::Cmd => push_cmd(&mut out, name, value).map_err(|reason| ("cmd", reason)),
            EnvFormat::PowerShell => {
                push_powershell(&mut out, name, value).map_err(|reason| ("PowerShell", reason))
            }
            EnvFormat::Dotenv => {
                push_posix(&mut out, name, export, |out| quote_dotenv(out, value));
                Ok(())
            }
            EnvFormat::Unix | EnvFormat::Auto | EnvFormat::Json => {
                push_posix(&mut out, name, export, |out| quote_posix(out, value));
                Ok(())
            }
        };
        written.map_err(|(format, reason)| FormatError {
            name: name.to_owned(),
            format,
            reason,
        })?;
    }
    Ok(out)
}

fn push_posix(out: &mut Vec<u8>, name: &str, export: bool, quote: impl FnOnce(&mut Vec<u8>)) {
    if export {
        out.extend_from_slice(b"export ");
    }
    out.extend_from_slice(name.as_bytes());
    out.push(b'=');
    quote(out);
    out.push(b'\n');
}

/// Single quotes keep every byte but themselves; one of those is written outside, behind a backslash.
///
/// Source: POSIX.1-2024, Shell Command Language, 2.2.1 and 2.2.2.
fn quote_posix(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'\'');
    for &byte in value {
        match byte {
            b'\'' => out.extend_from_slice(br"'\''"),
            _ => out.push(byte),
        }
    }
    out.push(b'\'');
}

/// The form that readers of `.env` files agree on where there is one: single quotes are literal for
/// all of them. A value that holds a single quote is put in double quotes, with the escapes of the
/// shell, which the common readers know as well. A POSIX shell reads back both exactly.
fn quote_dotenv(out: &mut Vec<u8>, value: &[u8]) {
    if !value.contains(&b'\'') {
        return quote_posix(out, value);
    }
    out.push(b'"');
    for &byte in value {
        if matches!(byte, b'"' | b'\\' | b'$' | b'`') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// `$env:NAME = 'value'`. PowerShell takes four typographic quotes for single quotes too; each is
/// doubled.
///
/// Source: PowerShell language specification 2.3.5.2, "single-quote-char".
fn push_powershell(out: &mut Vec<u8>, name: &str, value: &[u8]) -> Result<(), &'static str> {
    let value = std::str::from_utf8(value).map_err(|_| "it is not UTF-8 text")?;
    let mut line = format!("$env:{name} = '");
    for c in value.chars() {
        line.push(c);
        if matches!(c, '\'' | '\u{2018}'..='\u{201b}') {
            line.push(c);
        }
    }
    line.push_str("'\n");
    out.extend_from_slice(line.as_bytes());
    Ok(())
}

/// `set "NAME=value"` for a batch file, with every special character escaped. The quotes are escaped
/// too, so that cmd never is in its quoted state, in which a quote in the value would end it.
///
/// Percent signs are doubled (phase 1 of a batch line), the rest gets a caret (phase 2); a line feed is
/// a caret, the feed and one more. A carriage return vanishes whatever one does, and Ctrl-Z ends a file.
/// cmd cuts a line at 8,191 characters.
fn push_cmd(out: &mut Vec<u8>, name: &str, value: &[u8]) -> Result<(), &'static str> {
    const LONGEST_LINE: usize = 8191;
    let value = std::str::from_utf8(value).map_err(|_| "it is not UTF-8 text")?;
    if value.contains(['\r', '\u{1a}']) {
        return Err("it holds a carriage return or a Ctrl-Z");
    }
    let mut line = format!("set ^\"{name}=");
    for c in value.chars() {
        match c {
            '%' => line.push_str("%%"),
            '\n' => line.push_str("^\n\n"),
            // `!` stays: delayed expansion is off unless a script turns it on.
            '"' | '^' | '&' | '|' | '<' | '>' | '(' | ')' => {
                line.push('^');
                line.push(c);
            }
            _ => line.push(c),
        }
    }
    line.push_str("^\"");
    if line.encode_utf16().count() > LONGEST_LINE {
        return Err("it is longer than a line can be");
    }
    out.extend_from_slice(line.as_bytes());
    // Batch files want both characters.
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// One object, in the order given. A value that is not UTF-8 becomes
/// `{"encoding":"base64","value":...}`, since a JSON string holds characters, not bytes.
fn write_json<'a>(out: &mut Vec<u8>, variables: impl IntoIterator<Item = (&'a str, &'a [u8])>) {
    let mut text = String::from("{");
    for (index, (name, value)) in variables.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        let value = match std::str::from_utf8(value) {
            Ok(value) => serde_json::Value::from(value),
            Err(_) => serde_json::json!({"encoding": "base64", "value": BASE64.encode(value)}),
        };
        write!(text, "{}:{value}", serde_json::Value::from(name)).expect("a String takes any text");
    }
    text.push_str("}\n");
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(format: EnvFormat, value: &[u8]) -> Result<String, &'static str> {
        write_env([("A", value)], format, false)
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .map_err(|error| error.reason)
    }

    #[track_caller]
    fn check(format: EnvFormat, value: &str, want: Result<&str, &'static str>) {
        assert_eq!(
            one(format, value.as_bytes()),
            want.map(str::to_owned),
            "{value:?}"
        );
    }

    #[test]
    fn posix_values_are_single_quoted() {
        check(EnvFormat::Unix, "", Ok("A=''\n"));
        check(EnvFormat::Unix, "plain", Ok("A='plain'\n"));
        check(EnvFormat::Unix, "it's; touch x", Ok("A='it'\\''s; touch x'\n"));
        check(EnvFormat::Unix, "$(id)`id`\\\n\n", Ok("A='$(id)`id`\\\n\n'\n"));
        check(EnvFormat::Auto, "x", Ok("A='x'\n"));
        check(EnvFormat::Unix, "a\0b", Err("it holds a NUL byte"));
        let exported = write_env([("A", &b"1"[..]), ("B", b"2")], EnvFormat::Unix, true);
        assert_eq!(exported, Ok(b"export A='1'\nexport B='2'\n".to_vec()));
    }

    #[test]
    fn dotenv_values_are_quoted() {
        check(
            EnvFormat::Dotenv,
            "a\\b $x \"y\"\nz",
            Ok("A='a\\b $x \"y\"\nz'\n"),
        );
        check(
            EnvFormat::Dotenv,
            "it's $x \"y\" `z` \\",
            Ok("A=\"it's \\$x \\\"y\\\" \\`z\\` \\\\\"\n"),
        );
        check(EnvFormat::Dotenv, "\0", Err("it holds a NUL byte"));
    }

    #[test]
    fn powershell_values_double_every_kind_of_quote() {
        check(EnvFormat::PowerShell, "it's", Ok("$env:A = 'it''s'\n"));
        check(
            EnvFormat::PowerShell,
            "\u{2018}x\u{2019}",
            Ok("$env:A = '\u{2018}\u{2018}x\u{2019}\u{2019}'\n"),
        );
        check(EnvFormat::PowerShell, "$(id) `n\n", Ok("$env:A = '$(id) `n\n'\n"));
        check(EnvFormat::PowerShell, "\0", Err("it holds a NUL byte"));
        assert_eq!(one(EnvFormat::PowerShell, b"\xff"), Err("it is not UTF-8 text"));
    }

    #[test]
    fn cmd_values_are_escaped_character_by_character() {
        check(
            EnvFormat::Cmd,
            "50% & \"x\"|<>^()!",
            Ok("set ^\"A=50%% ^& ^\"x^\"^|^<^>^^^(^)!^\"\r\n"),
        );
        check(EnvFormat::Cmd, "a\nb", Ok("set ^\"A=a^\n\nb^\"\r\n"));
        check(
            EnvFormat::Cmd,
            "a\rb",
            Err("it holds a carriage return or a Ctrl-Z"),
        );
        check(
            EnvFormat::Cmd,
            "\u{1a}",
            Err("it holds a carriage return or a Ctrl-Z"),
        );
        check(
            EnvFormat::Cmd,
            &"x".repeat(8200),
            Err("it is longer than a line can be"),
        );
        check(EnvFormat::Cmd, "\0", Err("it holds a NUL byte"));
        assert_eq!(one(EnvFormat::Cmd, b"\xff"), Err("it is not UTF-8 text"));
    }

    #[test]
    fn json_keeps_order_and_bytes() {
        let text = write_env(
            [("B", &b"it's \"\n"[..]), ("A", b"\xff"), ("C", b"\0")],
            EnvFormat::Json,
            false,
        );
        let want =
            "{\"B\":\"it's \\\"\\n\",\"A\":{\"encoding\":\"base64\",\"value\":\"/w==\"},\"C\":\"\\u0000\"}\n";
        assert_eq!(
            text.map(|text| String::from_utf8(text).unwrap()),
            Ok(want.to_owned())
        );
        assert_eq!(write_env([], EnvFormat::Json, false), Ok(b"{}\n".to_vec()));
        assert_eq!(write_env([], EnvFormat::Unix, false), Ok(Vec::new()));
    }

    /// What cmd.exe does to a line of a batch file: percent signs first, then carets and quotes.
    fn cmd_reads(file: &[u8]) -> Option<Vec<u8>> {
        let mut chars = file.iter().copied().filter(|b| *b != b'\r').peekable();
        let (mut line, mut quoted) = (Vec::new(), false);
        while let Some(byte) = chars.next() {
            match byte {
                b'%' if chars.next_if_eq(&b'%').is_some() => line.push(b'%'),
                b'%' => return None,
                b'"' => {
                    quoted = !quoted;
                    line.push(byte);
                }
                b'^' if !quoted => match chars.next()? {
                    // The feed behind a caret is dropped and the next character taken as it is.
                    b'\n' => line.push(chars.next()?),
                    b'%' => return None,
                    next => line.push(next),
                },
                b'&' | b'|' | b'<' | b'>' if !quoted => return None,
                b'\n' => break,
                _ => line.push(byte),
            }
        }
        // `set` takes all up to the last quote of the line.
        let line = line.strip_prefix(b"set \"A=")?;
        let end = line.iter().rposition(|b| *b == b'"')?;
        (chars.next().is_none() && end + 1 == line.len()).then(|| line[..end].to_vec())
    }

    /// What PowerShell makes of a single-quoted string.
    fn powershell_reads(line: &str) -> Option<String> {
        let quote = |c| matches!(c, '\'' | '\u{2018}'..='\u{201b}');
        let mut chars = line
            .strip_prefix("$env:A = ")?
            .strip_prefix(quote)?
            .chars()
            .peekable();
        let mut value = String::new();
        while let Some(c) = chars.next() {
            match c {
                c if !quote(c) => value.push(c),
                _ => match chars.next_if(|next| quote(*next)) {
                    Some(second) => value.push(second),
                    None => return chars.eq(['\n']).then_some(value),
                },
            }
        }
        None
    }

    /// The values that `shell` has after sourcing `file`: exported there, dumped by `env -0`.
    #[cfg(unix)]
    fn sourced(shell: &[&str], file: &[u8], count: usize, exported: bool) -> Vec<Vec<u8>> {
        use std::io::Write as _;
        use std::process::Command;

        let mut script = tempfile::NamedTempFile::new().unwrap();
        script.write_all(file).unwrap();
        let export = if exported {
            String::new()
        } else {
            (0..count).map(|i| format!("export V{i}; ")).collect()
        };
        let output = Command::new(shell[0])
            .args(&shell[1..])
            .args(["-c", &format!(". \"$1\"; {export} exec env -0"), "sh"])
            .arg(script.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap();
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{shell:?}: {output:?}"
        );
        let mut values = vec![Vec::new(); count];
        for entry in output.stdout.split(|byte| *byte == 0) {
            let Some(at) = entry.iter().position(|byte| *byte == b'=') else {
                continue;
            };
            let name = std::str::from_utf8(&entry[..at]).unwrap();
            if let Some(index) = name.strip_prefix('V').and_then(|i| i.parse::<usize>().ok()) {
                values[index] = entry[at + 1..].to_vec();
            }
        }
        values
    }

    /// The shells on this machine, each as it is called.
    #[cfg(unix)]
    fn shells() -> Vec<Vec<&'static str>> {
        let all: [&[&str]; 9] = [
            &["sh"],
            &["dash"],
            &["bash"],
            &["bash", "--posix"],
            &["zsh"],
            &["ksh"],
            &["mksh"],
            &["yash"],
            &["busybox", "sh"],
        ];
        let path = std::env::var_os("PATH").unwrap();
        let present = |name: &str| std::env::split_paths(&path).any(|dir| dir.join(name).exists());
        all.into_iter()
            .filter(|shell| present(shell[0]))
            .map(<[_]>::to_vec)
            .collect()
    }

    #[cfg(unix)]
    #[track_caller]
    fn check_in_shells(values: &[Vec<u8>]) {
        let names: Vec<String> = (0..values.len()).map(|i| format!("V{i}")).collect();
        for format in [EnvFormat::Unix, EnvFormat::Dotenv] {
            for export in [false, true] {
                let pairs = names
                    .iter()
                    .map(String::as_str)
                    .zip(values.iter().map(Vec::as_slice));
                let file = write_env(pairs, format, export).unwrap();
                for shell in shells() {
                    let got = sourced(&shell, &file, values.len(), export);
                    for (got, want) in got.iter().zip(values) {
                        assert_eq!(
                            got,
                            want,
                            "{shell:?} {format:?} {:?}",
                            String::from_utf8_lossy(want)
                        );
                    }
                }
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn shells_read_back_hostile_values() {
        let mut values: Vec<Vec<u8>> = [
            "",
            " ",
            "'",
            "''",
            "'\\''",
            "\\",
            "\\'",
            "\"",
            "\\\"",
            "$HOME",
            "$(touch /tmp/x)",
            "`id`",
            "!!",
            "!x",
            "~",
            "~root",
            "*",
            "a b  c",
            "\n",
            "a\n",
            "\n\n'\n",
            "\r\n",
            "#x",
            "x #y",
            "a=b",
            "\t",
            "{a,b}",
            "it's; exit 3",
            "';exit 3;'",
            "\";exit 3;\"",
            "\u{1b}[31m",
            "été",
            "🔑",
            "\\n\\t\\x41",
            "$'x'",
            "%s%%",
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec();
        values.extend((1..=255).map(|byte| vec![byte]));
        values.extend((1..=255).map(|byte| vec![b'\'', byte, b'\'', b'"', byte]));
        values.push((1..=255).collect());
        values.push((1..=255).rev().collect());
        check_in_shells(&values);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        #[cfg(unix)]
        #[test]
        fn shells_read_back_any_bytes(values in proptest::collection::vec(proptest::collection::vec(1u8..=255, 0..40), 64),
                                      texts in proptest::collection::vec("['\"\\\\$`!\n\r ;&|<>(){}*?~#=a%^]{0,12}", 64)) {
            check_in_shells(&values);
            check_in_shells(&texts.into_iter().map(String::into_bytes).collect::<Vec<_>>());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn windows_shells_read_back_any_text(any in "[^\0\r\u{1a}]{0,40}", texts in "['\"\\\\$`!\n ;&|<>()%^\u{2018}-\u{201b}a]{0,20}") {
            for text in [any, texts] {
                let cmd = write_env([("A", text.as_bytes())], EnvFormat::Cmd, false).unwrap();
                prop_assert_eq!(cmd_reads(&cmd), Some(text.clone().into_bytes()));
                let line = one(EnvFormat::PowerShell, text.as_bytes()).unwrap();
                prop_assert_eq!(powershell_reads(&line), Some(text));
            }
        }

        #[test]
        fn json_is_json(text in any::<String>()) {
            let json = write_env([("A", text.as_bytes())], EnvFormat::Json, false).unwrap();
            let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
            prop_assert_eq!(&value["A"], &text);
        }
    }
}
