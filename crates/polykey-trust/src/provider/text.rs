//! Text from HTML, as far as the one line that we look for needs it.

/// Decodes character references of visible ASCII characters, and leaves all else as it is: tags, scripts and
/// names stay text. The line has only letters, digits, `-` and `:`, which some services write as references.
pub(super) fn decoded(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        match reference(rest) {
            Some((character, len)) => {
                out.push(character);
                rest = &rest[len..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// The character of a reference at the start of `text`, and the length of the reference.
fn reference(text: &str) -> Option<(char, usize)> {
    // `&#0000058;` is the longest that is worth looking at.
    let end = text.bytes().take(12).position(|b| b == b';')?;
    let name = &text[1..end];
    let character = match name {
        "colon" => ':',
        "hyphen" | "dash" => '-',
        _ => {
            let digits = name.strip_prefix('#')?;
            let code = match digits.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => digits.parse().ok()?,
            };
            char::from_u32(code).filter(char::is_ascii_graphic)?
        }
    };
    Some((character, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_of_ascii_are_decoded_once_and_nothing_else_is() {
        for (html, want) in [
            ("", ""),
            ("a &amp; b", "a &amp; b"),
            ("polykey&#45;claim&#58;ab", "polykey-claim:ab"),
            ("polykey&#x2d;claim&#X3A;ab", "polykey-claim:ab"),
            ("polykey&hyphen;claim&colon;ab", "polykey-claim:ab"),
            ("&#38;#58;", "&#58;"),
            ("&#0000058;", ":"),
            ("&#00000000058;", "&#00000000058;"),
            ("&#x1b;[31m&#0;&#10;&#8238;", "&#x1b;[31m&#0;&#10;&#8238;"),
            ("&#xffffffffff;&#-5;&#+58;", "&#xffffffffff;&#-5;:"),
            ("&&&#;&;&#58", "&&&#;&;&#58"),
            ("\u{fc}&\u{fc}&#58;\u{fc}", "\u{fc}&\u{fc}:\u{fc}"),
            ("<b onclick=\"x\">&#60;</b>", "<b onclick=\"x\"><</b>"),
        ] {
            assert_eq!(decoded(html), want, "{html:?}");
        }
    }
}
