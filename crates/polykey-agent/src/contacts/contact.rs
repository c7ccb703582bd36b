//! What the node remembers about another node.
//!
//! Record: array `[petname or null, [[place, source, since]], trusted, blocked, first seen, last seen or null,
//! first sigchain entry or null, newest key record or null]`, and the successor behind them when there is one. The two statements were verified before they
//! came in, and the table is sealed.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::genesis::SigchainStart;
use polykey_core::key_record::KeyRecord;
use polykey_core::{NodeId, Timestamp};

/// Most addresses of one node; the oldest gives way, those that the user added last of all.
pub const MAX_ADDRESSES: usize = 8;
/// Of these, most that a third node told.
pub const MAX_TOLD: usize = 2;
/// Longest address as text.
pub const MAX_PLACE_LEN: usize = 512;
/// Longest record: names, addresses, two statements with public keys.
const MAX_LEN: usize = 64 << 10;

/// Where a node may be reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// A socket that listens.
    Socket(SocketAddr),
    /// A relay that passes on to it, by URL.
    Relay(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Socket(socket) => socket.fmt(f),
            Place::Relay(url) => f.write_str(url),
        }
    }
}

/// The text is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an address of a node")]
pub struct PlaceError;

impl FromStr for Place {
    type Err = PlaceError;

    /// `address:port`, or the URL of a relay.
    fn from_str(text: &str) -> Result<Place, PlaceError> {
        if text.len() > MAX_PLACE_LEN || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(PlaceError);
        }
        if text.starts_with("https://") || text.starts_with("http://") {
            return Ok(Place::Relay(text.to_owned()));
        }
        let socket: SocketAddr = text.parse().map_err(|_| PlaceError)?;
        match socket.port() {
            0 => Err(PlaceError),
            _ if socket.ip().is_unspecified() || socket.ip().is_multicast() => Err(PlaceError),
            _ => Ok(Place::Socket(socket)),
        }
    }
}

/// Who said that a node may be reached there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The user.
    Added,
    /// The node was connected from there.
    Seen,
    /// An invitation.
    Ticket,
    /// A third node, which need not be right.
    Told,
}

impl Source {
    fn number(self) -> u64 {
        match self {
            Source::Added => 0,
            Source::Seen => 1,
            Source::Ticket => 2,
            Source::Told => 3,
        }
    }

    fn from_number(number: u64) -> Option<Source> {
        [Source::Added, Source::Seen, Source::Ticket, Source::Told]
            .into_iter()
            .find(|source| source.number() == number)
    }

    /// Its name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Source::Added => "added",
            Source::Seen => "seen",
            Source::Ticket => "ticket",
            Source::Told => "told",
        }
    }
}

/// An address, and where it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The address.
    pub place: Place,
    /// Who told of it.
    pub source: Source,
    /// Since when, or when it was last seen.
    pub since: Timestamp,
}

/// Another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Its id.
    pub node: NodeId,
    /// What the user calls it.
    pub petname: Option<String>,
    /// Where it may be reached, newest first.
    pub addresses: Vec<Known>,
    /// True when the user added it or shared with it.
    pub trusted: bool,
    /// True when it is refused whatever it wants.
    pub blocked: bool,
    /// When it was first heard of.
    pub first_seen: Timestamp,
    /// When it was last connected.
    pub last_seen: Option<Timestamp>,
    /// The first entry of its sigchain.
    pub start: Option<SigchainStart>,
    /// Its newest key record.
    pub record: Option<KeyRecord>,
    /// The node that took its place. It is blocked from then on.
    pub successor: Option<NodeId>,
}

impl Contact {
    /// Nothing is known but the id.
    pub fn new(node: NodeId, now: Timestamp) -> Contact {
        Contact {
            node,
            petname: None,
            addresses: Vec::new(),
            trusted: false,
            blocked: false,
            first_seen: now,
            last_seen: None,
            start: None,
            record: None,
            successor: None,
        }
    }

    /// Notes an address; one that was known before keeps the better of its sources. What a third node tells stands
    /// behind all else, and pushes out at most the [`MAX_TOLD`] that were seen longest ago.
    pub fn learn(&mut self, place: Place, source: Source, now: Timestamp) {
        let before = self.addresses.iter().position(|known| known.place == place);
        let source = match before.map(|at| self.addresses.remove(at).source) {
            Some(old) if old.number() < source.number() => old,
            _ => source,
        };
        let told = |known: &Known| known.source == Source::Told;
        let at = match source {
            Source::Told => self.addresses.iter().take_while(|known| !told(known)).count(),
            _ => 0,
        };
        let known = Known {
            place,
            source,
            since: now,
        };
        self.addresses.insert(at, known);
        let last =
            |known: &[Known], is: fn(&Source) -> bool| known.iter().rposition(|known| is(&known.source));
        while self.addresses.iter().filter(|known| told(known)).count() > MAX_TOLD {
            let oldest = last(&self.addresses, |source| *source == Source::Told);
            self.addresses.remove(oldest.unwrap_or(0));
        }
        while self.addresses.len() > MAX_ADDRESSES {
            let worst = last(&self.addresses, |source| {
                matches!(source, Source::Seen | Source::Ticket)
            });
            let worst = worst.or_else(|| last(&self.addresses, |source| *source == Source::Told));
            self.addresses.remove(worst.unwrap_or(MAX_ADDRESSES));
        }
    }

    /// The bytes of the record, without the id, which is its key.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.array(8 + usize::from(self.successor.is_some()));
        match &self.petname {
            Some(name) => out.text(name),
            None => out.null(),
        };
        out.array(self.addresses.len());
        for known in &self.addresses {
            out.array(3)
                .text(&known.place.to_string())
                .u64(known.source.number())
                .u64(known.since.as_millis());
        }
        out.bool(self.trusted).bool(self.blocked);
        out.u64(self.first_seen.as_millis());
        match self.last_seen {
            Some(time) => out.u64(time.as_millis()),
            None => out.null(),
        };
        for statement in [
            self.start.as_ref().map(SigchainStart::as_bytes),
            self.record.as_ref().map(KeyRecord::as_bytes),
        ] {
            match statement {
                Some(bytes) => out.bytes(bytes),
                None => out.null(),
            };
        }
        if let Some(successor) = &self.successor {
            out.bytes(successor.as_bytes());
        }
        out.finish()
    }

    /// Reads what [`Contact::encode`] wrote.
    ///
    /// # Errors
    /// For anything else.
    pub fn decode(node: &[u8], bytes: &[u8]) -> Result<Contact, CodecError> {
        let mut from = Reader::new(bytes, MAX_LEN, "the record of a node")?;
        let node = NodeId::try_from(node).map_err(|_| from.shape())?;
        let has_successor = match from.array()? {
            8 => false,
            9 => true,
            _ => return Err(from.shape()),
        };
        let petname = match from.null()? {
            true => None,
            false => Some(from.text()?.to_owned()),
        };
        let len = from.array()?;
        if len > MAX_ADDRESSES {
            return Err(from.shape());
        }
        let mut addresses = Vec::new();
        for _ in 0..len {
            from.array_of(3)?;
            let place = from.text()?.parse().map_err(|_| from.shape())?;
            let source = Source::from_number(from.u64()?).ok_or_else(|| from.shape())?;
            let since = Timestamp::from_millis(from.u64()?);
            addresses.push(Known { place, source, since });
        }
        let (trusted, blocked) = (from.bool()?, from.bool()?);
        let first_seen = Timestamp::from_millis(from.u64()?);
        let last_seen = match from.null()? {
            true => None,
            false => Some(Timestamp::from_millis(from.u64()?)),
        };
        let start = match from.null()? {
            true => None,
            false => {
                let start = SigchainStart::accept_unverified(from.bytes()?.to_vec());
                Some(start.map_err(|_| from.shape())?)
            }
        };
        let record = match from.null()? {
            true => None,
            false => {
                let record = KeyRecord::accept_unverified(from.bytes()?.to_vec());
                Some(record.map_err(|_| from.shape())?)
            }
        };
        let mine = |of: Option<NodeId>| of.is_none_or(|of| of == node);
        if !mine(start.as_ref().map(SigchainStart::node)) || !mine(record.as_ref().map(KeyRecord::node)) {
            return Err(from.shape());
        }
        let successor = match has_successor {
            true => Some(NodeId::from_bytes(from.bytes_of()?)),
            false => None,
        };
        from.finish()?;
        Ok(Contact {
            node,
            petname,
            addresses,
            trusted,
            blocked,
            first_seen,
            last_seen,
            start,
            record,
            successor,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    fn at(n: u64) -> Timestamp {
        Timestamp::from_millis(n)
    }

    fn place(port: u16) -> Place {
        Place::Socket(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    #[track_caller]
    fn check(text: &str, good: bool) {
        let parsed = text.parse::<Place>();
        assert_eq!(parsed.is_ok(), good, "{text:?}");
        if let Ok(place) = parsed {
            assert_eq!(place.to_string().parse(), Ok(place));
        }
    }

    #[test]
    fn places_are_sockets_and_relays() {
        check("127.0.0.1:1", true);
        check("[::1]:65535", true);
        check("https://relay.example", true);
        check("http://127.0.0.1:3340", true);
        for bad in [
            "",
            "127.0.0.1",
            "127.0.0.1:0",
            "0.0.0.0:5",
            "[::]:5",
            "224.0.0.1:5",
            "127.0.0.1:65536",
            "host:5",
            "::1:5",
            " 127.0.0.1:5",
            "127.0.0.1:5\n",
            "ftp://x",
            "https://a b",
            "https://a\u{1b}[2J",
        ] {
            check(bad, false);
        }
        check(&format!("https://{}", "a".repeat(MAX_PLACE_LEN)), false);
    }

    #[test]
    fn records_read_back_and_damaged_ones_do_not() {
        let mut contact = Contact::new(node(1), at(5));
        assert_eq!(
            Contact::decode(node(1).as_bytes(), &contact.encode()),
            Ok(contact.clone())
        );
        contact.petname = Some("bob".to_owned());
        contact.successor = Some(node(9));
        contact.learn(place(1), Source::Added, at(6));
        contact.learn(
            Place::Relay("https://relay.example".to_owned()),
            Source::Told,
            at(7),
        );
        contact.trusted = true;
        contact.last_seen = Some(at(9));
        let bytes = contact.encode();
        assert_eq!(Contact::decode(node(1).as_bytes(), &bytes), Ok(contact));
        assert!(Contact::decode(b"short", &bytes).is_err());
        for cut in 0..bytes.len() {
            assert!(
                Contact::decode(node(1).as_bytes(), &bytes[..cut]).is_err(),
                "{cut}"
            );
        }
    }

    #[test]
    fn addresses_are_few_and_those_of_the_user_stay() {
        let mut contact = Contact::new(node(1), at(0));
        contact.learn(place(1), Source::Added, at(0));
        for port in 2..100 {
            contact.learn(place(port), Source::Seen, at(u64::from(port)));
        }
        assert_eq!(contact.addresses.len(), MAX_ADDRESSES);
        assert_eq!(contact.addresses[0].place, place(99));
        assert!(contact.addresses.iter().any(|known| known.place == place(1)));
        // Whatever others tell, the newest that were seen stay before it.
        for port in 300..400 {
            contact.learn(place(port), Source::Told, at(u64::from(port)));
        }
        assert_eq!(contact.addresses.len(), MAX_ADDRESSES);
        let places: Vec<_> = contact
            .addresses
            .iter()
            .map(|known| known.place.clone())
            .collect();
        assert_eq!(places[..3], [place(99), place(98), place(97)]);
        assert_eq!(places[MAX_ADDRESSES - MAX_TOLD..], [place(399), place(398)]);
        assert!(places.contains(&place(1)));
        // Being told of it again does not make it any worse, and brings it to the front.
        contact.learn(place(1), Source::Told, at(200));
        assert_eq!(contact.addresses[0].source, Source::Added);
        for port in 200..220 {
            contact.learn(place(port), Source::Added, at(u64::from(port)));
        }
        assert_eq!(contact.addresses.len(), MAX_ADDRESSES);
    }
}
