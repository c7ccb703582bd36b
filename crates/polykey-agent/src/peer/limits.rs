//! How much a peer may ask.
//!
//! Each node has a bucket of requests that fills again with time: a large one for contacts, which pull and
//! announce all day, a small one for strangers, who have nothing to do here but to introduce themselves. All
//! strangers together have one more, so that many made-up nodes count as one.
//!
//! Always: the tables are bounded, that of strangers by itself, so that they cannot crowd out a contact; a
//! bucket that is full says nothing and goes first.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use polykey_core::NodeId;

/// Most nodes whose buckets are remembered, in each table.
const MAX_NODES: usize = 16_384;

/// What a node is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The user, a charter or an invitation has brought it in.
    Contact,
    /// Nobody knows it.
    Stranger,
}

/// A bucket's size in requests, and how many it gains a second.
struct Rate {
    size: f64,
    gain: f64,
}

const CONTACT: Rate = Rate {
    size: 2000.0,
    gain: 500.0,
};
const STRANGER: Rate = Rate {
    size: 20.0,
    gain: 1.0,
};
const ALL_STRANGERS: Rate = Rate {
    size: 400.0,
    gain: 40.0,
};
/// Messages of a stranger for the user.
const KNOCK: Rate = Rate {
    size: 3.0,
    gain: 1.0 / 600.0,
};
const ALL_KNOCKS: Rate = Rate {
    size: 30.0,
    gain: 1.0 / 60.0,
};

#[derive(Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn full(rate: &Rate, now: Instant) -> Bucket {
        Bucket {
            left: rate.size,
            at: now,
        }
    }

    fn take(&mut self, rate: &Rate, now: Instant) -> bool {
        self.fill(rate, now);
        let enough = self.left >= 1.0;
        if enough {
            self.left -= 1.0;
        }
        enough
    }

    fn fill(&mut self, rate: &Rate, now: Instant) {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * rate.gain;
        self.left = (self.left + gained).min(rate.size);
        self.at = now;
    }
}

/// The buckets of all nodes.
#[derive(Default)]
pub struct Rates(Mutex<State>);

#[derive(Default)]
struct State {
    contacts: Buckets,
    strangers: Buckets,
    knocks: Buckets,
    all_strangers: Option<Bucket>,
    all_knocks: Option<Bucket>,
}

#[derive(Default)]
struct Buckets(HashMap<NodeId, Bucket>);

impl Rates {
    /// True when the node may make one more request.
    pub fn request(&self, node: &NodeId, standing: Standing, now: Instant) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match standing {
            Standing::Contact => state.contacts.take(node, &CONTACT, now),
            // Its own first: one that asks too much must not use up what the others have.
            Standing::Stranger => {
                state.strangers.take(node, &STRANGER, now)
                    && state
                        .all_strangers
                        .get_or_insert_with(|| Bucket::full(&ALL_STRANGERS, now))
                        .take(&ALL_STRANGERS, now)
            }
        }
    }

    /// True when a stranger may leave one more message.
    pub fn knock(&self, node: &NodeId, now: Instant) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.knocks.take(node, &KNOCK, now)
            && state
                .all_knocks
                .get_or_insert_with(|| Bucket::full(&ALL_KNOCKS, now))
                .take(&ALL_KNOCKS, now)
    }
}

impl Buckets {
    fn take(&mut self, node: &NodeId, rate: &Rate, now: Instant) -> bool {
        if self.0.len() >= MAX_NODES && !self.0.contains_key(node) {
            self.0.retain(|_, bucket| {
                bucket.fill(rate, now);
                bucket.left < rate.size
            });
            if self.0.len() >= MAX_NODES {
                return false;
            }
        }
        self.0
            .entry(*node)
            .or_insert_with(|| Bucket::full(rate, now))
            .take(rate, now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn node(n: u32) -> NodeId {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        NodeId::from_bytes(bytes)
    }

    fn allowed(rates: &Rates, node: NodeId, standing: Standing, now: Instant) -> usize {
        (0..10_000)
            .take_while(|_| rates.request(&node, standing, now))
            .count()
    }

    #[test]
    fn buckets_run_dry_and_fill_again() {
        let (rates, now) = (Rates::default(), Instant::now());
        assert_eq!(allowed(&rates, node(1), Standing::Stranger, now), 20);
        assert_eq!(allowed(&rates, node(2), Standing::Contact, now), 2000);
        let later = now + Duration::from_secs(2);
        assert_eq!(allowed(&rates, node(1), Standing::Stranger, later), 2);
        assert_eq!(allowed(&rates, node(2), Standing::Contact, later), 1000);
        assert_eq!(
            allowed(&rates, node(1), Standing::Stranger, now),
            0,
            "time that runs back gives nothing"
        );
    }

    #[test]
    fn many_strangers_count_as_one_and_leave_contacts_alone() {
        let (rates, now) = (Rates::default(), Instant::now());
        let all: usize = (0..2_000)
            .map(|n| allowed(&rates, node(n), Standing::Stranger, now))
            .sum();
        assert_eq!(all, 400);
        assert_eq!(
            allowed(
                &rates,
                node(1_000_000),
                Standing::Contact,
                now + Duration::from_secs(30)
            ),
            2000
        );
    }

    #[test]
    fn strangers_leave_few_messages() {
        let (rates, now) = (Rates::default(), Instant::now());
        let knocks = |n: u32| (0..100).take_while(|_| rates.knock(&node(n), now)).count();
        assert_eq!(knocks(1), 3);
        assert_eq!((2..100).map(knocks).sum::<usize>(), 27);
    }
}
