//! Identity ids: the name of an account, a domain or a page elsewhere.
//!
//! Text `provider:identity`, always lower case ASCII, one spelling for one identity:
//!
//! ```text
//! dns:example.org          the TXT records of _polykey.example.org
//! https:example.org        the page https://example.org/.well-known/polykey.txt
//! github.com:alice         an account of a service, named by the service's host
//! ```
//!
//! A bare domain is no identity id: petnames may look like one, and a domain has two proofs to choose from.
//! Which software answers at a host is the business of [`provider`](crate::provider).
//!
//! Always: an [`IdentityId`] can stand in a URL path, a DNS name, a terminal and a file name as it is.

use std::fmt;
use std::str::FromStr;

/// Longest domain in bytes (RFC 1035, without the last dot), less the label that is put before it.
pub const MAX_DOMAIN_LEN: usize = 253 - "_polykey.".len();
/// Longest account name in bytes.
pub const MAX_ACCOUNT_LEN: usize = 64;
/// Longest text of an identity id in bytes.
pub const MAX_IDENTITY_LEN: usize = MAX_DOMAIN_LEN + 1 + MAX_DOMAIN_LEN;

/// The provider that reads DNS.
pub const DNS: &str = "dns";
/// The provider that reads a page of the domain itself.
pub const HTTPS: &str = "https";

/// Why a text is no identity id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// There is no `:` in it, or nothing before or behind it.
    #[error("an identity is written provider:identity, such as github.com:alice or dns:example.org")]
    Form,
    /// The part before the colon is neither `dns`, `https` nor a host name.
    #[error("the provider of an identity is dns, https or the host of a service, such as github.com")]
    Provider,
    /// The part behind `dns:` or `https:` is no domain.
    #[error("this is not a domain in its ASCII form, such as example.org")]
    Domain,
    /// The part behind a host is no account name.
    #[error("an account name has 1 to {MAX_ACCOUNT_LEN} letters, digits and single - _ . between them")]
    Account,
}

/// The name of an identity: provider and identity, in their one spelling.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityId {
    text: String,
    colon: usize,
}

impl IdentityId {
    /// Reads what a person typed: as [`IdentityId::from_str`], but upper case letters are taken for lower
    /// case ones, since no provider that we know tells them apart.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn from_input(text: &str) -> Result<IdentityId, IdentityError> {
        if text.len() > MAX_IDENTITY_LEN {
            return Err(IdentityError::Form);
        }
        text.to_ascii_lowercase().parse()
    }

    /// `dns`, `https`, or the host of a service.
    pub fn provider(&self) -> &str {
        &self.text[..self.colon]
    }

    /// The domain, or the account at the service.
    pub fn identity(&self) -> &str {
        &self.text[self.colon + 1..]
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for IdentityId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let colon = text.find(':').ok_or(IdentityError::Form)?;
        let (provider, identity) = (&text[..colon], &text[colon + 1..]);
        if provider.is_empty() || identity.is_empty() {
            return Err(IdentityError::Form);
        }
        match provider {
            DNS | HTTPS if is_domain(identity) => {}
            DNS | HTTPS => return Err(IdentityError::Domain),
            _ if !is_domain(provider) => return Err(IdentityError::Provider),
            _ if !is_account(identity) => return Err(IdentityError::Account),
            _ => {}
        }
        Ok(IdentityId {
            text: text.to_owned(),
            colon,
        })
    }
}

impl fmt::Display for IdentityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// True for a domain of two or more labels: letters, digits and inner hyphens, in lower case. The last label
/// has a letter, so that no IP address passes for a domain.
pub fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let Some((_, last)) = text.rsplit_once('.') else {
        return false;
    };
    text.len() <= MAX_DOMAIN_LEN
        && text.split('.').all(label)
        // A last label such as 0x7f is read as a number by some resolvers.
        && last.starts_with(|c: char| c.is_ascii_lowercase())
}

fn is_account(text: &str) -> bool {
    let inner = |b: u8| matches!(b, b'-' | b'_' | b'.');
    let bytes = text.as_bytes();
    (1..=MAX_ACCOUNT_LEN).contains(&bytes.len())
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || inner(*b))
        // `.` and `..` would walk in a URL path. Some services allow `_` and `-` at the ends.
        && !bytes.windows(2).any(|pair| pair == b"..")
        && bytes[0] != b'.'
        && bytes[bytes.len() - 1] != b'.'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Result<(&str, &str), IdentityError>) {
        let read = text.parse::<IdentityId>();
        let parts = read.as_ref().map(|id| (id.provider(), id.identity()));
        assert_eq!(parts.map_err(|error| *error), want, "{text:?}");
        if let Ok(id) = &read {
            assert_eq!((id.as_str(), &id.to_string()[..]), (text, text));
        }
    }

    #[test]
    fn identities_are_a_provider_and_a_name_there() {
        for text in [
            "github.com:alice",
            "codeberg.org:a-b_c.d",
            "mastodon.social:_alice_",
            "dns:example.org",
            "dns:xn--bcher-kva.example",
            "https:a.b.c.d.example.org",
            "github.com:0",
        ] {
            let (provider, identity) = text.split_once(':').unwrap();
            check(text, Ok((provider, identity)));
        }
    }

    #[test]
    fn every_other_spelling_is_refused() {
        use IdentityError::*;
        for (text, want) in [
            ("", Form),
            (":", Form),
            ("example.org", Form),
            ("github.com:", Form),
            (":alice", Form),
            ("github:alice", Provider),
            ("GitHub.com:alice", Provider),
            ("1.2.3.4:alice", Provider),
            ("localhost:alice", Provider),
            ("github.com.:alice", Provider),
            ("-github.com:alice", Provider),
            ("git hub.com:alice", Provider),
            ("github.com/x:alice", Provider),
            ("http:example.org", Provider),
            ("github.com:Alice", Account),
            ("github.com:alice:bob", Account),
            ("github.com:..", Account),
            ("github.com:.", Account),
            ("github.com:a..b", Account),
            ("github.com:a/b", Account),
            ("github.com:a?b", Account),
            ("github.com:a#b", Account),
            ("github.com:a b", Account),
            ("github.com:a%2fb", Account),
            ("github.com:\u{1b}[31m", Account),
            ("github.com:al\u{ed}ce", Account),
            ("github.com:@alice", Account),
            ("dns:example", Domain),
            ("dns:Example.org", Domain),
            ("dns:example.org.", Domain),
            ("dns:.example.org", Domain),
            ("dns:exa mple.org", Domain),
            ("dns:example..org", Domain),
            ("dns:127.0.0.1", Domain),
            ("dns:127.0x0.0.0x1", Domain),
            ("dns:[::1]", Domain),
            ("dns:example.org:8080", Domain),
            ("https:user@example.org", Domain),
            ("https://example.org", Domain),
            ("https:_polykey.example.org", Domain),
            ("dns:b\u{fc}cher.example", Domain),
        ] {
            check(text, Err(want));
        }
        check(&format!("github.com:{}", "a".repeat(65)), Err(Account));
        check(&format!("dns:{}.org", "a".repeat(64)), Err(Domain));
        check(&format!("dns:{}org", "a.".repeat(121)), Err(Domain));
    }

    #[test]
    fn what_a_person_types_may_be_in_upper_case() {
        let id = IdentityId::from_input("GitHub.com:Alice").unwrap();
        assert_eq!(id.as_str(), "github.com:alice");
        assert!(IdentityId::from_input(&"a".repeat(1 << 20)).is_err());
    }
}
