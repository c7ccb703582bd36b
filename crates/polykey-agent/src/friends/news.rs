//! What users are told about shares of recovery codes, and its form in a box of the [post](crate::post).
//!
//! `[0, threshold, count]` a share was left here · `[1]` and is not wanted any more · `[2]` a holder gave up ours ·
//! `[3, owner, not before]` somebody asks for the share of an owner · `[4, owner, asker, not before]` a holder says
//! that somebody asks for a share of ours · `[5, owner, asker, too late]` a device of the owner objects.

use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::{NodeId, Timestamp};

/// Longest item.
pub const MAX_NEWS_LEN: usize = 128;

/// One piece of news. Who it is from stands beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// It left a share of its recovery code here.
    Left {
        /// How many shares give the code back.
        threshold: u8,
        /// How many there are.
        count: u8,
    },
    /// It does not want its share to be held here any more.
    Taken,
    /// It does not hold its share of our code any more.
    GivenUp,
    /// It asks for the share of an owner.
    Asked {
        /// Who it says it is.
        owner: NodeId,
        /// Nothing is released before this.
        until: Timestamp,
    },
    /// It holds a share of ours and says who asks for it.
    Warned {
        /// Whose share.
        owner: NodeId,
        /// Who asks.
        asker: NodeId,
        /// It does not release anything before this.
        until: Timestamp,
    },
    /// It is a device of the owner and says that the asker is none.
    Vetoed {
        /// Whose share.
        owner: NodeId,
        /// Who asked.
        asker: NodeId,
        /// True when the share had been released before.
        late: bool,
    },
}

impl News {
    /// True for what a node can cause as often as it likes.
    pub fn is_at_will(&self) -> bool {
        matches!(self, News::Left { .. } | News::Taken)
    }

    /// The bytes in a box.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            News::Left { threshold, count } => {
                out.array(3).u64(0).u64((*threshold).into()).u64((*count).into());
            }
            News::Taken => {
                out.array(1).u64(1);
            }
            News::GivenUp => {
                out.array(1).u64(2);
            }
            News::Asked { owner, until } => {
                out.array(3).u64(3).bytes(owner.as_bytes()).u64(until.as_millis());
            }
            News::Warned { owner, asker, until } => {
                out.array(4)
                    .u64(4)
                    .bytes(owner.as_bytes())
                    .bytes(asker.as_bytes());
                out.u64(until.as_millis());
            }
            News::Vetoed { owner, asker, late } => {
                out.array(4)
                    .u64(5)
                    .bytes(owner.as_bytes())
                    .bytes(asker.as_bytes());
                out.bool(*late);
            }
        }
        out.finish()
    }

    /// Reads what [`News::encode`] wrote.
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn decode(bytes: &[u8]) -> Result<News, CodecError> {
        let mut from = Reader::new(bytes, MAX_NEWS_LEN, "news about a share")?;
        let small = |from: &mut Reader<'_>| u8::try_from(from.u64()?).map_err(|_| from.shape());
        let news = match (from.array()?, from.u64()?) {
            (3, 0) => News::Left {
                threshold: small(&mut from)?,
                count: small(&mut from)?,
            },
            (1, 1) => News::Taken,
            (1, 2) => News::GivenUp,
            (3, 3) => News::Asked {
                owner: NodeId::from_bytes(from.bytes_of()?),
                until: Timestamp::from_millis(from.u64()?),
            },
            (4, 4) => News::Warned {
                owner: NodeId::from_bytes(from.bytes_of()?),
                asker: NodeId::from_bytes(from.bytes_of()?),
                until: Timestamp::from_millis(from.u64()?),
            },
            (4, 5) => News::Vetoed {
                owner: NodeId::from_bytes(from.bytes_of()?),
                asker: NodeId::from_bytes(from.bytes_of()?),
                late: from.bool()?,
            },
            _ => return Err(from.shape()),
        };
        from.finish()?;
        Ok(news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_reads_back_and_nothing_else_does() {
        let (owner, asker) = (NodeId::from_bytes([1; 32]), NodeId::from_bytes([2; 32]));
        let until = Timestamp::from_millis(u64::MAX);
        for news in [
            News::Left {
                threshold: 3,
                count: 16,
            },
            News::Taken,
            News::GivenUp,
            News::Asked { owner, until },
            News::Warned { owner, asker, until },
            News::Vetoed {
                owner,
                asker,
                late: true,
            },
        ] {
            let bytes = news.encode();
            assert!(bytes.len() <= MAX_NEWS_LEN);
            assert_eq!(News::decode(&bytes), Ok(news));
            for cut in 0..bytes.len() {
                assert!(News::decode(&bytes[..cut]).is_err(), "{news:?} {cut}");
            }
        }
        for bad in [&[0x81, 0][..], &[0x81, 6], &[0x83, 0, 0x19, 1, 0, 1], &[0x80]] {
            assert!(News::decode(bad).is_err());
        }
    }
}
