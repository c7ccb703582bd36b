//! A relay in the foreground: no node, no agent, no keys but those of its own certificate.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

use polykey_api::relay::{RelayOrder, RelayStarted};
use polykey_api::{Code, Problem};
use polykey_core::NodeId;
use polykey_net::relay::{Relay, RelayConfig, RelayError, RelayTls};

use crate::{harden, signals};

/// Longest certificate or key file that is read, in bytes; real ones have a few thousand.
const MAX_PEM: u64 = 1 << 20;

/// Runs a relay until a signal ends it; `ready` is called when it listens.
///
/// # Errors
/// [`Code::Usage`] for an address or id that is none, [`Code::FileNotFound`], [`Code::Io`] or
/// [`Code::BadData`] for the files of the certificate, [`Code::Io`] when it cannot listen or breaks.
pub fn run(order: &RelayOrder, ready: &mut dyn FnMut(&RelayStarted)) -> Result<(), Problem> {
    harden::harden_process();
    let listen = resolve(&order.listen)?;
    let config = config(order, listen)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Problem::new(Code::Io, "the relay's threads cannot be started").caused_by(&error))?;
    runtime.block_on(async {
        // One is enough.
        let (told, mut ended) = tokio::sync::mpsc::channel(1);
        signals::on_end(move |name| {
            let _ = told.try_send(name);
        })
        .map_err(|error| Problem::new(Code::Io, "signals cannot be caught").caused_by(&error))?;
        let mut relay = Relay::start(config).await.map_err(|error| problem(&error))?;
        ready(&RelayStarted {
            url: url(order, listen, &relay),
            discovery_port: relay.quic().map(|address| address.port()),
        });
        tokio::select! {
            name = ended.recv() => tracing::info!("stopping: {}", name.unwrap_or_default()),
            error = relay.failed() => return Err(problem(&error)),
        }
        relay.close().await.map_err(|error| problem(&error))
    })
}

fn config(order: &RelayOrder, listen: SocketAddr) -> Result<RelayConfig, Problem> {
    let tls = match &order.certificate {
        None => None,
        Some((chain, key)) => Some(RelayTls {
            chain: read_pem(chain)?,
            key: read_pem(key)?,
            quic: order
                .discovery_port
                .map(|port| SocketAddr::new(listen.ip(), port)),
        }),
    };
    let allow = order.allow.iter().map(|text| {
        text.parse::<NodeId>().map_err(|_| {
            Problem::new(Code::Usage, "`--allow` takes the id of a node")
                .hint("an id begins with `v` and has 53 characters")
        })
    });
    let allow = allow.collect::<Result<Vec<_>, _>>()?;
    Ok(RelayConfig {
        listen,
        tls,
        allow: (!allow.is_empty()).then_some(allow),
    })
}

fn resolve(listen: &str) -> Result<SocketAddr, Problem> {
    let found = listen.to_socket_addrs().map_err(|error| {
        Problem::new(
            Code::Usage,
            "`--listen` takes an address that this machine has, and a port",
        )
        .hint("for example `--listen 0.0.0.0:443`")
        .caused_by(&error)
    })?;
    let found: Vec<_> = found.collect();
    // A name may stand for several addresses; the first is as good as any to the system.
    found
        .first()
        .copied()
        .ok_or_else(|| Problem::new(Code::Usage, "the name in `--listen` has no address"))
}

/// The URL under which nodes reach it: with the host that the user named, since the certificate names that.
fn url(order: &RelayOrder, listen: SocketAddr, relay: &Relay) -> String {
    let host = order.listen.rsplit_once(':').map_or("", |(host, _)| host);
    if listen.ip().is_unspecified() || host.parse::<std::net::IpAddr>().is_ok() || host.starts_with('[') {
        return relay.url().to_string();
    }
    let scheme = if order.certificate.is_some() {
        "https"
    } else {
        "http"
    };
    format!("{scheme}://{host}:{}/", relay.listens().port())
}

fn read_pem(path: &Path) -> Result<Vec<u8>, Problem> {
    let failed = |error: &io::Error| {
        let code = match error.kind() {
            io::ErrorKind::NotFound => Code::FileNotFound,
            _ => Code::Io,
        };
        Problem::new(code, format!("the file {} cannot be read", path.display())).caused_by(error)
    };
    let file = std::fs::File::open(path).map_err(|error| failed(&error))?;
    let mut bytes = Vec::new();
    let read = io::Read::read_to_end(&mut io::Read::take(file, MAX_PEM + 1), &mut bytes);
    match read.map_err(|error| failed(&error))? as u64 {
        0..=MAX_PEM => Ok(bytes),
        _ => Err(Problem::new(
            Code::BadData,
            format!("the file {} is too long for a certificate or key", path.display()),
        )),
    }
}

fn problem(error: &RelayError) -> Problem {
    let code = match error {
        RelayError::Chain(_) | RelayError::NoCertificate | RelayError::Key(_) | RelayError::Tls(_) => {
            Code::BadData
        }
        _ => Code::Io,
    };
    let problem = Problem::new(code, error.to_string());
    match std::error::Error::source(error) {
        Some(source) => problem.caused_by(source),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(listen: &str) -> RelayOrder {
        RelayOrder {
            listen: listen.to_owned(),
            certificate: None,
            discovery_port: None,
            allow: Vec::new(),
            verbose: 0,
        }
    }

    #[test]
    fn bad_orders_are_refused_before_anything_listens() {
        for listen in [
            "",
            "443",
            "127.0.0.1",
            "127.0.0.1:",
            "127.0.0.1:99999",
            "[::1:443",
        ] {
            let problem = run(&order(listen), &mut |_| panic!("never ready")).expect_err("refused");
            assert_eq!(problem.code, Code::Usage, "{listen:?}");
        }
        let mut stranger = order("127.0.0.1:0");
        stranger.allow = vec!["vnobody".to_owned()];
        let problem = run(&stranger, &mut |_| panic!("never ready")).expect_err("refused");
        assert_eq!(problem.code, Code::Usage);
    }

    #[test]
    fn bad_certificate_files_are_refused_before_anything_listens() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("room");
            path
        };
        let (text, long) = (
            file("text", b"no certificate"),
            file("long", &vec![b'a'; (1 << 20) + 1]),
        );
        for (path, want) in [
            (folder.path().join("absent"), Code::FileNotFound),
            (folder.path().to_owned(), Code::Io),
            (text, Code::BadData),
            (long, Code::BadData),
        ] {
            let mut order = order("127.0.0.1:0");
            order.certificate = Some((path.clone(), path.clone()));
            let problem = run(&order, &mut |_| panic!("never ready")).expect_err("refused");
            assert_eq!(problem.code, want, "{}", path.display());
        }
    }
}
