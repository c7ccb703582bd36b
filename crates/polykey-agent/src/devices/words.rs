//! Words: pairing by a few words that one device shows and the user types at the other.
//!
//! A ticket says whom to ask and carries a secret that nobody guesses; words do neither. So the new device asks the
//! nodes that are near, or one that the user names, and both prove to each other that they know the words, by SPAKE2
//! over the ids that the connection has proven. What goes over the network lets nobody try words without asking, and
//! who asks has one try: then the words are worth nothing, whether they were right or wrong.
//!
//! Always: the words are in memory only, for ten minutes; what they give is what a [ticket](super::pairing) gives.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use polykey_api::{Code, Problem};
use polykey_core::hash::keyed_hash;
use polykey_core::random::{Chance, OsRandom, random_array};
use polykey_core::{Key, NodeId, Random, label};
use spake2::{Ed25519Group, Identity, Password, Spake2};

use super::pairing::invite;
use super::shared::Came;
use crate::agent::Agent;
use crate::blocking::blocking;
use crate::node::Node;
use crate::peer::message::{ELEMENT_LEN, MAC_LEN};
use crate::peer::{Answer, Refusal, Request};
use crate::recovery::past::check_settled;

/// For how long words can be used.
pub const LIFE: Duration = Duration::from_secs(600);
/// How many words there are: 33 bits for one guess.
pub const COUNT: usize = 3;
/// The new device looks around for so long.
const LOOK_AROUND: Duration = Duration::from_secs(10);

/// Words that this device shows.
pub struct Shown {
    words: String,
    until: Instant,
    /// Who asked, and what both agreed on; one only.
    asked: Option<(NodeId, Key)>,
}

/// Makes new words, in the place of those before.
///
/// # Errors
/// As [`check_settled`].
pub fn make(node: &Node) -> Result<String, Problem> {
    check_settled(node)?;
    let words = new_words(&OsRandom);
    let shown = Shown {
        words: words.clone(),
        until: Instant::now() + LIFE,
        asked: None,
    };
    *lock(node) = Some(shown);
    Ok(words)
}

/// Ends the words that are shown, and says whether there were any.
pub fn withdraw(node: &Node) -> bool {
    let shown = lock(node).take();
    shown.is_some_and(|shown| shown.until > Instant::now())
}

fn new_words(random: &dyn Random) -> String {
    let list = bip39::Language::English.word_list();
    let words = (0..COUNT).map(|_| {
        let number = u16::from_be_bytes(random_array(random));
        list[usize::from(number) % list.len()]
    });
    words.collect::<Vec<_>>().join("-")
}

/// The words as they were made, however they were typed; none when they can be no words.
pub fn parse(typed: &str) -> Option<String> {
    let list = bip39::Language::English.word_list();
    let words: Vec<String> = typed
        .split(|c: char| c.is_whitespace() || c == '-')
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let known = words.iter().all(|word| list.contains(&word.as_str()));
    (words.len() == COUNT && known).then(|| words.join("-"))
}

fn lock(node: &Node) -> std::sync::MutexGuard<'_, Option<Shown>> {
    node.turns.words.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The new device is A, the one that shows the words is B.
fn identities(asker: &NodeId, shower: &NodeId) -> (Identity, Identity) {
    (Identity::new(asker.as_bytes()), Identity::new(shower.as_bytes()))
}

/// What one side shows the other to prove that it knows the words.
fn proof(key: &Key, side: u8, asker: &NodeId, shower: &NodeId) -> [u8; MAC_LEN] {
    keyed_hash(
        key,
        label::DEVICE_WORDS,
        &[&[side], asker.as_bytes(), shower.as_bytes()],
    )
}

fn agreed(spake: Spake2<Ed25519Group>, element: &[u8; ELEMENT_LEN]) -> Option<Key> {
    let key = spake.finish(element).ok()?;
    Some(Key::copy_of(key.first_chunk()?))
}

/// Takes the first message of a new device, and gives ours. The words have one try.
fn begin(node: &Node, from: NodeId, element: &[u8; ELEMENT_LEN]) -> Option<[u8; ELEMENT_LEN]> {
    let mut place = lock(node);
    // Whoever comes second, or late, ends it.
    let mut shown = place.take()?;
    if shown.asked.is_some() || shown.until <= Instant::now() {
        return None;
    }
    let (a, b) = identities(&from, &node.id());
    let password = Password::new(shown.words.as_bytes());
    let (spake, ours) = Spake2::<Ed25519Group>::start_b_with_rng(&password, &a, &b, Chance::new(&OsRandom));
    shown.asked = Some((from, agreed(spake, element)?));
    *place = Some(shown);
    ours.try_into().ok()
}

/// Takes the proof of a new device, and gives ours. None when it is none; the words are gone either way.
fn end(node: &Node, from: NodeId, theirs: &[u8; MAC_LEN]) -> Option<[u8; MAC_LEN]> {
    let shown = lock(node).take()?;
    let (by, key) = shown.asked?;
    let me = node.id();
    let want = Key::from_array(proof(&key, 0, &from, &me));
    // Keys are compared in constant time.
    let is_good = by == from && shown.until > Instant::now() && want == Key::copy_of(theirs);
    is_good.then(|| proof(&key, 1, &from, &me))
}

impl Agent {
    /// A new device begins with the words.
    pub(crate) fn begin_words(&self, node: &Node, from: NodeId, element: &[u8; ELEMENT_LEN]) -> Answer {
        match begin(node, from, element) {
            Some(ours) => Answer::Element(ours),
            None => Answer::refused(Refusal::Refused),
        }
    }

    /// A new device proves that it knows the words; `start` and `record` are its keys, which were not checked yet.
    pub(crate) async fn end_words(
        &self,
        node: Arc<Node>,
        from: NodeId,
        theirs: [u8; MAC_LEN],
        start: Vec<u8>,
        record: Vec<u8>,
    ) -> Result<Answer, Problem> {
        let Some(ours) = end(&node, from, &theirs) else {
            return Ok(Answer::refused(Refusal::Refused));
        };
        let Some(keys) = self.network().shown_keys(&node, from, start, record).await else {
            return Ok(Answer::refused(Refusal::Refused));
        };
        blocking(move || {
            node.contacts.trust(from)?;
            node.contacts.keep_keys(keys.start(), keys.record())?;
            invite(&node, from)
        })
        .await?;
        Ok(Answer::Proof(ours))
    }

    /// Makes this node a device of the one that shows these words: `at` when the user names it, else one that is near.
    ///
    /// # Errors
    /// [`Code::NodeNotFound`] when nobody near shows words; [`Code::NotAllowed`] when they are wrong.
    pub async fn join_by_words(
        &self,
        node: &Arc<Node>,
        words: &str,
        at: Option<NodeId>,
    ) -> Result<(NodeId, Vec<Came>), Problem> {
        if let Some(at) = at {
            self.settle_past(node, &[at]).await?;
            return match self.try_words(node, words, at).await? {
                Some(came) => Ok((at, came)),
                None => Err(nobody()),
            };
        }
        let nearby = self.network().running().and_then(|running| running.nearby());
        let Some(mut nearby) = nearby else {
            return Err(nobody());
        };
        let mut tried = BTreeSet::new();
        let until = Instant::now() + LOOK_AROUND;
        loop {
            let near: Vec<NodeId> = (nearby.borrow_and_update().iter())
                .filter(|near| !tried.contains(*near) && !node.contacts.is_blocked(near))
                .copied()
                .collect();
            self.settle_past(node, &near).await?;
            for shower in near {
                tried.insert(shower);
                // Who does not answer shows none.
                match self.try_words(node, words, shower).await {
                    Ok(Some(came)) => return Ok((shower, came)),
                    Ok(None) => {}
                    Err(problem) if problem.code == Code::NodeUnreachable => {}
                    Err(problem) => return Err(problem),
                }
            }
            match tokio::time::timeout_at(until.into(), nearby.changed()).await {
                Ok(Ok(())) => {}
                _ => return Err(nobody()),
            }
        }
    }

    /// Makes this node a device of `shower` by these words; none when that node shows no words.
    async fn try_words(
        &self,
        node: &Arc<Node>,
        words: &str,
        shower: NodeId,
    ) -> Result<Option<Vec<Came>>, Problem> {
        let (a, b) = identities(&node.id(), &shower);
        let password = Password::new(words.as_bytes());
        let (spake, ours) =
            Spake2::<Ed25519Group>::start_a_with_rng(&password, &a, &b, Chance::new(&OsRandom));
        let element = ours
            .try_into()
            .map_err(|_| Problem::new(Code::Internal, "an element has another length"))?;
        let theirs = match self.network().ask(node, shower, Request::Words { element }).await {
            Ok(Answer::Element(theirs)) => theirs,
            Ok(_) => unreachable!("answers are read as answers to their request"),
            Err(problem) if problem.code == Code::NotAllowed => return Ok(None),
            Err(problem) => return Err(problem),
        };
        let wrong = || {
            Problem::new(
                Code::NotAllowed,
                "these are not the words that the other device shows",
            )
            .hint("run `polykey devices pair` there for others: these are used up")
        };
        let key = agreed(spake, &theirs).ok_or_else(wrong)?;
        let request = Request::WordsProof {
            proof: proof(&key, 0, &node.id(), &shower),
            start: node.sigchain_start.as_bytes().to_vec(),
            record: node.key_record.as_bytes().to_vec(),
        };
        let proven = self.network().ask(node, shower, request).await;
        let Answer::Proof(theirs) = proven.map_err(|problem| match problem.code {
            Code::NotAllowed => wrong(),
            _ => problem,
        })?
        else {
            unreachable!("answers are read as answers to their request");
        };
        if Key::copy_of(&theirs) != Key::from_array(proof(&key, 1, &node.id(), &shower)) {
            return Err(wrong());
        }
        let here = node.clone();
        blocking(move || here.contacts.trust(shower)).await?;
        if let Some(running) = self.network().running() {
            running.note_place(shower).await;
        }
        self.become_device(node, shower).await.map(Some)
    }
}

fn nobody() -> Problem {
    Problem::new(Code::NodeNotFound, "no device that can be reached shows words")
        .hint("use the ticket that `devices pair` prints, or name the device: `--at NODE`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chains::cast::Life;
    use crate::peer::bench::Bench;

    async fn ask(bench: &Bench, from: NodeId, request: &Request) -> Answer {
        let (answer, _) = bench.say(from, &request.encode()).await;
        Answer::decode(request, &answer).expect("an answer")
    }

    /// Asks with these words, and gives the proof of what came of it; none when there was no answer.
    async fn begins(bench: &Bench, life: &Life, words: &str) -> Option<(Key, Request)> {
        let (me, shower) = (life.node(), bench.id());
        let (a, b) = identities(&me, &shower);
        let password = Password::new(words.as_bytes());
        let (spake, ours) =
            Spake2::<Ed25519Group>::start_a_with_rng(&password, &a, &b, Chance::new(&OsRandom));
        let element = ours.try_into().expect("33 bytes");
        let Answer::Element(theirs) = ask(bench, me, &Request::Words { element }).await else {
            return None;
        };
        let key = agreed(spake, &theirs).expect("an element");
        let request = Request::WordsProof {
            proof: proof(&key, 0, &me, &shower),
            start: life.start.as_bytes().to_vec(),
            record: life.record.as_bytes().to_vec(),
        };
        Some((key, request))
    }

    async fn invited(bench: &Bench, life: &Life) -> usize {
        match ask(bench, life.node(), &Request::Invitations).await {
            Answer::Invitations(all) => all.len(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_knows_the_words_is_invited_once() {
        let (bench, life) = (Bench::new(), Life::new());
        assert!(
            begins(&bench, &life, "acid-acid-acid").await.is_none(),
            "none are shown"
        );
        let words = make(&bench.node()).expect("made");
        let (key, request) = begins(&bench, &life, &words).await.expect("an element");
        let want = proof(&key, 1, &life.node(), &bench.id());
        assert_eq!(ask(&bench, life.node(), &request).await, Answer::Proof(want));
        assert_eq!(invited(&bench, &life).await, 1);
        // They are used up.
        let refused = Answer::refused(Refusal::Refused);
        assert_eq!(ask(&bench, life.node(), &request).await, refused);
        assert!(begins(&bench, &life, &words).await.is_none());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_wrong_guess_ends_the_pairing() {
        let (bench, life, thief) = (Bench::new(), Life::new(), Life::new());
        let refused = Answer::refused(Refusal::Refused);
        let words = make(&bench.node()).expect("made");
        let (_, request) = begins(&bench, &thief, "acid-acid-acid")
            .await
            .expect("an element");
        assert_eq!(ask(&bench, thief.node(), &request).await, refused);
        assert!(
            begins(&bench, &life, &words).await.is_none(),
            "the words are gone"
        );
        // Whoever comes in between ends it for both.
        let words = make(&bench.node()).expect("made");
        let (_, first) = begins(&bench, &life, &words).await.expect("an element");
        assert!(begins(&bench, &thief, &words).await.is_none());
        assert_eq!(ask(&bench, life.node(), &first).await, refused);
        // A proof is of who made it, and comes from there.
        let words = make(&bench.node()).expect("made");
        let (_, good) = begins(&bench, &life, &words).await.expect("an element");
        assert_eq!(ask(&bench, thief.node(), &good).await, refused);
        assert_eq!(ask(&bench, life.node(), &good).await, refused);
        let words = make(&bench.node()).expect("made");
        let junk = Request::Words {
            element: [0xff; ELEMENT_LEN],
        };
        assert_eq!(ask(&bench, life.node(), &junk).await, refused);
        assert!(begins(&bench, &life, &words).await.is_none());
        for life in [&life, &thief] {
            assert_eq!(invited(&bench, life).await, 0);
        }
    }

    #[test]
    fn words_are_read_however_they_were_typed() {
        for typed in ["acid-bacon-cabin", " Acid  bacon CABIN\n", "acid bacon-cabin"] {
            assert_eq!(parse(typed).as_deref(), Some("acid-bacon-cabin"), "{typed:?}");
        }
        for bad in [
            "",
            "acid-bacon",
            "acid-bacon-cabin-dad",
            "acid-bacon-xyzzy",
            "pkd123",
            "acid_bacon_cabin",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
        let words = new_words(&OsRandom);
        assert_eq!(parse(&words), Some(words));
    }
}
