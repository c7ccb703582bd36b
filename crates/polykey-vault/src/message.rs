//! Messages: what a commit says when its author says nothing.
//!
//! One step is told in full; several are counted and then named one by one, as far as there is room.

use std::fmt::Write;

use crate::commit::MAX_MESSAGE_LEN;
use crate::draft::{Deed, Step};

/// The message for `steps`: never empty, at most [`MAX_MESSAGE_LEN`] bytes.
pub(crate) fn message(steps: &[Step]) -> String {
    let tell = |step: &Step| format!("{} {}", step.path, deed(step.deed));
    if let [only] = steps {
        return bounded(tell(only));
    }
    let mut text = format!("{} changes: ", steps.len());
    let mut told = 0;
    for step in steps {
        let next = tell(step);
        // Room for the end of the sentence, however large the number in it.
        if text.len() + next.len() + 40 > MAX_MESSAGE_LEN {
            break;
        }
        if told > 0 {
            text.push_str(", ");
        }
        text.push_str(&next);
        told += 1;
    }
    if told < steps.len() {
        let more = steps.len() - told;
        let before = if told > 0 { ", and " } else { "" };
        write!(text, "{before}{more} more").expect("writing to a String does not fail");
    }
    text
}

/// A message of the user's, cut to the bound.
pub(crate) fn bounded(mut text: String) -> String {
    if text.len() > MAX_MESSAGE_LEN {
        let end = (0..=MAX_MESSAGE_LEN).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.expect("0 is a boundary"));
    }
    text
}

fn deed(deed: Deed) -> &'static str {
    match deed {
        Deed::Added => "added",
        Deed::Modified => "modified",
        Deed::Moved => "moved here",
        Deed::Removed => "deleted",
        Deed::Attributes => "attributes changed",
        Deed::MadeDirectory => "made",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polykey_core::SecretPath;

    fn steps(paths: &[&str]) -> Vec<Step> {
        let step = |path: &&str| Step {
            operations: vec![],
            staged: None,
            deed: Deed::Added,
            path: SecretPath::parse(path).expect("a path"),
            before: None,
        };
        paths.iter().map(step).collect()
    }

    #[test]
    fn every_step_is_named_while_there_is_room() {
        assert_eq!(message(&steps(&["db/password"])), "db/password added");
        assert_eq!(message(&steps(&["a", "b"])), "2 changes: a added, b added");
    }

    #[test]
    fn messages_are_bounded() {
        let long = vec!["é".repeat(100); 8].join("/");
        for count in [1, 2, 10_000] {
            let text = message(&steps(&vec![long.as_str(); count]));
            assert!(
                !text.is_empty() && text.len() <= MAX_MESSAGE_LEN,
                "{count}: {}",
                text.len()
            );
        }
        let text = message(&steps(&vec!["a"; 10_000]));
        assert!(text.ends_with(" more") && text.len() <= MAX_MESSAGE_LEN);
    }
}
