//! Where a node may be found: its id, addresses to try, and a relay.
//!
//! An address is a hint. Whoever answers there must still prove to hold the node's key, so addresses come
//! from anywhere: tickets, contacts, lookups. [`NodeAddress::encode`] is what tickets and the store keep.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use polykey_core::NodeId;
use polykey_core::codec::{CodecError, Reader, Writer};

/// Most direct addresses that are kept of one node: a host with a few interfaces in both families.
pub const MAX_DIRECT: usize = 16;
/// Longest text of a relay's URL, in bytes.
const MAX_RELAY_URL: usize = 255;
/// Longest encoding of an address: the id, sixteen addresses of nineteen bytes, a URL, and the frame.
const MAX_ENCODED: usize = 768;

/// Why a text or some bytes are no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Not the URL of a relay.
    #[error("a relay is named by a URL like https://relay.example.org")]
    RelayUrl,
    /// The bytes are not deterministic CBOR of the right shape.
    #[error("the bytes are not the address of a node")]
    Codec(#[from] CodecError),
    /// An address that nobody can dial, a repeated one, or one too many.
    #[error("the address of the node holds an address that cannot be dialled")]
    Direct,
}

/// The URL of a relay: `https://host[:port]`, or `http://` for one without TLS.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayUrl(iroh::RelayUrl);

impl RelayUrl {
    pub(crate) fn to_iroh(&self) -> iroh::RelayUrl {
        self.0.clone()
    }

    pub(crate) fn from_iroh(url: &iroh::RelayUrl) -> Self {
        RelayUrl(url.clone())
    }

    /// Whether the connection to the relay itself is encrypted. What it carries always is.
    pub fn is_tls(&self) -> bool {
        self.0.scheme() == "https"
    }
}

impl FromStr for RelayUrl {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.len() > MAX_RELAY_URL {
            return Err(AddressError::RelayUrl);
        }
        let url: iroh::RelayUrl = text.parse().map_err(|_| AddressError::RelayUrl)?;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.host_str().is_some_and(|host| !host.is_empty())
            && url.username().is_empty()
            && url.password().is_none()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none();
        // The library may print a longer text than was given; what we print must parse again.
        if plain && url.as_str().len() <= MAX_RELAY_URL {
            Ok(RelayUrl(url))
        } else {
            Err(AddressError::RelayUrl)
        }
    }
}

impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl fmt::Debug for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelayUrl({self})")
    }
}

/// Where a node may be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAddress {
    /// The node.
    pub node: NodeId,
    /// UDP addresses to try, all at once.
    pub direct: Vec<SocketAddr>,
    /// A relay at which the node can be reached.
    pub relay: Option<RelayUrl>,
}

impl NodeAddress {
    /// A node of which nothing is known but its id.
    pub fn new(node: NodeId) -> Self {
        NodeAddress {
            node,
            direct: Vec::new(),
            relay: None,
        }
    }

    /// The same with one more direct address.
    #[must_use]
    pub fn with_direct(mut self, direct: SocketAddr) -> Self {
        self.direct.push(direct);
        self
    }

    /// The same with this relay.
    #[must_use]
    pub fn with_relay(mut self, relay: RelayUrl) -> Self {
        self.relay = Some(relay);
        self
    }

    /// Whether it says where to look at all.
    pub fn is_empty(&self) -> bool {
        self.direct.is_empty() && self.relay.is_none()
    }

    /// The direct addresses that can be dialled: sorted, each once, at most [`MAX_DIRECT`].
    fn dialable(&self) -> Vec<SocketAddr> {
        let set: BTreeSet<_> = self
            .direct
            .iter()
            .filter_map(|address| normal(*address))
            .collect();
        set.into_iter().take(MAX_DIRECT).collect()
    }

    /// The same with its direct addresses sorted, each once, at most [`MAX_DIRECT`], and without those that
    /// nobody can dial.
    #[must_use]
    pub fn tidy(mut self) -> Self {
        self.direct = self.dialable();
        self
    }

    /// The bytes that tickets and the store keep: CBOR `{0: node, 1: [address and port, ...], 2: URL or
    /// null}`, at most 768 bytes. Direct addresses are written as by [`tidy`](Self::tidy).
    ///
    /// Source: `docs/format.md`.
    pub fn encode(&self) -> Vec<u8> {
        let direct = self.dialable();
        let mut writer = Writer::new();
        writer
            .map(3)
            .u64(0)
            .bytes(self.node.as_bytes())
            .u64(1)
            .array(direct.len());
        for address in direct {
            let mut bytes = match address.ip() {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            bytes.extend(address.port().to_be_bytes());
            writer.bytes(&bytes);
        }
        writer.u64(2);
        match &self.relay {
            Some(relay) => writer.text(relay.0.as_str()),
            None => writer.null(),
        };
        writer.finish()
    }

    /// Reads what [`encode`](Self::encode) wrote, and only that.
    ///
    /// # Errors
    /// [`AddressError`] for any other bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, AddressError> {
        let mut reader = Reader::new(bytes, MAX_ENCODED, "node address")?;
        reader.map_of(3)?;
        reader.key(0)?;
        let node = NodeId::from_bytes(reader.bytes_of()?);
        reader.key(1)?;
        let count = reader.array()?;
        if count > MAX_DIRECT {
            return Err(AddressError::Direct);
        }
        let mut direct = Vec::with_capacity(count);
        for _ in 0..count {
            let address = socket_address(reader.bytes()?).ok_or(AddressError::Direct)?;
            if normal(address) != Some(address) || direct.last().is_some_and(|last| *last >= address) {
                return Err(AddressError::Direct);
            }
            direct.push(address);
        }
        reader.key(2)?;
        let relay = if reader.null()? {
            None
        } else {
            let text = reader.text()?;
            let url: RelayUrl = text.parse()?;
            if url.0.as_str() != text {
                return Err(AddressError::RelayUrl);
            }
            Some(url)
        };
        reader.finish()?;
        Ok(NodeAddress { node, direct, relay })
    }
}

fn socket_address(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_last_chunk::<2>()?;
    let port = u16::from_be_bytes(*port);
    if let Ok(v4) = <[u8; 4]>::try_from(ip) {
        return Some(SocketAddr::new(Ipv4Addr::from(v4).into(), port));
    }
    let v6 = <[u8; 16]>::try_from(ip).ok()?;
    Some(SocketAddr::new(Ipv6Addr::from(v6).into(), port))
}

/// The one spelling of an address, or nothing for what cannot be dialled from another place: no port, no
/// host, many hosts, or a link-local address, which means nothing without the name of an interface.
fn normal(address: SocketAddr) -> Option<SocketAddr> {
    let ip = address.ip().to_canonical();
    let link_local = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    if address.port() == 0 || ip.is_unspecified() || ip.is_multicast() || link_local || broadcast {
        return None;
    }
    Some(SocketAddr::new(ip, address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> NodeAddress {
        let mut address = NodeAddress::new(NodeId::from_bytes([7; 32]))
            .with_relay("https://relay.example.org".parse().expect("a URL"));
        for last in 1..=20 {
            address = address.with_direct(format!("192.0.2.{last}:4433").parse().expect("an address"));
        }
        address.with_direct("[2001:db8::1]:4433".parse().expect("an address"))
    }

    #[test]
    fn addresses_come_back_as_they_went_tidied() {
        for address in [NodeAddress::new(NodeId::from_bytes([7; 32])), full()] {
            let bytes = address.encode();
            assert!(bytes.len() <= MAX_ENCODED);
            assert_eq!(NodeAddress::decode(&bytes), Ok(address.tidy()));
        }
    }

    #[test]
    fn the_longest_address_fits() {
        let url = format!("https://{}.example.org:65535/", vec!["a".repeat(56); 4].join("."));
        let mut address =
            NodeAddress::new(NodeId::from_bytes([7; 32])).with_relay(url.parse().expect("a URL"));
        for last in 0..MAX_DIRECT {
            address = address.with_direct(format!("[2001:db8::{last:x}]:65535").parse().expect("an address"));
        }
        assert_eq!(NodeAddress::decode(&address.encode()), Ok(address.tidy()));
    }

    #[test]
    fn what_cannot_be_dialled_is_left_out() {
        let mut address = NodeAddress::new(NodeId::from_bytes([7; 32]));
        for text in [
            "0.0.0.0:1",
            "192.0.2.1:0",
            "224.0.0.1:5",
            "[ff02::1]:5",
            "[fe80::1]:5",
            "[::]:5",
            "255.255.255.255:5",
        ] {
            address = address.with_direct(text.parse().expect("an address"));
        }
        assert_eq!(address.clone().tidy().direct, []);
        // A mapped address is the same as the one it maps.
        let mapped = address.with_direct("[::ffff:192.0.2.1]:5".parse().expect("an address"));
        assert_eq!(mapped.tidy().direct, ["192.0.2.1:5".parse().expect("an address")]);
    }

    #[test]
    fn other_bytes_are_refused() {
        let good = full().encode();
        for cut in 0..good.len() {
            assert!(NodeAddress::decode(&good[..cut]).is_err(), "{cut}");
        }
        let mut long = good.clone();
        long.push(0);
        assert!(NodeAddress::decode(&long).is_err());

        let raw = |addresses: &[&[u8]], relay: Option<&str>| {
            let mut writer = Writer::new();
            writer.map(3).u64(0).bytes(&[7; 32]).u64(1).array(addresses.len());
            for address in addresses {
                writer.bytes(address);
            }
            writer.u64(2);
            match relay {
                Some(relay) => writer.text(relay),
                None => writer.null(),
            };
            NodeAddress::decode(&writer.finish())
        };
        let one: &[u8] = &[192, 0, 2, 1, 0, 5];
        let two: &[u8] = &[192, 0, 2, 2, 0, 5];
        assert!(raw(&[one, two], None).is_ok());
        assert_eq!(raw(&[two, one], None), Err(AddressError::Direct), "not sorted");
        assert_eq!(raw(&[one, one], None), Err(AddressError::Direct), "twice");
        assert_eq!(raw(&[&one[..5]], None), Err(AddressError::Direct), "too short");
        assert_eq!(
            raw(&[&[192, 0, 2, 1, 0, 0]], None),
            Err(AddressError::Direct),
            "no port"
        );
        let many: Vec<Vec<u8>> = (0..17).map(|i| vec![192, 0, 2, i, 0, 5]).collect();
        let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
        assert_eq!(raw(&many, None), Err(AddressError::Direct), "too many");
        assert_eq!(
            raw(&[], Some("https://relay.example.org")),
            Err(AddressError::RelayUrl),
            "spelling"
        );
        assert!(raw(&[], Some("https://relay.example.org/")).is_ok());
    }

    #[test]
    fn relays_are_plain_urls() {
        for good in [
            "https://relay.example.org",
            "http://127.0.0.1:3340",
            "https://[2001:db8::1]:8443/",
        ] {
            let url: RelayUrl = good.parse().expect(good);
            assert_eq!(url.to_string().parse(), Ok(url));
        }
        for bad in [
            "",
            "relay.example.org",
            "ftp://relay.example.org",
            "https://",
            "https://user@relay.example.org",
            "https://user:word@relay.example.org",
            "https://relay.example.org/path",
            "https://relay.example.org/?q",
            "https://relay.example.org/#f",
            "file:///etc/passwd",
            "javascript:alert(1)",
            &format!("https://{}", "a".repeat(300)),
        ] {
            assert_eq!(bad.parse::<RelayUrl>(), Err(AddressError::RelayUrl), "{bad:?}");
        }
    }
}
