//! Looking things up outside the network of nodes: TXT records, and pages over HTTP.
//!
//! Whoever publishes a page chooses what a look at it meets, so nothing here trusts the other side: a look ends at a
//! deadline however slowly bytes drip in, a body ends at the caller's bound, no redirect is followed, nothing is
//! decompressed, no cookie or proxy is used. A name is resolved by us, and with [`Reach::Public`] only addresses of
//! the public internet are dialled: the check is on the addresses that are used, so a name that changes its mind
//! between two answers gains nothing.
//!
//! Always: no server is asked that the user did not name, but the system's resolver and the one in the URL.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use iroh::dns::{DnsError, DnsResolver, NameserverConfig};
use iroh::tls::CaTlsConfig;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use tokio::time::timeout;

use crate::tls::provider;

/// How long a look may take, from the resolver to the last byte.
pub const LOOK_DEADLINE: Duration = Duration::from_secs(20);
/// How long a connection may take, and an answer of a resolver.
const CONNECT: Duration = Duration::from_secs(5);
/// Most TXT records of one name, and longest text of one, that are read.
const MAX_RECORDS: usize = 256;
const MAX_RECORD_LEN: usize = 64 << 10;
/// Most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 16;
/// A server that asks for more patience than this is asked again all the same.
const MAX_WAIT: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a [`Web`] is made with.
#[derive(Debug, Clone, Default)]
pub struct WebConfig {
    /// DNS servers to ask in place of the system's.
    pub dns_servers: Vec<SocketAddr>,
    /// Certificates (DER) of further authorities that may vouch for a server's name.
    pub roots: Vec<Vec<u8>>,
    /// What the program calls itself to servers.
    pub agent: &'static str,
    /// How long a look may take; [`LOOK_DEADLINE`] when absent.
    pub deadline: Option<Duration>,
}

/// Which addresses may be dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Those of the public internet.
    Public,
    /// All: the user named the server.
    Anywhere,
}

/// A request.
#[derive(Debug)]
pub struct WebRequest<'a> {
    /// An `http` or `https` URL.
    pub url: &'a str,
    /// Header fields.
    pub headers: &'a [(&'static str, String)],
    /// What is posted; a request without it reads.
    pub post: Option<&'a str>,
    /// Which addresses may be dialled.
    pub reach: Reach,
    /// Longest body of the answer, in bytes.
    pub max_len: usize,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebAnswer {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
    /// How long the server asks to wait.
    pub wait: Option<Duration>,
    /// When its limit begins anew, in seconds since 1970, if it says that the limit is used up.
    pub free_at: Option<u64>,
}

/// Why a look gave nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebError {
    /// Not a URL that is fetched.
    #[error("this is no URL that can be fetched")]
    Url,
    /// The name or the URL leads into a private network.
    #[error("{host} is not on the public internet")]
    Private {
        /// The host that was meant.
        host: String,
    },
    /// Not to its end in time.
    #[error("the server took too long")]
    TooSlow,
    /// Longer than the bound.
    #[error("the answer is longer than {max} bytes")]
    TooLong {
        /// The bound.
        max: usize,
    },
    /// The resolver did not answer, or not well.
    #[error("the name {name} cannot be resolved")]
    Name {
        /// The name.
        name: String,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No connection, or not the right one.
    #[error("the server {host} cannot be reached")]
    Unreachable {
        /// Its name.
        host: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The client cannot be made.
    #[error("the certificates that vouch for servers cannot be used")]
    Roots(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The way to records and pages.
pub struct Web {
    resolver: DnsResolver,
    public: Client,
    anywhere: Client,
    deadline: Duration,
}

impl Web {
    /// Makes the clients. Nobody is asked yet.
    ///
    /// # Errors
    /// [`WebError::Roots`].
    pub fn new(config: &WebConfig) -> Result<Web, WebError> {
        // The library would go on to public servers when these fail, which nobody named.
        let builder = DnsResolver::builder().disable_fallback();
        let servers = config
            .dns_servers
            .iter()
            .map(|server| NameserverConfig::udp(server.ip()).with_port(server.port()));
        let resolver = match config.dns_servers.is_empty() {
            true => builder.with_system_defaults().build(),
            false => builder.add_nameserver_configs(servers).build(),
        };
        let roots = config.roots.iter().cloned().map(Into::into);
        let tls = CaTlsConfig::embedded()
            .with_extra_roots(roots)
            .client_config(provider())
            .map_err(|error| WebError::Roots(error.into()))?;
        let deadline = config.deadline.unwrap_or(LOOK_DEADLINE);
        let client = || {
            Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .redirect(Policy::none())
                .no_proxy()
                .referer(false)
                .http1_only()
                .connect_timeout(CONNECT)
                .timeout(deadline)
                .pool_max_idle_per_host(0)
                .user_agent(config.agent)
        };
        let made = |error: reqwest::Error| WebError::Roots(error.into());
        let guard = |reach| Guard {
            resolver: resolver.clone(),
            reach,
        };
        let mut anywhere = client();
        if !config.dns_servers.is_empty() {
            anywhere = anywhere.dns_resolver(guard(Reach::Anywhere));
        }
        Ok(Web {
            public: client()
                .dns_resolver(guard(Reach::Public))
                .build()
                .map_err(made)?,
            // Without servers of the user's choice names are those of the system, with its own table of hosts.
            anywhere: anywhere.build().map_err(made)?,
            resolver,
            deadline,
        })
    }

    /// The TXT records of `name`, the strings of each joined; none when there is no such name, or it has none.
    ///
    /// # Errors
    /// [`WebError::Name`], [`WebError::TooLong`].
    pub async fn txt(&self, name: &str) -> Result<Vec<String>, WebError> {
        // A look is made to learn what stands there now.
        self.resolver.clear_cache();
        // The dot at the end keeps the system's search list out.
        let found = self.resolver.lookup_txt(format!("{name}."), CONNECT).await;
        let found = match found {
            Ok(found) => found,
            Err(DnsError::NxDomain { .. }) => return Ok(Vec::new()),
            Err(error) => {
                return Err(WebError::Name {
                    name: name.to_owned(),
                    source: error.into(),
                });
            }
        };
        let mut records = Vec::new();
        for record in found {
            let text = record.to_string();
            if records.len() >= MAX_RECORDS || text.len() > MAX_RECORD_LEN {
                return Err(WebError::TooLong { max: MAX_RECORD_LEN });
            }
            records.push(text);
        }
        Ok(records)
    }

    /// Makes one request. Safe to cancel.
    ///
    /// # Errors
    /// [`WebError`].
    pub async fn fetch(&self, request: &WebRequest<'_>) -> Result<WebAnswer, WebError> {
        let url: Url = request.url.parse().map_err(|_| WebError::Url)?;
        let host = match (url.scheme(), url.host_str()) {
            ("http" | "https", Some(host)) => host.to_owned(),
            _ => return Err(WebError::Url),
        };
        // What is an address already is never resolved.
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        if request.reach == Reach::Public && literal.parse().is_ok_and(|address| !is_public(address)) {
            return Err(WebError::Private { host });
        }
        let client = match request.reach {
            Reach::Public => &self.public,
            Reach::Anywhere => &self.anywhere,
        };
        let mut outgoing = match request.post {
            Some(body) => client.post(url).body(body.to_owned()),
            None => client.get(url),
        };
        for (name, value) in request.headers {
            outgoing = outgoing.header(*name, value);
        }
        let look = async {
            let answer = outgoing.send().await.map_err(|error| failed(error, &host))?;
            read(answer, request.max_len, &host).await
        };
        timeout(self.deadline, look)
            .await
            .unwrap_or(Err(WebError::TooSlow))
    }
}

impl std::fmt::Debug for Web {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Web")
    }
}

async fn read(mut answer: Response, max: usize, host: &str) -> Result<WebAnswer, WebError> {
    let too_long = WebError::TooLong { max };
    if answer
        .content_length()
        .is_some_and(|len| usize::try_from(len).map_or(true, |len| len > max))
    {
        return Err(too_long);
    }
    let number = |name: &str| {
        let text = answer.headers().get(name)?.to_str().ok()?;
        text.trim().parse::<u64>().ok()
    };
    let wait = number("retry-after").map(|seconds| Duration::from_secs(seconds).min(MAX_WAIT));
    let is_used_up = number("x-ratelimit-remaining") == Some(0);
    let free_at = number("x-ratelimit-reset").filter(|_| is_used_up);
    let status = answer.status().as_u16();
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| failed(error, host))? {
        if body.len() + piece.len() > max {
            return Err(too_long);
        }
        body.extend_from_slice(&piece);
    }
    Ok(WebAnswer {
        status,
        body,
        wait,
        free_at,
    })
}

/// What a failed request means. Its URL is left out: a token may stand in it.
fn failed(error: reqwest::Error, host: &str) -> WebError {
    if error.is_timeout() {
        return WebError::TooSlow;
    }
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(inner) = source {
        if inner.is::<NotPublic>() {
            return WebError::Private {
                host: host.to_owned(),
            };
        }
        source = inner.source();
    }
    WebError::Unreachable {
        host: host.to_owned(),
        source: error.without_url().into(),
    }
}

/// The name leads to no address that may be dialled.
#[derive(Debug, thiserror::Error)]
#[error("the name leads into a private network")]
struct NotPublic;

/// Resolves names to the addresses that may be dialled.
#[derive(Clone)]
struct Guard {
    resolver: DnsResolver,
    reach: Reach,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let host = format!("{}.", name.as_str().trim_end_matches('.'));
            let found = guard.resolver.lookup_ipv4_ipv6(host, CONNECT).await?;
            let mut addresses: Vec<SocketAddr> = found
                .take(MAX_ADDRESSES)
                .map(|address| SocketAddr::new(address, 0))
                .collect();
            if guard.reach == Reach::Public {
                addresses.retain(|address| is_public(address.ip()));
                if addresses.is_empty() {
                    return Err(NotPublic.into());
                }
            }
            let addresses: Addrs = Box::new(addresses.into_iter());
            Ok(addresses)
        })
    }
}

/// True for an address of the public internet.
///
/// Source: IANA's registries of special-purpose addresses, IPv4 and IPv6.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(matches!(a, 0 | 10 | 127 | 224..=255)
        || (a == 100 && (64..128).contains(&b))
        || (a == 169 && b == 254)
        || (a == 172 && (16..32).contains(&b))
        || (a == 192 && b == 168)
        || (a == 192 && b == 0 && matches!(c, 0 | 2))
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && matches!(b, 18 | 19))
        || (a == 198 && b == 51 && c == 100)
        || (a == 203 && b == 0 && c == 113))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([p, q], [r, s]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(p, q, r, s))
    };
    match (a, b) {
        // NAT64, and addresses that stand for IPv4 ones.
        (0x64, 0xff9b) if [c, d, e, f] == [0; 4] => embedded(g, h),
        (0, 0) if [c, d, e, f] == [0, 0, 0, 0xffff] => embedded(g, h),
        (0x2002, _) => embedded(b, c),
        // Teredo, benchmarks, and what is for documentation.
        (0x2001, 0..0x200 | 0xdb8) | (0x3fff, 0..0x1000) => false,
        _ => (0x2000..0x4000).contains(&a),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn only_the_public_internet_is_public() {
        for public in [
            "1.1.1.1",
            "9.9.9.9",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.255.255",
            "192.0.1.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00::1",
            "64:ff9b::101:101",
            "::ffff:1.1.1.1",
            "2002:101:101::1",
        ] {
            assert!(is_public(public.parse().expect("an address")), "{public}");
        }
        for private in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::1",
            "3fff:fff::1",
            "4000::1",
        ] {
            assert!(!is_public(private.parse().expect("an address")), "{private}");
        }
    }

    /// Answers every connection with these pieces, then as `end` says.
    async fn server(pieces: Vec<Vec<u8>>, end: End) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let pieces = pieces.clone();
                tokio::spawn(async move {
                    let mut head = [0; 4096];
                    let _ = socket.read(&mut head).await;
                    for piece in pieces {
                        let _ = socket.write_all(&piece).await;
                    }
                    match end {
                        End::Close => {}
                        End::Hang => std::future::pending().await,
                        End::Endless => while socket.write_all(&[b'x'; 4096]).await.is_ok() {},
                    }
                });
            }
        });
        address
    }

    #[derive(Clone, Copy)]
    enum End {
        Close,
        Hang,
        Endless,
    }

    fn web(deadline: Option<Duration>) -> Web {
        let config = WebConfig {
            deadline,
            agent: "polykey",
            ..WebConfig::default()
        };
        Web::new(&config).expect("made")
    }

    async fn get(web: &Web, url: &str, reach: Reach) -> Result<WebAnswer, WebError> {
        let request = WebRequest {
            url,
            headers: &[("accept", "text/plain".to_owned())],
            post: None,
            reach,
            max_len: 1000,
        };
        web.fetch(&request).await
    }

    #[tokio::test]
    async fn an_answer_comes_with_what_it_says_of_waiting() {
        let head = b"HTTP/1.1 429 Too Many\r\nretry-after: 7\r\nx-ratelimit-remaining: 0\r\nx-ratelimit-reset: 99\r\ncontent-length: 2\r\n\r\nno";
        let at = server(vec![head.to_vec()], End::Close).await;
        let answer = get(&web(None), &format!("http://{at}/x"), Reach::Anywhere).await;
        let want = WebAnswer {
            status: 429,
            body: b"no".to_vec(),
            wait: Some(Duration::from_secs(7)),
            free_at: Some(99),
        };
        assert_eq!(answer.expect("an answer"), want);
    }

    #[tokio::test]
    async fn redirects_are_answers_and_not_followed() {
        for place in [
            "file:///etc/passwd",
            "http://127.0.0.1:1/",
            "https://example.org/",
        ] {
            let head = format!("HTTP/1.1 302 Found\r\nlocation: {place}\r\ncontent-length: 0\r\n\r\n");
            let at = server(vec![head.into_bytes()], End::Close).await;
            let answer = get(&web(None), &format!("http://{at}/"), Reach::Anywhere).await;
            assert_eq!(answer.expect("an answer").status, 302, "{place}");
        }
    }

    #[tokio::test]
    async fn bodies_end_at_the_bound_whatever_they_say_of_their_length() {
        let said = b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n".to_vec();
        let unsaid = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nFFFFFFF\r\n".to_vec();
        for head in [said, unsaid, chunked] {
            let at = server(vec![head], End::Endless).await;
            let answer = get(&web(None), &format!("http://{at}/"), Reach::Anywhere).await;
            assert!(
                matches!(answer, Err(WebError::TooLong { max: 1000 })),
                "{answer:?}"
            );
        }
    }

    #[tokio::test]
    async fn whoever_answers_too_slowly_is_left() {
        let web = web(Some(Duration::from_millis(200)));
        let silent = server(vec![], End::Hang).await;
        let drip = server(
            vec![b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx".to_vec()],
            End::Hang,
        )
        .await;
        for at in [silent, drip] {
            let answer = get(&web, &format!("http://{at}/"), Reach::Anywhere).await;
            assert!(matches!(answer, Err(WebError::TooSlow)), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn private_places_are_asked_only_when_the_user_named_them() {
        let at = server(
            vec![b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()],
            End::Close,
        )
        .await;
        let port = at.port();
        let web = web(None);
        for host in [
            "127.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "127.1",
            "0x7f.1",
            "2130706433",
        ] {
            let answer = get(&web, &format!("http://{host}:{port}/"), Reach::Public).await;
            assert!(
                matches!(answer, Err(WebError::Private { .. })),
                "{host}: {answer:?}"
            );
        }
        let answer = get(&web, &format!("http://127.0.0.1:{port}/"), Reach::Anywhere).await;
        assert_eq!(answer.expect("an answer").status, 200);
        for bad in [
            "file:///etc/passwd",
            "ftp://example.org/",
            "javascript:1",
            "x",
            "http://",
            "",
        ] {
            let answer = get(&web, bad, Reach::Anywhere).await;
            assert!(matches!(answer, Err(WebError::Url)), "{bad}: {answer:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_is_a_failure_and_hides_the_url() {
        let at = server(vec![b"SSH-2.0-hello\r\n".to_vec()], End::Close).await;
        let answer = get(&web(None), &format!("http://{at}/secret-path"), Reach::Anywhere).await;
        let error = answer.expect_err("no HTTP");
        assert!(matches!(error, WebError::Unreachable { .. }), "{error:?}");
        assert!(!format!("{error:?}").contains("secret-path"));
    }
}
