//! A ticket: one line of text that lets its first bearer into a vault, or makes it a device.
//!
//! It says whom to ask and carries a secret that only the issuer can redeem; which vault and role it is for
//! stands at the issuer alone. Text: `pkt` for a vault, `pkd` for a device, and base32hex, lower case, no padding, of
//! `[1, issuer (32), secret (32), expires, [address, ...]] || checksum (4)`. The checksum finds slips of the
//! hand, no forgery.
//!
//! Always: one ticket has one text. What is parsed has a checksum that holds and a bounded length.

use data_encoding::BASE32_DNSSEC;
use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::hash::hash;
use polykey_core::{Key, NodeId, Random, Timestamp, label};

const VERSION: u64 = 1;
const CHECKSUM_LEN: usize = 4;
/// Most addresses.
pub const MAX_ADDRESSES: usize = 8;
/// Longest address in bytes.
pub const MAX_ADDRESS_LEN: usize = 128;
/// Longest text.
pub const MAX_TEXT_LEN: usize = 2048;

/// Why a text is no ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// It does not look like one.
    #[error("this is no ticket")]
    NoTicket,
    /// Some of it is missing or was changed on its way.
    #[error("the ticket is not complete, or not as it was made")]
    Damaged,
    /// Made by a later version of the program.
    #[error("the ticket has version {0}, which this program does not know")]
    Version(u64),
}

/// What a ticket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It lets into a vault.
    Vault,
    /// It makes a node a device of the issuer's principal.
    Device,
}

impl Purpose {
    const fn prefix(self) -> &'static str {
        match self {
            Purpose::Vault => "pkt",
            Purpose::Device => "pkd",
        }
    }
}

/// A ticket.
pub struct Ticket {
    /// What it is for.
    pub purpose: Purpose,
    /// Who made it, and redeems it.
    pub issuer: NodeId,
    /// What proves that somebody holds it.
    pub secret: Key,
    /// Until when it can be used, by the issuer's clock.
    pub expires: Timestamp,
    /// Where the issuer was when it made it: `address:port`, or the URL of a relay.
    pub addresses: Vec<String>,
}

impl Ticket {
    /// A new one. Addresses that are too long, or too many, are left out.
    pub fn new(
        purpose: Purpose,
        issuer: NodeId,
        expires: Timestamp,
        mut addresses: Vec<String>,
        random: &dyn Random,
    ) -> Ticket {
        addresses.retain(|address| address.len() <= MAX_ADDRESS_LEN);
        addresses.truncate(MAX_ADDRESSES);
        Ticket {
            purpose,
            issuer,
            secret: Key::random(random),
            expires,
            addresses,
        }
    }

    /// Its text.
    pub fn to_text(&self) -> String {
        let mut out = Writer::new();
        out.array(5)
            .u64(VERSION)
            .bytes(self.issuer.as_bytes())
            .bytes(self.secret.expose())
            .u64(self.expires.as_millis())
            .array(self.addresses.len());
        for address in &self.addresses {
            out.text(address);
        }
        let mut bytes = out.finish();
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum);
        format!("{}{}", self.purpose.prefix(), BASE32_DNSSEC.encode(&bytes))
    }

    /// Parses a text; white space around it does not count.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Ticket, TicketError> {
        let text = text.trim_matches(|c: char| c.is_ascii_whitespace());
        let (purpose, body) = [Purpose::Vault, Purpose::Device]
            .into_iter()
            .find_map(|purpose| Some((purpose, text.strip_prefix(purpose.prefix())?)))
            .ok_or(TicketError::NoTicket)?;
        if text.len() > MAX_TEXT_LEN {
            return Err(TicketError::NoTicket);
        }
        let bytes = BASE32_DNSSEC
            .decode(body.as_bytes())
            .map_err(|_| TicketError::Damaged)?;
        // The decoder also takes upper case; there is one text.
        if BASE32_DNSSEC.encode(&bytes) != body {
            return Err(TicketError::Damaged);
        }
        let (bytes, sum) = bytes
            .split_last_chunk::<CHECKSUM_LEN>()
            .ok_or(TicketError::Damaged)?;
        if *sum != checksum(bytes) {
            return Err(TicketError::Damaged);
        }
        let mut from = Reader::new(bytes, MAX_TEXT_LEN, "a ticket").map_err(|_| TicketError::Damaged)?;
        let items = from.array().map_err(|_| TicketError::Damaged)?;
        match from.u64() {
            Ok(VERSION) if items == 5 => {}
            Ok(version) if version != VERSION => return Err(TicketError::Version(version)),
            _ => return Err(TicketError::Damaged),
        }
        read(from, purpose).map_err(|_| TicketError::Damaged)
    }
}

fn read(mut from: Reader<'_>, purpose: Purpose) -> Result<Ticket, CodecError> {
    let issuer = NodeId::from_bytes(from.bytes_of()?);
    let secret = Key::copy_of(&from.bytes_of()?);
    let expires = Timestamp::from_millis(from.u64()?);
    let count = from.array()?;
    if count > MAX_ADDRESSES {
        return Err(from.shape());
    }
    let mut addresses = Vec::with_capacity(count);
    for _ in 0..count {
        let address = from.text()?;
        if address.len() > MAX_ADDRESS_LEN {
            return Err(from.shape());
        }
        addresses.push(address.to_owned());
    }
    from.finish()?;
    Ok(Ticket {
        purpose,
        issuer,
        secret,
        expires,
        addresses,
    })
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LEN] {
    let sum = hash(label::TICKET_CHECKSUM, &[bytes]);
    *sum.first_chunk().expect("a hash has 32 bytes")
}

#[cfg(test)]
mod tests {
    use polykey_testkit::Chance;

    use super::*;

    const PREFIX: &str = Purpose::Vault.prefix();

    /// Made with the chance of seed 7 from the values in [`ticket`].
    const FROZEN: &str = include_str!("ticket.txt");

    fn ticket() -> Ticket {
        let issuer = NodeId::from_bytes([0xab; 32]);
        let expires = Timestamp::from_millis(1_800_000_000_000);
        let addresses = vec!["127.0.0.1:7".to_owned(), "x".repeat(MAX_ADDRESS_LEN + 1)];
        Ticket::new(Purpose::Vault, issuer, expires, addresses, &Chance::new(7))
    }

    /// The text of anything, with a checksum that holds.
    fn text_of(bytes: &[u8]) -> String {
        let all = [bytes, &checksum(bytes)].concat();
        format!("{PREFIX}{}", BASE32_DNSSEC.encode(&all))
    }

    #[track_caller]
    fn refused(text: &str, want: TicketError) {
        assert_eq!(Ticket::parse(text).map(drop), Err(want), "{text:?}");
    }

    #[test]
    fn the_frozen_ticket_is_made_again_and_read() {
        let text = ticket().to_text();
        assert_eq!(text, FROZEN.trim_end());
        for text in [text.clone(), format!("  {text}\r\n")] {
            let read = Ticket::parse(&text).expect("frozen");
            assert_eq!(read.issuer, NodeId::from_bytes([0xab; 32]));
            assert_eq!(read.secret.expose(), ticket().secret.expose());
            assert_eq!(read.expires.as_millis(), 1_800_000_000_000);
            assert_eq!(read.addresses, ["127.0.0.1:7"]);
        }
    }

    #[test]
    fn every_slip_of_the_hand_is_found() {
        let text = ticket().to_text();
        for at in PREFIX.len()..text.len() {
            for other in ["0", "a", "v", "w", "1", " ", "-"] {
                let mut bad = text.clone();
                bad.replace_range(at..=at, other);
                if bad != text && bad.trim() != text {
                    assert!(Ticket::parse(&bad).is_err(), "{at} {other:?}");
                }
            }
            assert!(Ticket::parse(&text[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn other_texts_are_no_tickets() {
        let text = ticket().to_text();
        for bad in [
            "",
            "pk",
            "PKT00",
            "z00",
            &text[1..],
            &text.to_uppercase(),
            "\u{1b}[2J",
        ] {
            refused(bad, TicketError::NoTicket);
        }
        refused(&format!("pkt{}", "0".repeat(MAX_TEXT_LEN)), TicketError::NoTicket);
        for bad in [
            "pkt".to_owned(),
            "pkt0".to_owned(),
            format!("pkt{}", text[3..].to_uppercase()),
            format!("{text}00"),
            format!("{text}{text}"),
            format!("{} {}", &text[..20], &text[20..]),
        ] {
            refused(&bad, TicketError::Damaged);
        }
    }

    #[test]
    fn other_shapes_are_refused() {
        let write = |shape: &dyn Fn(&mut Writer)| {
            let mut out = Writer::new();
            shape(&mut out);
            text_of(&out.finish())
        };
        let id = [0xab; 32];
        let head = |out: &mut Writer, items: usize, version: u64| {
            out.array(items).u64(version).bytes(&id).bytes(&id).u64(5);
        };
        let long = "x".repeat(MAX_ADDRESS_LEN + 1);
        let rests: &[&dyn Fn(&mut Writer)] = &[
            &|out| {
                out.text("");
            },
            &|out| {
                out.array(1).bytes(b"");
            },
            &|out| {
                out.array(1).text(&long);
            },
            &|out| {
                out.array(MAX_ADDRESSES + 1);
                for _ in 0..=MAX_ADDRESSES {
                    out.text("x");
                }
            },
        ];
        for rest in rests {
            let text = write(&|out| {
                head(out, 5, VERSION);
                rest(out);
            });
            refused(&text, TicketError::Damaged);
        }
        let wholes: &[&dyn Fn(&mut Writer)] = &[
            &|out| {
                out.null();
            },
            &|out| {
                out.array(0);
            },
            &|out| {
                out.array(1).u64(VERSION);
            },
            &|out| head(out, 4, VERSION),
            &|out| {
                head(out, 6, VERSION);
                out.array(0).null();
            },
            &|out| {
                out.array(5)
                    .u64(VERSION)
                    .bytes(&id[1..])
                    .bytes(&id)
                    .u64(5)
                    .array(0);
            },
            &|out| {
                out.array(5)
                    .u64(VERSION)
                    .bytes(&id)
                    .bytes(&id[1..])
                    .u64(5)
                    .array(0);
            },
            &|out| {
                out.array(5).u64(VERSION).bytes(&id).bytes(&id).text("5").array(0);
            },
        ];
        for whole in wholes {
            refused(&write(whole), TicketError::Damaged);
        }
        for version in [0, 2, u64::MAX] {
            let text = write(&|out| {
                head(out, 5, version);
                out.array(0);
            });
            refused(&text, TicketError::Version(version));
        }
    }
}
