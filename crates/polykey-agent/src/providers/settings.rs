//! What the user chose about identity providers.

use std::net::SocketAddr;
use std::time::Duration;

use polykey_api::start::StartOrder;
use polykey_api::{Code, Problem};
use polykey_trust::provider::{BaseUrl, ServiceKind};

use crate::network::settings::{certificates, dns_server, parts};

/// Hours between two looks at a known link, unless the user says otherwise.
const RECHECK_HOURS: u32 = 24;

/// A service with accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The host that names it.
    pub host: String,
    /// The software that runs there.
    pub kind: ServiceKind,
    /// Where it answers, when the user says so.
    pub base: Option<BaseUrl>,
}

/// How identities are looked at.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Services: those of the table, then those of the user.
    pub services: Vec<Service>,
    /// Where the pages of all domains are asked for, in place of the domains themselves.
    pub https: Option<BaseUrl>,
    /// DNS servers, in place of the system's.
    pub dns_servers: Vec<SocketAddr>,
    /// Certificates (DER) that vouch for providers.
    pub roots: Vec<Vec<u8>>,
    /// Time between two looks at a known link.
    pub recheck: Duration,
    /// The application that asks for logins at GitHub.
    pub github_client: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        let service = |host: &str, kind| Service {
            host: host.to_owned(),
            kind,
            base: None,
        };
        Settings {
            services: vec![
                service("github.com", ServiceKind::GitHub),
                service("gitlab.com", ServiceKind::GitLab),
                service("codeberg.org", ServiceKind::Gitea),
                service("mastodon.social", ServiceKind::Mastodon),
            ],
            https: None,
            dns_servers: Vec::new(),
            roots: Vec::new(),
            recheck: hours(RECHECK_HOURS),
            github_client: None,
        }
    }
}

fn hours(count: u32) -> Duration {
    Duration::from_secs(u64::from(count) * 3600)
}

impl Settings {
    /// Reads what an order says.
    ///
    /// # Errors
    /// [`Code::Config`] for what cannot be meant: all of this stands in `config.toml` alone.
    pub fn read(order: &StartOrder) -> Result<Settings, Problem> {
        let chosen = &order.identities;
        let mut settings = Settings::default();
        for text in parts(chosen.services.as_deref(), &[';', ' ']) {
            let service = service(text).ok_or_else(|| {
                wrong("services", text, "no service").hint(
                    "write HOST=KIND or HOST=KIND@URL, parted by semicolons, with github, gitlab, gitea, forgejo or mastodon",
                )
            })?;
            settings.services.retain(|known| known.host != service.host);
            settings.services.push(service);
        }
        settings.https = match chosen.https.as_deref() {
            None => None,
            Some(text) => Some(
                BaseUrl::parse(text)
                    .map_err(|error| wrong("https-url", text, "no base URL").caused_by(&error))?,
            ),
        };
        settings.dns_servers = parts(chosen.dns_server.as_deref(), &[';', ',', ' '])
            .map(|text| {
                dns_server(text).ok_or_else(|| {
                    wrong("dns-server", text, "no DNS server")
                        .hint("write an address, perhaps with a port: 192.0.2.1 or [2001:db8::1]:53")
                })
            })
            .collect::<Result<_, _>>()?;
        if let Some(path) = &chosen.ca {
            settings.roots = certificates(path)?;
        }
        if let Some(count) = chosen.recheck_hours {
            settings.recheck = hours(count.max(1));
        }
        settings.github_client.clone_from(&chosen.github_client);
        Ok(settings)
    }
}

fn wrong(setting: &str, text: &str, what: &str) -> Problem {
    Problem::new(
        Code::Config,
        format!("the setting identities.{setting} names {what}: {text:?}"),
    )
}

/// `host=kind`, perhaps with `@` and a base URL.
fn service(text: &str) -> Option<Service> {
    let (host, rest) = text.split_once('=')?;
    let (kind, base) = match rest.split_once('@') {
        Some((kind, base)) => (kind, Some(BaseUrl::parse(base).ok()?)),
        None => (rest, None),
    };
    let host = host.to_ascii_lowercase();
    if !polykey_trust::identity::is_domain(&host) {
        return None;
    }
    Some(Service {
        host,
        kind: ServiceKind::parse(kind)?,
        base,
    })
}

#[cfg(test)]
mod tests {
    use polykey_api::start::IdentityOrder;

    use super::*;

    fn read(edit: impl FnOnce(&mut IdentityOrder)) -> Result<Settings, Code> {
        let mut order = StartOrder::default();
        edit(&mut order.identities);
        Settings::read(&order).map_err(|problem| problem.code)
    }

    #[test]
    fn services_are_added_and_replaced() {
        let settings = read(|order| {
            order.services = Some(
                "git.example.org=forgejo; GitHub.com=github@http://127.0.0.1:8080/x ;social.example.net=mastodon"
                    .into(),
            );
        })
        .expect("good");
        let find = |host: &str| settings.services.iter().find(|service| service.host == host);
        assert_eq!(
            find("git.example.org").map(|service| service.kind),
            Some(ServiceKind::Gitea)
        );
        assert!(find("github.com").is_some_and(|service| service.base.is_some()));
        assert!(find("gitlab.com").is_some_and(|service| service.base.is_none()));
        assert_eq!(settings.services.len(), 6);
        for bad in [
            "github.com",
            "github.com=",
            "github.com=svn",
            "=github",
            "localhost=github",
            "github.com=github@ftp://x",
            "github.com=github@",
            "a..b=gitea",
            "1.2.3.4=gitea",
        ] {
            assert_eq!(
                read(|order| order.services = Some(bad.into())).err(),
                Some(Code::Config),
                "{bad}"
            );
        }
    }

    #[test]
    fn places_are_read_or_refused() {
        let settings = read(|order| {
            order.dns_server = Some("127.0.0.1:5300".into());
            order.https = Some("https://127.0.0.1:8443/pages/".into());
            order.recheck_hours = Some(0);
        })
        .expect("good");
        assert_eq!(settings.dns_servers, ["127.0.0.1:5300".parse().expect("a place")]);
        assert!(settings.https.is_some());
        assert_eq!(settings.recheck, hours(1));
        for bad in ["x", "127.0.0.1:0", "example.org"] {
            assert_eq!(
                read(|order| order.dns_server = Some(bad.into())).err(),
                Some(Code::Config),
                "{bad}"
            );
        }
        for bad in ["example.org", "ftp://x", "https://"] {
            assert_eq!(
                read(|order| order.https = Some(bad.into())).err(),
                Some(Code::Config),
                "{bad}"
            );
        }
        let missing = read(|order| order.ca = Some("/nonexistent/ca.pem".into())).err();
        assert!(missing.is_some());
    }
}
