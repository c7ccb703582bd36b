//! Links: what two nodes say about each other, signed by both over one payload.
//!
//! A `device` link says that both nodes belong to one person or agent, a `link-node` link that they know each
//! other. The issuer proposes and signs first; the subject signs the same bytes when its user had
//! [invited](crate::invitation) exactly that. The whole link then stands in an entry of *both* sigchains, and
//! either may revoke it.
//!
//! Payload: map {0: type, 1: issuer, 2: subject, 3: invitation (16 random bytes), 4: created}, in a statement
//! of a kind of its own, so that nothing signed for another purpose is ever a link.
//!
//! Always: a [`Link`] was verified and is signed by exactly its two nodes; a [`Proposal`] by its issuer alone.

use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::random::random_array;
use polykey_core::sign::SigningKey;
use polykey_core::statement::{Kind, Statement, StatementError};
use polykey_core::{NodeId, Random, StatementId, Timestamp};

/// Longest encoded link in bytes.
pub const MAX_LINK_LEN: usize = 512;

/// What a link says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkType {
    /// Both nodes are devices of one person or agent: one principal.
    Device,
    /// Both nodes' owners know each other. Grants nothing.
    Node,
}

impl LinkType {
    /// Its number in the encoding, which is also the claim type of the entries that carry it.
    pub fn number(self) -> u64 {
        match self {
            LinkType::Device => 1,
            LinkType::Node => 2,
        }
    }

    /// The one with this number.
    pub fn from_number(number: u64) -> Option<LinkType> {
        [LinkType::Device, LinkType::Node]
            .into_iter()
            .find(|kind| kind.number() == number)
    }

    /// Its name, for people.
    pub fn as_str(self) -> &'static str {
        match self {
            LinkType::Device => "device",
            LinkType::Node => "link-node",
        }
    }
}

/// The name of an invitation: 16 random bytes that the inviting node chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InvitationId([u8; 16]);

impl InvitationId {
    /// Length in bytes.
    pub const LEN: usize = 16;

    /// A fresh one.
    pub fn random(random: &dyn Random) -> InvitationId {
        InvitationId(random_array(random))
    }

    /// The one with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> InvitationId {
        InvitationId(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Why bytes are no link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// Not a valid signed statement.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The payload has another shape.
    #[error("the link is malformed")]
    Malformed(#[from] CodecError),
    /// A type of link that this program does not know.
    #[error("the link is of type {0}, which this program does not know")]
    Type(u64),
    /// Both ends are one node.
    #[error("the link ties node {node} to itself")]
    Itself {
        /// The node.
        node: NodeId,
    },
    /// Not signed by exactly the nodes that it has to be signed by.
    #[error("the link between nodes {issuer} and {subject} does not have their signatures and no others")]
    Signers {
        /// Who proposed it.
        issuer: NodeId,
        /// Whom it was proposed to.
        subject: NodeId,
    },
}

/// What a link says, and about whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkTerms {
    /// Device or link-node.
    pub kind: LinkType,
    /// Who proposes it.
    pub issuer: NodeId,
    /// Who invited it.
    pub subject: NodeId,
    /// The invitation that it answers.
    pub invitation: InvitationId,
    /// When it was proposed, by the issuer's clock.
    pub created: Timestamp,
}

impl LinkTerms {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.map(5).u64(0).u64(self.kind.number());
        writer.u64(1).bytes(self.issuer.as_bytes());
        writer.u64(2).bytes(self.subject.as_bytes());
        writer.u64(3).bytes(self.invitation.as_bytes());
        writer.u64(4).u64(self.created.as_millis());
        writer.finish()
    }

    fn decode(payload: &[u8]) -> Result<LinkTerms, LinkError> {
        let mut reader = Reader::new(payload, MAX_LINK_LEN, "a link")?;
        reader.map_of(5)?;
        reader.key(0)?;
        let number = reader.u64()?;
        let kind = LinkType::from_number(number).ok_or(LinkError::Type(number))?;
        reader.key(1)?;
        let issuer = NodeId::from_bytes(reader.bytes_of()?);
        reader.key(2)?;
        let subject = NodeId::from_bytes(reader.bytes_of()?);
        reader.key(3)?;
        let invitation = InvitationId(reader.bytes_of()?);
        reader.key(4)?;
        let created = Timestamp::from_millis(reader.u64()?);
        reader.finish()?;
        if issuer == subject {
            return Err(LinkError::Itself { node: issuer });
        }
        Ok(LinkTerms {
            kind,
            issuer,
            subject,
            invitation,
            created,
        })
    }
}

/// A link that only its issuer has signed so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    statement: Statement,
    terms: LinkTerms,
}

impl Proposal {
    /// Proposes the link that `subject` invited us to.
    ///
    /// # Errors
    /// [`LinkError::Itself`].
    pub fn sign(
        root: &SigningKey,
        kind: LinkType,
        subject: NodeId,
        invitation: InvitationId,
        created: Timestamp,
    ) -> Result<Proposal, LinkError> {
        let issuer = root.public();
        let terms = LinkTerms {
            kind,
            issuer,
            subject,
            invitation,
            created,
        };
        if issuer == subject {
            return Err(LinkError::Itself { node: issuer });
        }
        Ok(Proposal {
            statement: Statement::sign(Kind::Link, &terms.encode(), &[root]),
            terms,
        })
    }

    /// Parses and verifies a proposal from anywhere.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn verify(bytes: Vec<u8>) -> Result<Proposal, LinkError> {
        let statement = bounded(bytes).and_then(|bytes| Ok(Statement::verify(Kind::Link, bytes)?))?;
        let terms = LinkTerms::decode(statement.payload())?;
        if !statement.is_signed_only_by(&terms.issuer) {
            return Err(signers(&terms));
        }
        Ok(Proposal { statement, terms })
    }

    /// What is proposed.
    pub fn terms(&self) -> &LinkTerms {
        &self.terms
    }

    /// The id that the link will have.
    pub fn id(&self) -> StatementId {
        self.statement.id()
    }

    /// The proposal as it is sent.
    pub fn as_bytes(&self) -> &[u8] {
        self.statement.as_bytes()
    }

    /// Adds the subject's signature. [`invitation`](crate::invitation) is the only caller: nobody signs what
    /// they did not ask for.
    ///
    /// # Errors
    /// [`LinkError::Signers`] when `root` is not the subject's.
    pub(crate) fn countersign(&self, root: &SigningKey) -> Result<Link, LinkError> {
        if root.public() != self.terms.subject {
            return Err(signers(&self.terms));
        }
        Link::from_statement(self.statement.countersign(root))
    }
}

/// A link signed by both its nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    statement: Statement,
    terms: LinkTerms,
}

impl Link {
    /// Parses and verifies a link from anywhere.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn verify(bytes: Vec<u8>) -> Result<Link, LinkError> {
        Link::from_statement(Statement::verify(Kind::Link, bounded(bytes)?)?)
    }

    /// Reads a link that this node verified before and has since kept sealed, without checking the
    /// signatures again. Never for bytes from anywhere else.
    ///
    /// # Errors
    /// As [`Link::verify`], but for the signatures.
    pub fn accept_unverified(bytes: Vec<u8>) -> Result<Link, LinkError> {
        Link::from_statement(Statement::accept_unverified(Kind::Link, bounded(bytes)?)?)
    }

    fn from_statement(statement: Statement) -> Result<Link, LinkError> {
        let terms = LinkTerms::decode(statement.payload())?;
        let mut want = [terms.issuer, terms.subject];
        want.sort();
        if statement.signers() != want {
            return Err(signers(&terms));
        }
        Ok(Link { statement, terms })
    }

    /// What it says.
    pub fn terms(&self) -> &LinkTerms {
        &self.terms
    }

    /// The node at the other end from `node`; `None` when `node` is at neither.
    pub fn other_end(&self, node: &NodeId) -> Option<NodeId> {
        match self.terms {
            LinkTerms { issuer, subject, .. } if issuer == *node => Some(subject),
            LinkTerms { issuer, subject, .. } if subject == *node => Some(issuer),
            _ => None,
        }
    }

    /// Its id, which a revocation names.
    pub fn id(&self) -> StatementId {
        self.statement.id()
    }

    /// The link as it is stored and sent.
    pub fn as_bytes(&self) -> &[u8] {
        self.statement.as_bytes()
    }
}

fn bounded(bytes: Vec<u8>) -> Result<Vec<u8>, LinkError> {
    if bytes.len() > MAX_LINK_LEN {
        return Err(CodecError::TooLong { limit: MAX_LINK_LEN }.into());
    }
    Ok(bytes)
}

fn signers(terms: &LinkTerms) -> LinkError {
    LinkError::Signers {
        issuer: terms.issuer,
        subject: terms.subject,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polykey_core::Key;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&Key::from_array([seed; 32]))
    }

    fn proposal(issuer: u8, subject: u8) -> Proposal {
        let invitation = InvitationId::from_bytes([7; 16]);
        let subject = key(subject).public();
        Proposal::sign(
            &key(issuer),
            LinkType::Device,
            subject,
            invitation,
            Timestamp::from_millis(5),
        )
        .unwrap()
    }

    #[test]
    fn both_sign_one_payload() {
        let proposal = proposal(1, 2);
        assert_eq!(
            Proposal::verify(proposal.as_bytes().to_vec()).as_ref(),
            Ok(&proposal)
        );
        let link = proposal.countersign(&key(2)).unwrap();
        assert_eq!(link.id(), proposal.id());
        assert_eq!(Link::verify(link.as_bytes().to_vec()).as_ref(), Ok(&link));
        assert_eq!(link.other_end(&key(1).public()), Some(key(2).public()));
        assert_eq!(link.other_end(&key(2).public()), Some(key(1).public()));
        assert_eq!(link.other_end(&key(3).public()), None);
        assert!(link.as_bytes().len() < MAX_LINK_LEN);
    }

    #[test]
    fn other_signers_make_no_link() {
        let terms = *proposal(1, 2).terms();
        let (issuer, subject) = (terms.issuer, terms.subject);
        for keys in [&[1][..], &[2], &[3], &[1, 3], &[2, 3], &[1, 2, 3]] {
            let keys: Vec<_> = keys.iter().map(|seed| key(*seed)).collect();
            let statement = Statement::sign(Kind::Link, &terms.encode(), &keys.iter().collect::<Vec<_>>());
            let read = Link::verify(statement.as_bytes().to_vec());
            assert_eq!(read, Err(LinkError::Signers { issuer, subject }), "{keys:?}");
        }
        assert!(proposal(1, 2).countersign(&key(3)).is_err(), "a third node's key");
        assert!(Proposal::verify(proposal(1, 2).countersign(&key(2)).unwrap().as_bytes().to_vec()).is_err());
    }

    #[test]
    fn other_shapes_are_refused() {
        let good = *proposal(1, 2).terms();
        let sign = |payload: &[u8], kind| {
            let statement = Statement::sign(kind, payload, &[&key(1), &key(2)]);
            Link::verify(statement.as_bytes().to_vec())
        };
        assert!(sign(&good.encode(), Kind::Link).is_ok());
        for (kind, ..) in Kind::ALL.iter().filter(|row| row.0 != Kind::Link) {
            let error = sign(&good.encode(), *kind).unwrap_err();
            assert_eq!(error, LinkError::Statement(StatementError::WrongKind), "{kind:?}");
        }
        let node = good.issuer;
        let itself = LinkTerms {
            subject: node,
            ..good
        };
        assert_eq!(
            sign(&itself.encode(), Kind::Link),
            Err(LinkError::Itself { node })
        );
        for number in [0, 3, u64::MAX] {
            let mut bytes = good.encode();
            bytes.splice(2..3, {
                let mut writer = Writer::new();
                writer.u64(number);
                writer.finish()
            });
            assert_eq!(sign(&bytes, Kind::Link), Err(LinkError::Type(number)));
        }
        for bad in [&[0xf6][..], &[0xa0], &[0xa1, 0, 1]] {
            assert!(matches!(sign(bad, Kind::Link), Err(LinkError::Malformed(_))));
        }
        assert!(Link::verify(vec![0; 1 << 20]).is_err());
    }
}
