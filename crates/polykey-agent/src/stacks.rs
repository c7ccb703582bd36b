//! Overwriting the stacks of the runtime's threads when the keys go.
//!
//! After each piece of work a thread overwrites what requests of our own can have used. The transport goes deeper,
//! with the root key by value on its way, and too deep to pay for after each piece of work: so that is done once,
//! at the end. The search of a locked agent's memory in the tests holds this to its word.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use polykey_core::scrub;

/// Threads of the agent's runtime, unless the user says how many.
pub const WORKERS: usize = 2;
/// Half of what a thread of the runtime has.
const WHOLE: usize = 1 << 20;
/// A thread that is busy this long overwrites what it used when it rests, like after any work.
const PATIENCE: Duration = Duration::from_millis(100);

/// Overwrites the stacks of all threads of the runtime.
pub async fn overwrite_all() {
    let workers = tokio::runtime::Handle::current().metrics().num_workers();
    let here = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..workers)
        .map(|_| {
            let here = here.clone();
            tokio::spawn(async move {
                // Each keeps its thread until all are here, so that they are on different ones.
                here.fetch_add(1, Ordering::Relaxed);
                let begin = Instant::now();
                while here.load(Ordering::Relaxed) < workers && begin.elapsed() < PATIENCE {
                    std::thread::yield_now();
                }
                scrub::overwrite::<WHOLE>();
            })
        })
        .collect();
    for task in tasks {
        // Nothing in it panics; when the runtime ends, so does its memory.
        let _ = task.await;
    }
}
