//! How things are measured: in pairs, in turn, by the median.

use std::io;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::ground::Process;

/// What a command took: time on the wall and on the processors.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// From before the start of the process to after its end.
    pub wall: Duration,
    /// User and system time of the process and what it waited for.
    pub cpu: Duration,
}

/// Runs a command to its end with nothing on its streams.
///
/// # Errors
/// When it cannot be started or does not exit with 0.
pub fn run(command: &mut Command) -> io::Result<Sample> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let before = children_cpu()?;
    let start = Instant::now();
    let status = Process::start(command)?.child().wait()?;
    let wall = start.elapsed();
    if !status.success() {
        return Err(io::Error::other(format!("{command:?} ended with {status}")));
    }
    Ok(Sample {
        wall,
        cpu: children_cpu()?.saturating_sub(before),
    })
}

fn children_cpu() -> io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(micros.unsigned_abs()))
}

impl From<Duration> for Sample {
    /// Of what other processes do, whose processor time is not known.
    fn from(wall: Duration) -> Sample {
        Sample {
            wall,
            cpu: Duration::ZERO,
        }
    }
}

/// The medians of two things that were done in turn, and the median of their ratios.
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    /// Ours.
    pub ours: Sample,
    /// The yardstick.
    pub theirs: Sample,
    /// Median over the rounds of ours / theirs, wall time.
    pub ratio: f64,
}

/// Does `ours` and `theirs` in turn, `rounds` times after one that does not count.
///
/// # Errors
/// The first that either gives.
pub fn pair(
    rounds: usize,
    mut ours: impl FnMut() -> io::Result<Sample>,
    mut theirs: impl FnMut() -> io::Result<Sample>,
) -> io::Result<Pair> {
    ours()?;
    theirs()?;
    let mut samples = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        samples.push((ours()?, theirs()?));
    }
    Ok(Pair {
        ours: median_sample(samples.iter().map(|(ours, _)| *ours)),
        theirs: median_sample(samples.iter().map(|(_, theirs)| *theirs)),
        ratio: median(
            samples
                .iter()
                .map(|(a, b)| a.wall.as_secs_f64() / b.wall.as_secs_f64().max(1e-9)),
        ),
    })
}

/// Times one call inside this process.
///
/// # Errors
/// What the call gives.
pub fn inside(call: impl FnOnce() -> io::Result<()>) -> io::Result<Sample> {
    let start = Instant::now();
    call()?;
    let wall = start.elapsed();
    Ok(Sample { wall, cpu: wall })
}

/// Looks again and again until what is waited for is there, with a rest of `pause` in between; how long that took.
///
/// # Errors
/// What looking gives; [`io::ErrorKind::TimedOut`] when it is not there after `patience`.
pub fn until(
    patience: Duration,
    pause: Duration,
    mut look: impl FnMut() -> io::Result<bool>,
) -> io::Result<Duration> {
    let begin = Instant::now();
    while !look()? {
        if begin.elapsed() > patience {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("what was waited for did not come within {patience:?}"),
            ));
        }
        std::thread::sleep(pause);
    }
    Ok(begin.elapsed())
}

/// The median of some samples, each field on its own.
pub fn median_sample(samples: impl Iterator<Item = Sample> + Clone) -> Sample {
    Sample {
        wall: Duration::from_secs_f64(median(samples.clone().map(|sample| sample.wall.as_secs_f64()))),
        cpu: Duration::from_secs_f64(median(samples.map(|sample| sample.cpu.as_secs_f64()))),
    }
}

/// The middle value; the lower one of two. Zero of none.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
        .get(values.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_with_what_is_found_with_an_error_or_in_time() {
        let pause = Duration::from_millis(1);
        let mut looks = 0;
        let third = || {
            looks += 1;
            Ok(looks == 3)
        };
        assert!(until(Duration::MAX, pause, third).is_ok());
        let late = until(Duration::ZERO, pause, || Ok(false)).expect_err("never there");
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        let broken = until(Duration::MAX, pause, || Err(io::ErrorKind::NotFound.into()));
        assert_eq!(broken.expect_err("broken").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_median_is_the_middle_value() {
        assert!((median([3.0, 1.0, 2.0].into_iter()) - 2.0).abs() < 1e-12);
        assert!((median([4.0, 1.0, 2.0, 3.0].into_iter()) - 2.0).abs() < 1e-12);
    }
}
