//! The owner's side: the code is split, its shares are left with friends, and they show now and then that they are there.
//!
//! Own devices are on this side, too: a holder warns them when somebody asks, and any of them objects.
//!
//! Always: the code and the shares are in memory while they are split and nowhere afterwards; what waits for a
//! holder that is away is sealed to that holder.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use polykey_api::problem::typed;
use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::random::{OsRandom, random_array};
use polykey_core::recovery::RecoveryCode;
use polykey_core::share::{MAX_SHARES, MIN_THRESHOLD, split};
use polykey_core::{Clock, NodeId, StatementId, Timestamp};
use polykey_trust::split::{MAX_WAIT, Purpose, Split};

use super::holder::tell;
use super::message::{Answer, Request};
use super::news::News;
use super::rows::{self, Delivery, Errand, Holder, Own, Warning};
use super::{Answered, MAX_WARNINGS, MAX_WARNINGS_OF_ONE};
use crate::agent::Agent;
use crate::blocking::blocking;
use crate::devices::{self, Principal};
use crate::node::Node;
use crate::peer::keys::NodeKeys;
use crate::peer::limits::Standing;
use crate::peer::{self, AskError, Refusal};

/// What the user wants of a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How many shares give the code back.
    pub threshold: u8,
    /// How long holders wait before they release one.
    pub wait: Duration,
}

/// Checks whom the user wants to leave shares with, as far as that can be seen without asking them.
///
/// # Errors
/// [`Code::Usage`] for terms that cannot be, an own device, or two devices of one friend; [`Code::NotAllowed`] for a
/// node that is blocked; [`Code::NodeNotFound`] for one that is not known.
pub fn check(node: &Node, terms: Terms, holders: &[NodeId]) -> Result<(), Problem> {
    let (count, title) = (holders.len(), |who: &NodeId| node.contacts.title(who));
    if count > usize::from(MAX_SHARES) {
        return Err(Problem::new(
            Code::Usage,
            format!("at most {MAX_SHARES} nodes hold shares"),
        ));
    }
    if terms.threshold < MIN_THRESHOLD || usize::from(terms.threshold) > count {
        let problem = Problem::new(
            Code::Usage,
            format!(
                "of {count} shares, {MIN_THRESHOLD} to {count} can be needed, not {}",
                terms.threshold
            ),
        );
        return Err(match terms.threshold {
            0 | 1 => problem.hint("with a threshold of 1 each holder alone would be you"),
            _ => problem.hint("name more holders with `--to`, or a lower `--threshold`"),
        });
    }
    if terms.wait > MAX_WAIT {
        return Err(Problem::new(Code::Usage, "holders wait for 14 days at most"));
    }
    let view = node.gestalts.view()?;
    let own = devices::own(node)?.nodes;
    let mut people: Vec<(NodeId, BTreeSet<NodeId>)> = Vec::new();
    for holder in holders {
        if *holder == node.id() || own.contains(holder) {
            return Err(Problem::new(
                Code::Usage,
                format!("{} is one of your own devices", title(holder)),
            )
            .hint("a share there helps whoever steals it; name friends"));
        }
        if node.contacts.is_blocked(holder) {
            return Err(Problem::new(
                Code::NotAllowed,
                format!("{} is blocked", title(holder)),
            ));
        }
        if !node.contacts.is_contact(holder) {
            return Err(
                Problem::new(Code::NodeNotFound, format!("{} is not known", title(holder)))
                    .hint("add it first: `polykey nodes add`"),
            );
        }
        if let Some((other, _)) = people.iter().find(|(_, devices)| devices.contains(holder)) {
            return Err(Problem::new(
                Code::Usage,
                match other == holder {
                    true => format!("{} is named twice", title(holder)),
                    false => format!("{} and {} are devices of one friend", title(other), title(holder)),
                },
            )
            .hint("each share has to be with somebody else"));
        }
        let mut devices = Principal::of(&view.graph, holder).nodes;
        devices.insert(*holder);
        people.push((*holder, devices));
    }
    Ok(())
}

/// True when the code is that of this node.
fn is_ours(node: &Node, code: &RecoveryCode) -> bool {
    let keys = code.keys();
    keys.root.public() == node.id() && keys.recovery.public() == node.sigchain_start.recovery_public()
}

/// Splits the code among these nodes, whose keys were verified, and puts the shares on their way. What was split
/// before is replaced.
///
/// # Errors
/// [`Code::WrongPassword`] for a code of another node; what the store says.
pub fn make(node: &Node, code: &RecoveryCode, terms: Terms, holders: &[NodeKeys]) -> Result<Own, Problem> {
    if !is_ours(node, code) {
        return Err(
            Problem::new(Code::WrongPassword, "the recovery code belongs to another node").hint(
                "use the one that was shown last, by `init`, `bootstrap`, `keys renew` or `keys reset`",
            ),
        );
    }
    let failed = |error: &dyn std::error::Error| {
        Problem::new(Code::Internal, "the recovery code could not be split").caused_by(error)
    };
    let count = u8::try_from(holders.len()).unwrap_or(u8::MAX);
    let shares = split(code, terms.threshold, count, &OsRandom).map_err(|error| failed(&error))?;
    let (now, keys) = (SystemClock.now(), code.keys());
    rows::write(&node.db, |tx| {
        let former = Own::find(tx)?;
        // Holders tell by its time which one is newer.
        let made = former.as_ref().map_or(now, |former| {
            now.max(former.split.made().after(Duration::from_millis(1)))
        });
        let split = match Split::sign(&keys, made, terms.threshold, terms.wait, &shares) {
            Ok(split) => split,
            Err(error) => return Ok(Err(failed(&error))),
        };
        for errand in Errand::all(tx)? {
            if matches!(errand.request, Request::Leave { .. } | Request::Replace { .. }) {
                errand.forget(tx)?;
            }
        }
        let statement = split.as_bytes().to_vec();
        let mut all = Vec::new();
        for (keys, share) in holders.iter().zip(&shares) {
            let (to, key) = (keys.node(), keys.record().encryption());
            let request = Request::Leave {
                split: statement.clone(),
                sealed: split.seal(Purpose::Keep, share, to, key, &OsRandom),
            };
            Errand::new(to, request, now, &OsRandom).keep(tx)?;
            all.push(Holder {
                node: to,
                point: share.point(),
                delivery: Delivery::Waiting,
                drilled: None,
            });
        }
        // Shares of the former split open the same code: whoever has none of the new ones lets go of its own.
        for old in former.iter().flat_map(|former| &former.holders) {
            let stays = holders.iter().any(|keys| keys.node() == old.node);
            if !stays && old.delivery != Delivery::GivenUp {
                let split = statement.clone();
                Errand::new(old.node, Request::Replace { split }, now, &OsRandom).keep(tx)?;
            }
        }
        let own = Own { split, holders: all };
        own.keep(tx)?;
        Ok(Ok(own))
    })?
}

/// A node that was never seen cannot be sealed to.
fn without_keys(node: &Node, holder: &NodeId, problem: Problem) -> Problem {
    if problem.code != Code::NodeUnreachable {
        return problem;
    }
    let title = node.contacts.title(holder);
    Problem::new(
        Code::NodeUnreachable,
        format!("the keys of {title} are not known yet, and it cannot be reached"),
    )
    .hint(format!(
        "it has to be there once: see `polykey doctor --network {}`",
        typed(&title)
    ))
    .caused_by(&problem)
}

/// The split of this node.
///
/// # Errors
/// [`Code::NodeNotFound`] when there is none; [`Code::NotAllowed`] when it is of a code that this node has no longer.
pub fn current(node: &Node) -> Result<Own, Problem> {
    let own = rows::read(&node.db, Own::find)?;
    let own = own.ok_or_else(|| {
        Problem::new(
            Code::NodeNotFound,
            "no friend holds a share of this node's recovery code",
        )
        .hint("run `polykey recovery split`")
    })?;
    if own.split.owner() != node.id() {
        return Err(Problem::new(
            Code::NotAllowed,
            "the keys were renewed since the recovery code was split: its shares bring nothing back",
        )
        .hint("split the new code: `polykey recovery split`"));
    }
    Ok(own)
}

/// A holder gave up its share.
///
/// # Errors
/// What the store says, as everywhere below.
pub fn hear_of_loss(node: &Node, from: NodeId, split: StatementId) -> Result<Answered, Problem> {
    let heard = rows::write(&node.db, |tx| {
        let Some(mut own) = Own::find(tx)?.filter(|own| own.split.id() == split) else {
            return Ok(None);
        };
        let Some(holder) = own.holder_mut(&from) else {
            return Ok(None);
        };
        let is_news = holder.delivery != Delivery::GivenUp;
        holder.delivery = Delivery::GivenUp;
        own.keep(tx)?;
        Ok(Some(is_news))
    })?;
    Ok(match heard {
        None => Err(Refusal::Refused),
        Some(is_news) => {
            if is_news {
                tell(node, from, News::GivenUp)?;
            }
            Ok(Answer::Done)
        }
    })
}

/// A holder says that somebody asks for a share of this node or another device of the user.
pub fn hear_warning(
    node: &Node,
    (from, standing): (NodeId, Standing),
    owner: NodeId,
    asker: NodeId,
    (arrived, until): (Timestamp, Timestamp),
) -> Result<Answered, Problem> {
    let mut devices = devices::own(node)?.nodes;
    devices.insert(node.id());
    if standing != Standing::Contact || !devices.contains(&owner) || asker == node.id() {
        return Ok(Err(Refusal::Refused));
    }
    let now = SystemClock.now();
    let heard = rows::write(&node.db, |tx| {
        let mut all = Vec::new();
        for warning in Warning::all(tx)? {
            match now > warning.arrived.after(super::LIFETIME) && !warning.vetoed {
                true => warning.forget(tx)?,
                false => all.push(warning),
            }
        }
        let same = |known: &&Warning| (known.owner, known.asker) == (owner, asker);
        if all.iter().filter(same).any(|known| known.holder == from) {
            return Ok(Ok(false));
        }
        let of_one = all.iter().filter(|known| known.holder == from).count();
        if all.len() >= MAX_WARNINGS || of_one >= MAX_WARNINGS_OF_ONE {
            return Ok(Err(Refusal::NoRoom));
        }
        // What the user said about this node holds for each holder that it tries.
        let vetoed = all.iter().filter(same).any(|known| known.vetoed);
        if vetoed {
            let veto = Request::Veto { owner, asker };
            Errand::new(from, veto, now, &OsRandom).keep(tx)?;
        }
        let warning = Warning {
            owner,
            asker,
            holder: from,
            // By a clock that may be wrong: it is not to be remembered for ever.
            arrived: arrived.min(now),
            until,
            vetoed,
        };
        warning.keep(tx)?;
        Ok(Ok(!vetoed))
    })?;
    Ok(match heard {
        Err(refusal) => Err(refusal),
        Ok(is_news) => {
            if is_news {
                let news = News::Warned { owner, asker, until };
                tell(node, from, news)?;
            }
            Ok(Answer::Done)
        }
    })
}

/// Whom an objection goes to, and about which node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objection {
    /// The node that is refused.
    pub asker: NodeId,
    /// The holders that are told.
    pub holders: Vec<NodeId>,
}

/// Objects to one node, or to all of which a holder warned: puts that on its way to the holders that are known.
///
/// # Errors
/// [`Code::NodeNotFound`] when no holder is known that could be told, or nothing was asked.
pub fn object(node: &Node, asker: Option<NodeId>) -> Result<Vec<Objection>, Problem> {
    let now = SystemClock.now();
    let objections = rows::write(&node.db, |tx| {
        let warnings = Warning::all(tx)?;
        let own = Own::find(tx)?.filter(|own| own.split.owner() == node.id());
        let mut askers: BTreeSet<NodeId> = asker.into_iter().collect();
        if asker.is_none() {
            let open = warnings.iter().filter(|warning| !warning.vetoed);
            askers.extend(open.map(|warning| warning.asker));
        }
        let mut all = Vec::new();
        for asker in askers {
            let mut told: BTreeSet<(NodeId, NodeId)> = BTreeSet::new();
            for warning in warnings.iter().filter(|warning| warning.asker == asker) {
                told.insert((warning.holder, warning.owner));
                Warning {
                    vetoed: true,
                    ..*warning
                }
                .keep(tx)?;
            }
            // Those that it did not try yet.
            let holders = own.iter().flat_map(|own| &own.holders);
            told.extend(holders.map(|holder| (holder.node, node.id())));
            for (holder, owner) in &told {
                let veto = Request::Veto { owner: *owner, asker };
                Errand::new(*holder, veto, now, &OsRandom).keep(tx)?;
            }
            let holders: BTreeSet<NodeId> = told.into_iter().map(|(holder, _)| holder).collect();
            all.push(Objection {
                asker,
                holders: holders.into_iter().collect(),
            });
        }
        Ok(all)
    })?;
    if objections.iter().all(|objection| objection.holders.is_empty()) {
        return Err(match asker {
            None => Problem::new(
                Code::NodeNotFound,
                "no holder has told of a request for your shares",
            ),
            Some(_) => Problem::new(Code::NodeNotFound, "no node is known that holds a share of yours"),
        }
        .hint("see `polykey recovery list`"));
    }
    Ok(objections)
}

/// What a holder answered when it was to prove that it has its share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// It has it.
    Has,
    /// It does not answer.
    Away,
    /// It says that it has none, or answers something else.
    Lacks,
    /// Its proof does not hold.
    False,
}

impl Agent {
    /// Splits the code among these nodes.
    ///
    /// # Errors
    /// As [`check`] and [`make`]; [`Code::NodeUnreachable`] for a node whose keys are not known and cannot be asked
    /// for.
    pub async fn split_code(
        &self,
        node: &Arc<Node>,
        code: RecoveryCode,
        terms: Terms,
        holders: Vec<NodeId>,
    ) -> Result<Own, Problem> {
        let (here, named) = (node.clone(), holders.clone());
        let code = blocking(move || {
            check(&here, terms, &named)?;
            Ok(code)
        })
        .await?;
        let asked = holders.iter().map(|holder| self.network().keys_of(node, *holder));
        let keys = join_all(asked).await.into_iter().zip(&holders);
        let keys = keys.map(|(keys, holder)| keys.map_err(|problem| without_keys(node, holder, problem)));
        let keys: Result<Vec<NodeKeys>, Problem> = keys.collect();
        let (here, keys) = (node.clone(), keys?);
        let own = blocking(move || make(&here, &code, terms, &keys)).await?;
        self.deliver_errands(None).await;
        let here = node.clone();
        // Nobody else splits meanwhile but the user, who then sees the newer one.
        blocking(move || Ok(rows::read(&here.db, Own::find)?.unwrap_or(own))).await
    }

    /// Lets every holder prove that it has its share.
    ///
    /// # Errors
    /// As [`current`].
    pub async fn drill(&self, node: &Arc<Node>) -> Result<(Own, Vec<(NodeId, Proof)>), Problem> {
        self.deliver_errands(None).await;
        let here = node.clone();
        let own = blocking(move || current(&here)).await?;
        let asked = own
            .holders
            .iter()
            .map(|holder| self.let_prove(&own.split, *holder));
        let proofs = join_all(asked).await;
        let (here, split, noted) = (node.clone(), own.split.id(), proofs.clone());
        let own = blocking(move || {
            let now = SystemClock.now();
            rows::write(&here.db, |tx| {
                let Some(mut own) = Own::find(tx)?.filter(|own| own.split.id() == split) else {
                    return Ok(None);
                };
                for (node, proof) in noted {
                    let Some(holder) = own.holder_mut(&node) else {
                        continue;
                    };
                    if proof != Proof::Away {
                        holder.drilled = Some((now, proof == Proof::Has));
                    }
                    if proof == Proof::Has {
                        holder.delivery = Delivery::Kept;
                    }
                }
                own.keep(tx)?;
                Ok(Some(own))
            })
        })
        .await?;
        let own =
            own.ok_or_else(|| Problem::new(Code::Changed, "the recovery code was split anew meanwhile"))?;
        Ok((own, proofs))
    }

    async fn let_prove(&self, split: &Split, holder: Holder) -> (NodeId, Proof) {
        let nonce = random_array(&OsRandom);
        let request = peer::Request::Friend(Request::Prove {
            split: split.id(),
            nonce,
        });
        let proof = match self.network().try_ask(holder.node, request).await {
            Ok(peer::Answer::Friend(Answer::Proof(proof))) => {
                match split.check_proof(holder.point, &holder.node, &nonce, &proof) {
                    Ok(()) => Proof::Has,
                    Err(_) => Proof::False,
                }
            }
            Err(AskError::Refused {
                refusal: Refusal::TooMuch | Refusal::Unavailable,
                ..
            }) => Proof::Away,
            Err(error @ AskError::Refused { .. }) => {
                tracing::debug!(holder = %holder.node, "no proof: {error}");
                Proof::Lacks
            }
            Err(error) if error.is_nonsense() => Proof::False,
            Ok(_) => Proof::False,
            Err(_) => Proof::Away,
        };
        (holder.node, proof)
    }
}
