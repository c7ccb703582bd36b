//! Logging in at a service by a code that the user types there (OAuth device flow), as data.
//!
//! We ask for a code, the user types it on the service's page, and we ask again and again whether it was done.
//!
//! Source: RFC 8628; GitHub, "Authorizing OAuth apps", device flow.

use std::fmt;
use std::time::Duration;

use polykey_core::SecretBytes;
use serde_json::Value;

use super::{Answer, BaseUrl, Method, ProviderError, Request, body};

/// What we ask a user to allow: to write gists.
pub const SCOPE: &str = "gist";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// Shortest and longest time between two questions, and longest life of a code.
const INTERVAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
const MAX_TOKEN_LEN: usize = 1024;
const MAX_LIFE: Duration = Duration::from_secs(60 * 60);
/// What the service adds to the interval when it is asked too often (RFC 8628, section 3.5).
const SLOWER: Duration = Duration::from_secs(5);

/// A service at which one can log in so.
#[derive(Debug, Clone)]
pub struct DeviceLogin {
    base: BaseUrl,
    client: String,
}

/// A code for the user, and how to go on.
pub struct DeviceCode {
    /// What the user types.
    pub user_code: String,
    /// Where; on the service itself, by https unless the base URL says otherwise.
    pub url: String,
    /// How long to wait before each question.
    pub interval: Duration,
    /// How long the code lasts.
    pub lasts: Duration,
    device_code: String,
}

impl fmt::Debug for DeviceCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceCode")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// An access token. Wiped on drop, hidden from `Debug`.
pub struct Token(SecretBytes);

impl Token {
    /// Reads a token that was kept, or comes from a service.
    ///
    /// # Errors
    /// [`ProviderError::Malformed`] when it has no characters, more than 1,024, or others than tokens have.
    pub fn parse(bytes: SecretBytes) -> Result<Token, ProviderError> {
        let text = bytes.expose();
        if text.is_empty() || text.len() > MAX_TOKEN_LEN || !text.iter().all(is_plain) {
            return Err(ProviderError::Malformed);
        }
        Ok(Token(bytes))
    }

    /// The token, for the one place that stores it sealed or sends it.
    pub fn expose(&self) -> &str {
        std::str::from_utf8(self.0.expose()).expect("parsing let only ASCII in")
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// What became of a code.
#[derive(Debug)]
pub enum Login {
    /// The user allowed it.
    Done(Token),
    /// Not yet: ask again after this time.
    Wait(Duration),
    /// The user refused.
    Denied,
    /// The code is too old.
    Expired,
}

impl DeviceLogin {
    /// The service at `base`, for the application registered there as `client`.
    ///
    /// # Errors
    /// [`ProviderError::Malformed`] when `client` is no such id.
    pub fn at(base: BaseUrl, client: &str) -> Result<DeviceLogin, ProviderError> {
        if client.is_empty() || client.len() > 128 || !is_word(client) {
            return Err(ProviderError::Malformed);
        }
        Ok(DeviceLogin {
            base,
            client: client.to_owned(),
        })
    }

    fn post(&self, path: &str, form: &str) -> Request {
        Request {
            method: Method::Post,
            url: self.base.join(path),
            headers: vec![
                ("accept", "application/json".to_owned()),
                ("content-type", "application/x-www-form-urlencoded".to_owned()),
            ],
            body: Some(form.to_owned()),
        }
    }

    /// Asks for a code.
    pub fn begin(&self) -> Request {
        self.post(
            "/login/device/code",
            &format!("client_id={}&scope={SCOPE}", self.client),
        )
    }

    /// Reads the code.
    ///
    /// # Errors
    /// [`ProviderError`]; [`ProviderError::OtherHost`] when the page to type it on is not the service's.
    pub fn code(&self, answer: &Answer) -> Result<DeviceCode, ProviderError> {
        let found = form(answer)?;
        let text = |name: &str, max: usize| match found[name].as_str() {
            Some(text) if (1..=max).contains(&text.len()) && is_word(text) => Ok(text.to_owned()),
            _ => Err(ProviderError::Malformed),
        };
        let seconds = |name: &str| found[name].as_u64().map(Duration::from_secs);
        let url = found["verification_uri"]
            .as_str()
            .ok_or(ProviderError::Malformed)?;
        if !self.base.is_origin_of(url) {
            return Err(ProviderError::OtherHost);
        }
        Ok(DeviceCode {
            user_code: text("user_code", 32)?,
            url: url.to_owned(),
            interval: seconds("interval")
                .unwrap_or(SLOWER)
                .clamp(INTERVAL.0, INTERVAL.1),
            lasts: seconds("expires_in")
                .ok_or(ProviderError::Malformed)?
                .min(MAX_LIFE),
            device_code: text("device_code", 256)?,
        })
    }

    /// Asks whether the user has typed the code.
    pub fn ask(&self, code: &DeviceCode) -> Request {
        let (client, device) = (&self.client, &code.device_code);
        let grant = GRANT.replace(':', "%3A");
        self.post(
            "/login/oauth/access_token",
            &format!("client_id={client}&device_code={device}&grant_type={grant}"),
        )
    }

    /// Reads the answer to [`DeviceLogin::ask`].
    ///
    /// # Errors
    /// [`ProviderError`].
    pub fn outcome(&self, code: &DeviceCode, answer: &Answer) -> Result<Login, ProviderError> {
        let found = form(answer)?;
        if let Some(token) = found["access_token"].as_str() {
            let token = SecretBytes::new(token.as_bytes().to_vec());
            return Ok(Login::Done(Token::parse(token)?));
        }
        match found["error"].as_str() {
            Some("authorization_pending") => Ok(Login::Wait(code.interval)),
            Some("slow_down") => Ok(Login::Wait((code.interval + SLOWER).min(INTERVAL.1))),
            Some("access_denied") => Ok(Login::Denied),
            Some("expired_token") => Ok(Login::Expired),
            _ => Err(ProviderError::Malformed),
        }
    }
}

/// RFC 8628 answers errors with status 400, GitHub with 200.
fn form(answer: &Answer) -> Result<Value, ProviderError> {
    let bytes = match answer {
        Answer::Http {
            status: 400, body, ..
        } => body,
        other => body(other)?.ok_or(ProviderError::Status { status: 404 })?,
    };
    serde_json::from_slice(bytes).map_err(|_| ProviderError::Malformed)
}

fn is_word(text: &str) -> bool {
    text.as_bytes().iter().all(is_plain)
}

/// Characters that need no escaping in a form, a header field or a terminal.
fn is_plain(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(byte)
}
