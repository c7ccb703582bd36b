//! Hello and answer: what two nodes say before the first stream.
//!
//! After the handshake the dialer opens one pair of streams and sends a hello; the other side answers, or
//! closes the connection with a code that says why not. Only then does either side hand the connection on.
//! The pair stays open: on it the two ask each other whether they are still there (`1`, answered by `2`).
//!
//! Hello: a frame with CBOR `{0: version, 1: run, 2: replaces}`. `run` is a random number of this process, so
//! that a restart is seen; `replaces` says that older connections from this node are of no use any more.
//! Answer: a frame with CBOR `{0: version, 1: run}`, where the version is at most that of the hello.

use polykey_core::codec::{CodecError, Reader, Writer};

/// The newest version of the hello that this build speaks.
pub const VERSION: u64 = 1;
/// Longest hello or answer in bytes.
pub const MAX_HELLO: usize = 64;
/// Length of the number of a run in bytes.
pub const RUN_LEN: usize = 16;

/// What a dialer says first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// The newest version it speaks.
    pub version: u64,
    /// The number of its process.
    pub run: [u8; RUN_LEN],
    /// Whether its older connections to us are to be closed.
    pub replaces: bool,
}

impl Hello {
    /// The bytes of the frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer
            .map(3)
            .u64(0)
            .u64(self.version)
            .u64(1)
            .bytes(&self.run)
            .u64(2)
            .bool(self.replaces);
        writer.finish()
    }

    /// Reads the bytes of the frame.
    ///
    /// # Errors
    /// [`CodecError`] for any other bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes, MAX_HELLO, "hello")?;
        reader.map_of(3)?;
        reader.key(0)?;
        let version = reader.u64()?;
        reader.key(1)?;
        let run = reader.bytes_of()?;
        reader.key(2)?;
        let replaces = reader.bool()?;
        reader.finish()?;
        Ok(Hello {
            version,
            run,
            replaces,
        })
    }
}

/// What the other side answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The version that both will speak.
    pub version: u64,
    /// The number of its process.
    pub run: [u8; RUN_LEN],
}

impl Answer {
    /// The bytes of the frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.map(2).u64(0).u64(self.version).u64(1).bytes(&self.run);
        writer.finish()
    }

    /// Reads the bytes of the frame.
    ///
    /// # Errors
    /// [`CodecError`] for any other bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes, MAX_HELLO, "answer to a hello")?;
        reader.map_of(2)?;
        reader.key(0)?;
        let version = reader.u64()?;
        reader.key(1)?;
        let run = reader.bytes_of()?;
        reader.finish()?;
        Ok(Answer { version, run })
    }
}

/// The version that two nodes speak when the other side's newest is `theirs`; `None` for none.
pub(crate) fn agree(theirs: u64) -> Option<u64> {
    (theirs >= 1).then(|| theirs.min(VERSION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hello_and_answer_come_back() {
        let hello = Hello {
            version: u64::MAX,
            run: [9; RUN_LEN],
            replaces: true,
        };
        assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
        assert!(hello.encode().len() <= MAX_HELLO);
        let answer = Answer {
            version: 1,
            run: [9; RUN_LEN],
        };
        assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
    }

    #[test]
    fn other_bytes_are_refused() {
        let hello = Hello {
            version: 1,
            run: [9; RUN_LEN],
            replaces: false,
        }
        .encode();
        let answer = Answer {
            version: 1,
            run: [9; RUN_LEN],
        }
        .encode();
        assert!(Hello::decode(&answer).is_err());
        assert!(Answer::decode(&hello).is_err());
        for cut in 0..hello.len() {
            assert!(Hello::decode(&hello[..cut]).is_err(), "{cut}");
        }
        for index in 0..hello.len() {
            let mut long = hello.clone();
            long.insert(index, 0);
            assert!(Hello::decode(&long).is_err(), "{index}");
        }
    }

    #[test]
    fn the_lower_version_is_spoken() {
        assert_eq!((agree(0), agree(1), agree(99)), (None, Some(1), Some(VERSION)));
    }
}
