//! Discovery: what is to be looked at, and when.
//!
//! A queue of nodes and identities in the node's database, and a state machine over time and events: it says what
//! may be looked at now, is told how that went, and says when to look again. It opens no socket; a *look* at a
//! node fetches its chain, one at an identity its page, and the caller takes what came to
//! [`book::receive`](crate::book::receive) and [`proof::record`](crate::proof::record).
//!
//! What was found well is looked at again daily; a failed look waits twice as long each time, up to a day, with a
//! random part so that not all come at once. Things that nobody asked for, found beside others, are dropped
//! after [`Limits::patience`] without success. What the user asked for stays.
//!
//! Always: at most [`MAX_QUEUE`] things are in the queue and none is further than [`MAX_HOPS`] links from what the
//! user asked for, so that nobody can keep us busy by making up nodes. After a crash, what was being looked at is
//! due again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::random::random_array;
use polykey_core::{NodeId, Random, Timestamp};
use polykey_store::{ReadTx, WriteTx};

use crate::error::TrustError;
use crate::gestalt::Vertex;
use crate::identity::{IdentityId, MAX_IDENTITY_LEN};
use crate::tables::{ALL, QUEUE};

/// Most things in the queue.
pub const MAX_QUEUE: usize = 10_000;
/// How many links away from what the user asked for things are followed.
pub const MAX_HOPS: u64 = 3;
/// Most neighbours that one look adds.
pub const MAX_NEIGHBOURS: usize = 256;
const MAX_ROW_LEN: usize = 128;

/// How often and how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most looks at once.
    pub parallel: usize,
    /// Most looks at once at one provider, or at nodes.
    pub parallel_each: usize,
    /// Shortest time between the starts of two looks at one provider.
    pub pause: Duration,
    /// Time from a good look to the next one.
    pub again: Duration,
    /// Time from the first failed look to the next one.
    pub retry: Duration,
    /// Longest time between two looks after failures.
    pub longest: Duration,
    /// How long something that nobody asked for may fail.
    pub patience: Duration,
}

impl Default for Limits {
    /// Eight at once, two a provider and one a second; daily; failures from a minute to a day, three days long.
    fn default() -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        Limits {
            parallel: 8,
            parallel_each: 2,
            pause: Duration::from_secs(1),
            again: day,
            retry: Duration::from_secs(60),
            longest: day,
            patience: 3 * day,
        }
    }
}

/// Something in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub vertex: Vertex,
    /// When it is to be looked at.
    pub due: Timestamp,
    /// Looks that failed since the last good one.
    pub failures: u64,
    /// How many links away from what the user asked for; 0 is what the user asked for.
    pub hops: u64,
    /// When it came into the queue.
    pub added: Timestamp,
    /// When the last good look was.
    pub good: Option<Timestamp>,
}

impl Item {
    /// How early it comes among what is due, 0 to 255: what the user asked for first, then what is nearest to it.
    pub fn priority(&self) -> u8 {
        u8::MAX - u8::try_from(self.hops).unwrap_or(u8::MAX)
    }
}

/// How a look ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Both ends were seen, or the other side said that there is nothing: these are its neighbours.
    Seen(Vec<Vertex>),
    /// It could not be looked at; the other side may have said how long to wait.
    Failed {
        /// The time that it asked for.
        wait: Option<Duration>,
    },
}

/// What happened, for whoever watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It is in the queue.
    Queued(Vertex),
    /// It is being looked at.
    Started(Vertex),
    /// It was seen, and is due again then.
    Processed(Vertex, Timestamp),
    /// It could not be looked at, and is due again then.
    Failed(Vertex, Timestamp),
    /// It failed for too long and is not looked at any more.
    Dropped(Vertex),
    /// The queue is full, and it is not in it.
    Crowded(Vertex),
}

/// The state machine. What it holds in memory is only what is being looked at now, and when each provider was
/// last asked.
#[derive(Debug, Default)]
pub struct Discovery {
    limits: Limits,
    running: BTreeSet<Vertex>,
    /// When each provider may be asked next.
    free: BTreeMap<String, Timestamp>,
}

impl Discovery {
    /// Nothing is being looked at.
    pub fn new(limits: Limits) -> Discovery {
        Discovery {
            limits,
            ..Discovery::default()
        }
    }

    /// Puts what the user asked for into the queue, due at once.
    ///
    /// # Errors
    /// [`TrustError::Full`] with [`MAX_QUEUE`]; [`TrustError::Store`], [`TrustError::Row`].
    pub fn ask(&self, tx: &mut WriteTx<'_>, vertex: &Vertex, now: Timestamp) -> Result<Progress, TrustError> {
        let old = item(tx, vertex)?;
        if old.is_none() && count(tx)? >= MAX_QUEUE {
            return Err(TrustError::Full {
                what: "nodes and identities to look at",
                limit: MAX_QUEUE,
            });
        }
        let item = Item {
            due: now,
            hops: 0,
            failures: 0,
            ..old.unwrap_or_else(|| fresh(vertex.clone(), 0, now))
        };
        put(tx, &item)?;
        Ok(Progress::Queued(vertex.clone()))
    }

    /// Takes something out of the queue; says whether it was there. A look at it that is going on is not heard any
    /// more.
    ///
    /// # Errors
    /// [`TrustError::Store`].
    pub fn drop_item(&mut self, tx: &mut WriteTx<'_>, vertex: &Vertex) -> Result<bool, TrustError> {
        self.running.remove(vertex);
        Ok(tx.remove(QUEUE, ALL, &key(vertex))?)
    }

    /// What may be looked at now, by priority and then oldest due first. Each of these has begun: tell how it ends by
    /// [`Discovery::finish`].
    ///
    /// # Errors
    /// [`TrustError::Store`], [`TrustError::Row`].
    pub fn start(&mut self, tx: &ReadTx<'_>, now: Timestamp) -> Result<Vec<Item>, TrustError> {
        let mut begun = vec![];
        self.free.retain(|_, free| *free > now);
        let mut due = queue(tx)?;
        due.retain(|item| item.due <= now);
        due.sort_by_key(|item| (Reverse(item.priority()), item.due));
        for item in due {
            if self.running.len() >= self.limits.parallel {
                break;
            }
            let provider = provider(&item.vertex);
            let beside = self
                .running
                .iter()
                .filter(|other| self::provider(other) == provider);
            if self.running.contains(&item.vertex)
                || beside.count() >= self.limits.parallel_each
                || self.free.contains_key(provider)
            {
                continue;
            }
            // Nodes are many and stand for themselves; a provider is one server for many.
            if matches!(item.vertex, Vertex::Identity(_)) && !self.limits.pause.is_zero() {
                self.free
                    .insert(provider.to_owned(), now.after(self.limits.pause));
            }
            self.running.insert(item.vertex.clone());
            begun.push(item);
        }
        Ok(begun)
    }

    /// How many looks are going on.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// When [`Discovery::start`] is worth calling again, if nothing else happens: `None` when nothing waits, or
    /// when only the end of a look can make room.
    ///
    /// # Errors
    /// [`TrustError::Store`], [`TrustError::Row`].
    pub fn wake(&self, tx: &ReadTx<'_>) -> Result<Option<Timestamp>, TrustError> {
        if self.running.len() >= self.limits.parallel {
            return Ok(None);
        }
        Ok(queue(tx)?
            .into_iter()
            .filter(|item| !self.running.contains(&item.vertex))
            .filter(|item| {
                let beside = self
                    .running
                    .iter()
                    .filter(|other| provider(other) == provider(&item.vertex));
                beside.count() < self.limits.parallel_each
            })
            .map(|item| match self.free.get(provider(&item.vertex)) {
                Some(free) => item.due.max(*free),
                None => item.due,
            })
            .min())
    }

    /// Notes how a look ended: when to look again, and what was found beside it.
    ///
    /// # Errors
    /// [`TrustError::Store`], [`TrustError::Row`].
    pub fn finish(
        &mut self,
        tx: &mut WriteTx<'_>,
        vertex: &Vertex,
        outcome: &Outcome,
        now: Timestamp,
        random: &dyn Random,
    ) -> Result<Vec<Progress>, TrustError> {
        if !self.running.remove(vertex) {
            return Ok(vec![]);
        }
        let Some(item) = item(tx, vertex)? else {
            return Ok(vec![]);
        };
        match outcome {
            Outcome::Seen(neighbours) => self.seen(tx, item, neighbours, now, random),
            Outcome::Failed { wait } => self.failed(tx, item, *wait, now, random),
        }
    }

    fn seen(
        &self,
        tx: &mut WriteTx<'_>,
        item: Item,
        neighbours: &[Vertex],
        now: Timestamp,
        random: &dyn Random,
    ) -> Result<Vec<Progress>, TrustError> {
        let due = now.after(jittered(self.limits.again, random));
        let mut progress = vec![Progress::Processed(item.vertex.clone(), due)];
        if item.hops < MAX_HOPS {
            let mut room = MAX_QUEUE.saturating_sub(count(tx)?);
            for vertex in neighbours.iter().take(MAX_NEIGHBOURS) {
                let known = self::item(tx, vertex)?;
                let hops = item.hops + 1;
                match known {
                    // A shorter way to it was found.
                    Some(known) if known.hops > hops => put(tx, &Item { hops, ..known })?,
                    Some(_) => {}
                    None if room == 0 => progress.push(Progress::Crowded(vertex.clone())),
                    None => {
                        room -= 1;
                        put(tx, &fresh(vertex.clone(), hops, now))?;
                        progress.push(Progress::Queued(vertex.clone()));
                    }
                }
            }
        }
        put(
            tx,
            &Item {
                due,
                failures: 0,
                good: Some(now),
                ..item
            },
        )?;
        Ok(progress)
    }

    fn failed(
        &mut self,
        tx: &mut WriteTx<'_>,
        item: Item,
        wait: Option<Duration>,
        now: Timestamp,
        random: &dyn Random,
    ) -> Result<Vec<Progress>, TrustError> {
        let vertex = item.vertex.clone();
        let since = item.good.unwrap_or(item.added);
        if item.hops > 0 && now.since(since) >= self.limits.patience {
            tx.remove(QUEUE, ALL, &key(&vertex))?;
            return Ok(vec![Progress::Dropped(vertex)]);
        }
        let doubled = u32::try_from(item.failures.min(20)).expect("at most 20");
        let back_off = self
            .limits
            .retry
            .saturating_mul(1 << doubled)
            .min(self.limits.longest);
        // The other side may ask for more time, and not for so much that it is never looked at again.
        let wait = wait.unwrap_or_default().min(self.limits.longest);
        if !wait.is_zero() && matches!(vertex, Vertex::Identity(_)) {
            let free = self.free.entry(provider(&vertex).to_owned()).or_default();
            *free = now.after(wait).max(*free);
        }
        let due = now.after(jittered(back_off.max(wait), random));
        put(
            tx,
            &Item {
                due,
                failures: item.failures.saturating_add(1),
                ..item
            },
        )?;
        Ok(vec![Progress::Failed(vertex, due)])
    }
}

/// Everything in the queue, oldest due first.
///
/// # Errors
/// [`TrustError::Store`], [`TrustError::Row`].
pub fn queue(tx: &ReadTx<'_>) -> Result<Vec<Item>, TrustError> {
    let mut items = tx
        .group(QUEUE, ALL)?
        .into_iter()
        .map(|(key, value)| decode(&key, value.expose()))
        .collect::<Result<Vec<_>, _>>()?;
    items.sort_by(|a, b| (a.due, &a.vertex).cmp(&(b.due, &b.vertex)));
    Ok(items)
}

fn item(tx: &ReadTx<'_>, vertex: &Vertex) -> Result<Option<Item>, TrustError> {
    let key = key(vertex);
    tx.value(QUEUE, ALL, &key)?
        .map(|value| decode(&key, value.expose()))
        .transpose()
}

fn fresh(vertex: Vertex, hops: u64, now: Timestamp) -> Item {
    Item {
        vertex,
        due: now,
        failures: 0,
        hops,
        added: now,
        good: None,
    }
}

fn count(tx: &ReadTx<'_>) -> Result<usize, TrustError> {
    let mut count = 0;
    tx.each(QUEUE, ALL, |_, _| {
        count += 1;
        Ok::<(), TrustError>(())
    })?;
    Ok(count)
}

/// Whose limits a look counts against.
fn provider(vertex: &Vertex) -> &str {
    match vertex {
        Vertex::Node(_) => "",
        // Each domain is a server of its own; the resolver is one.
        Vertex::Identity(identity) if identity.provider() == crate::identity::HTTPS => identity.identity(),
        Vertex::Identity(identity) => identity.provider(),
    }
}

/// `time` and up to a tenth of it more.
fn jittered(time: Duration, random: &dyn Random) -> Duration {
    let part = u32::from_be_bytes(random_array(random));
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    time + Duration::from_millis(millis / 10 / 1024 * u64::from(part % 1024))
}

fn key(vertex: &Vertex) -> Vec<u8> {
    match vertex {
        Vertex::Node(node) => [b"n", &node.as_bytes()[..]].concat(),
        Vertex::Identity(identity) => [b"i", identity.as_str().as_bytes()].concat(),
    }
}

fn put(tx: &mut WriteTx<'_>, item: &Item) -> Result<(), TrustError> {
    let mut writer = Writer::new();
    writer
        .array(5)
        .u64(item.due.as_millis())
        .u64(item.failures)
        .u64(item.hops);
    writer.u64(item.added.as_millis());
    match item.good {
        Some(good) => writer.u64(good.as_millis()),
        None => writer.null(),
    };
    tx.put(QUEUE, ALL, &key(&item.vertex), &writer.finish())?;
    Ok(())
}

fn decode(key: &[u8], bytes: &[u8]) -> Result<Item, TrustError> {
    const WHAT: &str = "something to look at";
    let read = || {
        let mut reader = Reader::new(bytes, MAX_ROW_LEN, WHAT)?;
        let vertex = decode_key(key).ok_or(CodecError::Shape { what: WHAT })?;
        reader.array_of(5)?;
        let item = Item {
            vertex,
            due: Timestamp::from_millis(reader.u64()?),
            failures: reader.u64()?,
            hops: reader.u64()?,
            added: Timestamp::from_millis(reader.u64()?),
            good: match reader.null()? {
                true => None,
                false => Some(Timestamp::from_millis(reader.u64()?)),
            },
        };
        reader.finish()?;
        Ok(item)
    };
    read().map_err(TrustError::row(WHAT))
}

fn decode_key(key: &[u8]) -> Option<Vertex> {
    match key.split_first()? {
        (b'n', node) => Some(Vertex::Node(NodeId::try_from(node).ok()?)),
        (b'i', text) if text.len() <= MAX_IDENTITY_LEN => {
            let text = std::str::from_utf8(text).ok()?;
            Some(Vertex::Identity(text.parse::<IdentityId>().ok()?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use polykey_store::Database;
    use polykey_testkit::Chance;
    use proptest::prelude::*;

    use super::*;
    use crate::cast::time;
    use crate::trial::database;

    fn node(n: u64) -> Vertex {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        Vertex::Node(NodeId::from_bytes(bytes))
    }

    fn identity(text: &str) -> Vertex {
        Vertex::Identity(text.parse().unwrap())
    }

    struct Bench {
        _folder: tempfile::TempDir,
        db: Database,
        discovery: Discovery,
        chance: Chance,
    }

    impl Bench {
        fn new() -> Bench {
            let (_folder, db) = database();
            Bench {
                _folder,
                db,
                discovery: Discovery::new(Limits::default()),
                chance: Chance::new(3),
            }
        }

        fn ask(&self, vertex: &Vertex, now: u64) {
            self.db
                .write(|tx| self.discovery.ask(tx, vertex, time(now)))
                .unwrap();
        }

        fn start(&mut self, now: u64) -> Vec<Vertex> {
            let discovery = &mut self.discovery;
            let begun = self.db.read(|tx| discovery.start(tx, time(now))).unwrap();
            begun.into_iter().map(|item| item.vertex).collect()
        }

        fn finish(&mut self, vertex: &Vertex, outcome: &Outcome, now: u64) -> Vec<Progress> {
            let (discovery, chance) = (&mut self.discovery, &self.chance);
            self.db
                .write(|tx| discovery.finish(tx, vertex, outcome, time(now), chance))
                .unwrap()
        }

        fn queue(&self) -> Vec<Item> {
            self.db.read(queue).unwrap()
        }

        fn wake(&self) -> Option<Timestamp> {
            self.db.read(|tx| self.discovery.wake(tx)).unwrap()
        }
    }

    const FAILED: Outcome = Outcome::Failed { wait: None };
    const DAY: u64 = 24 * 60 * 60 * 1000;

    #[test]
    fn what_the_user_asks_for_goes_before_what_has_waited_longer() {
        let mut bench = Bench::new();
        bench.ask(&node(0), 0);
        assert_eq!(bench.start(0).len(), 1);
        bench.finish(&node(0), &Outcome::Seen((1..=20).map(node).collect()), 0);
        bench.ask(&node(99), 1000);
        let begun = bench.start(1000);
        assert_eq!(begun[0], node(99), "{begun:?}");
        let priorities: BTreeSet<u8> = bench.queue().iter().map(Item::priority).collect();
        assert_eq!(Vec::from_iter(priorities), [254, 255]);
    }

    #[test]
    fn what_was_asked_for_is_looked_at_once_and_again_the_next_day() {
        let mut bench = Bench::new();
        let one = node(1);
        bench.ask(&one, 5);
        assert_eq!(bench.wake(), Some(time(5)));
        assert_eq!(bench.start(4), []);
        assert_eq!(bench.start(5), std::slice::from_ref(&one));
        assert_eq!((bench.start(6), bench.wake()), (vec![], None));
        let progress = bench.finish(
            &one,
            &Outcome::Seen(vec![node(2), identity("dns:example.org")]),
            10,
        );
        assert!(matches!(
            &progress[..],
            [Progress::Processed(_, due), Progress::Queued(_), Progress::Queued(_)] if due.as_millis() >= 10 + DAY
        ));
        assert_eq!(bench.start(10).len(), 2, "its neighbours are due at once");
        assert_eq!(bench.finish(&one, &FAILED, 11), [], "told once");
        let due = bench
            .queue()
            .into_iter()
            .find(|item| item.vertex == one)
            .unwrap()
            .due;
        assert!((10 + DAY..=10 + DAY + DAY / 10).contains(&due.as_millis()));
    }

    #[test]
    fn failures_wait_twice_as_long_each_time_and_no_longer_than_a_day() {
        let mut bench = Bench::new();
        let one = node(1);
        bench.ask(&one, 0);
        let (mut now, mut last) = (0, 0);
        for turn in 0..20u32 {
            assert_eq!(bench.start(now), std::slice::from_ref(&one));
            let progress = bench.finish(&one, &FAILED, now);
            let [Progress::Failed(_, due)] = &progress[..] else {
                panic!("what the user asked for is never dropped: {progress:?}")
            };
            let wait = due.as_millis() - now;
            let least = (60_000 << turn).min(DAY);
            assert!((least..=least + least / 10).contains(&wait), "{turn}: {wait}");
            assert!(wait >= last || wait >= DAY);
            (now, last) = (due.as_millis(), wait);
        }
        // A good look, or the user, begins anew.
        bench.ask(&one, now + 1);
        assert_eq!(bench.queue()[0].failures, 0);
    }

    #[test]
    fn what_nobody_asked_for_is_dropped_after_three_days() {
        let mut bench = Bench::new();
        bench.ask(&node(1), 0);
        bench.start(0);
        bench.finish(&node(1), &Outcome::Seen(vec![node(2)]), 0);
        let mut now = 0;
        loop {
            let begun = bench.start(now);
            assert!(begun.contains(&node(2)), "{now}");
            if begun.contains(&node(1)) {
                bench.finish(&node(1), &Outcome::Seen(vec![]), now);
            }
            match &bench.finish(&node(2), &FAILED, now)[..] {
                [Progress::Failed(_, due)] => now = due.as_millis(),
                [Progress::Dropped(_)] => break,
                other => panic!("{other:?}"),
            }
        }
        assert!((3 * DAY..5 * DAY).contains(&now), "{now}");
        assert_eq!(bench.queue().len(), 1);
    }

    #[test]
    fn a_provider_is_asked_gently() {
        let mut bench = Bench::new();
        let alike: Vec<_> = (0..5).map(|n| identity(&format!("github.com:u{n}"))).collect();
        alike.iter().for_each(|vertex| bench.ask(vertex, 0));
        bench.ask(&identity("gitlab.com:u0"), 0);
        // One a second of each, and no more than two at once.
        assert_eq!(bench.start(0).len(), 2);
        assert_eq!(bench.wake(), Some(time(1000)));
        assert_eq!(bench.start(999), []);
        assert_eq!(bench.start(1000), [alike[1].clone()]);
        assert_eq!(bench.start(9000), []);
        // When it says how long to wait, nobody there is asked before.
        let wait = Some(Duration::from_secs(600));
        bench.finish(&alike[0], &Outcome::Failed { wait }, 10_000);
        bench.finish(&alike[1], &FAILED, 10_000);
        assert_eq!(bench.start(609_999), []);
        assert!(!bench.start(610_000).is_empty());
        let far = Some(Duration::from_secs(u64::MAX / 2000));
        let vertex = bench.discovery.running.iter().next().unwrap().clone();
        let progress = bench.finish(&vertex, &Outcome::Failed { wait: far }, 610_000);
        assert!(matches!(progress[..], [Progress::Failed(_, due)] if due.as_millis() < 610_000 + 2 * DAY));
    }

    #[test]
    fn no_more_than_eight_looks_go_on_at_once() {
        let mut bench = Bench::new();
        bench.discovery.limits.parallel_each = 100;
        (0..20).for_each(|n| bench.ask(&node(n), 0));
        assert_eq!((bench.start(0).len(), bench.discovery.running()), (8, 8));
        assert_eq!((bench.start(0).len(), bench.wake()), (0, None));
        bench.finish(&node(0), &FAILED, 0);
        assert_eq!(bench.start(0).len(), 1);
    }

    #[test]
    fn nobody_keeps_us_busy_by_making_up_nodes() {
        let mut bench = Bench::new();
        bench.discovery.limits.parallel_each = 8;
        bench.ask(&node(0), 0);
        let mut next = 1;
        for _ in 0..2000 {
            let begun = bench.start(0);
            if begun.is_empty() {
                break;
            }
            for vertex in begun {
                let made_up: Vec<_> = (0..3).map(|n| node(next + n)).collect();
                next += 3;
                bench.finish(&vertex, &Outcome::Seen(made_up), 0);
            }
        }
        assert_eq!(bench.queue().len(), 1 + 3 + 9 + 27);
        let many: Vec<_> = (0..100_000).map(|n| node(1_000_000 + n)).collect();
        bench.ask(&node(0), 1);
        bench.start(1);
        bench.finish(&node(0), &Outcome::Seen(many), 1);
        assert_eq!(bench.queue().len(), 40 + MAX_NEIGHBOURS);
    }

    #[test]
    fn a_restart_begins_again_what_was_going_on() {
        let mut bench = Bench::new();
        bench.ask(&node(1), 0);
        assert_eq!(bench.start(0).len(), 1);
        bench.discovery = Discovery::new(Limits::default());
        assert_eq!(bench.start(0), [node(1)]);
        let discovery = &mut bench.discovery;
        assert!(bench.db.write(|tx| discovery.drop_item(tx, &node(1))).unwrap());
        assert_eq!(bench.finish(&node(1), &FAILED, 1), []);
        assert!(bench.queue().is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// Whatever happens, limits hold, nothing runs twice, and what the user asked for stays.
        #[test]
        fn random_events_keep_the_limits(events in prop::collection::vec((0..6u64, 0..4u8, 0..200_000u64), 1..40)) {
            let mut bench = Bench::new();
            let vertices: Vec<_> = (0..3).map(node).chain((0..3).map(|n| identity(&format!("github.com:u{n}")))).collect();
            let (mut now, mut asked) = (0, BTreeSet::new());
            for (which, what, later) in events {
                now += later;
                let vertex = &vertices[which as usize];
                match what {
                    0 => {
                        bench.ask(vertex, now);
                        asked.insert(vertex.clone());
                    }
                    1 => {
                        let before = bench.discovery.running.clone();
                        let begun = bench.start(now);
                        prop_assert!(begun.iter().all(|vertex| !before.contains(vertex)));
                        prop_assert!(begun.iter().filter(|vertex| matches!(vertex, Vertex::Identity(_))).count() <= 1);
                    }
                    2 => drop(bench.finish(vertex, &FAILED, now)),
                    _ => drop(bench.finish(vertex, &Outcome::Seen(vertices.clone()), now)),
                }
                let queue: BTreeSet<_> = bench.queue().into_iter().map(|item| item.vertex).collect();
                prop_assert!(asked.is_subset(&queue) && queue.len() <= vertices.len());
                prop_assert!(bench.discovery.running() <= 4);
            }
        }
    }
}
