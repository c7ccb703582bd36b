//! GitHub: a public gist of the account, or the account's bio.
//!
//! The API allows few requests without a token. When it refuses for that reason, the plain page that lists the
//! account's gists is read instead; GitHub shows the first lines of each there.
//!
//! Source: GitHub REST API, version 2022-11-28, "Gists", "Users" and "Followers".

use serde_json::Value;

use super::login::Token;
use super::text::decoded;
use super::{
    Answer, BaseUrl, Fetch, Method, Provider, ProviderError, Request, Step, body, json, same_account,
};
use crate::identity::IdentityId;

/// The name of the file in the gist.
pub const FILE_NAME: &str = "polykey-claim.txt";
/// So many people stand on one page of a [circle](GitHub::circle), fewer on the last one.
pub const PEOPLE_A_PAGE: usize = 100;
const API_VERSION: (&str, &str) = ("x-github-api-version", "2022-11-28");
const JSON: &str = "application/vnd.github+json";

/// GitHub, and servers that run the same software.
pub struct GitHub {
    api: BaseUrl,
    gists: BaseUrl,
    token: Option<Token>,
}

impl std::fmt::Debug for GitHub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = f.debug_struct("GitHub");
        out.field("api", &self.api).field("gists", &self.gists);
        out.field("has_token", &self.token.is_some()).finish()
    }
}

/// People who are connected with an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Circle {
    /// Those whom it follows.
    Following,
    /// Those who follow it.
    Followers,
}

impl GitHub {
    /// The service at `host`; `base` stands for all of it, with `/api` and `/gist` below.
    pub fn at(host: &str, base: Option<BaseUrl>) -> GitHub {
        let (api, gists) = match base {
            Some(base) => (BaseUrl(base.join("/api")), BaseUrl(base.join("/gist"))),
            None => (
                BaseUrl::of_host(&format!("api.{host}")),
                BaseUrl::of_host(&format!("gist.{host}")),
            ),
        };
        GitHub {
            api,
            gists,
            token: None,
        }
    }

    /// Sends this token with each request of the API.
    #[must_use]
    pub fn with_token(mut self, token: Token) -> GitHub {
        self.token = Some(token);
        self
    }

    fn call(&self, path: &str) -> Request {
        let mut request = Request::get(self.api.join(path), JSON);
        request.headers.push((API_VERSION.0, API_VERSION.1.to_owned()));
        if let Some(token) = &self.token {
            request
                .headers
                .push(("authorization", format!("Bearer {}", token.expose())));
        }
        request
    }

    /// Asks whose token it is; [`GitHub::account`] reads the answer.
    pub fn whoami(&self) -> Request {
        self.call("/user")
    }

    /// The account in the answer to [`GitHub::whoami`].
    ///
    /// # Errors
    /// [`ProviderError`].
    pub fn account(&self, answer: &Answer) -> Result<String, ProviderError> {
        let user = json(answer)?.ok_or(ProviderError::Malformed)?;
        let login = user["login"].as_str().ok_or(ProviderError::Malformed)?;
        let id = IdentityId::from_input(&format!("github.com:{login}"));
        Ok(id.map_err(|_| ProviderError::Malformed)?.identity().to_owned())
    }

    /// Asks for one page, from 1, of the people who are connected with an account; [`GitHub::people`] reads the answer.
    pub fn circle(&self, account: &IdentityId, circle: Circle, page: usize) -> Request {
        let which = match circle {
            Circle::Following => "following",
            Circle::Followers => "followers",
        };
        self.call(&format!(
            "/users/{}/{which}?per_page={PEOPLE_A_PAGE}&page={page}",
            account.identity()
        ))
    }

    /// The accounts in the answer to [`GitHub::circle`], at the host of `account`, and whether there may be another
    /// page. Names that no account can have are left out.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub fn people(
        &self,
        account: &IdentityId,
        answer: &Answer,
    ) -> Result<(Vec<IdentityId>, bool), ProviderError> {
        let people = json(answer)?.ok_or(ProviderError::Malformed)?;
        let people = people
            .as_array()
            .filter(|people| people.len() <= PEOPLE_A_PAGE)
            .ok_or(ProviderError::Malformed)?;
        let named = people.iter().filter_map(|person| {
            let login = person["login"].as_str()?;
            IdentityId::from_input(&format!("{}:{login}", account.provider())).ok()
        });
        Ok((named.collect(), people.len() == PEOPLE_A_PAGE))
    }

    /// Publishes `line` as a public gist; [`GitHub::published`] reads the answer.
    pub fn publish(&self, line: &str) -> Request {
        let body = serde_json::json!({
            "description": "This account belongs to a polykey node",
            "public": true,
            "files": { FILE_NAME: { "content": format!("{line}\n") } },
        });
        let mut request = self.call("/gists");
        request.method = Method::Post;
        request
            .headers
            .push(("content-type", "application/json".to_owned()));
        request.body = Some(body.to_string());
        request
    }

    /// Where the gist is that [`GitHub::publish`] made.
    ///
    /// # Errors
    /// [`ProviderError`]; [`ProviderError::OtherHost`] when the address is not one of the service.
    pub fn published(&self, answer: &Answer) -> Result<String, ProviderError> {
        let Answer::Http {
            status: 201, body, ..
        } = answer
        else {
            body(answer)?;
            return Err(ProviderError::Malformed);
        };
        let gist: Value = serde_json::from_slice(body).map_err(|_| ProviderError::Malformed)?;
        let url = gist["html_url"].as_str().ok_or(ProviderError::Malformed)?;
        if !self.gists.is_origin_of(url) {
            return Err(ProviderError::OtherHost);
        }
        Ok(url.to_owned())
    }

    fn listing(&self, identity: &IdentityId) -> Step {
        let url = self.gists.join(&format!("/{}", identity.identity()));
        Step::Fetch(Fetch::Http(Request::get(url, "text/html")))
    }
}

impl Provider for GitHub {
    fn first(&self, identity: &IdentityId) -> Fetch {
        Fetch::Http(self.call(&format!("/users/{}/gists?per_page=100", identity.identity())))
    }

    fn next(&self, identity: &IdentityId, stage: usize, answer: &Answer) -> Result<Step, ProviderError> {
        let is_refused = matches!(
            answer,
            Answer::Http {
                status: 403 | 429,
                ..
            }
        );
        match stage {
            0 if is_refused => Ok(self.listing(identity)),
            0 => {
                let Some(gists) = json(answer)? else {
                    return Ok(Step::Gone);
                };
                // Newest first: after a second claim the gist of the first one may still be there.
                let gists = gists.as_array().ok_or(ProviderError::Malformed)?;
                let gist = gists.iter().find(|gist| gist["files"].get(FILE_NAME).is_some());
                let path = match gist {
                    None => format!("/users/{}", identity.identity()),
                    Some(gist) => {
                        same_account(&gist["owner"]["login"], identity)?;
                        let id = gist["id"].as_str().filter(|id| is_gist_id(id));
                        format!("/gists/{}", id.ok_or(ProviderError::Malformed)?)
                    }
                };
                Ok(Step::Fetch(Fetch::Http(self.call(&path))))
            }
            1 if self.is_page(answer) => {
                let page = body(answer)?.map(|body| decoded(&String::from_utf8_lossy(body)));
                Ok(page.map_or(Step::Gone, Step::Page))
            }
            _ => {
                let Some(found) = json(answer)? else {
                    return Ok(Step::Gone);
                };
                let (account, text) = match found["files"].get(FILE_NAME) {
                    Some(file) => (&found["owner"]["login"], &file["content"]),
                    None => (&found["login"], &found["bio"]),
                };
                same_account(account, identity)?;
                match text {
                    Value::String(text) => Ok(Step::Page(text.clone())),
                    // An account without a bio.
                    Value::Null => Ok(Step::Page(String::new())),
                    _ => Err(ProviderError::Malformed),
                }
            }
        }
    }
}

impl GitHub {
    /// The plain page is HTML, the API's answers are JSON objects.
    fn is_page(&self, answer: &Answer) -> bool {
        match answer {
            Answer::Http {
                status: 200, body, ..
            } => body.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'{'),
            _ => false,
        }
    }
}

fn is_gist_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_hexdigit())
}
