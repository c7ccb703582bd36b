//! The asker's side: a new node asks the friends of a lost one, and puts together what they release.
//!
//! The asker knows nothing but the id of the lost node, which is its public key. So each share comes with what its
//! owner signed about it, is held against that, and the code that comes of them against the id.
//!
//! Always: one false share is left out and named, and hinders no other. What was put together is given to whoever
//! asked on this machine and kept nowhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::random::OsRandom;
use polykey_core::recovery::RecoveryCode;
use polykey_core::share::{Share, combine};
use polykey_core::{Clock, NodeId, StatementId, Timestamp};
use polykey_trust::split::{Purpose, Split};

use super::MAX_ASKED;
use super::message::{Answer, Request};
use super::rows::{self, Errand, Seeking, Sought};
use crate::agent::Agent;
use crate::blocking::blocking;
use crate::failure;
use crate::node::Node;
use crate::open::KEY_RECORDS;
use crate::peer;
use crate::peer::AskError;
use crate::tables::IDENTITY;

/// What became of the question to one friend.
#[derive(Debug)]
pub enum Fetched {
    /// It gave its share.
    Share(Box<Split>, Share),
    /// It does not give it yet.
    Waiting {
        /// Not before this, by its clock.
        until: Timestamp,
        /// True when its user agreed.
        approved: bool,
    },
    /// It refuses, or has none.
    Refused,
    /// It does not answer.
    Away,
    /// What it gave is no share of this owner.
    False,
}

/// What came of a recovery.
#[derive(Debug)]
pub struct Restored {
    /// The code, when there were enough shares.
    pub code: Option<RecoveryCode>,
    /// How many shares it takes, when one came.
    pub threshold: Option<u8>,
    /// What each friend did.
    pub friends: Vec<(NodeId, Fetched)>,
}

/// The request of this node for the share of an owner.
fn request(node: &Node, owner: NodeId) -> Result<Request, Problem> {
    let records = node.db.read(|tx| tx.group(IDENTITY, KEY_RECORDS));
    let records = records.map_err(|error: polykey_store::StoreError| failure::store(&error))?;
    Ok(Request::Ask {
        owner,
        start: node.sigchain_start.as_bytes().to_vec(),
        records: records
            .iter()
            .map(|(_, record)| record.expose().to_vec())
            .collect(),
    })
}

/// Puts the request to these friends on its way. A friend that has it already keeps it as it was.
///
/// # Errors
/// [`Code::Usage`] for the node itself, and for too many friends; what the store says.
pub fn seek(node: &Node, owner: NodeId, friends: &[NodeId]) -> Result<(), Problem> {
    if owner == node.id() {
        return Err(Problem::new(
            Code::Usage,
            "this is the node itself: it is not lost",
        ));
    }
    if friends.contains(&node.id()) || friends.contains(&owner) {
        return Err(Problem::new(
            Code::Usage,
            "name friends of the lost node after `--from`",
        ));
    }
    let request = request(node, owner)?;
    let now = SystemClock.now();
    let kept = rows::write(&node.db, |tx| {
        let mut seeking = Seeking::find(tx, &owner)?.unwrap_or(Seeking {
            owner,
            friends: Vec::new(),
        });
        for friend in friends {
            let known = seeking.friends.iter_mut().find(|(known, _)| known == friend);
            match known {
                Some((_, Sought::Waiting)) => continue,
                Some((_, state)) => *state = Sought::Waiting,
                None => seeking.friends.push((*friend, Sought::Waiting)),
            }
            Errand::new(*friend, request.clone(), now, &OsRandom).keep(tx)?;
        }
        if seeking.friends.len() > MAX_ASKED {
            return Ok(false);
        }
        seeking.keep(tx)?;
        Ok(true)
    });
    match kept? {
        true => Ok(()),
        false => Err(Problem::new(
            Code::Usage,
            format!("at most {MAX_ASKED} friends are asked"),
        )),
    }
}

/// The shares of one split, one a point.
fn distinct(all: &[(NodeId, Fetched)], id: StatementId) -> Vec<&Share> {
    let mut by_point: BTreeMap<u8, &Share> = BTreeMap::new();
    for (_, fetched) in all {
        if let Fetched::Share(split, share) = fetched
            && split.id() == id
        {
            by_point.insert(share.point(), share);
        }
    }
    by_point.into_values().collect()
}

/// Puts together what friends released, newest split first.
///
/// # Errors
/// [`Code::BadData`] when there are enough shares and they give the code of another node.
pub fn put_together(owner: NodeId, friends: Vec<(NodeId, Fetched)>) -> Result<Restored, Problem> {
    let mut splits: Vec<&Split> = Vec::new();
    for (_, fetched) in &friends {
        if let Fetched::Share(split, _) = fetched
            && !splits.contains(&&**split)
        {
            splits.push(split);
        }
    }
    splits.sort_by_key(|split| std::cmp::Reverse(split.made()));
    let (mut code, mut is_false) = (None, false);
    for split in &splits {
        let shares = distinct(&friends, split.id());
        if shares.len() < usize::from(split.threshold()) {
            continue;
        }
        // Its id is the public half of the root key.
        match combine(&shares, split.threshold()) {
            Ok(made) if made.keys().root.public() == owner => {
                code = Some(made);
                break;
            }
            _ => is_false = true,
        }
    }
    if code.is_none() && is_false {
        return Err(Problem::new(
            Code::BadData,
            "there are enough shares, but they give the recovery code of another node",
        )
        .hint("whoever split the code made them so: no friend can mend that"));
    }
    let threshold = splits.first().map(|split| split.threshold());
    Ok(Restored {
        code,
        threshold,
        friends,
    })
}

impl Agent {
    /// Asks these friends for the shares of an owner; gives how each request stands.
    ///
    /// # Errors
    /// As [`seek`].
    pub async fn seek_shares(
        &self,
        node: &Arc<Node>,
        owner: NodeId,
        friends: Vec<NodeId>,
    ) -> Result<Seeking, Problem> {
        let here = node.clone();
        blocking(move || seek(&here, owner, &friends)).await?;
        self.deliver_errands(None).await;
        self.seeking(node, owner).await
    }

    async fn seeking(&self, node: &Arc<Node>, owner: NodeId) -> Result<Seeking, Problem> {
        let here = node.clone();
        let found = blocking(move || rows::read(&here.db, |tx| Seeking::find(tx, &owner))).await?;
        found.ok_or_else(|| {
            let title = node.contacts.title(&owner);
            Problem::new(
                Code::NodeNotFound,
                format!("no friend was asked for the shares of {title}"),
            )
            .hint("ask them first: `polykey recovery request OWNER --from FRIEND`")
        })
    }

    /// Fetches what friends release, and puts it together.
    ///
    /// # Errors
    /// As [`put_together`]; [`Code::NodeNotFound`] when nobody was asked.
    pub async fn restore_code(&self, node: &Arc<Node>, owner: NodeId) -> Result<Restored, Problem> {
        let mut seeking = self.seeking(node, owner).await?;
        for (friend, state) in &seeking.friends {
            if *state == Sought::Waiting {
                self.deliver_errands(Some(*friend)).await;
            }
        }
        seeking = self.seeking(node, owner).await?;
        let asked = seeking.friends.iter();
        let asked = asked.map(|(friend, state)| self.fetch_share(node, owner, *friend, *state));
        let friends = join_all(asked).await;
        let here = node.clone();
        blocking(move || {
            note_refusals(&here, owner, &friends)?;
            put_together(owner, friends)
        })
        .await
    }

    async fn fetch_share(
        &self,
        node: &Arc<Node>,
        owner: NodeId,
        friend: NodeId,
        state: Sought,
    ) -> (NodeId, Fetched) {
        match state {
            Sought::Waiting => return (friend, Fetched::Away),
            Sought::Refused => return (friend, Fetched::Refused),
            Sought::Asked => {}
        }
        let request = peer::Request::Friend(Request::Fetch { owner });
        let fetched = match self.network().try_ask(friend, request).await {
            Ok(peer::Answer::Friend(Answer::Waiting { until, approved })) => {
                Fetched::Waiting { until, approved }
            }
            Ok(peer::Answer::Friend(Answer::Released { split, sealed })) => {
                let here = node.clone();
                let opened = blocking(move || Ok(open(&here, owner, split, &sealed))).await;
                opened.unwrap_or(Fetched::False)
            }
            Err(AskError::Refused {
                refusal: peer::Refusal::Refused,
                ..
            }) => Fetched::Refused,
            Ok(_) => Fetched::False,
            Err(error) if error.is_nonsense() => Fetched::False,
            Err(_) => Fetched::Away,
        };
        (friend, fetched)
    }
}

/// Notes which friends refuse now.
fn note_refusals(node: &Node, owner: NodeId, friends: &[(NodeId, Fetched)]) -> Result<(), Problem> {
    let refuses = |friend: &NodeId| {
        let said = friends.iter().find(|(asked, _)| asked == friend);
        matches!(said, Some((_, Fetched::Refused)))
    };
    rows::write(&node.db, |tx| {
        let Some(mut seeking) = Seeking::find(tx, &owner)? else {
            return Ok(());
        };
        for (friend, state) in &mut seeking.friends {
            if refuses(friend) {
                *state = Sought::Refused;
            }
        }
        seeking.keep(tx)
    })
}

/// What a friend released, if its owner signed for it.
pub fn open(node: &Node, owner: NodeId, split: Vec<u8>, sealed: &[u8]) -> Fetched {
    let opened = Split::verify(split)
        .ok()
        .filter(|split| split.owner() == owner)
        .and_then(|split| {
            let share = split.open(Purpose::Release, sealed, node.id(), &node.encryption);
            Some((share.ok()?, split))
        });
    match opened {
        Some((share, split)) => Fetched::Share(Box::new(split), share),
        None => Fetched::False,
    }
}
