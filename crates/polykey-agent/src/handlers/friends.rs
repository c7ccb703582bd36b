//! The calls on recovery with friends.

use std::sync::Arc;
use std::time::Duration;

use polykey_api::friends::{
    AskFriends, Decide, Delivery as Told, DrillItem, Drilled, Dropped, FriendItem, FriendState, HeldItem,
    HolderItem, Proof as Shown, RequestItem, RequestState, RestoredCode, Shares, SoughtItem, SplitCode,
    SplitItem, Veto, VetoItem, Vetoed, WarningItem,
};
use polykey_api::nodes::OneNode;
use polykey_api::notifications::NotificationData;
use polykey_api::{Code, Nothing, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::{Clock, NodeId};
use polykey_trust::words::words as words_of;
use zeroize::Zeroizing;

use crate::agent::Agent;
use crate::blocking::{blocking, to_the_end};
use crate::door::{Action, Caller};
use crate::friends::asker::Fetched;
use crate::friends::holder::{self, Pending, Word};
use crate::friends::message::Request;
use crate::friends::news::News;
use crate::friends::owner::{self, Proof, Terms};
use crate::friends::rows::{self, Delivery, Errand, Held, Own, Seeking, Sought, State, Warning};
use crate::gestalts::named;
use crate::handlers::millis;
use crate::node::Node;
use crate::open;

async fn enter(agent: &Agent, caller: &Caller, action: Action) -> Result<Arc<Node>, Problem> {
    Ok(agent.enter(caller, action).await?.node().clone())
}

/// Splits the code.
pub async fn split(agent: Agent, caller: Caller, q: SplitCode) -> Result<SplitItem, Problem> {
    let words = Zeroizing::new(q.recovery_code);
    let mut action = Action::new("recovery.split");
    action.targets.extend(q.to.iter().cloned());
    let node = enter(&agent, &caller, action).await?;
    let code = open::recovery_code(&words)?;
    let mut holders = Vec::new();
    for who in &q.to {
        holders.push(named::confirmed_node(&node, who).await?);
    }
    let terms = Terms {
        threshold: q.threshold,
        wait: Duration::from_millis(q.wait),
    };
    to_the_end(async move {
        let own = agent.split_code(&node, code, terms, holders).await?;
        Ok(split_item(&node, &own))
    })
    .await
}

fn split_item(node: &Node, own: &Own) -> SplitItem {
    let holders = own.holders.iter().map(|holder| HolderItem {
        node_id_encoded: holder.node.to_string(),
        name: node.contacts.title(&holder.node),
        delivery: match holder.delivery {
            Delivery::Waiting => Told::Waiting,
            Delivery::Kept => Told::Kept,
            Delivery::Refused => Told::Refused,
            Delivery::GivenUp => Told::GivenUp,
        },
        drilled: holder.drilled.map(|(at, _)| at.as_millis()),
        proved: holder.drilled.map(|(_, proved)| proved),
    });
    SplitItem {
        split_id: own.split.id().to_string(),
        threshold: own.split.threshold(),
        wait: millis(own.split.wait()),
        made: own.split.made().as_millis(),
        stale: own.split.owner() != node.id(),
        holders: holders.collect(),
    }
}

/// Shows everything about shares.
pub async fn list(agent: Agent, caller: Caller, _: Nothing) -> Result<Shares, Problem> {
    let node = enter(&agent, &caller, Action::new("recovery.list")).await?;
    blocking(move || {
        let now = SystemClock.now();
        let (own, held, requests, warnings, sought) = rows::read(&node.db, |tx| {
            Ok((
                Own::find(tx)?,
                Held::all(tx)?,
                holder::pending(tx, now)?,
                Warning::all(tx)?,
                Seeking::all(tx)?,
            ))
        })?;
        let held = held.iter().map(|held| HeldItem {
            node_id_encoded: held.split.owner().to_string(),
            name: node.contacts.title(&held.split.owner()),
            threshold: held.split.threshold(),
            count: held.split.count(),
            wait: millis(held.split.wait()),
            since: held.since.as_millis(),
            stale: node.contacts.successor(&held.split.owner()).is_some(),
        });
        let warnings = warnings.iter().map(|warning| WarningItem {
            owner: warning.owner.to_string(),
            asker: warning.asker.to_string(),
            holder: warning.holder.to_string(),
            holder_name: node.contacts.title(&warning.holder),
            arrived: warning.arrived.as_millis(),
            not_before: warning.until.as_millis(),
            vetoed: warning.vetoed,
        });
        Ok(Shares {
            own: own.map(|own| split_item(&node, &own)),
            held: held.collect(),
            requests: requests.iter().map(|one| request_item(&node, one)).collect(),
            warnings: warnings.collect(),
            sought: sought.iter().map(|one| sought_item(&node, one)).collect(),
        })
    })
    .await
}

fn request_item(node: &Node, pending: &Pending) -> RequestItem {
    let asking = &pending.asking;
    let (state, vetoed_by) = match asking.state {
        State::Open => (RequestState::Open, None),
        State::Approved(_) => (RequestState::Approved, None),
        State::Refused(_) => (RequestState::Refused, None),
        State::Vetoed(_, by) => (RequestState::Vetoed, Some(by.to_string())),
    };
    RequestItem {
        owner: pending.owner.to_string(),
        owner_name: node.contacts.title(&pending.owner),
        asker: asking.asker.to_string(),
        asker_name: node.contacts.title(&asking.asker),
        arrived: asking.arrived.as_millis(),
        not_before: pending.due.as_millis(),
        expires: pending.over.as_millis(),
        state,
        released: asking.given.is_some(),
        vetoed_by,
        words: None,
    }
}

fn sought_item(node: &Node, seeking: &Seeking) -> SoughtItem {
    let friends = seeking.friends.iter().map(|(friend, state)| FriendItem {
        node_id_encoded: friend.to_string(),
        name: node.contacts.title(friend),
        state: match state {
            Sought::Waiting => FriendState::Away,
            Sought::Asked => FriendState::Asked,
            Sought::Refused => FriendState::Refused,
        },
        not_before: None,
        approved: None,
    });
    SoughtItem {
        owner: seeking.owner.to_string(),
        friends: friends.collect(),
    }
}

/// Gives up a share.
pub async fn drop_share(agent: Agent, caller: Caller, q: OneNode) -> Result<Dropped, Problem> {
    let action = Action::new("recovery.drop").target(&q.who);
    let node = enter(&agent, &caller, action).await?;
    let owner = named::node(&node, &q.who).await?;
    blocking(move || holder::drop_share(&node, owner)).await?;
    agent.deliver_errands(Some(owner)).await;
    Ok(Dropped {
        node_id_encoded: owner.to_string(),
    })
}

/// Lets holders prove that they have their shares.
pub async fn drill(agent: Agent, caller: Caller, _: Nothing) -> Result<Drilled, Problem> {
    let node = enter(&agent, &caller, Action::new("recovery.drill")).await?;
    let (own, proofs) = agent.drill(&node).await?;
    let proven = proofs.iter().filter(|(_, proof)| *proof == Proof::Has).count();
    let holders = proofs.iter().map(|(holder, proof)| DrillItem {
        node_id_encoded: holder.to_string(),
        name: node.contacts.title(holder),
        proof: match proof {
            Proof::Has => Shown::Has,
            Proof::Away => Shown::Away,
            Proof::Lacks => Shown::Lacks,
            Proof::False => Shown::False,
        },
    });
    Ok(Drilled {
        threshold: own.split.threshold(),
        proven: u8::try_from(proven).unwrap_or(u8::MAX),
        met: proven >= usize::from(own.split.threshold()),
        holders: holders.collect(),
    })
}

/// Asks friends of a lost node.
pub async fn request(agent: Agent, caller: Caller, q: AskFriends) -> Result<SoughtItem, Problem> {
    let mut action = Action::new("recovery.request").target(&q.owner);
    action.targets.extend(q.from.iter().cloned());
    let node = enter(&agent, &caller, action).await?;
    let owner = node.contacts.who(&q.owner)?;
    let friends = q.from.iter().map(|who| node.contacts.who(who));
    let friends = friends.collect::<Result<Vec<_>, _>>()?;
    let seeking = agent.seek_shares(&node, owner, friends).await?;
    Ok(sought_item(&node, &seeking))
}

/// Shows an open request.
pub async fn show(agent: Agent, caller: Caller, q: OneNode) -> Result<RequestItem, Problem> {
    let action = Action::new("recovery.show").target(&q.who);
    let node = enter(&agent, &caller, action).await?;
    let who = node.contacts.who(&q.who)?;
    blocking(move || {
        let pending = holder::meant(&node, who)?;
        let words = words_of(&node.id(), &pending.asking.asker)
            .map_err(|error| Problem::new(Code::Io, "the words cannot be made").caused_by(&error))?;
        Ok(RequestItem {
            words: Some(words.iter().map(ToString::to_string).collect()),
            ..request_item(&node, &pending)
        })
    })
    .await
}

async fn decide(
    agent: &Agent,
    caller: &Caller,
    event: &'static str,
    q: Decide,
    word: Word,
) -> Result<RequestItem, Problem> {
    let action = Action::new(event).target(&q.owner).target(&q.asker);
    let node = enter(agent, caller, action).await?;
    let (owner, asker) = (node.contacts.who(&q.owner)?, node.contacts.who(&q.asker)?);
    blocking(move || {
        holder::decide(&node, owner, asker, word)?;
        let all = rows::read(&node.db, |tx| holder::pending(tx, SystemClock.now()))?;
        let found = all
            .iter()
            .find(|one| one.owner == owner && one.asking.asker == asker);
        let found = found.ok_or_else(|| Problem::new(Code::Changed, "the request is gone"))?;
        Ok(request_item(&node, found))
    })
    .await
}

/// Lets a share be released.
pub async fn approve(agent: Agent, caller: Caller, q: Decide) -> Result<RequestItem, Problem> {
    decide(&agent, &caller, "recovery.approve", q, Word::Approve).await
}

/// Refuses a request.
pub async fn refuse(agent: Agent, caller: Caller, q: Decide) -> Result<RequestItem, Problem> {
    decide(&agent, &caller, "recovery.refuse", q, Word::Refuse).await
}

/// Warns the holders off.
pub async fn veto(agent: Agent, caller: Caller, q: Veto) -> Result<Vetoed, Problem> {
    let mut action = Action::new("recovery.veto");
    action.targets.extend(q.asker.clone());
    let node = enter(&agent, &caller, action).await?;
    let asker = q.asker.as_deref().map(|who| node.contacts.who(who)).transpose()?;
    let here = node.clone();
    let objections = blocking(move || owner::object(&here, asker)).await?;
    agent.deliver_errands(None).await;
    let here = node.clone();
    let waiting = blocking(move || rows::read(&here.db, Errand::all)).await?;
    let waits = |holder: &NodeId, asker: &NodeId| {
        waiting.iter().any(|errand| {
            errand.to == *holder
                && matches!(&errand.request, Request::Veto { asker: named, .. } if named == asker)
        })
    };
    let vetoes = objections.iter().map(|objection| {
        let (late, told): (Vec<_>, Vec<_>) = objection
            .holders
            .iter()
            .partition(|holder| waits(holder, &objection.asker));
        let names =
            |holders: Vec<&NodeId>| holders.iter().map(|holder| node.contacts.title(holder)).collect();
        VetoItem {
            asker: objection.asker.to_string(),
            holders: names(told),
            waiting: names(late),
        }
    });
    Ok(Vetoed {
        vetoes: vetoes.collect(),
    })
}

/// Fetches released shares and puts the code together.
pub async fn restore(agent: Agent, caller: Caller, q: OneNode) -> Result<RestoredCode, Problem> {
    let action = Action::new("recovery.restore").target(&q.who);
    let node = enter(&agent, &caller, action).await?;
    let owner = node.contacts.who(&q.who)?;
    let restored = agent.restore_code(&node, owner).await?;
    let friends = restored.friends.iter().map(|(friend, fetched)| {
        let (state, waits) = match fetched {
            Fetched::Share(..) => (FriendState::Released, None),
            Fetched::Waiting { until, approved } => (FriendState::Waiting, Some((*until, *approved))),
            Fetched::Refused => (FriendState::Refused, None),
            Fetched::Away => (FriendState::Away, None),
            Fetched::False => (FriendState::False, None),
        };
        FriendItem {
            node_id_encoded: friend.to_string(),
            name: node.contacts.title(friend),
            state,
            not_before: waits.map(|(until, _)| until.as_millis()),
            approved: waits.map(|(_, approved)| approved),
        }
    });
    let words = restored.code.as_ref().map(|code| {
        let words = code.words();
        // Words are ASCII.
        String::from_utf8_lossy(words.expose()).into_owned()
    });
    Ok(RestoredCode {
        owner: owner.to_string(),
        recovery_code: words,
        threshold: restored.threshold,
        friends: friends.collect(),
    })
}

/// News about shares, as the inbox shows it.
pub(super) fn shown(news: &News) -> NotificationData {
    match news {
        News::Left { threshold, count } => NotificationData::ShareLeft {
            threshold: *threshold,
            count: *count,
        },
        News::Taken => NotificationData::ShareTaken {},
        News::GivenUp => NotificationData::ShareGivenUp {},
        News::Asked { owner, until } => NotificationData::RecoveryAsked {
            owner: owner.to_string(),
            not_before: until.as_millis(),
        },
        News::Warned { owner, asker, until } => NotificationData::RecoveryWarning {
            owner: owner.to_string(),
            asker: asker.to_string(),
            not_before: until.as_millis(),
        },
        News::Vetoed { owner, asker, late } => NotificationData::RecoveryVetoed {
            owner: owner.to_string(),
            asker: asker.to_string(),
            late: *late,
        },
    }
}
