//! The line that a page carries to prove that it belongs to a node.
//!
//! ```text
//! polykey-claim:<base32hex, lower case, no padding>
//! ```
//!
//! It holds either the whole signed `link-identity` claim, or, for fields with little room, only its name: the
//! item `[1, node (32), claim (32)]`, 126 characters in all. Both are worth the same, since a link needs the
//! claim in the node's sigchain anyway. The alphabet has nothing that Markdown, HTML or typography would touch.
//!
//! Always: [`find`] looks at text as data, renders nothing, follows nothing, and takes time in proportion to
//! the text, however many lines pretend to be claims.

use data_encoding::BASE32_DNSSEC;
use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::{NodeId, StatementId};

use crate::claim::{Body, Claim, ClaimError, MAX_CLAIM_LEN};
use crate::identity::IdentityId;

/// What the line begins with.
pub const MARK: &str = "polykey-claim:";
/// Longest text that is searched, in bytes.
pub const MAX_PAGE_LEN: usize = 512 << 10;
/// Longest claim on a page in characters behind the mark.
const MAX_RUN_LEN: usize = 2048;
/// A page repeats its claim cut short in previews; more different runs than this are no previews.
const MAX_RUNS: usize = 4;
const FORMAT_VERSION: u64 = 1;

/// Why a text carries no claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArmourError {
    /// Longer than [`MAX_PAGE_LEN`].
    #[error("the text has more than {MAX_PAGE_LEN} bytes")]
    TooLong,
    /// There is no claim in it.
    #[error("the text carries no polykey claim")]
    Missing,
    /// Two claims, or more: nobody can say which one is meant.
    #[error("the text carries more than one polykey claim")]
    Several,
    /// Behind the mark is something else than base32 of one item.
    #[error("what follows {MARK} is not the text of a claim")]
    Malformed,
    /// The item is no claim.
    #[error("the claim in the text is not acceptable")]
    Claim(#[from] ClaimError),
    /// The claim is about something else than an identity.
    #[error("the claim in the text does not name an identity")]
    OtherType,
}

impl From<CodecError> for ArmourError {
    fn from(_: CodecError) -> Self {
        ArmourError::Malformed
    }
}

/// What the line on a page says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageClaim {
    /// The node that the page belongs to.
    pub node: NodeId,
    /// The claim in that node's chain that names the page's identity.
    pub claim: StatementId,
    /// The identity in the claim, when the whole claim is there.
    pub identity: Option<IdentityId>,
}

/// The line with the whole claim.
pub fn line(claim: &Claim) -> String {
    format!("{MARK}{}", BASE32_DNSSEC.encode(claim.as_bytes()))
}

/// The line with the claim's name only.
pub fn short_line(claim: &Claim) -> String {
    let mut writer = Writer::new();
    writer.array(3).u64(FORMAT_VERSION);
    writer.bytes(claim.node().as_bytes()).bytes(claim.id().as_bytes());
    format!("{MARK}{}", BASE32_DNSSEC.encode(&writer.finish()))
}

/// Finds the one claim in a text. The same claim twice is one, also when the copy is cut short.
///
/// # Errors
/// [`ArmourError`]: also when anything behind a mark is no claim, for it may have been meant as one.
pub fn find(text: &str) -> Result<PageClaim, ArmourError> {
    if text.len() > MAX_PAGE_LEN {
        return Err(ArmourError::TooLong);
    }
    let mut runs: Vec<&str> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(MARK) {
        rest = &rest[at + MARK.len()..];
        let end = rest.bytes().position(|b| !is_base32(b)).unwrap_or(rest.len());
        let run = &rest[..end];
        rest = &rest[end..];
        if run.is_empty() && !rest.starts_with(is_wordy) {
            // The mark in a sentence, as in our own documentation.
            continue;
        }
        if run.len() > MAX_RUN_LEN || rest.starts_with(is_wordy) {
            return Err(ArmourError::Malformed);
        }
        if !runs.contains(&run) {
            runs.push(run);
        }
        if runs.len() > MAX_RUNS {
            return Err(ArmourError::Several);
        }
    }
    let whole = *runs
        .iter()
        .max_by_key(|run| run.len())
        .ok_or(ArmourError::Missing)?;
    if !runs.iter().all(|run| whole.starts_with(run)) {
        return Err(ArmourError::Several);
    }
    read(whole)
}

fn is_base32(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'v').contains(&byte)
}

fn is_wordy(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-' | '=')
}

fn read(run: &str) -> Result<PageClaim, ArmourError> {
    let bytes = BASE32_DNSSEC
        .decode(run.as_bytes())
        .map_err(|_| ArmourError::Malformed)?;
    let count = Reader::new(&bytes, MAX_CLAIM_LEN, "a claim on a page")?.array()?;
    if count == 3 {
        let mut reader = Reader::new(&bytes, MAX_CLAIM_LEN, "a claim on a page")?;
        reader.array_of(3)?;
        reader.key(FORMAT_VERSION)?;
        let page = PageClaim {
            node: NodeId::from_bytes(reader.bytes_of()?),
            claim: StatementId::from_bytes(reader.bytes_of()?),
            identity: None,
        };
        reader.finish()?;
        return Ok(page);
    }
    let claim = Claim::verify(bytes)?;
    match claim.body() {
        Body::Identity(identity) => Ok(PageClaim {
            node: claim.node(),
            claim: claim.id(),
            identity: Some(identity.clone()),
        }),
        _ => Err(ArmourError::OtherType),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cast::Person;

    fn claim(seed: u8, name: &str) -> Claim {
        let person = Person::new(seed);
        let body = Body::Identity(format!("github.com:{name}").parse().unwrap());
        person.says(&mut person.chain(), &body)
    }

    #[test]
    fn both_forms_are_found_in_any_text() {
        let claim = claim(1, "alice");
        for (line, identity) in [(line(&claim), true), (short_line(&claim), false)] {
            let want = PageClaim {
                node: claim.node(),
                claim: claim.id(),
                identity: identity.then(|| "github.com:alice".parse().unwrap()),
            };
            for text in [
                line.clone(),
                format!("{line}\n"),
                format!("I am alice. {line}. Write to me!\r\n"),
                format!("<td class=\"blob\">{line}</td>"),
                format!("<meta content=\"{line}\"><p>{line}</p>"),
                format!("<meta content=\"{}\u{2026}\"> {line}", &line[..60]),
                format!("put {MARK} before it, {MARK}: like so: {line}"),
                format!("\"{line}\" \u{1f512} {line}"),
            ] {
                assert_eq!(find(&text), Ok(want.clone()), "{text:?}");
            }
        }
        // A profile field of Mastodon has 255 characters, a bio 500, a bio of GitHub 160.
        assert_eq!(short_line(&claim).len(), 126);
        assert!(line(&claim).len() < 500, "{}", line(&claim).len());
    }

    #[track_caller]
    fn refused(text: &str, want: &ArmourError) {
        assert_eq!(find(text).as_ref(), Err(want), "{text:?}");
    }

    #[test]
    fn two_claims_are_none() {
        let [a, b] = [claim(1, "alice"), claim(2, "alice")];
        for (one, two) in [
            (line(&a), line(&b)),
            (short_line(&a), short_line(&b)),
            (line(&a), short_line(&a)),
            (short_line(&a), line(&b)),
            (line(&a), line(&claim(1, "bob"))),
        ] {
            refused(&format!("{one}\n{two}"), &ArmourError::Several);
            refused(&format!("{two} {one}"), &ArmourError::Several);
        }
    }

    #[test]
    fn what_is_no_claim_is_refused() {
        use ArmourError::{Malformed, Missing, OtherType, TooLong};
        let good = line(&claim(1, "alice"));
        for text in [
            "",
            "polykey",
            MARK,
            "polykey-claim :x",
            "POLYKEY-CLAIM:abc",
            "polykey_claim:abc",
        ] {
            refused(text, &Missing);
        }
        for text in [
            &format!("{MARK}a"),
            &format!("{MARK}xyz"),
            &format!("{good}x"),
            &format!("{good}0"),
            &format!("{good}="),
            &format!("{good}-{good}"),
            &good[..good.len() - 1],
            &good[..good.len() - 8],
            &format!("{MARK}{}", good[MARK.len()..].to_uppercase()),
            &format!("{good}{MARK}{}Z", &good[MARK.len()..]),
            &format!("{MARK}{}", "a".repeat(MAX_RUN_LEN + 1)),
        ] {
            refused(text, &Malformed);
        }
        let a = Person::new(1);
        let other = a.says(&mut a.chain(), &Body::DeviceRemoved(Person::new(2).node()));
        refused(&line(&other), &OtherType);
        refused(&" ".repeat(MAX_PAGE_LEN + 1), &TooLong);
        // One flipped character, at every place.
        for at in MARK.len()..good.len() {
            let mut text = good.clone().into_bytes();
            text[at] = if text[at] == b'0' { b'1' } else { b'0' };
            assert!(find(std::str::from_utf8(&text).unwrap()).is_err(), "{at}");
        }
    }

    #[test]
    fn many_false_lines_cost_no_more_than_their_bytes() {
        let many = "polykey-claim:00 ".repeat(MAX_PAGE_LEN / 17);
        refused(&many, &ArmourError::Malformed);
        let many: String = (0..MAX_PAGE_LEN / 20).map(|n| format!("{MARK}{n:05} ")).collect();
        refused(&many, &ArmourError::Several);
    }

    proptest! {
        #[test]
        fn any_text_gives_an_answer(text in "\\PC{0,80}", runs in prop::collection::vec("[0-9a-v]{0,40}[ x=]?", 0..5)) {
            let marked: String = runs.iter().map(|run| format!("{MARK}{run}")).collect();
            // Random base32 is never a claim.
            let text = format!("{text}{marked}{text}");
            prop_assert!(find(&text).is_err(), "{}", text);
        }

        #[test]
        fn a_claim_in_any_text_is_found_or_refused(before in "\\PC{0,80}", after in "\\PC{0,80}") {
            let claim = claim(1, "alice");
            let text = format!("{before}{}{after}", short_line(&claim));
            let found = find(&text);
            prop_assert!(found.as_ref().map_or(true, |page| page.claim == claim.id()), "{:?}", found);
            prop_assert!(found.is_ok() || after.starts_with(is_wordy) || text.matches(MARK).count() > 1);
        }
    }
}
