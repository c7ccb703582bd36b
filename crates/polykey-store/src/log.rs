//! A look at SQLite's write-ahead log before SQLite recovers from it.
//!
//! SQLite takes the log up to the first frame that does not check, and forgets the rest: after a power loss
//! that is right, because only the last commit can be half written. But a flipped bit in the middle would
//! silently take back every commit behind it. Each commit is synced before the next begins, so a log with
//! *two* commits at or behind the first bad frame is damaged and not torn, and is not recovered from.
//!
//! Source: sqlite.org/fileformat2.html, section 4, "The Write-Ahead Log".

use std::fs::OpenOptions;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

const HEADER_LEN: usize = 32;
const FRAME_HEADER_LEN: usize = 24;
const MAGIC: u32 = 0x377f_0682;
/// The length of our pages.
pub(crate) const PAGE_LEN: usize = 4096;

/// True when the log at `path` has lost commits that were durable. No log is a good log.
pub(crate) fn is_damaged(path: &Path) -> io::Result<bool> {
    // Without NONBLOCK, opening a pipe that somebody put here would wait for ever.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut log = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(log) if !log.metadata()?.is_file() => return Err(io::ErrorKind::InvalidInput.into()),
        Ok(log) => BufReader::with_capacity(1 << 16, log),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    let mut header = [0; HEADER_LEN];
    if !fill(&mut log, &mut header)? {
        return Ok(false);
    }
    let mut sum = Checksum {
        big_endian: word(&header, 0) & 1 == 1,
        words: (0, 0),
    };
    sum.add(&header[..24]);
    // SQLite ignores the whole log when its header is bad. A header is synced before the first frame is
    // written, so a bad one in front of frames is damage, too.
    let is_header = word(&header, 0) & !1 == MAGIC && word(&header, 2) as usize == PAGE_LEN;
    let mut whole = is_header && sum.words == (word(&header, 6), word(&header, 7));
    // Frames of before the last restart of the log carry other salts, and are none of ours.
    let mut salts = whole.then(|| header[16..24].to_vec());
    let mut commits_behind = 0;
    let mut frame = vec![0; FRAME_HEADER_LEN + PAGE_LEN];
    while fill(&mut log, &mut frame)? {
        let is_ours = *salts.get_or_insert_with(|| frame[8..16].to_vec()) == frame[8..16];
        if whole {
            sum.add(&frame[..8]);
            sum.add(&frame[FRAME_HEADER_LEN..]);
            whole = is_ours && sum.words == (word(&frame, 4), word(&frame, 5));
        }
        let is_commit = word(&frame, 1) != 0;
        if !whole && is_ours && is_commit {
            commits_behind += 1;
            if commits_behind == 2 {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Reads as much as `bytes` holds; false at the end of the file.
fn fill(log: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

fn word(bytes: &[u8], number: usize) -> u32 {
    let bytes = bytes[number * 4..].first_chunk().expect("callers stay inside");
    u32::from_be_bytes(*bytes)
}

/// The running checksum of the log.
struct Checksum {
    big_endian: bool,
    words: (u32, u32),
}

impl Checksum {
    fn add(&mut self, bytes: &[u8]) {
        let word = |four: &[u8]| {
            let four = four.try_into().expect("four bytes");
            match self.big_endian {
                true => u32::from_be_bytes(four),
                false => u32::from_le_bytes(four),
            }
        };
        let (mut a, mut b) = self.words;
        for pair in bytes.chunks_exact(8) {
            a = a.wrapping_add(word(&pair[..4])).wrapping_add(b);
            b = b.wrapping_add(word(&pair[4..])).wrapping_add(a);
        }
        self.words = (a, b);
    }
}
