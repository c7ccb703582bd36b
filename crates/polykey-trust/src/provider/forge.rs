//! Gitea, Forgejo and GitLab: what an account says about itself in its profile.
//!
//! Source: Gitea API v1, `GET /users/{username}`; GitLab API v4, `GET /users?username=` and `GET /users/:id`.

use serde_json::Value;

use super::text::decoded;
use super::{Answer, BaseUrl, Fetch, Provider, ProviderError, Request, Step, json, same_account};
use crate::identity::IdentityId;

const JSON: &str = "application/json";

/// A server that runs Gitea or Forgejo: the description in the profile.
#[derive(Debug)]
pub struct Gitea {
    base: BaseUrl,
}

impl Gitea {
    /// The server at `base`.
    pub fn at(base: BaseUrl) -> Gitea {
        Gitea { base }
    }
}

impl Provider for Gitea {
    fn first(&self, identity: &IdentityId) -> Fetch {
        let url = self.base.join(&format!("/api/v1/users/{}", identity.identity()));
        Fetch::Http(Request::get(url, JSON))
    }

    fn next(&self, identity: &IdentityId, _: usize, answer: &Answer) -> Result<Step, ProviderError> {
        let Some(user) = json(answer)? else {
            return Ok(Step::Gone);
        };
        same_account(&user["login"], identity)?;
        profile(&user, "description")
    }
}

/// A server that runs GitLab: the bio in the profile.
#[derive(Debug)]
pub struct GitLab {
    base: BaseUrl,
}

impl GitLab {
    /// The server at `base`.
    pub fn at(base: BaseUrl) -> GitLab {
        GitLab { base }
    }
}

impl Provider for GitLab {
    fn first(&self, identity: &IdentityId) -> Fetch {
        let url = self
            .base
            .join(&format!("/api/v4/users?username={}", identity.identity()));
        Fetch::Http(Request::get(url, JSON))
    }

    fn next(&self, identity: &IdentityId, stage: usize, answer: &Answer) -> Result<Step, ProviderError> {
        let Some(found) = json(answer)? else {
            return Ok(Step::Gone);
        };
        if stage > 0 {
            same_account(&found["username"], identity)?;
            return profile(&found, "bio");
        }
        match &found.as_array().ok_or(ProviderError::Malformed)?[..] {
            [] => Ok(Step::Gone),
            [user] => {
                same_account(&user["username"], identity)?;
                let id = user["id"].as_u64().ok_or(ProviderError::Malformed)?;
                let url = self.base.join(&format!("/api/v4/users/{id}"));
                Ok(Step::Fetch(Fetch::Http(Request::get(url, JSON))))
            }
            _ => Err(ProviderError::Malformed),
        }
    }
}

/// The text of a field of a profile; a field that is absent or null is an empty page.
fn profile(user: &Value, field: &str) -> Result<Step, ProviderError> {
    match user.get(field) {
        Some(Value::String(text)) => Ok(Step::Page(decoded(text))),
        None | Some(Value::Null) => Ok(Step::Page(String::new())),
        Some(_) => Err(ProviderError::Malformed),
    }
}
