//! Back-off after wrong passwords: guesses are answered one at a time and ever more slowly.
//!
//! The delay comes *before* the next check, so it holds however many connections guess at once and
//! whoever hangs up; it never changes an answer. Requests that carry a token do not pass here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, OwnedMutexGuard};

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(3);

/// The turn-stile before every password check of an agent.
#[derive(Default)]
pub struct Backoff(Arc<Mutex<Guesses>>);

#[derive(Default)]
struct Guesses {
    wrong: u32,
    not_before: Option<Instant>,
}

/// The right to check one password. A check that waits for anything holds it to its end, also when its caller
/// has hung up: the next one may not begin beside it.
pub struct Turn(OwnedMutexGuard<Guesses>);

impl Backoff {
    /// Waits until one password may be checked. Waiting callers are served in order.
    pub async fn turn(&self) -> Turn {
        let guesses = self.0.clone().lock_owned().await;
        if let Some(moment) = guesses.not_before {
            tokio::time::sleep_until(moment.into()).await;
        }
        Turn(guesses)
    }
}

impl Turn {
    /// The password was right: the past is forgotten.
    pub fn right(mut self) {
        *self.0 = Guesses::default();
    }

    /// The password was wrong: the next check comes later.
    pub fn wrong(mut self) {
        self.0.wrong = self.0.wrong.saturating_add(1);
        self.0.not_before = Some(Instant::now() + delay(self.0.wrong));
    }
}

fn delay(wrong: u32) -> Duration {
    FIRST
        .saturating_mul(1 << wrong.saturating_sub(1).min(16))
        .min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_few_seconds_and_stay_there() {
        let delays: Vec<_> = (1..=7).map(|n| delay(n).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3000, 3000]);
        assert_eq!(delay(u32::MAX), LONGEST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_password_delays_the_next_check_and_a_right_one_ends_that() {
        let backoff = Backoff::default();
        backoff.turn().await.wrong();
        backoff.turn().await.wrong();
        let guesses = backoff.0.lock().await;
        assert_eq!(guesses.wrong, 2);
        assert!(guesses.not_before.expect("set") > Instant::now());
        drop(guesses);
        backoff.turn().await.right();
        assert_eq!(backoff.0.lock().await.wrong, 0);
    }
}
