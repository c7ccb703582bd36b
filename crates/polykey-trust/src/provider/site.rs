//! What a domain says itself: by DNS, and by a page at a well-known place.

use super::text::decoded;
use super::{Answer, BaseUrl, Fetch, Provider, ProviderError, Request, Step, body};
use crate::identity::IdentityId;

/// The label before the domain whose TXT records are read.
pub const TXT_LABEL: &str = "_polykey";
/// The path of the page.
///
/// Source: RFC 8615 for well-known places.
pub const WELL_KNOWN: &str = "/.well-known/polykey.txt";
/// Most TXT records that are looked at.
const MAX_RECORDS: usize = 64;

/// TXT records of `_polykey.<domain>`.
#[derive(Debug, Default)]
pub struct DnsTxt;

impl Provider for DnsTxt {
    fn first(&self, identity: &IdentityId) -> Fetch {
        Fetch::Txt {
            name: format!("{TXT_LABEL}.{}", identity.identity()),
        }
    }

    fn next(&self, _: &IdentityId, _: usize, answer: &Answer) -> Result<Step, ProviderError> {
        match answer {
            Answer::Txt(records) if records.is_empty() => Ok(Step::Gone),
            // Quotes that somebody's form kept from a zone file do no harm: the line ends before them.
            Answer::Txt(records) if records.len() <= MAX_RECORDS => Ok(Step::Page(records.join("\n"))),
            Answer::Txt(_) | Answer::Http { .. } => Err(ProviderError::Malformed),
        }
    }
}

/// The page `https://<domain>/.well-known/polykey.txt`.
#[derive(Debug, Default)]
pub struct WellKnown {
    base: Option<BaseUrl>,
}

impl WellKnown {
    /// Asks `base` for the pages of all domains, below a path with the domain's name.
    pub fn at(base: BaseUrl) -> WellKnown {
        WellKnown { base: Some(base) }
    }
}

impl Provider for WellKnown {
    fn first(&self, identity: &IdentityId) -> Fetch {
        let domain = identity.identity();
        let url = match &self.base {
            None => BaseUrl::of_host(domain).join(WELL_KNOWN),
            Some(base) => base.join(&format!("/{domain}{WELL_KNOWN}")),
        };
        Fetch::Http(Request::get(url, "text/plain"))
    }

    fn next(&self, _: &IdentityId, _: usize, answer: &Answer) -> Result<Step, ProviderError> {
        Ok(match body(answer)? {
            None => Step::Gone,
            Some(body) => Step::Page(decoded(&String::from_utf8_lossy(body))),
        })
    }
}
