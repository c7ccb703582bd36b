//! What the user chose about the network.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use polykey_api::start::StartOrder;
use polykey_api::{Code, Problem};
use polykey_core::NodeId;
use polykey_net::{Mode, RelayUrl};

use crate::contacts::Place;
use crate::failure;
use crate::providers;

/// Longest file with certificates.
const MAX_CERTIFICATES: u64 = 1 << 20;

/// Port of DNS servers (RFC 1035, 4.2.1).
const DNS_PORT: u16 = 53;
/// Longest wait for another node, in milliseconds.
const MAX_TIMEOUT: u64 = 600_000;

/// How the node takes part in the network.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Which network.
    pub mode: Mode,
    /// The address to listen on, when the user chose one.
    pub host: Option<IpAddr>,
    /// The port to listen on, when the user chose one.
    pub port: Option<u16>,
    /// Nodes to begin with.
    pub seeds: Vec<(NodeId, Place)>,
    /// Relays of the user's choice.
    pub relays: Vec<RelayUrl>,
    /// Certificates (DER) that vouch for them.
    pub relay_roots: Vec<Vec<u8>>,
    /// Whether the node's addresses are published.
    pub publish: bool,
    /// DNS servers of the user's choice.
    pub dns_servers: Vec<SocketAddr>,
    /// How long an attempt to reach a node may take, when the user says so.
    pub connect_deadline: Option<Duration>,
    /// Whose nodes alone may connect; empty for a network that is open to all.
    pub members: Vec<String>,
    /// How identities are looked at.
    pub identities: providers::settings::Settings,
}

impl Settings {
    /// Reads what an order says.
    ///
    /// # Errors
    /// For what cannot be meant: [`Code::Config`] when it stands in `config.toml`, else [`Code::Usage`].
    pub fn read(order: &StartOrder) -> Result<Settings, Problem> {
        let mode = match order.network.as_deref() {
            None | Some("") => Mode::default(),
            Some(text) => text.parse().map_err(|error| {
                wrong(order, "network", format!("there is no network {text:?}"))
                    .hint("use mainnet, local, offline, or the URL of a relay")
                    .caused_by(&error)
            })?,
        };
        let host = match order.agent_host.as_deref() {
            None | Some("") => None,
            Some(text) => Some(text.parse().map_err(|_| {
                wrong(
                    order,
                    "agent-host",
                    format!("{text:?} is no address to listen on"),
                )
                .hint("use an IP address of this machine, such as 127.0.0.1")
            })?),
        };
        let relays = list(order.relays.as_deref())
            .map(|text| {
                text.parse().map_err(|error| {
                    wrong(order, "relays", format!("{text:?} is no relay")).caused_by(&error)
                })
            })
            .collect::<Result<_, Problem>>()?;
        Ok(Settings {
            mode,
            host,
            port: order.agent_port.filter(|port| *port != 0),
            seeds: list(order.seed_nodes.as_deref())
                // The seeds of the network itself: it has none.
                .filter(|part| *part != "<defaults>")
                .map(|text| {
                    seed(text).ok_or_else(|| {
                        wrong(order, "seed-nodes", format!("{text:?} is no seed node"))
                            .hint("write them as id@address:port, parted by semicolons")
                    })
                })
                .collect::<Result<_, _>>()?,
            relays,
            relay_roots: match &order.relay_ca {
                Some(path) => certificates(path)?,
                None => Vec::new(),
            },
            publish: order.publish,
            dns_servers: parts(order.dns_servers.as_deref(), &[';', ',', ' '])
                .map(|text| {
                    dns_server(text).ok_or_else(|| {
                        wrong(order, "dns-servers", format!("{text:?} is no DNS server"))
                            .hint("write them as addresses, perhaps with a port: 192.0.2.1;[2001:db8::1]:53")
                    })
                })
                .collect::<Result<_, _>>()?,
            members: list(order.members.as_deref()).map(str::to_owned).collect(),
            identities: providers::settings::Settings::read(order)?,
            connect_deadline: match order.connection_timeout {
                None => None,
                Some(millis @ 1..=MAX_TIMEOUT) => Some(Duration::from_millis(millis)),
                Some(millis) => {
                    let text = format!("nobody can be reached in {millis} ms, or waited for that long");
                    return Err(wrong(order, "connection-timeout", text)
                        .hint(format!("use a number of milliseconds from 1 to {MAX_TIMEOUT}")));
                }
            },
        })
    }
}

/// The problem of a setting whose value cannot be meant. Whoever typed it is told another code than whoever has it
/// in the configuration.
fn wrong(order: &StartOrder, setting: &str, message: String) -> Problem {
    let code = match order.configured.iter().any(|name| name == setting) {
        true => Code::Config,
        false => Code::Usage,
    };
    Problem::new(code, message)
}

/// The parts of a list whose parts are parted by `;`.
fn list(text: Option<&str>) -> impl Iterator<Item = &str> {
    parts(text, &[';'])
}

/// The parts of a list between these.
pub(crate) fn parts<'a>(text: Option<&'a str>, between: &'a [char]) -> impl Iterator<Item = &'a str> {
    let parts = text.unwrap_or_default().split(between).map(str::trim);
    parts.filter(|part| !part.is_empty())
}

/// An address, with a port or without.
pub(crate) fn dns_server(text: &str) -> Option<SocketAddr> {
    let bare = || Some(SocketAddr::new(text.parse().ok()?, DNS_PORT));
    let server: SocketAddr = text.parse().ok().or_else(bare)?;
    (server.port() != 0).then_some(server)
}

/// `id@host:port`, or the original's form of it with `pk://` in front.
fn seed(text: &str) -> Option<(NodeId, Place)> {
    let bare = text.strip_prefix("pk://").unwrap_or(text);
    let (node, place) = bare.split_once('@')?;
    Some((node.parse().ok()?, place.parse().ok()?))
}

/// The certificates of a PEM file.
pub(crate) fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, Problem> {
    let wrong = |error: &std::io::Error| failure::disk(error, "read", path);
    let meta = std::fs::metadata(path).map_err(|error| wrong(&error))?;
    let none = || {
        Problem::new(
            Code::Config,
            format!("there is no certificate in {}", path.display()),
        )
    };
    if meta.len() > MAX_CERTIFICATES {
        return Err(none());
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let mut found = Vec::new();
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
    let mut rest = text.as_str();
    while let Some((_, after)) = rest.split_once(begin) {
        let (body, after) = after.split_once(end).ok_or_else(none)?;
        let body: String = body.split_whitespace().collect();
        let der = data_encoding::BASE64.decode(body.as_bytes());
        found.push(der.map_err(|_| none())?);
        rest = after;
    }
    if found.is_empty() { Err(none()) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(edit: impl FnOnce(&mut StartOrder)) -> Result<Settings, Code> {
        let mut order = StartOrder::default();
        edit(&mut order);
        Settings::read(&order).map_err(|problem| problem.code)
    }

    #[test]
    fn settings_are_read_and_nonsense_is_refused() {
        let node = NodeId::from_bytes([7; 32]);
        let settings = read(|order| {
            order.network = Some("offline".to_owned());
            order.agent_host = Some("127.0.0.1".to_owned());
            order.agent_port = Some(5000);
            order.seed_nodes = Some(format!(
                "{node}@127.0.0.1:5001; pk://{node}@[::1]:5002;<defaults>;"
            ));
        })
        .expect("good");
        assert_eq!((settings.mode, settings.port), (Mode::Offline, Some(5000)));
        assert_eq!(settings.seeds.len(), 2);
        assert_eq!(read(|_| {}).expect("good").mode, Mode::Mainnet);
        for bad in ["nowhere", "ftp://x", "mainnet "] {
            assert!(
                read(|order| order.network = Some(bad.to_owned())).is_err(),
                "{bad}"
            );
        }
        for bad in ["localhost", "127.0.0.1:5", "300.0.0.1"] {
            assert!(
                read(|order| order.agent_host = Some(bad.to_owned())).is_err(),
                "{bad}"
            );
        }
        for bad in [
            "x@127.0.0.1:5",
            "127.0.0.1:5",
            &format!("{node}@"),
            &format!("{node}@host"),
        ] {
            assert!(
                read(|order| order.seed_nodes = Some(bad.to_owned())).is_err(),
                "{bad}"
            );
        }
        assert!(read(|order| order.relays = Some("relay".to_owned())).is_err());
    }

    #[test]
    fn nonsense_is_wrong_usage_unless_it_stands_in_the_configuration() {
        type Set = fn(&mut StartOrder, String);
        let settings: [(&str, Set); 5] = [
            ("dns-servers", |order, text| order.dns_servers = Some(text)),
            ("connection-timeout", |order, _| {
                order.connection_timeout = Some(0);
            }),
            ("network", |order, text| order.network = Some(text)),
            ("agent-host", |order, text| order.agent_host = Some(text)),
            ("seed-nodes", |order, text| order.seed_nodes = Some(text)),
        ];
        for (name, set) in settings {
            for (configured, want) in [(name, Code::Config), ("", Code::Usage), ("node-id", Code::Usage)] {
                let found = read(|order| {
                    set(order, "foo".to_owned());
                    order.configured = vec![configured.to_owned()];
                });
                assert_eq!(found.err(), Some(want), "{name} {configured:?}");
            }
        }
    }

    #[test]
    fn dns_servers_are_addresses_with_a_port_or_without() {
        let servers = |text: &str| read(|order| order.dns_servers = Some(text.to_owned()));
        let good = servers("192.0.2.1; 192.0.2.2:5353,::1 [2001:db8::1]:54;").expect("good");
        let want = ["192.0.2.1:53", "192.0.2.2:5353", "[::1]:53", "[2001:db8::1]:54"];
        assert_eq!(
            good.dns_servers,
            want.map(|text| text.parse().expect("an address"))
        );
        assert!(servers("").expect("good").dns_servers.is_empty());
        for bad in [
            "dns.example.org",
            "192.0.2",
            "192.0.2.1:0",
            "192.0.2.1:x",
            "[::1]",
            "1.1.1.1;x",
        ] {
            assert!(servers(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn certificates_come_from_pem() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("ca.pem");
        let pem = "x\n-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";
        std::fs::write(&file, pem.repeat(2)).expect("written");
        assert_eq!(certificates(&file).expect("good"), [[1, 2, 3], [1, 2, 3]]);
        for bad in [
            "",
            "-----BEGIN CERTIFICATE-----\nAQID",
            "-----BEGIN CERTIFICATE-----*-----END CERTIFICATE-----",
        ] {
            std::fs::write(&file, bad).expect("written");
            assert!(certificates(&file).is_err(), "{bad}");
        }
        assert!(certificates(&dir.path().join("none")).is_err());
    }
}
