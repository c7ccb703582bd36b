//! The original's two-letter options, rewritten to long ones before parsing.
//!
//! Scripts written for the original say `-np ~/node` or `-ef json`; a POSIX parser would read those
//! as bundles of one-letter options. [`rewrite`] replaces each by its long form. Help and completions
//! never show them.
//!
//! Always: nothing after `--` is touched, nor an argument that is the value of the option in front
//! of it, nor anything that is not exactly one of the names in the table (alone or before `=`).

use std::ffi::{OsStr, OsString};

use clap::Command;

/// Short and long name of each. Source: the original's command line, version 0.12.0.
pub const TABLE: &[(&str, &str)] = &[
    ("-ah", "--agent-host"),
    ("-aii", "--auth-identity-id"),
    ("-ap", "--agent-port"),
    ("-bef", "--background-err-file"),
    ("-bof", "--background-out-file"),
    ("-ch", "--client-host"),
    ("-ci", "--commit-id"),
    ("-cp", "--client-port"),
    ("-ed", "--env-duplicate"),
    ("-ef", "--env-format"),
    ("-ei", "--env-invalid"),
    ("-ii", "--identity-id"),
    ("-ni", "--node-id"),
    ("-np", "--node-path"),
    ("-pf", "--password-file"),
    ("-pi", "--provider-id"),
    ("-pnf", "--password-new-file"),
    ("-pv", "--pull-vault"),
    ("-rcf", "--recovery-code-file"),
    ("-rcof", "--recovery-code-out-file"),
    ("-sn", "--seed-nodes"),
];

/// Replaces two-letter options in `args` (program name first) by their long forms.
///
/// `command` builds the command tree that will parse the result; it is asked which options take a
/// value, and only when there is something to rewrite.
pub fn rewrite(args: Vec<OsString>, command: impl FnOnce() -> Command) -> Vec<OsString> {
    let before_command = args.split(|arg| arg == "--").next().unwrap_or_default();
    if !before_command.iter().any(|arg| long_form(arg).is_some()) {
        return args;
    }
    let root = command();
    let mut path = vec![&root];
    let mut rewritten = Vec::with_capacity(args.len());
    let mut args = args.into_iter();
    rewritten.extend(args.next());
    while let Some(arg) = args.next() {
        if arg == "--" {
            rewritten.push(arg);
            break;
        }
        let arg = long_form(&arg).unwrap_or(arg);
        let wants_value = takes_next_as_value(&path, &arg);
        if let Some(word) = arg.to_str().filter(|word| !word.starts_with('-')) {
            let here = path.last().expect("the path begins with the root");
            path.extend(here.find_subcommand(word));
        }
        rewritten.push(arg);
        if wants_value {
            rewritten.extend(args.next());
        }
    }
    rewritten.extend(args);
    rewritten
}

/// The long form of `arg`, if it is in the table; `-np=x` becomes `--node-path=x`.
fn long_form(arg: &OsStr) -> Option<OsString> {
    let bytes = arg.as_encoded_bytes();
    if bytes.len() < 3 || bytes[0] != b'-' || bytes[1] == b'-' {
        return None;
    }
    // Splitting at an ASCII character leaves text that was valid valid; what is no text matches nothing.
    let text = arg.to_str()?;
    let (name, value) = text
        .split_once('=')
        .map_or((text, None), |(name, value)| (name, Some(value)));
    let (_, long) = TABLE.iter().find(|(short, _)| *short == name)?;
    Some(match value {
        Some(value) => format!("{long}={value}").into(),
        None => (*long).into(),
    })
}

/// True when the argument after `arg` is its value. Options of the commands above count as well:
/// the global ones are declared at the root.
fn takes_next_as_value(path: &[&Command], arg: &OsStr) -> bool {
    let Some(text) = arg.to_str() else { return false };
    let option = |matches: &dyn Fn(&clap::Arg) -> bool| {
        // The innermost command wins: `-f` is `--force` in one and `--format` in the others.
        path.iter()
            .rev()
            .flat_map(|command| command.get_arguments())
            .find(|arg| matches(arg))
            .is_some_and(|arg| {
                arg.get_action().takes_values()
                    && arg.get_num_args().is_none_or(|range| range.min_values() > 0)
            })
    };
    if let Some(long) = text.strip_prefix("--") {
        return !long.contains('=') && option(&|arg| arg.get_long() == Some(long));
    }
    let Some(bundle) = text.strip_prefix('-') else {
        return false;
    };
    for (at, letter) in bundle.char_indices() {
        if option(&|arg| arg.get_short() == Some(letter)) {
            // In `-fjson` the value is in the bundle already.
            return at + letter.len_utf8() == bundle.len();
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction};
    use proptest::prelude::*;

    use super::*;

    fn command() -> Command {
        Command::new("polykey")
            .arg(Arg::new("node-path").long("node-path").global(true))
            .arg(Arg::new("format").long("format").short('f').global(true))
            .arg(
                Arg::new("verbose")
                    .short('v')
                    .action(ArgAction::Count)
                    .global(true),
            )
            .subcommand(
                Command::new("secrets")
                    .subcommand(
                        Command::new("rm").arg(Arg::new("force").short('f').action(ArgAction::SetTrue)),
                    )
                    .subcommand(
                        Command::new("env")
                            .arg(Arg::new("env-format").long("env-format"))
                            .arg(Arg::new("paths").num_args(1..)),
                    ),
            )
    }

    #[track_caller]
    fn check(input: &str, want: &str) {
        let split = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert_eq!(rewrite(split(input), command), split(want), "{input}");
    }

    #[test]
    fn two_letter_options_become_long() {
        check(
            "pk -np /n secrets env -ef json v",
            "pk --node-path /n secrets env --env-format json v",
        );
        check("pk secrets env -ef=json v", "pk secrets env --env-format=json v");
        check("pk -np=/a=b secrets", "pk --node-path=/a=b secrets");
        for (short, long) in TABLE {
            check(&format!("pk {short} x"), &format!("pk {long} x"));
        }
    }

    #[test]
    fn all_else_stays() {
        for same in [
            "pk",
            "pk --",
            "-np",
            "pk -n p",
            "pk -npx secrets",
            "pk --np",
            "pk -vv secrets",
            "pk -fjson",
            "pk - secrets",
            "pk -x=-np",
        ] {
            check(same, same);
        }
    }

    #[test]
    fn values_and_commands_behind_two_dashes_stay() {
        check("pk secrets env v -- cmd -np x", "pk secrets env v -- cmd -np x");
        check("pk -ef json -- -ef json", "pk --env-format json -- -ef json");
        check("pk -np -np secrets", "pk --node-path -np secrets");
        check("pk --node-path -np -ef x", "pk --node-path -np --env-format x");
        check("pk -f -np -ef x", "pk -f -np --env-format x");
        check("pk -vf -np -ef x", "pk -vf -np --env-format x");
        check("pk -fjson -np x", "pk -fjson --node-path x");
        check("pk --format=json -np x", "pk --format=json --node-path x");
        check("pk secrets rm -f -np x", "pk secrets rm -f --node-path x");
        check(
            "pk secrets env -ef -np -np x",
            "pk secrets env --env-format -np --node-path x",
        );
    }

    #[test]
    fn the_table_is_sorted_and_unique() {
        assert!(TABLE.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(
            TABLE
                .iter()
                .all(|(short, long)| short.len() > 2 && long.starts_with("--"))
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn only_the_table_changes_anything(args in proptest::collection::vec("[-npefv=/a ]{0,5}", 0..8)) {
            let args: Vec<OsString> = args.into_iter().map(OsString::from).collect();
            let out = rewrite(args.clone(), command);
            prop_assert_eq!(out.len(), args.len());
            for (before, after) in args.iter().zip(&out) {
                prop_assert!(before == after || long_form(before).as_ref() == Some(after));
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn arguments_that_are_no_text_stay() {
        use std::os::unix::ffi::OsStringExt;

        let odd = OsString::from_vec(b"-np=\xff".to_vec());
        let args = vec![
            OsString::from("pk"),
            odd,
            OsString::from("-np"),
            OsString::from("x"),
        ];
        let mut want = args.clone();
        want[2] = OsString::from("--node-path");
        assert_eq!(rewrite(args, command), want);
    }
}
