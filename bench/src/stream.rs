//! A bare stream between two processes over the library that carries our connections, with our choice of cryptography
//! and nothing else of ours.
//!
//! The other process is this program again, started with `stream-serve`. On each stream it reads a number of eight
//! bytes at a time: so many MiB it sends, or for 0 it sends one KiB back.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use iroh::endpoint::{Connection, RecvStream, RelayMode, SendStream, presets};
use iroh::{Endpoint, EndpointAddr, EndpointId};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use tokio::runtime::Runtime;

use crate::ground::Process;

const ALPN: &[u8] = b"polykey-bench/1";
/// What is written and read at once.
const PIECE: usize = 256 << 10;
const KIB: usize = 1024;

/// Our end of a stream, and the process at the other.
pub struct Stream {
    send: SendStream,
    recv: RecvStream,
    piece: Vec<u8>,
    _connection: Connection,
    _endpoint: Endpoint,
    runtime: Runtime,
    _process: Process,
}

impl Stream {
    /// Starts the other process and connects to it.
    ///
    /// # Errors
    /// When that fails.
    pub fn open() -> io::Result<Stream> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("stream-serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = Process::start(&mut command)?;
        let mut line = String::new();
        if let Some(stdout) = process.child().stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let address = parse(&line).ok_or_else(|| io::Error::other("the other process tells no address"))?;
        let runtime = Runtime::new()?;
        let (endpoint, connection, send, recv) = runtime.block_on(async {
            let endpoint = bind().await?;
            let connection = endpoint.connect(address, ALPN).await.map_err(io::Error::other)?;
            let (send, recv) = connection.open_bi().await?;
            Ok::<_, io::Error>((endpoint, connection, send, recv))
        })?;
        Ok(Stream {
            runtime,
            send,
            recv,
            piece: vec![0; PIECE],
            _connection: connection,
            _endpoint: endpoint,
            _process: process,
        })
    }

    /// How long `mib` MiB take to come, from the request to the last byte.
    ///
    /// # Errors
    /// When the stream breaks.
    pub fn fetch(&mut self, mib: u64) -> io::Result<Duration> {
        let Stream {
            runtime,
            send,
            recv,
            piece,
            ..
        } = self;
        let begin = Instant::now();
        runtime.block_on(async {
            send.write_all(&mib.to_be_bytes()).await?;
            let mut left = mib << 20;
            while left > 0 {
                let got = recv.read(piece).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
                left = left.saturating_sub(got as u64);
            }
            Ok::<_, io::Error>(())
        })?;
        Ok(begin.elapsed())
    }

    /// How long one KiB takes there and back.
    ///
    /// # Errors
    /// When the stream breaks.
    pub fn echo(&mut self) -> io::Result<Duration> {
        let Stream {
            runtime,
            send,
            recv,
            piece,
            ..
        } = self;
        let begin = Instant::now();
        runtime.block_on(async {
            send.write_all(&0_u64.to_be_bytes()).await?;
            send.write_all(&piece[..KIB]).await?;
            recv.read_exact(&mut piece[..KIB]).await.map_err(io::Error::other)
        })?;
        Ok(begin.elapsed())
    }
}

/// The process behind `stream-serve`: prints its address and serves one connection. Ends with its standard input, so
/// that it does not outlive the one who started it.
///
/// # Errors
/// When it cannot listen.
pub fn serve() -> Result<(), Box<dyn Error>> {
    std::thread::spawn(|| {
        // Nothing is ever sent: this returns at the end.
        drop(io::stdin().read_to_end(&mut Vec::new()));
        std::process::exit(0);
    });
    Runtime::new()?.block_on(async {
        let endpoint = bind().await?;
        let address = endpoint.bound_sockets().first().copied().ok_or("no address")?;
        println!("{} {address}", endpoint.id());
        let incoming = endpoint.accept().await.ok_or("closed")?;
        let connection = incoming.await?;
        loop {
            let (send, recv) = connection.accept_bi().await?;
            tokio::spawn(answer(send, recv));
        }
    })
}

async fn answer(mut send: SendStream, mut recv: RecvStream) -> io::Result<()> {
    let mut piece = vec![0x5a; PIECE];
    let mut number = [0; 8];
    loop {
        recv.read_exact(&mut number).await.map_err(io::Error::other)?;
        let mib = u64::from_be_bytes(number);
        if mib == 0 {
            recv.read_exact(&mut piece[..KIB])
                .await
                .map_err(io::Error::other)?;
            send.write_all(&piece[..KIB]).await?;
        }
        for _ in 0..(mib << 20) / PIECE as u64 {
            send.write_all(&piece).await?;
        }
    }
}

async fn bind() -> io::Result<Endpoint> {
    let builder = Endpoint::builder(presets::Empty)
        .crypto_provider(provider())
        .alpns(vec![ALPN.to_vec()])
        .relay_mode(RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")
        .map_err(io::Error::other)?;
    Box::pin(builder.bind()).await.map_err(io::Error::other)
}

/// As connections between nodes have it.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = default_provider();
    provider.kx_groups = vec![kx_group::X25519MLKEM768, kx_group::X25519];
    Arc::new(provider)
}

/// `id address`, as [`serve`] prints it.
fn parse(line: &str) -> Option<EndpointAddr> {
    let (id, address) = line.trim().split_once(' ')?;
    let id: EndpointId = id.parse().ok()?;
    Some(EndpointAddr::new(id).with_ip_addr(address.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_and_other_lines_do_not() {
        let id = "ae58ff8833241ac82d6ff7611046ed67b5072d142c588d0063e942d9a75502b6";
        let address = parse(&format!("{id} 127.0.0.1:7\n")).expect("an address");
        assert_eq!(address.id.to_string(), id);
        for bad in [
            "",
            "\n",
            id,
            "127.0.0.1:7",
            &format!("{id} 127.0.0.1"),
            &format!("{id}:7"),
        ] {
            assert!(parse(bad).is_none(), "{bad:?}");
        }
    }
}
