//! The signals with which the system asks for an end.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Tells `tell` the name of every signal that asks for an end, from now on.
///
/// # Errors
/// When the system lets none be caught.
pub fn on_end(tell: impl Fn(&'static str) + Clone + Send + 'static) -> io::Result<()> {
    for (kind, name) in [
        (SignalKind::terminate(), "SIGTERM"),
        (SignalKind::interrupt(), "SIGINT"),
        (SignalKind::hangup(), "SIGHUP"),
        (SignalKind::quit(), "SIGQUIT"),
    ] {
        let mut signals = signal(kind)?;
        let tell = tell.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                tell(name);
            }
        });
    }
    Ok(())
}
