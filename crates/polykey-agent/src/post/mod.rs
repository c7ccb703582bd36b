//! The post: what other nodes told us, and what we have to tell them.
//!
//! Three boxes in the node's database. The *inbox* holds what contacts sent and what the agent itself has
//! to tell its user; the *strangers' box* is small, and what anybody may fill must not push out anything
//! else; the *outbox* holds what waits for its delivery, and when it is tried next.
//!
//! Always: each box is bounded, and the oldest goes first (from the outbox only the user takes). Nobody fills a box
//! alone: what one node sends beyond its share is refused and pushes out nothing. What arrives twice is there once. All of this blocks. Start at [`Post::receive`] and [`Post::send`].

pub mod courier;
mod letter;
pub mod notification;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use polykey_api::{Code, Problem};
use polykey_core::codec::CodecError;
use polykey_core::{NodeId, Random, Timestamp, VaultId};
use polykey_store::{Database, StoreError, Table, WriteTx};
use tokio::sync::Notify;

use crate::failure;
use crate::tables::{INBOX, OUTBOX, STRANGERS};
pub use letter::{Letter, MAX_WHOM, Mail, MailId, Outgoing};
use notification::{Content, Notification};

/// Notifications in the inbox.
pub const MAX_INBOX: usize = 10_000;
/// Notifications in the strangers' box.
pub const MAX_STRANGERS: usize = 100;
/// Of one stranger.
pub const MAX_OF_A_STRANGER: usize = 3;
/// Of one contact, which the user has not read. What was read or comes from others is not counted.
pub const MAX_UNREAD_OF_A_CONTACT: usize = 200;
/// Notifications that wait for their delivery.
pub const MAX_OUTBOX: usize = 10_000;
/// How often delivery is tried again, when nothing else is said.
pub const RETRIES: u64 = 256;
/// The first wait after a delivery that failed; each further one is twice as long, up to [`MAX_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// The longest wait between two tries.
const MAX_WAIT: Duration = Duration::from_secs(3600);
/// Longest record of a box.
const ALL: &[u8] = b"all";

/// Which box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tray {
    /// What contacts sent.
    Inbox,
    /// What strangers sent.
    Strangers,
}

impl Tray {
    fn table(self) -> Table {
        match self {
            Tray::Inbox => INBOX,
            Tray::Strangers => STRANGERS,
        }
    }
}

/// What became of something that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// It lies in its box.
    New(MailId),
    /// It was there already.
    Known,
    /// This node has enough there.
    Refused,
}

/// The boxes of a node.
pub struct Post {
    db: Database,
    me: NodeId,
    /// Held while a box changes, so that counting and changing are one step.
    changing: Mutex<()>,
    /// A delivery failed and is due again at a time of its own.
    delayed: Notify,
}

impl Post {
    /// The boxes of the node `me` in its database.
    pub fn new(db: Database, me: NodeId) -> Post {
        Post {
            db,
            me,
            changing: Mutex::new(()),
            delayed: Notify::new(),
        }
    }

    /// Puts a notification into a box.
    ///
    /// # Errors
    /// [`Code::BadData`] when it is for somebody else; what the store says.
    pub fn receive(
        &self,
        tray: Tray,
        notification: &Notification,
        now: Timestamp,
    ) -> Result<Received, Problem> {
        if notification.to() != self.me {
            return Err(Problem::new(
                Code::BadData,
                "the notification is for another node",
            ));
        }
        let _changing = self.change();
        let there = self.ids(tray.table())?;
        let id = notification.id();
        if there.iter().any(|mail| mail.is_of(id.as_bytes())) {
            return Ok(Received::Known);
        }
        let mail = Mail {
            id: MailId::new(now, id.as_bytes()),
            read: false,
            letter: Letter::Signed(notification.clone()),
        };
        if self.has_enough_of(tray, &mail.letter, there.len())? {
            return Ok(Received::Refused);
        }
        self.put(tray, &mail, &there)?;
        Ok(Received::New(mail.id))
    }

    /// True when whoever this letter is from may leave nothing more in a box that holds `there`.
    fn has_enough_of(&self, tray: Tray, letter: &Letter, there: usize) -> Result<bool, Problem> {
        let from = letter.from();
        let of_them = |mail: &&Mail| mail.letter.from() == from;
        match tray {
            Tray::Strangers => {
                let count = self.read(tray)?.iter().filter(of_them).count();
                Ok(count >= MAX_OF_A_STRANGER)
            }
            // What the agent finds out is told, whoever it is about.
            Tray::Inbox if !letter.is_at_will() || there < MAX_UNREAD_OF_A_CONTACT => Ok(false),
            Tray::Inbox => {
                let unread = |mail: &&Mail| !mail.read && mail.letter.is_at_will();
                let count = self.read(tray)?.iter().filter(of_them).filter(unread).count();
                Ok(count >= MAX_UNREAD_OF_A_CONTACT)
            }
        }
    }

    /// Puts something that the agent has to tell into a box.
    ///
    /// # Errors
    /// What the store says.
    pub fn tell(
        &self,
        tray: Tray,
        letter: Letter,
        now: Timestamp,
        random: &dyn Random,
    ) -> Result<Received, Problem> {
        let _changing = self.change();
        let there = self.ids(tray.table())?;
        if self.has_enough_of(tray, &letter, there.len())? {
            return Ok(Received::Refused);
        }
        let mut id = [0; 32];
        random.fill(&mut id);
        let mail = Mail {
            id: MailId::new(now, &id),
            read: false,
            letter,
        };
        self.put(tray, &mail, &there)?;
        Ok(Received::New(mail.id))
    }

    /// The requests of `from` to keep a vault, in whichever box they lie.
    ///
    /// # Errors
    /// What the store says.
    pub fn keep_requests(&self, from: NodeId) -> Result<Vec<(MailId, VaultId)>, Problem> {
        let mut found = Vec::new();
        for tray in [Tray::Inbox, Tray::Strangers] {
            found.extend(self.read(tray)?.iter().filter_map(|mail| match mail.letter {
                Letter::KeepRequest { from: by, vault } if by == from => Some((mail.id, vault)),
                _ => None,
            }));
        }
        Ok(found)
    }

    fn put(&self, tray: Tray, mail: &Mail, there: &BTreeSet<MailId>) -> Result<(), Problem> {
        let most = match tray {
            Tray::Inbox => MAX_INBOX,
            Tray::Strangers => MAX_STRANGERS,
        };
        let over = (there.len() + 1).saturating_sub(most);
        self.write(|tx| {
            for old in there.iter().take(over) {
                tx.remove(tray.table(), ALL, &old.0)?;
            }
            tx.put(tray.table(), ALL, &mail.id.0, &mail.encode())
        })
    }

    /// All that lies in a box, oldest first.
    ///
    /// # Errors
    /// What the store says.
    pub fn read(&self, tray: Tray) -> Result<Vec<Mail>, Problem> {
        let rows = self.rows(tray.table())?;
        rows.iter()
            .map(|(key, value)| Mail::decode(key, value.expose()).map_err(|error| damaged(&error)))
            .collect()
    }

    /// Notes that the user saw these.
    ///
    /// # Errors
    /// What the store says.
    pub fn mark_read(&self, tray: Tray, mails: &[Mail]) -> Result<(), Problem> {
        if mails.iter().all(|mail| mail.read) {
            return Ok(());
        }
        let _changing = self.change();
        self.write(|tx| {
            for mail in mails.iter().filter(|mail| !mail.read) {
                // It may be gone since.
                if tx.contains(tray.table(), ALL, &mail.id.0)? {
                    let seen = Mail {
                        read: true,
                        ..mail.clone()
                    };
                    tx.put(tray.table(), ALL, &mail.id.0, &seen.encode())?;
                }
            }
            Ok(())
        })
    }

    /// Removes one from the inbox or the strangers' box; true when it was there.
    ///
    /// # Errors
    /// What the store says.
    pub fn remove(&self, id: MailId) -> Result<bool, Problem> {
        let _changing = self.change();
        self.removal(|tx| Ok(tx.remove(INBOX, ALL, &id.0)? | tx.remove(STRANGERS, ALL, &id.0)?))
    }

    /// Empties a box; how many were there.
    ///
    /// # Errors
    /// What the store says.
    pub fn clear(&self, tray: Tray) -> Result<usize, Problem> {
        let _changing = self.change();
        self.removal(|tx| tx.remove_group(tray.table(), ALL))
    }

    /// Puts a notification into the outbox, to be tried at once and then `retries` times more.
    ///
    /// # Errors
    /// [`Code::Busy`] when the outbox is full; what the store says.
    pub fn send(
        &self,
        notification: Notification,
        retries: u64,
        now: Timestamp,
    ) -> Result<Outgoing, Problem> {
        let _changing = self.change();
        if self.ids(OUTBOX)?.len() >= MAX_OUTBOX {
            return Err(Problem::new(Code::Busy, "the outbox is full")
                .hint("see `polykey notifications outbox read`, empty it with `... outbox clear`"));
        }
        let outgoing = Outgoing {
            id: MailId::new(now, notification.id().as_bytes()),
            next: now,
            tried: 0,
            left: retries,
            notification,
        };
        self.write(|tx| tx.put(OUTBOX, ALL, &outgoing.id.0, &outgoing.encode()))?;
        Ok(outgoing)
    }

    /// Waits until a delivery failed, so that something may be due sooner than what was. Safe to cancel.
    pub async fn one_failed(&self) {
        self.delayed.notified().await;
    }

    /// All that waits to be delivered, oldest first.
    ///
    /// # Errors
    /// What the store says.
    pub fn outbox(&self) -> Result<Vec<Outgoing>, Problem> {
        let rows = self.rows(OUTBOX)?;
        rows.iter()
            .map(|(key, value)| Outgoing::decode(key, value.expose()).map_err(|error| damaged(&error)))
            .collect()
    }

    /// A delivery succeeded, was refused for good, or the user does not want it any more; true when it
    /// waited.
    ///
    /// # Errors
    /// What the store says.
    pub fn drop_outgoing(&self, id: MailId) -> Result<bool, Problem> {
        let _changing = self.change();
        self.removal(|tx| tx.remove(OUTBOX, ALL, &id.0))
    }

    /// Empties the outbox; how many were there.
    ///
    /// # Errors
    /// What the store says.
    pub fn clear_outbox(&self) -> Result<usize, Problem> {
        let _changing = self.change();
        self.removal(|tx| tx.remove_group(OUTBOX, ALL))
    }

    /// A delivery failed: it is tried again later, twice as late each time, or given up.
    ///
    /// # Errors
    /// What the store says.
    pub fn failed(&self, id: MailId, now: Timestamp) -> Result<(), Problem> {
        self.change_outgoing(id, |outgoing| {
            outgoing.left = outgoing.left.checked_sub(1)?;
            outgoing.next = now.after(wait_after(outgoing.tried));
            outgoing.tried = outgoing.tried.saturating_add(1);
            Some(())
        })
    }

    /// Another delivery to the same node has just failed: this one is tried no sooner than that would be first tried
    /// again, which is no try.
    ///
    /// # Errors
    /// What the store says.
    pub fn put_off(&self, id: MailId, now: Timestamp) -> Result<(), Problem> {
        self.change_outgoing(id, |outgoing| {
            outgoing.next = outgoing.next.max(now.after(FIRST_WAIT));
            Some(())
        })
    }

    /// Puts `letter` in the place of one that waits, to be tried when that would be.
    ///
    /// # Errors
    /// What the store says.
    pub fn send_anew(&self, waiting: &Outgoing, letter: &Notification) -> Result<Outgoing, Problem> {
        let _changing = self.change();
        let anew = Outgoing {
            id: MailId::new(waiting.id.time(), letter.id().as_bytes()),
            notification: letter.clone(),
            ..waiting.clone()
        };
        self.write(|tx| {
            tx.remove(OUTBOX, ALL, &waiting.id.0)?;
            tx.put(OUTBOX, ALL, &anew.id.0, &anew.encode())
        })?;
        Ok(anew)
    }

    /// Changes what waits; it goes when `change` gives nothing.
    fn change_outgoing(
        &self,
        id: MailId,
        change: impl FnOnce(&mut Outgoing) -> Option<()>,
    ) -> Result<(), Problem> {
        let _changing = self.change();
        self.write(|tx| {
            let Some(value) = tx.value(OUTBOX, ALL, &id.0)? else {
                return Ok(());
            };
            let Ok(mut outgoing) = Outgoing::decode(&id.0, value.expose()) else {
                return Ok(());
            };
            match change(&mut outgoing) {
                Some(()) => tx.put(OUTBOX, ALL, &id.0, &outgoing.encode()),
                None => tx.remove(OUTBOX, ALL, &id.0).map(drop),
            }
        })?;
        self.delayed.notify_one();
        Ok(())
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rows(&self, table: Table) -> Result<Vec<(Vec<u8>, polykey_core::SecretBytes)>, Problem> {
        self.db
            .read(|tx| tx.group(table, ALL))
            .map_err(|error: StoreError| failure::store(&error))
    }

    fn ids(&self, table: Table) -> Result<BTreeSet<MailId>, Problem> {
        let rows = self.rows(table)?;
        rows.into_iter()
            .map(|(key, _)| {
                key.try_into()
                    .map(MailId)
                    .map_err(|_| damaged(&CodecError::Truncated))
            })
            .collect()
    }

    fn write<T>(&self, change: impl FnOnce(&mut WriteTx<'_>) -> Result<T, StoreError>) -> Result<T, Problem> {
        self.db.write(change).map_err(|error| failure::store(&error))
    }

    /// Getting rid of something goes through on a full disk.
    fn removal<T>(
        &self,
        change: impl FnOnce(&mut WriteTx<'_>) -> Result<T, StoreError>,
    ) -> Result<T, Problem> {
        self.db
            .write_removal(change)
            .map_err(|error| failure::store(&error))
    }
}

/// The wait after so many tries that failed before.
fn wait_after(tried: u64) -> Duration {
    let doublings = u32::try_from(tried.min(16)).expect("at most 16");
    FIRST_WAIT.saturating_mul(1 << doublings).min(MAX_WAIT)
}

fn damaged(error: &dyn std::error::Error) -> Problem {
    failure::record("a notification that is kept here", error)
}

/// A text that cannot be sent.
pub fn text_problem() -> Problem {
    Problem::new(
        Code::Usage,
        format!("a message has 1 to {} bytes", notification::MAX_TEXT),
    )
}

/// A text as a notification's content.
///
/// # Errors
/// [`Code::Usage`] when it is empty or too long.
pub fn message(text: &str) -> Result<Content, Problem> {
    Content::message(text).ok_or_else(text_problem)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use polykey_core::random::OsRandom;
    use polykey_core::sign::SigningKey;
    use polykey_core::{Key, VaultName};
    use polykey_store::StoreEnv;
    use polykey_vault::charter::Role;

    use super::*;

    struct Bench {
        _dir: tempfile::TempDir,
        post: Post,
    }

    fn me() -> SigningKey {
        SigningKey::from_seed(&Key::from_array([1; 32]))
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn bench() -> Bench {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let key = Key::random(&OsRandom);
        let db = Database::create(&dir.path().join("node.db"), &key, &StoreEnv::default());
        Bench {
            post: Post::new(db.expect("a new database"), me().public()),
            _dir: dir,
        }
    }

    fn note(from: u8, text: &str) -> Notification {
        let root = SigningKey::from_seed(&Key::from_array([from; 32]));
        let content = Content::message(text).expect("short");
        Notification::sign(&root, me().public(), at(5), content, &OsRandom)
    }

    fn texts(mails: &[Mail]) -> Vec<String> {
        mails
            .iter()
            .map(|mail| match &mail.letter {
                Letter::Signed(notification) => format!("{:?}", notification.content()),
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn what_arrives_twice_is_there_once() {
        let bench = bench();
        let note = note(2, "hello");
        let first = bench.post.receive(Tray::Inbox, &note, at(10)).expect("stores");
        assert!(matches!(first, Received::New(_)));
        assert_eq!(
            bench.post.receive(Tray::Inbox, &note, at(11)),
            Ok(Received::Known)
        );
        assert_eq!(bench.post.read(Tray::Inbox).expect("reads").len(), 1);
    }

    #[test]
    fn another_nodes_mail_is_refused() {
        let bench = bench();
        let root = SigningKey::from_seed(&Key::from_array([2; 32]));
        let content = Content::message("x").expect("short");
        let other = Notification::sign(&root, root.public(), at(5), content, &OsRandom);
        let refused = bench.post.receive(Tray::Inbox, &other, at(10));
        assert_eq!(refused.map_err(|problem| problem.code), Err(Code::BadData));
    }

    #[test]
    fn reading_marks_and_removing_removes() {
        let bench = bench();
        for (i, text) in (0..).zip(["a", "b", "c"]) {
            bench
                .post
                .receive(Tray::Inbox, &note(2, text), at(i))
                .expect("stores");
        }
        let mails = bench.post.read(Tray::Inbox).expect("reads");
        bench.post.mark_read(Tray::Inbox, &mails[..2]).expect("writes");
        let now = bench.post.read(Tray::Inbox).expect("reads");
        assert_eq!(
            now.iter().map(|mail| mail.read).collect::<Vec<_>>(),
            [true, true, false]
        );
        assert_eq!(texts(&now), texts(&mails));
        assert_eq!(bench.post.remove(now[0].id), Ok(true));
        assert_eq!(bench.post.remove(now[0].id), Ok(false));
        // What is gone does not come back by being marked.
        bench.post.mark_read(Tray::Inbox, &mails).expect("writes");
        assert_eq!(bench.post.clear(Tray::Inbox), Ok(2));
        assert_eq!(bench.post.read(Tray::Inbox), Ok(Vec::new()));
    }

    #[test]
    fn a_stranger_cannot_fill_the_box_and_pushes_out_strangers_only() {
        let bench = bench();
        bench
            .post
            .receive(Tray::Inbox, &note(2, "from a friend"), at(0))
            .expect("stores");
        for i in 0..5u64 {
            let got = bench
                .post
                .receive(Tray::Strangers, &note(3, &i.to_string()), at(i))
                .expect("answers");
            assert_eq!(got == Received::Refused, i >= MAX_OF_A_STRANGER as u64, "{i}");
        }
        for i in 0..MAX_STRANGERS as u64 {
            let from = u8::try_from(100 + i).expect("below 256");
            bench
                .post
                .receive(Tray::Strangers, &note(from, "x"), at(10 + i))
                .expect("stores");
        }
        let strangers = bench.post.read(Tray::Strangers).expect("reads");
        assert_eq!(strangers.len(), MAX_STRANGERS);
        assert!(
            strangers.iter().all(|mail| mail.id.time() >= at(10)),
            "the oldest went"
        );
        assert_eq!(bench.post.read(Tray::Inbox).expect("reads").len(), 1);
    }

    #[test]
    fn a_contact_fills_no_more_than_its_share_and_pushes_nothing_out() {
        let bench = bench();
        let post = &bench.post;
        let receive = |from: u8, text: &str, time| post.receive(Tray::Inbox, &note(from, text), at(time));
        receive(3, "kept", 0).expect("stores");
        post.mark_read(Tray::Inbox, &post.read(Tray::Inbox).expect("reads"))
            .expect("writes");
        let known = note(2, "known");
        post.receive(Tray::Inbox, &known, at(1)).expect("stores");
        for i in 2..=MAX_UNREAD_OF_A_CONTACT as u64 {
            let got = receive(2, &i.to_string(), i).expect("stores");
            assert!(matches!(got, Received::New(_)), "{i}");
        }
        let vault = VaultId::from_bytes([3; 32]);
        let from = note(2, "x").from();
        let ask = || {
            post.tell(
                Tray::Inbox,
                Letter::KeepRequest { from, vault },
                at(900),
                &OsRandom,
            )
        };
        assert_eq!(receive(2, "one more", 900), Ok(Received::Refused));
        assert_eq!(ask(), Ok(Received::Refused));
        // Again is no more, others have their own share, and what the agent finds out is told.
        assert_eq!(post.receive(Tray::Inbox, &known, at(900)), Ok(Received::Known));
        assert!(matches!(receive(3, "hello", 901), Ok(Received::New(_))));
        let doubt = Letter::Doubt { from, forked: true };
        let told = post.tell(Tray::Inbox, doubt, at(902), &OsRandom);
        assert!(matches!(told, Ok(Received::New(_))), "{told:?}");
        // What was read makes room.
        let mails = post.read(Tray::Inbox).expect("reads");
        assert_eq!(mails.len(), MAX_UNREAD_OF_A_CONTACT + 3);
        post.mark_read(Tray::Inbox, &mails[..3]).expect("writes");
        assert!(matches!(ask(), Ok(Received::New(_))));
        assert!(matches!(receive(2, "one more", 903), Ok(Received::New(_))));
        assert_eq!(receive(2, "another", 904), Ok(Received::Refused));
        assert_eq!(
            post.read(Tray::Inbox).expect("reads").len(),
            MAX_UNREAD_OF_A_CONTACT + 5
        );
    }

    #[test]
    fn what_the_agent_tells_survives() {
        let bench = bench();
        let vault = VaultId::from_bytes([3; 32]);
        let joined = Letter::Joined {
            from: me().public(),
            vault,
            name: VaultName::parse("work").expect("a name"),
            role: Role::Reader,
        };
        let asked = Letter::KeepRequest {
            from: me().public(),
            vault,
        };
        let moved = Letter::Succeeded {
            from: me().public(),
            former: NodeId::from_bytes([9; 32]),
        };
        let doubt = |forked| Letter::Doubt {
            from: me().public(),
            forked,
        };
        let all = [joined, asked.clone(), moved, doubt(true), doubt(false)];
        for letter in &all {
            let told = bench.post.tell(Tray::Inbox, letter.clone(), at(1), &OsRandom);
            assert!(matches!(told, Ok(Received::New(_))), "{told:?}");
        }
        // A stranger's requests are few, and are found where they lie.
        for i in 0..5u64 {
            let told = bench.post.tell(Tray::Strangers, asked.clone(), at(i), &OsRandom);
            let refused = told == Ok(Received::Refused);
            assert_eq!(refused, i >= MAX_OF_A_STRANGER as u64, "{told:?}");
        }
        let requests = bench.post.keep_requests(me().public()).expect("reads");
        assert_eq!(requests.len(), 1 + MAX_OF_A_STRANGER);
        assert!(requests.iter().all(|(_, of)| *of == vault));
        let letters: Vec<_> = bench.post.read(Tray::Inbox).expect("reads");
        assert_eq!(letters.len(), all.len());
        for letter in all {
            assert!(letters.iter().any(|mail| mail.letter == letter));
        }
    }

    #[test]
    fn a_delivery_is_tried_later_and_later_and_then_given_up() {
        let bench = bench();
        let sent = bench.post.send(note(1, "x"), 2, at(1000)).expect("stores");
        assert_eq!((sent.next, sent.left), (at(1000), 2));
        assert!(bench.post.one_failed().now_or_never().is_none());
        let mut waits = Vec::new();
        for _ in 0..2 {
            bench.post.failed(sent.id, at(2000)).expect("writes");
            let outbox = bench.post.outbox().expect("reads");
            waits.push((outbox[0].next.as_millis(), outbox[0].left));
        }
        assert_eq!(waits, [(4000, 1), (6000, 0)]);
        bench.post.put_off(sent.id, at(5000)).expect("writes");
        let outbox = bench.post.outbox().expect("reads");
        assert_eq!((outbox[0].next, outbox[0].left), (at(7000), 0));
        assert!(bench.post.one_failed().now_or_never().is_some());
        assert!(bench.post.one_failed().now_or_never().is_none());
        bench.post.failed(sent.id, at(2000)).expect("writes");
        assert!(bench.post.one_failed().now_or_never().is_some());
        assert_eq!(bench.post.outbox(), Ok(Vec::new()));
        bench.post.failed(sent.id, at(2000)).expect("nothing to do");
        assert_eq!(wait_after(u64::MAX), MAX_WAIT);
        let one = bench.post.send(note(1, "y"), 2, at(1)).expect("stores");
        assert_eq!(bench.post.drop_outgoing(one.id), Ok(true));
        assert_eq!(bench.post.drop_outgoing(one.id), Ok(false));
    }

    #[test]
    fn ids_have_one_spelling() {
        let id = MailId::new(at(7), &[0xab; 32]);
        let text = id.to_string();
        assert_eq!(MailId::parse(&text), Some(id));
        for bad in ["", "00", &text.to_uppercase(), &text[1..], &format!("{text}00")] {
            assert_eq!(MailId::parse(bad), None, "{bad:?}");
        }
    }
}
