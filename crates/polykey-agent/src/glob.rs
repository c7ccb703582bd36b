//! Patterns over paths: `*`, `?` and `**`.
//!
//! `*` stands for any characters of one name, `?` for one character, `**` as a whole segment for any
//! number of segments: none or more in front and in the middle, at least one at the end. All else stands for itself, with case: brackets, braces,
//! backslashes and dots have no meaning of their own.
//!
//! Always: matching takes time proportional to pattern times path at most, whatever the pattern is.
//! Whether an exact name wins over a pattern is decided by the caller, who knows the names.

/// Whether a wildcard at the beginning of a name reaches names that begin with a dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hidden {
    /// As in a shell: only a pattern that begins with a dot itself does.
    Skip,
    /// Every name is like any other: for rules about who may read what.
    Match,
}

/// A parsed pattern over whole paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    segments: Vec<Segment>,
    hidden: Hidden,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    /// `**`
    AnyDepth,
    /// The characters of a segment without wildcards.
    Literal(String),
    Wild(Vec<Piece>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Many,
    One,
    Char(char),
}

/// True when `text` holds a wildcard, so that it can be a pattern at all.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

impl Glob {
    /// Parses `text`. Every text is a pattern; empty segments fall away, as in paths.
    pub fn parse(text: &str, hidden: Hidden) -> Self {
        let mut segments: Vec<Segment> = Vec::new();
        for part in text.split('/').filter(|part| !part.is_empty()) {
            let segment = match part {
                "**" => Segment::AnyDepth,
                _ if is_pattern(part) => Segment::Wild(pieces(part)),
                _ => Segment::Literal(part.to_owned()),
            };
            // `**/**` says no more than `**`.
            if segment != Segment::AnyDepth || segments.last() != Some(&Segment::AnyDepth) {
                segments.push(segment);
            }
        }
        Glob { segments, hidden }
    }

    /// The directory above everything that can match: the segments before the first wildcard, without
    /// the last segment of all.
    pub fn base(&self) -> String {
        let mut base = String::new();
        let above = self.segments.len().saturating_sub(1);
        for segment in &self.segments[..above] {
            let Segment::Literal(name) = segment else { break };
            if !base.is_empty() {
                base.push('/');
            }
            base.push_str(name);
        }
        base
    }

    /// True when `path` (without a slash at either end) matches as a whole. The root never does.
    pub fn matches(&self, path: &str) -> bool {
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        if names.is_empty() {
            return false;
        }
        // The greedy walk with one place to come back to: when a later segment fails, only the last
        // `**` needs to take one more name.
        let (mut at, mut name) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        while name < names.len() {
            match self.segments.get(at) {
                Some(Segment::AnyDepth) => {
                    retry = Some((at, name));
                    at += 1;
                    continue;
                }
                Some(segment) if self.segment_matches(segment, names[name]) => {
                    at += 1;
                    name += 1;
                    continue;
                }
                _ => {}
            }
            match retry {
                Some((any, taken)) if self.hidden == Hidden::Match || !names[taken].starts_with('.') => {
                    retry = Some((any, taken + 1));
                    at = any + 1;
                    name = taken + 1;
                }
                _ => return false,
            }
        }
        // `a/**` is what lies below `a`, not `a` itself.
        at == self.segments.len()
    }

    fn segment_matches(&self, segment: &Segment, name: &str) -> bool {
        match segment {
            Segment::AnyDepth => true,
            Segment::Literal(literal) => literal == name,
            Segment::Wild(pieces) => {
                let wild_first = !matches!(pieces.first(), Some(Piece::Char(_)));
                if wild_first && self.hidden == Hidden::Skip && name.starts_with('.') {
                    return false;
                }
                name_matches(pieces, name)
            }
        }
    }
}

fn pieces(part: &str) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(part.len());
    for c in part.chars() {
        match c {
            '*' if pieces.last() == Some(&Piece::Many) => {}
            '*' => pieces.push(Piece::Many),
            '?' => pieces.push(Piece::One),
            c => pieces.push(Piece::Char(c)),
        }
    }
    pieces
}

fn name_matches(pieces: &[Piece], name: &str) -> bool {
    let chars: Vec<char> = name.chars().collect();
    let (mut at, mut next) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while next < chars.len() {
        match pieces.get(at) {
            Some(Piece::Many) => {
                retry = Some((at, next));
                at += 1;
            }
            Some(Piece::One) => {
                at += 1;
                next += 1;
            }
            Some(Piece::Char(c)) if *c == chars[next] => {
                at += 1;
                next += 1;
            }
            _ => match retry {
                Some((many, taken)) => {
                    retry = Some((many, taken + 1));
                    at = many + 1;
                    next = taken + 1;
                }
                None => return false,
            },
        }
    }
    pieces[at..].iter().all(|piece| *piece == Piece::Many)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(pattern: &str, hidden: Hidden, yes: &[&str], no: &[&str]) {
        let glob = Glob::parse(pattern, hidden);
        for path in yes {
            assert!(glob.matches(path), "{pattern:?} should match {path:?}");
        }
        for path in no {
            assert!(!glob.matches(path), "{pattern:?} should not match {path:?}");
        }
    }

    #[test]
    fn stars_stay_inside_a_name() {
        check("*", Hidden::Skip, &["a", "abc", "a b", "é"], &["", "a/b", ".a"]);
        check("a*", Hidden::Skip, &["a", "ab"], &["b", "A", "a/b", "ba"]);
        check(
            "*.pem",
            Hidden::Skip,
            &["x.pem", "a.b.pem"],
            &[".pem", "x.pem2", "d/x.pem"],
        );
        check("d/*/x", Hidden::Skip, &["d/a/x"], &["d/x", "d/a/b/x", "e/a/x"]);
        check("a**b", Hidden::Skip, &["ab", "axxb"], &["a/b", "axx"]);
        check("?", Hidden::Skip, &["a", "é", "🔑"], &["", "ab", ".", "a/b"]);
        check("a?c", Hidden::Skip, &["abc", "a.c"], &["ac", "abbc", "a/c"]);
    }

    #[test]
    fn two_stars_span_names() {
        check(
            "**",
            Hidden::Skip,
            &["a", "a/b", "a/b/c"],
            &["", ".a", "a/.b", ".a/b"],
        );
        check("a/**", Hidden::Skip, &["a/b", "a/b/c"], &["a", "b/a", "ab/c"]);
        check(
            "**/x",
            Hidden::Skip,
            &["x", "a/x", "a/b/x"],
            &["xx", "a/x/b", ".a/x"],
        );
        check(
            "a/**/x",
            Hidden::Skip,
            &["a/x", "a/b/x", "a/x/x"],
            &["x", "a/b", "a/xx"],
        );
        check(
            "**/a/**/b",
            Hidden::Skip,
            &["a/b", "x/a/y/b", "a/a/b/b"],
            &["b/a", "a", "x/a/.h/b"],
        );
        check("**/**", Hidden::Skip, &["a", "a/b"], &[""]);
    }

    #[test]
    fn hidden_names_need_a_dot_unless_all_count() {
        check(".*", Hidden::Skip, &[".a", ".env"], &["a", "a.b"]);
        check("d/.*", Hidden::Skip, &["d/.x"], &["d/x", ".d/.x"]);
        check(".git/**", Hidden::Skip, &[".git/x"], &[".git/.x", ".git"]);
        check("*", Hidden::Match, &["a", ".a"], &["a/b"]);
        check("**", Hidden::Match, &[".a", "a/.b/c"], &[""]);
        check("?env", Hidden::Match, &[".env"], &[]);
        check("?env", Hidden::Skip, &["xenv"], &[".env"]);
    }

    #[test]
    fn nothing_else_is_special() {
        check("[ab]", Hidden::Skip, &["[ab]"], &["a", "b"]);
        check("{a,b}", Hidden::Skip, &["{a,b}"], &["a"]);
        check("a.b", Hidden::Skip, &["a.b"], &["axb"]);
        check("\\*", Hidden::Skip, &["\\", "\\x"], &["*"]);
        check("!a*", Hidden::Skip, &["!ab"], &["b"]);
        check("^a$*", Hidden::Skip, &["^a$"], &["a"]);
        check("", Hidden::Skip, &[], &["", "a"]);
        check("//a//b/", Hidden::Skip, &["a/b"], &["a", "b"]);
    }

    #[test]
    fn the_base_bounds_the_walk() {
        for (pattern, base) in [
            ("*", ""),
            ("a", ""),
            ("a/b/*", "a/b"),
            ("a/*/b", "a"),
            ("**/x", ""),
            ("a/b", "a"),
            ("", ""),
            ("/a//?", "a"),
        ] {
            assert_eq!(Glob::parse(pattern, Hidden::Skip).base(), base, "{pattern:?}");
        }
    }

    #[test]
    fn hostile_patterns_are_cheap() {
        let path = "a".repeat(255);
        assert!(!Glob::parse(&"a*".repeat(120), Hidden::Skip).matches(&format!("{path}b/{path}")));
        let deep = vec!["a"; 512].join("/");
        assert!(
            !Glob::parse(&"**/a/".repeat(200).replace("**/a/**/a/b", "x"), Hidden::Skip)
                .matches(&format!("{deep}/b"))
        );
        assert!(!Glob::parse(&format!("{}b", "**/a*a*/".repeat(200)), Hidden::Skip).matches(&deep));
    }

    /// The definition, without any cleverness.
    fn naive(pattern: &[&str], names: &[&str], hidden: Hidden) -> bool {
        let free = |name: &str| hidden == Hidden::Match || !name.starts_with('.');
        match (pattern.split_first(), names.split_first()) {
            (None, None) => true,
            (Some((&"**", rest)), Some((name, names_left))) => {
                (!rest.is_empty() && naive(rest, names, hidden))
                    || (free(name)
                        && (naive(pattern, names_left, hidden) || (rest.is_empty() && names_left.is_empty())))
            }
            (Some((part, rest)), Some((name, names_left))) => {
                let wild = part.starts_with(['*', '?']);
                (!wild || free(name))
                    && naive_name(
                        &part.chars().collect::<Vec<_>>(),
                        &name.chars().collect::<Vec<_>>(),
                    )
                    && naive(rest, names_left, hidden)
            }
            _ => false,
        }
    }

    fn naive_name(pattern: &[char], name: &[char]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) => {
                naive_name(rest, name) || (!name.is_empty() && naive_name(pattern, &name[1..]))
            }
            (Some(('?', rest)), Some((_, left))) => naive_name(rest, left),
            (Some((c, rest)), Some((d, left))) => c == d && naive_name(rest, left),
            _ => false,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn agrees_with_the_definition(
            pattern in proptest::collection::vec("\\*\\*|[.ab*?]{1,4}", 0..5),
            names in proptest::collection::vec("[.ab]{1,3}", 1..6),
            all in any::<bool>(),
        ) {
            let hidden = if all { Hidden::Match } else { Hidden::Skip };
            let parts: Vec<&str> = pattern.iter().map(String::as_str).collect();
            // `**/**` is one.
            let mut once = parts.clone();
            once.dedup_by(|a, b| *a == "**" && *b == "**");
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let glob = Glob::parse(&parts.join("/"), hidden);
            prop_assert_eq!(glob.matches(&names.join("/")), naive(&once, &names, hidden));
            if glob.matches(&names.join("/")) {
                let base = glob.base();
                let inside = base.is_empty() || names.join("/").starts_with(&(base + "/"));
                prop_assert!(inside);
            }
        }

        #[test]
        fn no_pattern_panics(pattern in any::<String>(), path in any::<String>()) {
            let _ = Glob::parse(&pattern, Hidden::Skip).matches(&path);
        }
    }
}
