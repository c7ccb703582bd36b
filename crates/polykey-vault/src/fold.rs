//! The fold: from the events of one secret to its state.
//!
//! Every replica that holds the same events computes the same state, whatever the order in which they
//! came. A version is covered when a counted event replaces it, directly or through others; what nothing
//! covers stands, and of several the greatest in [`Rank`] wins. The rules in words are in `docs/format.md`.
//!
//! Always: a pure function of the set of events; references to versions that are not there, not of the
//! same sort or not among the ancestors are as good as absent. [`advance`] is the short way for an
//! event that has seen all others, and gives what [`fold`] gives.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::event::{Action, Event, Rank, State};
use crate::horizon::Horizon;
use crate::id::{CommitId, VersionId};

/// What the fold asks about a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What it had seen, itself included.
    pub horizon: Horizon,
    /// False when it is set aside.
    pub counted: bool,
}

/// Folds `events` of one secret. `standings` holds every commit that an event names.
///
/// An event whose commit is not in `standings` takes no part: that is how a view of the past leaves out
/// what came later.
pub fn fold(events: &[Event], standings: &HashMap<CommitId, Standing>) -> State {
    let fold = Fold::new(events, standings);
    let contents = fold.contents();
    State {
        directory: fold
            .events
            .iter()
            .any(|e| matches!(e.action, Action::MakeDirectory { .. })),
        places: fold.places(),
        attributes: fold.attributes(),
        contents,
    }
}

/// The counter of every content version, also of those that are covered or set aside: one more than the
/// highest that it replaces.
pub fn version_numbers(events: &[Event], standings: &HashMap<CommitId, Standing>) -> HashMap<VersionId, u64> {
    Fold::new(events, standings).numbers()
}

/// The state after `event`, whose commit counts, had seen every other event of the secret, and comes on
/// top of `state`. `None` when the short way does not apply, and the secret must be folded anew.
pub fn advance(mut state: State, event: &Event) -> Option<State> {
    match &event.action {
        Action::Create { at, .. } => {
            if state != State::default() {
                return None;
            }
            state.contents = vec![(event.rank(), 1)];
            state.places = vec![(event.rank(), Some(at.clone()))];
        }
        Action::MakeDirectory { at } => {
            if state != State::default() {
                return None;
            }
            state.directory = true;
            state.places = vec![(event.rank(), Some(at.clone()))];
        }
        Action::Put { replaces, .. } => {
            if *replaces != state.content_versions() || state.directory {
                return None;
            }
            let highest = state.contents.iter().map(|(_, number)| *number).max();
            state.contents = vec![(event.rank(), highest.unwrap_or(0) + 1)];
        }
        Action::Place { replaces, to } => {
            if *replaces != state.place_versions() {
                return None;
            }
            state.places = vec![(event.rank(), to.clone())];
        }
        Action::Attributes(changes) => {
            for (key, value) in changes.iter() {
                match value {
                    Some(value) => {
                        let set = (event.rank(), value.to_owned());
                        state.attributes.insert(key.to_owned(), set);
                    }
                    None => drop(state.attributes.remove(key)),
                }
            }
        }
    }
    Some(state)
}

struct Fold<'a> {
    /// In ascending rank, so that every event comes after all that it can have seen.
    events: Vec<&'a Event>,
    standings: &'a HashMap<CommitId, Standing>,
    by_version: HashMap<VersionId, &'a Event>,
}

impl<'a> Fold<'a> {
    fn new(events: &'a [Event], standings: &'a HashMap<CommitId, Standing>) -> Self {
        let mut events: Vec<_> = events
            .iter()
            .filter(|event| standings.contains_key(&event.version.commit))
            .collect();
        events.sort_by_key(|event| event.rank());
        Fold {
            by_version: events.iter().map(|event| (event.version, *event)).collect(),
            events,
            standings,
        }
    }

    fn counts(&self, event: &Event) -> bool {
        self.standings[&event.version.commit].counted
    }

    /// True when the author of `later` had seen `earlier`; a commit has seen itself.
    fn saw(&self, later: &Event, earlier: &Event) -> bool {
        self.standings[&later.version.commit]
            .horizon
            .sees(&earlier.actor, earlier.seq)
    }

    fn concurrent(&self, a: &Event, b: &Event) -> bool {
        !self.saw(a, b) && !self.saw(b, a)
    }

    /// The events among `named` that are there, were seen by `by` in an earlier commit, and are of the
    /// sort that `of_sort` tells.
    fn replaced(
        &self,
        by: &Event,
        named: &[VersionId],
        of_sort: fn(&Event) -> bool,
    ) -> impl Iterator<Item = &'a Event> {
        named
            .iter()
            .filter_map(|version| self.by_version.get(version).copied())
            .filter(move |event| {
                of_sort(event) && event.version.commit != by.version.commit && self.saw(by, event)
            })
    }

    /// All versions that the events in `by` replace, directly or through others.
    fn covered(
        &self,
        by: &[&'a Event],
        named: fn(&Event) -> &[VersionId],
        of_sort: fn(&Event) -> bool,
    ) -> HashSet<VersionId> {
        let mut covered = HashSet::new();
        let mut open: Vec<&Event> = by.to_vec();
        while let Some(event) = open.pop() {
            for replaced in self.replaced(event, named(event), of_sort) {
                if covered.insert(replaced.version) {
                    open.push(replaced);
                }
            }
        }
        covered
    }

    fn contents(&self) -> Vec<(Rank, u64)> {
        let counted: Vec<_> = self
            .events
            .iter()
            .copied()
            .filter(|event| event.is_content() && self.counts(event))
            .collect();
        let covered = self.covered(&counted, Event::replaced_contents, Event::is_content);
        let numbers = self.numbers();
        counted
            .iter()
            .rev()
            .filter(|event| !covered.contains(&event.version))
            .map(|event| (event.rank(), numbers[&event.version]))
            .collect()
    }

    fn numbers(&self) -> HashMap<VersionId, u64> {
        let mut numbers = HashMap::new();
        // Ascending rank: what an event replaces has its number already.
        for event in self.events.iter().filter(|event| event.is_content()) {
            let highest = self
                .replaced(event, event.replaced_contents(), Event::is_content)
                .filter_map(|replaced| numbers.get(&replaced.version).copied())
                .max();
            numbers.insert(event.version, highest.unwrap_or(0) + 1);
        }
        numbers
    }

    fn places(&self) -> Vec<(Rank, Option<polykey_core::SecretPath>)> {
        let puts: Vec<_> = self
            .events
            .iter()
            .copied()
            .filter(|event| event.is_content() && self.counts(event))
            .collect();
        let replaced = self.covered(&puts, Event::replaced_contents, Event::is_content);
        let valid: Vec<_> = self
            .events
            .iter()
            .copied()
            .filter(|event| match event.place() {
                None => false,
                // An edit beats a removal that had not seen it and that it had not seen.
                Some(None) => self.counts(event) && !puts.iter().any(|put| self.concurrent(put, event)),
                // A secret whose making is set aside stands where it was made for those who built on it.
                Some(Some(_)) => self.counts(event) || replaced.contains(&event.version),
            })
            .collect();
        let covered = self.covered(&valid, Event::replaced_places, |event| event.place().is_some());
        let mut standing: Vec<_> = valid
            .iter()
            .filter(|event| !covered.contains(&event.version))
            .map(|event| (event.rank(), event.place().flatten().cloned()))
            .collect();
        // A place wins over a concurrent removal: what may still be wanted stays.
        standing.sort_by_key(|(rank, to)| std::cmp::Reverse((to.is_some(), *rank)));
        standing
    }

    fn attributes(&self) -> BTreeMap<String, (Rank, String)> {
        let mut attributes = BTreeMap::new();
        for event in self.events.iter().filter(|event| self.counts(event)) {
            if let Action::Attributes(changes) = &event.action {
                for (key, value) in changes.iter() {
                    match value {
                        Some(value) => {
                            attributes.insert(key.to_owned(), (event.rank(), value.to_owned()));
                        }
                        None => drop(attributes.remove(key)),
                    }
                }
            }
        }
        attributes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::AttributeChanges;
    use crate::content::{Content, Kind};
    use crate::event::Stored;
    use polykey_core::{ActorId, NodeId, SecretPath, Timestamp};

    /// Commits are numbered; number `n` of actor `a` has seen what `sees` lists, itself included.
    struct Story {
        events: Vec<Event>,
        standings: HashMap<CommitId, Standing>,
    }

    fn actor(number: u8) -> ActorId {
        ActorId::from_bytes([number; 16])
    }

    fn version(commit: u8) -> VersionId {
        VersionId {
            commit: CommitId::from_bytes([commit; 32]),
            index: 0,
        }
    }

    fn path(text: &str) -> SecretPath {
        SecretPath::parse(text).expect("a path")
    }

    fn stored() -> Stored {
        Stored {
            content: Content {
                kind: Kind::Raw,
                size: 0,
                digest: [0; 32],
                objects: 0,
            },
            objects: vec![],
        }
    }

    fn put(replaces: &[u8]) -> Action {
        Action::Put {
            replaces: replaces.iter().map(|n| version(*n)).collect(),
            stored: stored(),
        }
    }

    fn place(replaces: &[u8], to: Option<&str>) -> Action {
        Action::Place {
            replaces: replaces.iter().map(|n| version(*n)).collect(),
            to: to.map(path),
        }
    }

    fn create() -> Action {
        Action::Create {
            at: path("a"),
            stored: stored(),
        }
    }

    impl Story {
        fn new() -> Self {
            Story {
                events: vec![],
                standings: HashMap::new(),
            }
        }

        /// Adds commit `id` at `height`, the last of `sees` for `by`.
        fn add(mut self, id: u8, height: u64, by: u8, sees: &[(u8, u64)], action: Action) -> Self {
            let horizon: Horizon = sees.iter().map(|(a, n)| (actor(*a), *n)).collect();
            self.events.push(Event {
                version: version(id),
                height,
                actor: actor(by),
                seq: horizon.last(&actor(by)),
                author: NodeId::from_bytes([by; 32]),
                time: Timestamp::from_millis(height),
                action,
            });
            let counted = true;
            self.standings
                .insert(version(id).commit, Standing { horizon, counted });
            self
        }

        fn set_aside(mut self, id: u8) -> Self {
            let standing = self.standings.get_mut(&version(id).commit);
            standing.expect("the commit is there").counted = false;
            self
        }

        fn state(&self) -> State {
            fold(&self.events, &self.standings)
        }
    }

    #[track_caller]
    fn check(story: &Story, contents: &[(u8, u64)], place: Option<&str>) {
        let state = story.state();
        let have: Vec<_> = state.contents.iter().map(|(r, n)| (r.version, *n)).collect();
        let want: Vec<_> = contents.iter().map(|(id, n)| (version(*id), *n)).collect();
        assert_eq!(have, want, "contents");
        assert_eq!(
            state.place().map(|(p, _)| p.to_string()),
            place.map(str::to_owned)
        );
    }

    #[test]
    fn a_line_of_edits_shows_the_last() {
        let story = Story::new()
            .add(1, 1, 1, &[(1, 1)], create())
            .add(2, 2, 1, &[(1, 2)], put(&[1]))
            .add(3, 3, 2, &[(1, 2), (2, 1)], put(&[2]));
        check(&story, &[(3, 3)], Some("a"));
    }

    #[test]
    fn concurrent_edits_stand_side_by_side_until_one_replaces_both() {
        let story = Story::new()
            .add(1, 1, 1, &[(1, 1)], create())
            .add(3, 2, 1, &[(1, 2)], put(&[1]))
            .add(2, 2, 2, &[(1, 1), (2, 1)], put(&[1]));
        check(&story, &[(3, 2), (2, 2)], Some("a"));
        let story = story.add(4, 3, 2, &[(1, 2), (2, 2)], put(&[2, 3]));
        check(&story, &[(4, 3)], Some("a"));
    }

    #[test]
    fn an_edit_beats_a_concurrent_removal_but_not_a_later_one() {
        let story = Story::new()
            .add(1, 1, 1, &[(1, 1)], create())
            .add(2, 2, 1, &[(1, 2)], place(&[1], None))
            .add(3, 2, 2, &[(1, 1), (2, 1)], put(&[1]));
        check(&story, &[(3, 2)], Some("a"));
        let story = story.add(4, 3, 1, &[(1, 3), (2, 1)], place(&[1], None));
        check(&story, &[(3, 2)], None);
    }

    #[test]
    fn an_edit_follows_a_concurrent_move() {
        let story = Story::new()
            .add(1, 1, 1, &[(1, 1)], create())
            .add(2, 2, 1, &[(1, 2)], place(&[1], Some("b")))
            .add(3, 2, 2, &[(1, 1), (2, 1)], put(&[1]));
        check(&story, &[(3, 2)], Some("b"));
        assert!(!story.state().in_conflict());
    }

    #[test]
    fn of_two_moves_the_higher_wins_and_a_move_beats_a_removal() {
        let story = Story::new()
            .add(1, 1, 1, &[(1, 1)], create())
            .add(2, 2, 1, &[(1, 2)], place(&[1], Some("b")))
            .add(3, 2, 2, &[(1, 1), (2, 1)], place(&[1], Some("c")));
        check(&story, &[(1, 1)], Some("c"));
        assert!(story.state().in_conflict());
        let story = story.add(4, 3, 3, &[(1, 1), (3, 1)], place(&[1], None));
        check(&story, &[(1, 1)], Some("c"));
    }

    #[test]
    fn what_is_set_aside_shows_nothing_but_others_may_build_on_it() {
        let story = Story::new()
            .add(1, 1, 1, &[(1, 1)], create())
            .add(2, 2, 1, &[(1, 2)], put(&[1]))
            .set_aside(2);
        check(&story, &[(1, 1)], Some("a"));
        // An edit on top covers also what the version that is set aside had covered.
        let story = story.add(3, 3, 2, &[(1, 2), (2, 1)], put(&[2]));
        check(&story, &[(3, 3)], Some("a"));
        let story = Story::new().add(1, 1, 1, &[(1, 1)], create()).set_aside(1).add(
            2,
            2,
            2,
            &[(1, 1), (2, 1)],
            put(&[1]),
        );
        check(&story, &[(2, 2)], Some("a"));
    }

    #[test]
    fn references_to_what_was_not_seen_are_as_good_as_absent() {
        // Commit 3 claims to replace 2, which it had not seen, and 9, which does not exist.
        let story = Story::new()
            .add(1, 1, 1, &[(1, 1)], create())
            .add(2, 2, 1, &[(1, 2)], put(&[1]))
            .add(3, 2, 2, &[(1, 1), (2, 1)], put(&[1, 2, 9]));
        check(&story, &[(3, 2), (2, 2)], Some("a"));
    }

    #[test]
    fn the_higher_change_of_an_attribute_shows() {
        let set = |value| {
            let mut changes = AttributeChanges::default();
            changes.set("note", value).expect("fits");
            Action::Attributes(changes)
        };
        let story = Story::new()
            .add(1, 1, 1, &[(1, 1)], create())
            .add(2, 2, 1, &[(1, 2)], set(Some("one")))
            .add(3, 2, 2, &[(1, 1), (2, 1)], set(Some("two")));
        assert_eq!(story.state().attributes["note"].1, "two");
        let story = story.add(4, 3, 1, &[(1, 3)], set(None));
        assert!(story.state().attributes.is_empty());
    }

    #[test]
    fn the_short_way_gives_what_the_fold_gives() {
        let mut story = Story::new();
        let mut state = State::default();
        let actions = [
            create(),
            put(&[1]),
            place(&[1], Some("b")),
            put(&[2]),
            place(&[3], None),
            put(&[4]),
            place(&[5], Some("c")),
        ];
        for (number, action) in (1..).zip(actions) {
            story = story.add(number, u64::from(number), 1, &[(1, u64::from(number))], action);
            let event = story.events.last().expect("just added");
            state = advance(state, event).expect("in line");
            assert_eq!(state, story.state(), "after {number}");
        }
    }

    #[test]
    fn the_short_way_steps_back_when_something_is_not_replaced() {
        let story = Story::new()
            .add(1, 1, 1, &[(1, 1)], create())
            .add(2, 2, 1, &[(1, 2)], put(&[]));
        let first = advance(State::default(), &story.events[0]).expect("in line");
        assert_eq!(advance(first, &story.events[1]), None);
        check(&story, &[(2, 1), (1, 1)], Some("a"));
    }
}
