//! Identity links: two ends that name each other.
//!
//! A node speaks for an identity when its sigchain says so *and* the identity's own page carries that very
//! claim. [`check`] compares the two ends. What was found is remembered: a page that changed or vanished, and a
//! claim that was revoked, end the link, tell the user, and stay as evidence; a look that failed only lets
//! the link grow older.
//!
//! Always: a link informs. It grants nothing, and its end takes nothing: rights hang on node ids.

use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::{NodeId, StatementId, Timestamp};
use polykey_store::{ReadTx, WriteTx};

use crate::armour::{ArmourError, PageClaim};
use crate::error::TrustError;
use crate::identity::IdentityId;
use crate::sigchain::Chain;
use crate::tables::{ALL, PROOF};

/// Most identities of which anything is remembered.
pub const MAX_IDENTITIES: usize = 20_000;
/// Most former links that are remembered of one identity: the first, and the newest ones.
pub const MAX_FORMER: usize = 8;
const MAX_ROW_LEN: usize = 2048;

/// Which node speaks for an identity, and by which claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Proof {
    /// The node.
    pub node: NodeId,
    /// The claim in its chain.
    pub claim: StatementId,
}

/// Why two ends do not make a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The page carries no claim that could be read.
    #[error(transparent)]
    Page(#[from] ArmourError),
    /// The page names another node.
    #[error("the page names node {got}, not node {want}")]
    OtherNode {
        /// The node on the page.
        got: NodeId,
        /// The node whose chain was looked at.
        want: NodeId,
    },
    /// The claim on the page is about another identity.
    #[error("the claim of node {node} on the page names another identity")]
    OtherIdentity {
        /// Who signed it.
        node: NodeId,
    },
    /// The node revoked the claim.
    #[error("node {node} has revoked the claim that the page carries")]
    Revoked {
        /// Who revoked it.
        node: NodeId,
    },
    /// The node's chain does not hold the claim.
    #[error("the sigchain of node {node} does not hold the claim that the page carries")]
    NotInChain {
        /// Whose chain it is.
        node: NodeId,
    },
}

/// Compares both ends of a link: what the page of `identity` carries, and what the node's chain says.
///
/// # Errors
/// [`ProofError`]: there is no link.
pub fn check(identity: &IdentityId, page: &PageClaim, chain: &Chain) -> Result<Proof, ProofError> {
    let node = chain.node();
    if page.node != node {
        return Err(ProofError::OtherNode {
            got: page.node,
            want: node,
        });
    }
    if page.identity.as_ref().is_some_and(|named| named != identity) {
        return Err(ProofError::OtherIdentity { node });
    }
    match chain.identities().find(|(claim, _)| *claim == page.claim) {
        Some((claim, named)) if named == identity => Ok(Proof { node, claim }),
        Some(_) => Err(ProofError::OtherIdentity { node }),
        None if chain.entry(&page.claim).is_some() => Err(ProofError::Revoked { node }),
        None => Err(ProofError::NotInChain { node }),
    }
}

/// What a look at an identity gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// The page was read and both ends compared.
    Page(Result<Proof, ProofError>),
    /// The provider says that there is no such page, record or account.
    Gone,
    /// One of the ends could not be read this time.
    Failed,
}

/// Why a link ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The page carries no claim any more, two, or one that is not acceptable.
    PageChanged,
    /// The page carries the claim of another node, or another claim: perhaps the account has another owner.
    Replaced,
    /// The node took its claim back.
    Revoked,
    /// The page, record or account is gone.
    Gone,
}

impl Ending {
    /// Its number in rows and messages.
    pub const fn number(self) -> u64 {
        match self {
            Ending::PageChanged => 0,
            Ending::Replaced => 1,
            Ending::Revoked => 2,
            Ending::Gone => 3,
        }
    }

    /// The ending of this number.
    pub fn from_number(number: u64) -> Option<Ending> {
        [
            Ending::PageChanged,
            Ending::Replaced,
            Ending::Revoked,
            Ending::Gone,
        ]
        .into_iter()
        .find(|ending| ending.number() == number)
    }
}

/// A link that both ends showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveLink {
    /// What was shown.
    pub proof: Proof,
    /// When both ends were first seen to agree.
    pub since: Timestamp,
    /// When they were last seen to agree.
    pub checked: Timestamp,
}

/// A link that ended: the evidence that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormerLink {
    /// The link as it was.
    pub link: LiveLink,
    /// When its end was noticed.
    pub ended: Timestamp,
    /// Why.
    pub ending: Ending,
}

/// What is remembered of an identity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remembered {
    /// The link that holds.
    pub live: Option<LiveLink>,
    /// Links that held before, oldest first.
    pub former: Vec<FormerLink>,
}

/// What the user is told after a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A link was found.
    Linked {
        /// The identity.
        identity: IdentityId,
        /// The node that speaks for it.
        node: NodeId,
        /// True when the identity had another link before.
        again: bool,
    },
    /// A link ended.
    Ended {
        /// The identity.
        identity: IdentityId,
        /// The node that spoke for it.
        node: NodeId,
        /// Why.
        ending: Ending,
    },
}

/// What is remembered of `identity`.
///
/// # Errors
/// [`TrustError::Store`], [`TrustError::Row`].
pub fn remembered(tx: &ReadTx<'_>, identity: &IdentityId) -> Result<Option<Remembered>, TrustError> {
    tx.value(PROOF, ALL, identity.as_str().as_bytes())?
        .map(|value| decode(value.expose()))
        .transpose()
}

/// Everything that is remembered, by identity.
///
/// # Errors
/// [`TrustError::Store`], [`TrustError::Row`].
pub fn all(tx: &ReadTx<'_>) -> Result<Vec<(IdentityId, Remembered)>, TrustError> {
    tx.group(PROOF, ALL)?
        .into_iter()
        .map(|(item, value)| Ok((decode_name(&item)?, decode(value.expose())?)))
        .collect()
}

/// Records a look at `identity`; says what the user should be told.
///
/// # Errors
/// [`TrustError::Full`] with [`MAX_IDENTITIES`]; [`TrustError::Store`], [`TrustError::Row`].
pub fn record(
    tx: &mut WriteTx<'_>,
    identity: &IdentityId,
    look: &Look,
    now: Timestamp,
) -> Result<Vec<Notice>, TrustError> {
    let known = remembered(tx, identity)?;
    let is_new = known.is_none();
    let mut row = known.unwrap_or_default();
    let again = row.live.is_some() || !row.former.is_empty();
    let mut notices = vec![];
    let (found, ending) = match look {
        Look::Failed => return Ok(notices),
        Look::Page(Ok(proof)) => (Some(*proof), Ending::Replaced),
        Look::Gone => (None, Ending::Gone),
        Look::Page(Err(ProofError::Revoked { .. } | ProofError::NotInChain { .. })) => {
            (None, Ending::Revoked)
        }
        Look::Page(Err(ProofError::OtherNode { .. } | ProofError::OtherIdentity { .. })) => {
            (None, Ending::Replaced)
        }
        Look::Page(Err(ProofError::Page(_))) => (None, Ending::PageChanged),
    };
    match (&mut row.live, found) {
        (Some(live), Some(proof)) if live.proof == proof => live.checked = now.max(live.checked),
        (live, found) => {
            if let Some(link) = live.take() {
                // The first one is what the user once looked at; the newest tell what goes on.
                if row.former.len() >= MAX_FORMER {
                    row.former.remove(1);
                }
                row.former.push(FormerLink {
                    link,
                    ended: now,
                    ending,
                });
                notices.push(Notice::Ended {
                    identity: identity.clone(),
                    node: link.proof.node,
                    ending,
                });
            }
            if let Some(proof) = found {
                *live = Some(LiveLink {
                    proof,
                    since: now,
                    checked: now,
                });
                notices.push(Notice::Linked {
                    identity: identity.clone(),
                    node: proof.node,
                    again,
                });
            }
        }
    }
    if row == Remembered::default() {
        return Ok(notices);
    }
    if is_new && count(tx)? >= MAX_IDENTITIES {
        return Err(TrustError::Full {
            what: "identities",
            limit: MAX_IDENTITIES,
        });
    }
    tx.put(PROOF, ALL, identity.as_str().as_bytes(), &encode(&row))?;
    Ok(notices)
}

/// Forgets an identity and its evidence; says whether there was anything.
///
/// # Errors
/// [`TrustError::Store`].
pub fn forget(tx: &mut WriteTx<'_>, identity: &IdentityId) -> Result<bool, TrustError> {
    Ok(tx.remove(PROOF, ALL, identity.as_str().as_bytes())?)
}

fn count(tx: &ReadTx<'_>) -> Result<usize, TrustError> {
    let mut count = 0;
    tx.each(PROOF, ALL, |_, _| {
        count += 1;
        Ok::<(), TrustError>(())
    })?;
    Ok(count)
}

const WHAT: &str = "an identity link";

fn encode(row: &Remembered) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.array(2);
    match &row.live {
        Some(link) => encode_link(&mut writer, link),
        None => drop(writer.null()),
    }
    writer.array(row.former.len());
    for former in &row.former {
        writer.array(3);
        encode_link(&mut writer, &former.link);
        writer.u64(former.ended.as_millis()).u64(former.ending.number());
    }
    writer.finish()
}

fn encode_link(writer: &mut Writer, link: &LiveLink) {
    writer.array(4).bytes(link.proof.node.as_bytes());
    writer.bytes(link.proof.claim.as_bytes());
    writer.u64(link.since.as_millis()).u64(link.checked.as_millis());
}

fn decode(bytes: &[u8]) -> Result<Remembered, TrustError> {
    let read = || {
        let mut reader = Reader::new(bytes, MAX_ROW_LEN, WHAT)?;
        reader.array_of(2)?;
        let live = match reader.null()? {
            true => None,
            false => Some(decode_link(&mut reader)?),
        };
        let count = reader.array()?;
        let mut former = Vec::new();
        for _ in 0..count {
            reader.array_of(3)?;
            former.push(FormerLink {
                link: decode_link(&mut reader)?,
                ended: Timestamp::from_millis(reader.u64()?),
                ending: Ending::from_number(reader.u64()?).ok_or_else(|| reader.shape())?,
            });
        }
        reader.finish()?;
        Ok(Remembered { live, former })
    };
    read().map_err(TrustError::row(WHAT))
}

fn decode_link(reader: &mut Reader<'_>) -> Result<LiveLink, CodecError> {
    reader.array_of(4)?;
    Ok(LiveLink {
        proof: Proof {
            node: NodeId::from_bytes(reader.bytes_of()?),
            claim: StatementId::from_bytes(reader.bytes_of()?),
        },
        since: Timestamp::from_millis(reader.u64()?),
        checked: Timestamp::from_millis(reader.u64()?),
    })
}

fn decode_name(item: &[u8]) -> Result<IdentityId, TrustError> {
    std::str::from_utf8(item)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(CodecError::Shape { what: WHAT })
        .map_err(TrustError::row(WHAT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::armour::{find, line, short_line};
    use crate::cast::{Person, time};
    use crate::claim::Body;
    use crate::trial::database;

    fn id(name: &str) -> IdentityId {
        name.parse().unwrap()
    }

    fn look(identity: &str, page: &str, chain: &Chain) -> Result<Proof, ProofError> {
        check(&id(identity), &find(page)?, chain)
    }

    #[test]
    fn a_link_needs_both_ends() {
        let [a, b] = [1, 2].map(Person::new);
        let (mut ours, mut theirs) = (a.chain(), b.chain());
        let alice = a.says(&mut ours, &Body::Identity(id("github.com:alice")));
        let other = b.says(&mut theirs, &Body::Identity(id("github.com:alice")));
        let proof = Proof {
            node: a.node(),
            claim: alice.id(),
        };
        for text in [line(&alice), short_line(&alice)] {
            assert_eq!(look("github.com:alice", &text, &ours), Ok(proof));
            // Somebody copied it to another page, or another page's to here.
            let node = a.node();
            assert_eq!(
                look("github.com:mallory", &text, &ours),
                Err(ProofError::OtherIdentity { node })
            );
            assert!(matches!(
                look("github.com:alice", &text, &theirs),
                Err(ProofError::OtherNode { .. })
            ));
            let empty = a.chain();
            assert_eq!(
                look("github.com:alice", &text, &empty),
                Err(ProofError::NotInChain { node })
            );
        }
        assert!(matches!(
            look("github.com:alice", &line(&other), &ours),
            Err(ProofError::OtherNode { .. })
        ));
        a.says(&mut ours, &Body::Revoke(alice.id()));
        let node = a.node();
        assert_eq!(
            look("github.com:alice", &line(&alice), &ours),
            Err(ProofError::Revoked { node })
        );
    }

    fn proof(seed: u8) -> Proof {
        Proof {
            node: Person::new(seed).node(),
            claim: StatementId::from_bytes([seed; 32]),
        }
    }

    #[test]
    fn a_changed_page_ends_a_link_and_a_failed_look_ages_it() {
        let (_folder, db) = database();
        let identity = id("dns:example.org");
        let see = |look: Look, now| db.write(|tx| record(tx, &identity, &look, time(now))).unwrap();
        let row = || db.read(|tx| remembered(tx, &identity)).unwrap();
        assert_eq!(see(Look::Failed, 1), []);
        assert_eq!(see(Look::Page(Err(ArmourError::Missing.into())), 1), []);
        assert_eq!(row(), None);
        assert!(matches!(
            see(Look::Page(Ok(proof(1))), 10)[..],
            [Notice::Linked { again: false, .. }]
        ));
        assert_eq!(see(Look::Page(Ok(proof(1))), 20), []);
        assert_eq!(see(Look::Failed, 30), []);
        let live = LiveLink {
            proof: proof(1),
            since: time(10),
            checked: time(20),
        };
        assert_eq!(row().unwrap().live, Some(live));
        // The account is taken over: the old link ends, and the new one is new.
        let notices = see(Look::Page(Ok(proof(2))), 40);
        assert!(matches!(
            notices[..],
            [
                Notice::Ended {
                    ending: Ending::Replaced,
                    ..
                },
                Notice::Linked { again: true, .. }
            ]
        ));
        assert_eq!(
            row().unwrap().former[0],
            FormerLink {
                link: live,
                ended: time(40),
                ending: Ending::Replaced
            }
        );
        let node = proof(2).node;
        for (look, want) in [
            (Look::Gone, Ending::Gone),
            (Look::Page(Err(ArmourError::Several.into())), Ending::PageChanged),
            (Look::Page(Err(ProofError::Revoked { node })), Ending::Revoked),
            (
                Look::Page(Err(ProofError::OtherIdentity { node })),
                Ending::Replaced,
            ),
        ] {
            see(Look::Page(Ok(proof(2))), 50);
            let notices = see(look, 60);
            assert!(
                matches!(&notices[..], [Notice::Ended { ending, .. }] if *ending == want),
                "{look:?}"
            );
            assert_eq!(row().unwrap().live, None);
            assert_eq!(see(look, 70), [], "told once");
        }
    }

    #[test]
    fn a_page_that_changes_every_day_fills_no_disk_and_hides_no_beginning() {
        let (_folder, db) = database();
        let identity = id("dns:example.org");
        for n in 1..40u8 {
            db.write(|tx| record(tx, &identity, &Look::Page(Ok(proof(n))), time(u64::from(n))))
                .unwrap();
        }
        let row = db.read(|tx| remembered(tx, &identity)).unwrap().unwrap();
        assert_eq!(row.former.len(), MAX_FORMER);
        assert_eq!(
            (row.former[0].link.proof, row.former[7].link.proof),
            (proof(1), proof(38))
        );
        assert_eq!(db.read(all).unwrap(), [(identity.clone(), row)]);
        assert!(db.write(|tx| forget(tx, &identity)).unwrap());
        assert!(!db.write(|tx| forget(tx, &identity)).unwrap());
    }
}
