//! Progress bars: for what takes longer than a second, on a terminal only, on stderr.

use std::io::{self, IsTerminal, Read, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Output;

/// Work shorter than this shows no bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// Counts bytes and shows them once the work has taken a second. The bar goes when this is dropped.
pub struct Meter {
    allowed: bool,
    total: Option<u64>,
    done: u64,
    since: Instant,
    bar: Option<ProgressBar>,
}

impl Meter {
    /// A meter for `total` bytes, or for nobody knows how many.
    pub fn new(out: Output, total: Option<u64>) -> Self {
        let allowed = !out.is_json() && !out.is_quiet() && io::stderr().is_terminal();
        Meter {
            allowed,
            total,
            done: 0,
            since: Instant::now(),
            bar: None,
        }
    }

    /// Tells of more bytes.
    pub fn add(&mut self, bytes: usize) {
        self.done += bytes as u64;
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        } else if self.allowed && self.since.elapsed() >= PATIENCE {
            self.bar = Some(self.show());
        }
    }

    fn show(&self) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(self.total, ProgressDrawTarget::stderr());
        let form = match self.total {
            Some(_) => "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            None => "{spinner} {bytes} {bytes_per_sec} {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(form) {
            bar.set_style(style);
        }
        bar.set_position(self.done);
        bar
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A reader or writer whose bytes a [`Meter`] counts.
pub struct Metered<S> {
    stream: S,
    meter: Meter,
}

impl<S> Metered<S> {
    /// Counts what passes through `stream`.
    pub fn new(stream: S, meter: Meter) -> Self {
        Metered { stream, meter }
    }
}

impl<S: Read> Read for Metered<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.stream.read(buffer)?;
        self.meter.add(len);
        Ok(len)
    }
}

impl<S: Write> Write for Metered<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.stream.write(bytes)?;
        self.meter.add(len);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Format;

    #[test]
    fn bytes_pass_unchanged_and_are_counted() {
        let out = Output::new(Format::Human, false, 0);
        let mut read = Vec::new();
        let mut metered = Metered::new(&b"some bytes"[..], Meter::new(out, Some(10)));
        metered.read_to_end(&mut read).expect("memory is readable");
        assert_eq!((read.as_slice(), metered.meter.done), (&b"some bytes"[..], 10));
        let mut written = Metered::new(Vec::new(), Meter::new(out, None));
        written.write_all(b"more").expect("memory is writable");
        assert_eq!((written.stream.as_slice(), written.meter.done), (&b"more"[..], 4));
    }

    #[test]
    fn nothing_is_drawn_for_programs_or_the_impatient() {
        for out in [
            Output::new(Format::Json, false, 0),
            Output::new(Format::Human, true, 0),
        ] {
            let mut meter = Meter::new(out, Some(1));
            meter.since = Instant::now().checked_sub(2 * PATIENCE).unwrap_or(meter.since);
            meter.add(1);
            assert!(meter.bar.is_none());
        }
    }
}
