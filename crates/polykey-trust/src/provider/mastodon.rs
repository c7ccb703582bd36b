//! Mastodon, and other servers that speak WebFinger and ActivityPub: a field of the profile, or the bio.
//!
//! Source: RFC 7033 (WebFinger), ActivityPub (W3C), Mastodon's `PropertyValue` attachments.

use serde_json::Value;

use super::text::decoded;
use super::{Answer, BaseUrl, Fetch, Provider, ProviderError, Request, Step, json, same_account};
use crate::identity::IdentityId;

const JRD: &str = "application/jrd+json, application/json";
const ACTIVITY: &str = "application/activity+json";
/// Most fields of a profile, and most links of a WebFinger answer, that are looked at.
const MAX_FIELDS: usize = 64;

/// A server at which accounts have actors.
#[derive(Debug)]
pub struct Mastodon {
    base: BaseUrl,
}

impl Mastodon {
    /// The server at `base`.
    pub fn at(base: BaseUrl) -> Mastodon {
        Mastodon { base }
    }

    /// The address of the actor. It must be on the server itself: another host could speak for anybody.
    fn actor(&self, found: &Value) -> Result<String, ProviderError> {
        let links = found["links"].as_array().ok_or(ProviderError::Malformed)?;
        let link = links.iter().take(MAX_FIELDS).find(|link| {
            let kind = link["type"].as_str().unwrap_or_default();
            let is_actor = kind == ACTIVITY || kind.starts_with("application/ld+json");
            link["rel"] == "self" && is_actor
        });
        let url = link
            .and_then(|link| link["href"].as_str())
            .ok_or(ProviderError::Malformed)?;
        if !self.base.is_origin_of(url) {
            return Err(ProviderError::OtherHost);
        }
        Ok(url.to_owned())
    }
}

impl Provider for Mastodon {
    fn first(&self, identity: &IdentityId) -> Fetch {
        let (account, host) = (identity.identity(), identity.provider());
        let path = format!("/.well-known/webfinger?resource=acct:{account}@{host}");
        Fetch::Http(Request::get(self.base.join(&path), JRD))
    }

    fn next(&self, identity: &IdentityId, stage: usize, answer: &Answer) -> Result<Step, ProviderError> {
        let Some(found) = json(answer)? else {
            return Ok(Step::Gone);
        };
        if stage == 0 {
            let subject = found["subject"].as_str().ok_or(ProviderError::Malformed)?;
            let want = format!("acct:{}@{}", identity.identity(), identity.provider());
            if !subject.eq_ignore_ascii_case(&want) {
                return Err(ProviderError::OtherAccount);
            }
            let request = Request::get(self.actor(&found)?, ACTIVITY);
            return Ok(Step::Fetch(Fetch::Http(request)));
        }
        same_account(&found["preferredUsername"], identity)?;
        let fields = match &found["attachment"] {
            Value::Array(fields) => &fields[..fields.len().min(MAX_FIELDS)],
            // A profile with one field is written without the array by some servers.
            field @ Value::Object(_) => std::slice::from_ref(field),
            _ => &[],
        };
        let mut page = String::new();
        for text in fields
            .iter()
            .map(|field| &field["value"])
            .chain([&found["summary"]])
        {
            if let Value::String(text) = text {
                page.push_str(&decoded(text));
                page.push('\n');
            }
        }
        Ok(Step::Page(page))
    }
}
