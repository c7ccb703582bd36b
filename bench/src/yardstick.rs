//! What we measure against: the least that a program of this kind can do.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use polykey_core::random::{OsRandom, random_array};
use polykey_core::{Key, aead};

/// The process behind `socket-read`: clap has parsed the arguments, hyper reads one body, stdout gets it.
///
/// # Errors
/// When nobody answers.
pub fn socket_read(socket: &Path) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let body = runtime.block_on(async {
        let stream = tokio::net::UnixStream::connect(socket).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = hyper::Request::get("/")
            .header("host", "polykey")
            .body(Empty::<Bytes>::new())?;
        let body = sender
            .send_request(request)
            .await?
            .into_body()
            .collect()
            .await?
            .to_bytes();
        Ok::<_, Box<dyn Error>>(body)
    })?;
    io::stdout().write_all(&body)?;
    Ok(())
}

/// Serves `body` to everybody who connects to the socket that it returns, until this process ends.
///
/// # Errors
/// When the socket cannot be made.
pub fn serve(folder: &Path, body: &[u8]) -> io::Result<PathBuf> {
    let socket = folder.join("yardstick.sock");
    let listener = UnixListener::bind(&socket)?;
    let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 1024];
            // One read takes the whole of the short request.
            if stream.read(&mut request).is_ok_and(|len| len > 0) {
                // A reader that went away is no matter here.
                drop(stream.write_all(&answer));
            }
        }
    });
    Ok(socket)
}

/// How long one core takes to seal `mib` MiB in pieces of 256 KiB, and nothing else.
pub fn sealing(mib: u64) -> Duration {
    let key = Key::random(&OsRandom);
    let mut piece = vec![0x5a; 256 << 10];
    let start = Instant::now();
    for _ in 0..mib * 4 {
        let nonce = random_array(&OsRandom);
        std::hint::black_box(aead::seal_in_place(&key, &nonce, b"", &mut piece));
    }
    start.elapsed()
}

/// How long it takes to copy the file `from` to `to` and to wait until the disk has it.
///
/// # Errors
/// As the disk says.
pub fn copy_durably(from: &Path, to: &Path) -> io::Result<Duration> {
    let (mut from, mut to) = (File::open(from)?, File::create(to)?);
    let mut piece = vec![0; 256 << 10];
    let start = Instant::now();
    loop {
        let len = from.read(&mut piece)?;
        if len == 0 {
            break;
        }
        to.write_all(&piece[..len])?;
    }
    to.sync_all()?;
    Ok(start.elapsed())
}

/// A bare SQLite database with durable commits, set up as our store is.
pub struct Sqlite(rusqlite::Connection, u64);

impl Sqlite {
    /// Creates it in `folder`.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn create(folder: &Path) -> Result<Self, rusqlite::Error> {
        let db = rusqlite::Connection::open(folder.join("bare.db"))?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        db.execute(
            "CREATE TABLE record (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
            [],
        )?;
        Ok(Sqlite(db, 0))
    }

    /// One durable commit of `bytes` under a new key.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn commit(&mut self, bytes: &[u8]) -> Result<(), rusqlite::Error> {
        self.1 += 1;
        // Spread like hashed keys.
        let key = self.1.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        self.0
            .prepare_cached("INSERT INTO record (key, value) VALUES (?1, ?2)")?
            .execute(rusqlite::params![key, bytes])?;
        Ok(())
    }
}
