//! Invitations: nobody signs what they did not ask for.
//!
//! Whoever wants to be linked with another node *invites* it: which type of link, and who may propose it. The
//! other node proposes exactly that and signs; only then the inviting node adds its signature, puts the link
//! into its own chain and uses the invitation up, all in one transaction. Without an invitation, or for
//! anything else than what it says, there is no second signature, whoever asks and whatever was trusted.
//!
//! Always: one invitation gives one link. The same proposal again, after an answer that was lost, gets the
//! same link again.

use std::time::Duration;

use polykey_core::codec::{Reader, Writer};
use polykey_core::sign::SigningKey;
use polykey_core::{NodeId, Random, StatementId, Timestamp};
use polykey_store::{ReadTx, WriteTx};

use crate::book;
use crate::claim::{Body, Claim, ClaimError};
use crate::error::TrustError;
use crate::link::{InvitationId, Link, LinkError, LinkType, Proposal};
use crate::tables::{ALL, INVITATION};

/// Most invitations that are kept at once.
pub const MAX_INVITATIONS: usize = 256;
/// How long an invitation lasts unless the user says otherwise.
pub const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
const MAX_ROW_LEN: usize = 256;

/// Why there is no second signature.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvitationError {
    /// The store or the chain did not take it.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// What was signed, or is to be signed, is not acceptable.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The claim for our own chain could not be made.
    #[error(transparent)]
    Claim(Box<ClaimError>),
    /// Nobody invited this.
    #[error("node {issuer} proposes a link that nobody here invited it to")]
    NotInvited {
        /// Who proposed it.
        issuer: NodeId,
    },
    /// The proposal differs from the invitation that it names.
    #[error("node {issuer} proposes another link than it was invited to: {what} differs")]
    Differs {
        /// Who proposed it.
        issuer: NodeId,
        /// What is different.
        what: &'static str,
    },
    /// It is too late.
    #[error("the invitation of node {issuer} has expired")]
    Expired {
        /// Who was invited.
        issuer: NodeId,
    },
    /// It was used for another link.
    #[error("the invitation of node {issuer} was used before")]
    Used {
        /// Who was invited.
        issuer: NodeId,
    },
    /// The answer to our proposal is another link.
    #[error("node {subject} answered with another link than was proposed")]
    OtherLink {
        /// Who answered.
        subject: NodeId,
    },
}

impl From<polykey_store::StoreError> for InvitationError {
    fn from(error: polykey_store::StoreError) -> Self {
        InvitationError::Trust(error.into())
    }
}

/// What the user wants to be linked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invitation {
    /// Its name, which the invited node is told.
    pub id: InvitationId,
    /// Device or link-node.
    pub kind: LinkType,
    /// Who may propose the link.
    pub issuer: NodeId,
    /// Who invites: our own node.
    pub subject: NodeId,
    /// From then on it is worth nothing.
    pub expires: Timestamp,
    /// The link that used it up.
    pub used: Option<StatementId>,
}

/// Invites `issuer` to propose a link of this kind to our node `subject`.
///
/// # Errors
/// [`TrustError::Full`] when [`MAX_INVITATIONS`] are open; [`TrustError::Store`].
pub fn invite(
    tx: &mut WriteTx<'_>,
    kind: LinkType,
    issuer: NodeId,
    subject: NodeId,
    expires: Timestamp,
    now: Timestamp,
    random: &dyn Random,
) -> Result<Invitation, TrustError> {
    let mut kept = 0;
    for old in all(tx)? {
        // Used ones stay until they expire: an answer may have been lost.
        if old.expires <= now {
            tx.remove(INVITATION, ALL, old.id.as_bytes())?;
        } else {
            kept += 1;
        }
    }
    if kept >= MAX_INVITATIONS {
        return Err(TrustError::Full {
            what: "invitations",
            limit: MAX_INVITATIONS,
        });
    }
    let invitation = Invitation {
        id: InvitationId::random(random),
        kind,
        issuer,
        subject,
        expires,
        used: None,
    };
    put(tx, &invitation)?;
    Ok(invitation)
}

/// All invitations, used and expired ones too.
///
/// # Errors
/// [`TrustError::Store`], [`TrustError::Row`].
pub fn all(tx: &ReadTx<'_>) -> Result<Vec<Invitation>, TrustError> {
    tx.group(INVITATION, ALL)?
        .into_iter()
        .map(|(item, value)| decode(&item, value.expose()))
        .collect()
}

/// Takes an invitation back; says whether there was one. A link that it gave stays.
///
/// # Errors
/// [`TrustError::Store`].
pub fn withdraw(tx: &mut WriteTx<'_>, id: &InvitationId) -> Result<bool, TrustError> {
    Ok(tx.remove(INVITATION, ALL, id.as_bytes())?)
}

/// Answers a proposal that came from the node `peer`: signs it, puts the link into our own chain and uses the
/// invitation up.
///
/// # Errors
/// [`InvitationError`]; nothing was signed that left this function then, and nothing is changed.
pub fn answer(
    tx: &mut WriteTx<'_>,
    root: &SigningKey,
    peer: &NodeId,
    proposal: &Proposal,
    now: Timestamp,
) -> Result<Link, InvitationError> {
    let terms = *proposal.terms();
    let issuer = terms.issuer;
    let row = tx.value(INVITATION, ALL, terms.invitation.as_bytes())?;
    let row = row.ok_or(InvitationError::NotInvited { issuer })?;
    let invitation = decode(terms.invitation.as_bytes(), row.expose())?;
    let same = [
        ("the issuer", invitation.issuer == issuer && *peer == issuer),
        (
            "the subject",
            invitation.subject == terms.subject && root.public() == terms.subject,
        ),
        ("the type", invitation.kind == terms.kind),
    ];
    if let Some((what, _)) = same.iter().find(|(_, same)| !same) {
        return Err(InvitationError::Differs { issuer, what });
    }
    if invitation.expires <= now {
        return Err(InvitationError::Expired { issuer });
    }
    let link = match invitation.used {
        Some(id) if id != proposal.id() => return Err(InvitationError::Used { issuer }),
        // Ed25519 signatures are a function of key and message: this is the same link to the byte.
        _ => proposal.countersign(root)?,
    };
    if invitation.used.is_none() {
        embed(tx, root, &link, now)?;
        put(
            tx,
            &Invitation {
                used: Some(link.id()),
                ..invitation
            },
        )?;
    }
    Ok(link)
}

/// Ends our own proposal: checks the answer of the invited node, which must be that very link, and puts it into our own
/// chain. The same answer again changes nothing.
///
/// # Errors
/// [`InvitationError`]; nothing is changed then.
pub fn conclude(
    tx: &mut WriteTx<'_>,
    root: &SigningKey,
    proposal: &Proposal,
    answer: Vec<u8>,
    now: Timestamp,
) -> Result<Link, InvitationError> {
    let link = Link::verify(answer)?;
    if link.id() != proposal.id() {
        let subject = proposal.terms().subject;
        return Err(InvitationError::OtherLink { subject });
    }
    let chain = book::known_chain(tx, &root.public())?;
    if !chain.links().any(|held| held.id() == link.id()) {
        embed(tx, root, &link, now)?;
    }
    Ok(link)
}

fn embed(
    tx: &mut WriteTx<'_>,
    root: &SigningKey,
    link: &Link,
    now: Timestamp,
) -> Result<(), InvitationError> {
    let place = book::known_chain(tx, &root.public())?.next_place();
    let body = Body::Link(Box::new(link.clone()));
    let claim = Claim::sign(root, None, place, now, &body)
        .map_err(|error| InvitationError::Claim(Box::new(error)))?;
    book::append(tx, claim)?;
    Ok(())
}

fn put(tx: &mut WriteTx<'_>, invitation: &Invitation) -> Result<(), TrustError> {
    let mut writer = Writer::new();
    writer.array(5).u64(invitation.kind.number());
    writer
        .bytes(invitation.issuer.as_bytes())
        .bytes(invitation.subject.as_bytes());
    writer.u64(invitation.expires.as_millis());
    match &invitation.used {
        Some(link) => writer.bytes(link.as_bytes()),
        None => writer.null(),
    };
    tx.put(INVITATION, ALL, invitation.id.as_bytes(), &writer.finish())?;
    Ok(())
}

fn decode(item: &[u8], bytes: &[u8]) -> Result<Invitation, TrustError> {
    const WHAT: &str = "an invitation";
    let read = || {
        let mut reader = Reader::new(bytes, MAX_ROW_LEN, WHAT)?;
        let id = item.try_into().map_err(|_| reader.shape())?;
        reader.array_of(5)?;
        let kind = LinkType::from_number(reader.u64()?).ok_or(reader.shape())?;
        let issuer = NodeId::from_bytes(reader.bytes_of()?);
        let subject = NodeId::from_bytes(reader.bytes_of()?);
        let expires = Timestamp::from_millis(reader.u64()?);
        let used = match reader.null()? {
            true => None,
            false => Some(StatementId::from_bytes(reader.bytes_of()?)),
        };
        reader.finish()?;
        Ok(Invitation {
            id: InvitationId::from_bytes(id),
            kind,
            issuer,
            subject,
            expires,
            used,
        })
    };
    read().map_err(TrustError::row(WHAT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use polykey_store::Database;
    use polykey_testkit::Chance;

    use crate::cast::{Person, time};
    use crate::sigchain::ChainError;
    use crate::trial::database;

    /// Our node with its chain, and an invitation for `issuer`.
    fn inviting(us: &Person, issuer: &Person, kind: LinkType) -> (tempfile::TempDir, Database, Invitation) {
        let (folder, db) = database();
        let invitation = db
            .write(|tx| {
                book::found(tx, us.start())?;
                let chance = Chance::new(7);
                invite(tx, kind, issuer.node(), us.node(), time(100), time(1), &chance)
            })
            .unwrap();
        (folder, db, invitation)
    }

    fn propose(by: &Person, kind: LinkType, to: &Person, invitation: &Invitation, at: u64) -> Proposal {
        Proposal::sign(&by.keys.root, kind, to.node(), invitation.id, time(at)).unwrap()
    }

    fn ask(
        db: &Database,
        us: &Person,
        peer: &Person,
        proposal: &Proposal,
        now: u64,
    ) -> Result<Link, InvitationError> {
        db.write(|tx| answer(tx, &us.keys.root, &peer.node(), proposal, time(now)))
    }

    fn links(db: &Database, us: &Person) -> usize {
        let chain = db.read(|tx| book::known_chain(tx, &us.node())).unwrap();
        chain.links().count()
    }

    #[test]
    fn an_invited_link_stands_in_both_chains() {
        let [us, them] = [1, 2].map(Person::new);
        let (_folder, db, invitation) = inviting(&us, &them, LinkType::Device);
        let (_theirs, other, _) = inviting(&them, &us, LinkType::Node);
        let proposal = propose(&them, LinkType::Device, &us, &invitation, 5);
        let link = ask(&db, &us, &them, &proposal, 6).unwrap();
        for _ in 0..2 {
            let bytes = link.as_bytes().to_vec();
            let concluded = other.write(|tx| conclude(tx, &them.keys.root, &proposal, bytes, time(7)));
            assert_eq!(concluded.unwrap(), link);
        }
        assert_eq!((links(&db, &us), links(&other, &them)), (1, 1));
    }

    #[test]
    fn an_invitation_gives_one_link_and_the_same_one_again() {
        let [us, them] = [1, 2].map(Person::new);
        let (_folder, db, invitation) = inviting(&us, &them, LinkType::Node);
        let proposal = propose(&them, LinkType::Node, &us, &invitation, 5);
        let link = ask(&db, &us, &them, &proposal, 6).unwrap();
        assert_eq!(ask(&db, &us, &them, &proposal, 7).unwrap(), link);
        let another = propose(&them, LinkType::Node, &us, &invitation, 6);
        assert!(matches!(
            ask(&db, &us, &them, &another, 7),
            Err(InvitationError::Used { .. })
        ));
        assert!(matches!(
            ask(&db, &us, &them, &proposal, 100),
            Err(InvitationError::Expired { .. })
        ));
        assert_eq!(links(&db, &us), 1);
    }

    #[test]
    fn nothing_but_what_was_invited_is_signed() {
        let [us, them, third] = [1, 2, 3].map(Person::new);
        let (_folder, db, invitation) = inviting(&us, &them, LinkType::Node);
        let unknown = Invitation {
            id: InvitationId::from_bytes([9; 16]),
            ..invitation
        };
        let cases = [
            (
                "no invitation",
                propose(&them, LinkType::Node, &us, &unknown, 5),
                &them,
            ),
            (
                "another type",
                propose(&them, LinkType::Device, &us, &invitation, 5),
                &them,
            ),
            (
                "another issuer",
                propose(&third, LinkType::Node, &us, &invitation, 5),
                &third,
            ),
            (
                "another subject",
                propose(&them, LinkType::Node, &third, &invitation, 5),
                &them,
            ),
            (
                "brought by a third",
                propose(&them, LinkType::Node, &us, &invitation, 5),
                &third,
            ),
        ];
        for (name, proposal, peer) in &cases {
            assert!(ask(&db, &us, peer, proposal, 6).is_err(), "{name}");
            assert_eq!(links(&db, &us), 0, "{name}");
        }
        // None of that used it up.
        assert!(ask(&db, &us, &them, &cases[4].1, 6).is_ok());
    }

    #[test]
    fn a_withdrawn_or_late_invitation_is_worth_nothing() {
        let [us, them] = [1, 2].map(Person::new);
        let (_folder, db, invitation) = inviting(&us, &them, LinkType::Node);
        let proposal = propose(&them, LinkType::Node, &us, &invitation, 5);
        assert!(matches!(
            ask(&db, &us, &them, &proposal, 100),
            Err(InvitationError::Expired { .. })
        ));
        assert!(db.write(|tx| withdraw(tx, &invitation.id)).unwrap());
        assert!(!db.write(|tx| withdraw(tx, &invitation.id)).unwrap());
        assert!(matches!(
            ask(&db, &us, &them, &proposal, 6),
            Err(InvitationError::NotInvited { .. })
        ));
    }

    #[test]
    fn a_link_that_our_chain_does_not_take_uses_nothing_up() {
        let [us, them] = [1, 2].map(Person::new);
        let (_folder, db, invitation) = inviting(&us, &them, LinkType::Node);
        let proposal = propose(&them, LinkType::Node, &us, &invitation, 5);
        db.write(|tx| {
            let place = book::known_chain(tx, &us.node())?.next_place();
            let body = Body::Revoke(proposal.id());
            let claim = Claim::sign(&us.keys.root, None, place, time(2), &body).unwrap();
            book::append(tx, claim)
        })
        .unwrap();
        let refused = ask(&db, &us, &them, &proposal, 6);
        assert!(matches!(
            refused,
            Err(InvitationError::Trust(TrustError::Chain(
                ChainError::Repeated { .. }
            )))
        ));
        let open = db.read(all).unwrap();
        assert_eq!(open, [invitation]);
    }

    #[test]
    fn another_answer_than_the_proposed_link_is_refused() {
        let [us, them, third] = [1, 2, 3].map(Person::new);
        let (_folder, db, invitation) = inviting(&us, &them, LinkType::Node);
        let proposal = propose(&us, LinkType::Node, &them, &invitation, 5);
        for other in [
            propose(&us, LinkType::Device, &them, &invitation, 5).countersign(&them.keys.root),
            propose(&us, LinkType::Node, &them, &invitation, 6).countersign(&them.keys.root),
            propose(&us, LinkType::Node, &third, &invitation, 5).countersign(&third.keys.root),
        ] {
            let bytes = other.unwrap().as_bytes().to_vec();
            assert!(
                db.write(|tx| conclude(tx, &us.keys.root, &proposal, bytes, time(6)))
                    .is_err()
            );
        }
        let half = proposal.as_bytes().to_vec();
        assert!(
            db.write(|tx| conclude(tx, &us.keys.root, &proposal, half, time(6)))
                .is_err()
        );
        assert_eq!(links(&db, &us), 0);
    }

    #[test]
    fn invitations_are_bounded_and_old_ones_make_room() {
        let [us, them] = [1, 2].map(Person::new);
        let (_folder, db, _) = inviting(&us, &them, LinkType::Node);
        let chance = Chance::new(8);
        let more = |now| {
            db.write(|tx| {
                invite(
                    tx,
                    LinkType::Node,
                    them.node(),
                    us.node(),
                    time(100),
                    time(now),
                    &chance,
                )
            })
        };
        for _ in 1..MAX_INVITATIONS {
            more(2).unwrap();
        }
        assert!(matches!(more(2), Err(TrustError::Full { .. })));
        more(100).unwrap();
        assert_eq!(db.read(all).unwrap().len(), 1);
    }
}
