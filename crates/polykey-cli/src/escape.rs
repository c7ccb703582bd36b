//! Text that cannot drive a terminal.
//!
//! Names, messages and error texts may come from anybody who shares a vault. Whatever is printed for
//! people goes through here first: control characters, direction overrides and invisible characters
//! become visible escapes, and a text that needed one is put in double quotes, so that no other name
//! can look like it.
//!
//! Always: the result is one line, holds no character that moves, hides or reorders what is on the
//! screen, and two different texts never give the same result. Raw names exist only in JSON.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// Shows a name: as it is when it is harmless, else quoted and escaped.
///
/// Harmless text that begins with a double quote is quoted as well: otherwise it could pass for the
/// escaped form of another name.
pub fn name(text: &str) -> Cow<'_, str> {
    if !text.starts_with('"') && first_unsafe(text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    shown.push('"');
    push_escaped(&mut shown, text, true);
    shown.push('"');
    Cow::Owned(shown)
}

/// Shows a sentence (an error, a hint, a commit message) on one line: unsafe characters are escaped,
/// nothing is quoted. For text of which only some part came from elsewhere.
pub fn sentence(text: &str) -> Cow<'_, str> {
    if first_unsafe(text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    push_escaped(&mut shown, text, false);
    Cow::Owned(shown)
}

/// Like [`sentence`], but keeps line feeds: for our own texts of several lines.
pub fn lines(text: &str) -> Cow<'_, str> {
    if text.split('\n').all(|line| first_unsafe(line).is_none()) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            shown.push('\n');
        }
        push_escaped(&mut shown, line, false);
    }
    Cow::Owned(shown)
}

/// Shows bytes that should be text, such as a path from the operating system: bytes that are not
/// UTF-8 become `\x..` escapes.
pub fn bytes(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return name(text).into_owned();
    }
    let mut shown = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        push_escaped(&mut shown, chunk.valid(), true);
        for byte in chunk.invalid() {
            push_format(&mut shown, format_args!("\\x{byte:02x}"));
        }
    }
    shown.push('"');
    shown
}

fn first_unsafe(text: &str) -> Option<usize> {
    // Nearly every name is printable ASCII; that needs no table.
    if text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return None;
    }
    let mut before = '\0';
    for (at, c) in text.char_indices() {
        if !is_safe(c, before) {
            return Some(at);
        }
        before = c;
    }
    None
}

fn push_escaped(shown: &mut String, text: &str, quoted: bool) {
    let mut before = '\0';
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            '"' | '\\' if quoted => {
                shown.push('\\');
                shown.push(c);
            }
            _ if is_safe(c, before) => shown.push(c),
            _ => push_format(shown, format_args!("\\u{{{:x}}}", u32::from(c))),
        }
        before = c;
    }
}

fn push_format(shown: &mut String, args: fmt::Arguments<'_>) {
    shown.write_fmt(args).expect("a String takes any text");
}

/// True for characters that show as themselves and stay where they are. `before` is the character in
/// front: a joiner or a presentation selector is part of an emoji there, and a trick anywhere else.
fn is_safe(c: char, before: char) -> bool {
    match u32::from(c) {
        0x200d => is_symbol(before) || before == '\u{fe0f}',
        0xfe0e | 0xfe0f => is_symbol(before),
        code => !c.is_control() && !is_invisible(code) && !is_noncharacter(code),
    }
}

fn is_symbol(c: char) -> bool {
    matches!(u32::from(c), 0x203c..=0x205f | 0x2100..=0x27ff | 0x2900..=0x3163 | 0x3200..=0x3299 | 0x1f000..=0x1faff)
}

const fn is_noncharacter(code: u32) -> bool {
    matches!(code, 0xfdd0..=0xfdef) || code & 0xfffe == 0xfffe
}

/// Characters that show nothing, break the line, or change the direction of the text around them.
///
/// Source: Unicode 17 `Default_Ignorable_Code_Point`, `Bidi_Control`, line and paragraph separators,
/// interlinear annotation and the Hangul and Braille blanks. `fe0e`, `fe0f` and `200d` are decided by
/// [`is_safe`].
const fn is_invisible(code: u32) -> bool {
    matches!(code,
        0x00ad | 0x034f | 0x061c | 0x115f..=0x1160 | 0x17b4..=0x17b5 | 0x180b..=0x180f
        | 0x200b..=0x200c | 0x200e..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0x2800
        | 0x3164 | 0xfe00..=0xfe0d | 0xfeff | 0xffa0 | 0xfff0..=0xfffb
        | 0x13430..=0x13455 | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a | 0xe0000..=0xe0fff)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(input: &str, want: &str) {
        assert_eq!(name(input), want, "{input:?}");
    }

    #[test]
    fn harmless_names_show_as_they_are() {
        for same in [
            "",
            "token",
            "my vault",
            "C:\\keys",
            "it's",
            "a\"b",
            "été",
            "пароль",
            "密码",
            "كلمة",
            "🔑",
            "⚙\u{fe0f} config",
            "👩\u{200d}💻",
            "\u{1f3f3}\u{fe0f}\u{200d}\u{1f308}",
            "e\u{301}",
        ] {
            check(same, same);
        }
    }

    #[test]
    fn unsafe_names_are_quoted_and_escaped() {
        check("a\nb", r#""a\nb""#);
        check("a\r\tb", r#""a\r\tb""#);
        check("\u{1b}[31mred", r#""\u{1b}[31mred""#);
        check("\u{1b}]0;title\u{7}", r#""\u{1b}]0;title\u{7}""#);
        check("\u{9b}2J", r#""\u{9b}2J""#);
        check("del\u{7f}", r#""del\u{7f}""#);
        check("nul\0", r#""nul\u{0}""#);
        check("gpj.\u{202e}exe", r#""gpj.\u{202e}exe""#);
        check("\u{2066}x\u{2069}", r#""\u{2066}x\u{2069}""#);
        check("zero\u{200b}width", r#""zero\u{200b}width""#);
        check("join\u{200d}er", r#""join\u{200d}er""#);
        check("⚙\u{fe0f}\u{fe0f}", "\"⚙\u{fe0f}\\u{fe0f}\"");
        check("select\u{fe0f}or", r#""select\u{fe0f}or""#);
        check("\u{feff}bom", r#""\u{feff}bom""#);
        check("soft\u{ad}", r#""soft\u{ad}""#);
        check("tag\u{e0041}", r#""tag\u{e0041}""#);
        check("line\u{2028}", r#""line\u{2028}""#);
        check("non\u{ffff}", r#""non\u{ffff}""#);
        check("hangul\u{3164}", r#""hangul\u{3164}""#);
        check("q\"\\\n", r#""q\"\\\n""#);
        check(r#""a\nb""#, r#""\"a\\nb\"""#);
    }

    #[test]
    fn sentences_stay_sentences() {
        assert_eq!(sentence("no secret \"a\""), "no secret \"a\"");
        assert_eq!(sentence("no \u{1b}[2Jsecret\n"), "no \\u{1b}[2Jsecret\\n");
        assert_eq!(lines("one\ntwo\u{7}\nthree"), "one\ntwo\\u{7}\nthree");
        assert_eq!(lines("one\ntwo"), "one\ntwo");
    }

    #[test]
    fn bytes_that_are_no_text_are_shown() {
        assert_eq!(bytes(b"plain"), "plain");
        assert_eq!(bytes(b"a\xff\"\nb"), r#""a\xff\"\nb""#);
        assert_eq!(bytes(b"\xc3"), r#""\xc3""#);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn nothing_shown_can_drive_a_terminal(text in any::<String>(), control in "\\PC{0,3}[\\x00-\\x1f\\x7f-\\x9f\u{200b}-\u{200f}\u{2028}-\u{202e}\u{2066}-\u{2069}\u{feff}]{1,4}\\PC{0,3}") {
            for input in [&text, &control] {
                for shown in [name(input), sentence(input), Cow::Owned(bytes(input.as_bytes()))] {
                    prop_assert!(first_unsafe(&shown).is_none(), "{:?}", shown);
                    prop_assert!(!shown.chars().any(char::is_control), "{:?}", shown);
                }
            }
        }

        #[test]
        fn different_names_never_look_the_same(a in "[a\"\\\\\n\u{200b}u{}n]{0,6}", b in "[a\"\\\\\n\u{200b}u{}n]{0,6}") {
            prop_assume!(a != b);
            prop_assert_ne!(name(&a), name(&b));
        }
    }
}
