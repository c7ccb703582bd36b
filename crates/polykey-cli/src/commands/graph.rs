//! `identities graph`: a gestalt as a tree of text, or as a picture (SVG).
//!
//! Always: names from elsewhere are escaped for the place where they stand; the picture holds lines, dots and text, and
//! nothing that runs or is fetched.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::f64::consts::TAU;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use polykey_api::identities::{self, GestaltItem, OneGestalt};
use polykey_api::problem::typed;
use polykey_api::{Code, Problem};

use crate::context::Context;
use crate::escape;
use crate::output::Done;

/// Arguments of `graph`.
#[derive(Debug, Args)]
pub struct GraphArgs {
    /// Node, petname, identity (provider:identity) or domain
    #[arg(value_name = "WHO")]
    who: String,
    /// Draw a picture into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Draws the gestalt of somebody.
///
/// # Errors
/// The problem to tell of.
pub async fn run(cx: &Context<'_>, args: GraphArgs) -> Result<Done, Problem> {
    let question = OneGestalt { who: args.who };
    let gestalt = cx.call(&identities::GET, &question).await?.gestalt;
    if gestalt.matrix.is_empty() {
        let text = format!("nobody of the name {} is known", escape::name(&question.who));
        return Err(Problem::new(Code::NodeNotFound, text).hint(format!(
            "run `polykey identities discover {} --monitor`",
            typed(&question.who)
        )));
    }
    let Some(path) = args.svg else {
        return cx
            .out
            .answer(&gestalt, |gestalt| tree(gestalt, &root(gestalt, &question.who)));
    };
    std::fs::write(&path, picture(&gestalt)).map_err(|error| {
        Problem::new(Code::Io, format!("cannot write {}", path.display())).caused_by(&error)
    })?;
    cx.out
        .success(&format!("Drew {}", escape::name(&path.to_string_lossy())));
    Ok(Done::All)
}

/// The member with which a drawing begins: the one that was named, or the first.
fn root(gestalt: &GestaltItem, who: &str) -> String {
    let named = |member: &&String| {
        member.eq_ignore_ascii_case(who)
            || member
                .split_once(':')
                .is_some_and(|(_, identity)| identity.eq_ignore_ascii_case(who))
            || gestalt
                .nodes
                .get(*member)
                .is_some_and(|node| node.petname.as_deref() == Some(who))
    };
    let member = gestalt.matrix.keys().find(named).or(gestalt.matrix.keys().next());
    member.cloned().unwrap_or_default()
}

/// A member with what the user calls it and what is to be known of it.
fn label(gestalt: &GestaltItem, member: &str) -> String {
    let mut label = escape::name(member).into_owned();
    if let Some(node) = gestalt.nodes.get(member) {
        if let Some(petname) = &node.petname {
            let _ = write!(label, " {}", escape::name(petname));
        }
        for (holds, word) in [
            (node.this_node, "(this node)"),
            (node.retired, "(retired)"),
            (node.doubtful, "(DOUBTFUL)"),
        ] {
            if holds {
                let _ = write!(label, " {word}");
            }
        }
    }
    label
}

/// The members as a tree: each once, nearest first; a tie back to one that stands elsewhere is named there.
fn tree(gestalt: &GestaltItem, root: &str) -> String {
    // Breadth first, so that each member stands on its shortest way. The drawing itself needs no recursion: a chain of
    // nodes may be long.
    let mut children: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    let mut seen = BTreeSet::from([root]);
    let mut waiting = VecDeque::from([root]);
    while let Some(member) = waiting.pop_front() {
        for (other, kind) in gestalt.matrix.get(member).into_iter().flatten() {
            if seen.insert(other) {
                children.entry(member).or_default().push((other, kind));
                waiting.push_back(other);
            }
        }
    }
    let mut text = format!("{}\n", label(gestalt, root));
    let mut stack: Vec<(String, &str, &str, bool)> = Vec::new();
    let push = |stack: &mut Vec<_>, indent: &str, member: &str| {
        let below = children.get(member).map_or(&[][..], Vec::as_slice);
        for (at, (other, kind)) in below.iter().enumerate().rev() {
            stack.push((indent.to_owned(), *other, *kind, at + 1 == below.len()));
        }
    };
    push(&mut stack, "", root);
    while let Some((indent, member, kind, is_last)) = stack.pop() {
        let (branch, below) = match is_last {
            true => ("└─", "   "),
            false => ("├─", "│  "),
        };
        let _ = writeln!(
            text,
            "{indent}{branch} {}: {}",
            escape::name(kind),
            label(gestalt, member)
        );
        push(&mut stack, &format!("{indent}{below}"), member);
    }
    for tie in &gestalt.unanswered {
        let _ = writeln!(
            text,
            "{} says {} of {}, and the other end does not",
            escape::name(&tie.from),
            escape::name(&tie.kind),
            escape::name(&tie.to)
        );
    }
    text
}

/// The members on a circle, with lines for what ties them together.
fn picture(gestalt: &GestaltItem) -> String {
    let members: Vec<&String> = gestalt.matrix.keys().collect();
    let count = members.len().max(1) as f64;
    // Labels of neighbours on the circle stay apart.
    let radius = (count * 26.0 / TAU).max(160.0);
    let (width, height) = (2.0 * radius + 1_100.0, 2.0 * radius + 120.0);
    let (middle_x, middle_y) = (width / 2.0, height / 2.0);
    let places: BTreeMap<&str, (f64, f64)> = members
        .iter()
        .enumerate()
        .map(|(at, member)| {
            let angle = TAU * at as f64 / count - TAU / 4.0;
            let place = (middle_x + radius * angle.cos(), middle_y + radius * angle.sin());
            (member.as_str(), place)
        })
        .collect();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"monospace\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (member, ties) in &gestalt.matrix {
        for (other, kind) in ties.iter().filter(|(other, _)| *other > member) {
            let (Some(from), Some(to)) = (places.get(member.as_str()), places.get(other.as_str())) else {
                continue;
            };
            let stroke = match kind.as_str() {
                "device" | "successor" => "black\" stroke-width=\"2.5",
                "identity" => "black\" stroke-dasharray=\"4 3",
                _ => "gray",
            };
            let _ = writeln!(
                svg,
                "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{stroke}\"><title>{}</title></line>",
                from.0,
                from.1,
                to.0,
                to.1,
                xml(kind)
            );
        }
    }
    for member in members {
        let (x, y) = places[member.as_str()];
        let is_node = gestalt.nodes.contains_key(member);
        let fill = if is_node { "black" } else { "white" };
        let (anchor, at) = match x < middle_x {
            true => ("end", x - 9.0),
            false => ("start", x + 9.0),
        };
        let _ = writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"{fill}\" stroke=\"black\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            y + 4.0,
            xml(&label(gestalt, member))
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// Text as it may stand in XML, between tags and in attributes.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // XML knows no such characters, escaped or not.
            '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {
                out.push('\u{fffd}');
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use polykey_api::identities::{GestaltNode, Tie};

    use super::*;

    fn gestalt(ties: &[(&str, &str, &str)]) -> GestaltItem {
        let mut gestalt = GestaltItem::default();
        for (from, to, kind) in ties {
            for (a, b) in [(from, to), (to, from)] {
                let row = gestalt.matrix.entry((*a).to_owned()).or_default();
                row.insert((*b).to_owned(), (*kind).to_owned());
                if !a.contains(':') {
                    let node = GestaltNode {
                        node_id_encoded: (*a).to_owned(),
                        petname: None,
                        this_node: false,
                        actions_list: vec![],
                        retired: false,
                        doubtful: false,
                    };
                    gestalt.nodes.insert((*a).to_owned(), node);
                }
            }
        }
        gestalt
    }

    #[test]
    fn a_tree_has_each_member_once_on_its_shortest_way() {
        let mut gestalt = gestalt(&[
            ("n1", "n2", "device"),
            ("n2", "n3", "node"),
            ("n1", "github.com:alice", "identity"),
            ("n2", "github.com:alice", "identity"),
        ]);
        gestalt.nodes.get_mut("n2").expect("there").petname = Some("phone".to_owned());
        gestalt.unanswered.push(Tie {
            from: "n3".to_owned(),
            to: "dns:bob.org".to_owned(),
            kind: "identity".to_owned(),
        });
        assert_eq!(
            tree(&gestalt, "n1"),
            "n1\n├─ identity: github.com:alice\n└─ device: n2 phone\n   └─ node: n3\nn3 says identity of dns:bob.org, and the other end does not\n"
        );
        assert_eq!(root(&gestalt, "phone"), "n2");
        assert_eq!(root(&gestalt, "Alice"), "github.com:alice");
        assert_eq!(root(&gestalt, "GitHub.com:alice"), "github.com:alice");
        assert_eq!(root(&gestalt, "nobody"), "github.com:alice");
    }

    #[test]
    fn a_long_line_of_nodes_needs_no_deep_stack() {
        let names: Vec<String> = (0..5_000).map(|n| format!("n{n:05}")).collect();
        let ties: Vec<_> = names
            .windows(2)
            .map(|two| (two[0].as_str(), two[1].as_str(), "node"))
            .collect();
        let gestalt = gestalt(&ties);
        assert_eq!(tree(&gestalt, "n00000").lines().count(), 5_000);
        assert!(picture(&gestalt).ends_with("</svg>\n"));
    }

    #[test]
    fn hostile_names_stay_text() {
        let mut gestalt = gestalt(&[("n1", "n2", "<script>")]);
        gestalt.nodes.get_mut("n1").expect("there").petname =
            Some("</text><script>alert('1')</script>\u{1b}[2J&\u{202e}".to_owned());
        let svg = picture(&gestalt);
        assert!(!svg.contains("<script"), "{svg}");
        assert_eq!(svg.matches("</text>").count(), 2);
        assert!(!svg.contains('\u{1b}') && !svg.contains('\u{202e}'), "{svg}");
        assert!(!svg.contains("href") && !svg.contains("javascript:"));
        let text = tree(&gestalt, "n1");
        assert_eq!(text.lines().count(), 2, "{text}");
        assert_eq!(xml("a&b<c>\"'\u{0}"), "a&amp;b&lt;c&gt;&quot;&#39;\u{fffd}");
    }
}
