//! Names of environment variables: which are possible, which come twice, which are dropped.
//!
//! A secret's name comes from whoever may write to the vault, and a variable's name decides what a
//! program does; so names are checked whole, and those that steer programs need the user's word
//! ([`dangerous`]).
//!
//! Start at [`choose`].

use std::collections::HashMap;
use std::collections::HashSet;

use crate::dangerous;

/// What to do with a name that is impossible or dangerous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Invalid {
    /// Stop
    #[default]
    Error,
    /// Say so and leave it out
    Warn,
    /// Leave it out
    Ignore,
}

/// What to do when two secrets give the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Duplicate {
    /// The first one counts
    Keep,
    /// The last one counts
    #[default]
    Overwrite,
    /// The last one counts, and it is said
    Warn,
    /// Stop
    Error,
}

/// How to treat names; what the options of `secrets env` say.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// `--env-invalid`; `None` when it was not given. A bad name is then an error, a dangerous one is
    /// left out with a warning.
    pub invalid: Option<Invalid>,
    /// `--env-duplicate`.
    pub duplicate: Duplicate,
    /// `--allow`: dangerous names that are wanted.
    pub allow: HashSet<String>,
}

/// One value that wants to become a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<T> {
    /// The name it would have.
    pub name: String,
    /// Where it comes from, for messages: `vault:path`.
    pub source: String,
    /// The value, or what stands for it.
    pub value: T,
}

/// The variables to set, in the order of their first appearance, and what to tell the user.
#[derive(Debug, PartialEq, Eq)]
pub struct Chosen<T> {
    /// No name occurs twice.
    pub variables: Vec<Candidate<T>>,
    /// Sentences for stderr, not yet escaped.
    pub warnings: Vec<String>,
}

/// Why no environment was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a possible name.
    #[error("{origin} gives the name {name:?}, which is not possible for a variable")]
    Invalid {
        /// The name.
        name: String,
        /// The secret.
        origin: String,
    },
    /// A name that steers programs, in mode `error`.
    #[error("{origin} gives the variable {name}, which {effect}")]
    Dangerous {
        /// The name.
        name: String,
        /// The secret.
        origin: String,
        /// What the variable does.
        effect: &'static str,
    },
    /// Two secrets, one name, in mode `error`.
    #[error("{first} and {second} both give the variable {name}")]
    Duplicate {
        /// The name.
        name: String,
        /// The first secret.
        first: String,
        /// The second secret.
        second: String,
    },
}

impl NameError {
    /// What the user can type to go on.
    pub fn hint(&self) -> String {
        match self {
            NameError::Invalid { .. } => {
                "name it with `VAULT:PATH=NAME`, or pass `--env-invalid warn` to leave it out".to_owned()
            }
            NameError::Dangerous { name, .. } => {
                format!("pass `--allow {name}` if you want it, or leave out `--env-invalid error`")
            }
            NameError::Duplicate { .. } => {
                "name one with `VAULT:PATH=NAME`, or choose with `--env-duplicate keep|overwrite`".to_owned()
            }
        }
    }
}

/// True for `[A-Za-z_][A-Za-z0-9_]*`, from the first to the last character.
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b == b'_' || b.is_ascii_alphabetic())
        && bytes.all(|b| b == b'_' || b.is_ascii_alphanumeric())
}

/// Decides which of `candidates` become variables.
///
/// # Errors
/// [`NameError`] in the modes that stop.
pub fn choose<T>(
    candidates: impl IntoIterator<Item = Candidate<T>>,
    rules: &Rules,
) -> Result<Chosen<T>, NameError> {
    let mut chosen = Chosen {
        variables: Vec::new(),
        warnings: Vec::new(),
    };
    let mut places: HashMap<String, usize> = HashMap::new();
    for candidate in candidates {
        if !accept(&candidate, rules, &mut chosen.warnings)? {
            continue;
        }
        let Some(&at) = places.get(&candidate.name) else {
            places.insert(candidate.name.clone(), chosen.variables.len());
            chosen.variables.push(candidate);
            continue;
        };
        let first = &mut chosen.variables[at];
        // The same secret named twice is one secret.
        if first.source == candidate.source {
            continue;
        }
        match rules.duplicate {
            Duplicate::Keep => {}
            Duplicate::Overwrite => *first = candidate,
            Duplicate::Warn => {
                chosen.warnings.push(format!(
                    "{} and {} both give the variable {}: the last one counts",
                    first.source, candidate.source, candidate.name
                ));
                *first = candidate;
            }
            Duplicate::Error => {
                return Err(NameError::Duplicate {
                    name: candidate.name,
                    first: first.source.clone(),
                    second: candidate.source,
                });
            }
        }
    }
    Ok(chosen)
}

fn accept<T>(candidate: &Candidate<T>, rules: &Rules, warnings: &mut Vec<String>) -> Result<bool, NameError> {
    let Candidate { name, source, .. } = candidate;
    if !is_name(name) {
        match rules.invalid.unwrap_or(Invalid::Error) {
            Invalid::Error => {
                return Err(NameError::Invalid {
                    name: name.clone(),
                    origin: source.clone(),
                });
            }
            Invalid::Warn => warnings.push(format!(
                "{source} is left out: {name:?} is not possible for a variable"
            )),
            Invalid::Ignore => {}
        }
        return Ok(false);
    }
    let Some(effect) = dangerous::effect(name).filter(|_| !rules.allow.contains(name)) else {
        return Ok(true);
    };
    match rules.invalid.unwrap_or(Invalid::Warn) {
        Invalid::Error => Err(NameError::Dangerous {
            name: name.clone(),
            origin: source.clone(),
            effect,
        }),
        Invalid::Warn => {
            warnings.push(format!(
                "{source} is left out: the variable {name} {effect} (`--allow {name}` passes it on)"
            ));
            Ok(false)
        }
        Invalid::Ignore => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(name: &str, source: &str) -> Candidate<u32> {
        Candidate {
            name: name.into(),
            source: source.into(),
            value: 0,
        }
    }

    /// Names and sources that are left, number of warnings.
    fn run(names: &[(&str, &str)], rules: &Rules) -> Result<(Vec<String>, usize), NameError> {
        let candidates = names.iter().map(|(name, source)| candidate(name, source));
        choose(candidates, rules).map(|chosen| {
            let shown = |c: &Candidate<u32>| format!("{}={}", c.name, c.source);
            (
                chosen.variables.iter().map(shown).collect(),
                chosen.warnings.len(),
            )
        })
    }

    #[test]
    fn names_are_checked_whole() {
        for good in ["A", "a", "_", "A1", "__x_9", "PATH"] {
            assert!(is_name(good), "{good:?}");
        }
        for bad in [
            "",
            "1",
            "1A",
            "A-B",
            "A B",
            " A",
            "A ",
            "A=B",
            "A=",
            "=A",
            "é",
            "Aé",
            "A\n",
            "\nA",
            "A\0",
            "A.B",
            "my-key.pem",
            "A\u{301}",
            "\u{ff21}",
            "$A",
            "A;id",
            "A'",
            "()",
            "{x}",
            "A[0]",
            "BASH_FUNC_x%%",
        ] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn bad_names_stop_unless_told_otherwise() {
        let names = [("A", "v:A"), ("b-c", "v:b-c"), ("D", "v:D")];
        assert!(matches!(
            run(&names, &Rules::default()),
            Err(NameError::Invalid { .. })
        ));
        for (mode, warnings) in [(Invalid::Warn, 1), (Invalid::Ignore, 0)] {
            let rules = Rules {
                invalid: Some(mode),
                ..Rules::default()
            };
            assert_eq!(
                run(&names, &rules),
                Ok((vec!["A=v:A".into(), "D=v:D".into()], warnings))
            );
        }
    }

    #[test]
    fn dangerous_names_are_left_out_unless_allowed() {
        let names = [("LD_PRELOAD", "v:LD_PRELOAD"), ("PATH", "v:x")];
        assert_eq!(run(&names, &Rules::default()), Ok((vec![], 2)));
        let mode = |invalid| Rules {
            invalid: Some(invalid),
            ..Rules::default()
        };
        assert!(matches!(
            run(&names, &mode(Invalid::Error)),
            Err(NameError::Dangerous { .. })
        ));
        assert_eq!(run(&names, &mode(Invalid::Warn)), Ok((vec![], 2)));
        assert_eq!(run(&names, &mode(Invalid::Ignore)), Ok((vec![], 0)));
        let allow = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<HashSet<_>>();
        let rules = Rules {
            allow: allow(&["PATH", "x-y"]),
            ..Rules::default()
        };
        assert_eq!(run(&names, &rules), Ok((vec!["PATH=v:x".into()], 1)));
        // A name that is not possible cannot be allowed.
        assert!(run(&[("x-y", "v:x-y")], &rules).is_err());
        // The names of variables are case-sensitive.
        assert_eq!(
            run(&[("pATH", "v:p")], &Rules::default()),
            Ok((vec!["pATH=v:p".into()], 0))
        );
    }

    #[test]
    fn duplicates_follow_the_mode() {
        let names = [("A", "v:A"), ("B", "v:B"), ("A", "w:A")];
        let mode = |duplicate| Rules {
            duplicate,
            ..Rules::default()
        };
        let kept = vec!["A=v:A".to_owned(), "B=v:B".to_owned()];
        let last = vec!["A=w:A".to_owned(), "B=v:B".to_owned()];
        assert_eq!(run(&names, &mode(Duplicate::Keep)), Ok((kept, 0)));
        assert_eq!(run(&names, &mode(Duplicate::Overwrite)), Ok((last.clone(), 0)));
        assert_eq!(run(&names, &mode(Duplicate::Warn)), Ok((last, 1)));
        assert!(matches!(
            run(&names, &mode(Duplicate::Error)),
            Err(NameError::Duplicate { .. })
        ));
        // One secret that is reached twice is no duplicate.
        let twice = [("A", "v:A"), ("A", "v:A")];
        assert_eq!(
            run(&twice, &mode(Duplicate::Error)),
            Ok((vec!["A=v:A".into()], 0))
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn what_is_chosen_is_possible_and_unique(names in proptest::collection::vec("[A-C_0-1é=-]{0,3}|PATH|LD_X", 0..12)) {
            let rules = Rules { invalid: Some(Invalid::Ignore), ..Rules::default() };
            let candidates = names.iter().enumerate().map(|(i, name)| candidate(name, &i.to_string()));
            let chosen = choose(candidates, &rules).unwrap();
            let mut seen = HashSet::new();
            for variable in &chosen.variables {
                prop_assert!(is_name(&variable.name) && dangerous::effect(&variable.name).is_none());
                prop_assert!(seen.insert(variable.name.clone()));
                // The last one counts.
                let last = names.iter().rposition(|name| *name == variable.name).unwrap();
                prop_assert_eq!(&variable.source, &last.to_string());
            }
            for name in names.iter().filter(|name| is_name(name) && dangerous::effect(name).is_none()) {
                prop_assert!(seen.contains(name));
            }
        }
    }
}
