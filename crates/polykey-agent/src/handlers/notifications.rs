//! The calls on messages between nodes.

use std::sync::Arc;

use polykey_api::notifications::{
    ClearInbox, Delivery, Notification as Shown, NotificationData, NotificationItem, NotificationList,
    OneNotification, Order, ReadInbox, ReadOutbox, Removed, Send, Sent,
};
use polykey_api::{Code, Nothing, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::random::OsRandom;
use polykey_core::{Clock, NodeId};
use polykey_trust::proof::Ending;

use crate::agent::Agent;
use crate::blocking::blocking;
use crate::door::{Action, Caller};
use crate::gestalts::named;
use crate::handlers::friends;
use crate::node::Node;
use crate::post::courier::Delivered;
use crate::post::notification::{Content, Notification};
use crate::post::{Letter, Mail, MailId, Outgoing, RETRIES, Tray, message};

async fn enter(agent: &Agent, caller: &Caller, event: &'static str) -> Result<Arc<Node>, Problem> {
    Ok(agent.enter(caller, Action::new(event)).await?.node().clone())
}

/// Sends a message: now, or from the outbox as soon as the node can be reached.
pub async fn send(agent: Agent, caller: Caller, q: Send) -> Result<Sent, Problem> {
    let action = Action::new("notifications.send").target(&q.who);
    let node = agent.enter(&caller, action).await?.node().clone();
    let to = named::node(&node, &q.who).await?;
    if to == node.id() {
        return Err(Problem::new(Code::Usage, "this is the node itself"));
    }
    let content = message(&q.message)?;
    let here = node.clone();
    let outgoing = blocking(move || {
        let now = SystemClock.now();
        let notification = Notification::sign(&here.root, to, now, content, &OsRandom);
        here.post.send(notification, q.retries.unwrap_or(RETRIES), now)
    })
    .await?;
    match agent.deliver(&node, &outgoing).await? {
        Delivered::Refused => Err(Problem::new(
            Code::NotAllowed,
            format!("the node {} does not take messages of this node", q.who),
        )),
        delivered => Ok(Sent {
            notification_id_encoded: outgoing.id.to_string(),
            node_id_encoded: to.to_string(),
            delivered: delivered == Delivered::Yes,
        }),
    }
}

/// Reads the inbox, and notes that it was read.
pub async fn inbox_read(agent: Agent, caller: Caller, q: ReadInbox) -> Result<NotificationList, Problem> {
    let node = enter(&agent, &caller, "notifications.inbox.read").await?;
    let tray = tray(q.strangers);
    blocking(move || {
        let mut mails = node.post.read(tray)?;
        mails.retain(|mail| !(q.unread && mail.read));
        in_order(&mut mails, q.order, q.limit);
        node.post.mark_read(tray, &mails)?;
        let me = node.id();
        Ok(NotificationList {
            notifications: mails.iter().map(|mail| shown_mail(mail, &me)).collect(),
        })
    })
    .await
}

/// Oldest first turned as asked, and cut.
fn in_order<T>(items: &mut Vec<T>, order: Order, limit: Option<u64>) {
    if order == Order::Newest {
        items.reverse();
    }
    if let Some(limit) = limit {
        items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    }
}

fn tray(strangers: bool) -> Tray {
    match strangers {
        true => Tray::Strangers,
        false => Tray::Inbox,
    }
}

/// Empties the inbox.
pub async fn inbox_clear(agent: Agent, caller: Caller, q: ClearInbox) -> Result<Removed, Problem> {
    let node = enter(&agent, &caller, "notifications.inbox.clear").await?;
    blocking(move || removed(node.post.clear(tray(q.strangers))?)).await
}

/// Removes one from the inbox.
pub async fn inbox_remove(agent: Agent, caller: Caller, q: OneNotification) -> Result<Removed, Problem> {
    let node = enter(&agent, &caller, "notifications.inbox.remove").await?;
    blocking(move || match MailId::parse(&q.id) {
        Some(id) if node.post.remove(id)? => removed(1),
        _ => Err(unknown()),
    })
    .await
}

/// Reads the outbox.
pub async fn outbox_read(agent: Agent, caller: Caller, q: ReadOutbox) -> Result<NotificationList, Problem> {
    let node = enter(&agent, &caller, "notifications.outbox.read").await?;
    blocking(move || {
        let mut outbox = node.post.outbox()?;
        in_order(&mut outbox, q.order, q.limit);
        Ok(NotificationList {
            notifications: outbox.iter().map(shown_outgoing).collect(),
        })
    })
    .await
}

/// Empties the outbox.
pub async fn outbox_clear(agent: Agent, caller: Caller, _: Nothing) -> Result<Removed, Problem> {
    let node = enter(&agent, &caller, "notifications.outbox.clear").await?;
    blocking(move || removed(node.post.clear_outbox()?)).await
}

/// Removes one from the outbox.
pub async fn outbox_remove(agent: Agent, caller: Caller, q: OneNotification) -> Result<Removed, Problem> {
    let node = enter(&agent, &caller, "notifications.outbox.remove").await?;
    blocking(move || match MailId::parse(&q.id) {
        Some(id) if node.post.drop_outgoing(id)? => removed(1),
        _ => Err(unknown()),
    })
    .await
}

fn removed(count: usize) -> Result<Removed, Problem> {
    Ok(Removed {
        removed: u64::try_from(count).unwrap_or(u64::MAX),
    })
}

fn unknown() -> Problem {
    Problem::new(Code::SecretNotFound, "there is no notification with that id")
        .hint("the whole id is needed; `polykey notifications inbox read` shows it")
}

fn data(content: &Content) -> NotificationData {
    match content {
        Content::Message(text) => NotificationData::General {
            message: text.clone(),
        },
        Content::VaultShare { vault, name, role } => NotificationData::VaultShare {
            vault_id: vault.to_string(),
            vault_name: name.to_string(),
            role: role.to_string(),
        },
        Content::VaultUnshare { vault, name } => NotificationData::VaultUnshare {
            vault_id: vault.to_string(),
            vault_name: name.to_string(),
        },
        Content::GestaltInvite { kind, expires } => NotificationData::GestaltInvite {
            link: kind.as_str().to_owned(),
            expires: expires.as_millis(),
        },
    }
}

/// How the end of a link is called in the API.
pub(super) fn ending_name(ending: Ending) -> &'static str {
    match ending {
        Ending::PageChanged => "page-changed",
        Ending::Replaced => "replaced",
        Ending::Revoked => "revoked",
        Ending::Gone => "gone",
    }
}

fn shown_mail(mail: &Mail, me: &NodeId) -> NotificationItem {
    let (peer, iat, data) = match &mail.letter {
        Letter::Signed(notification) => (
            Some(notification.id().to_string()),
            notification.created(),
            data(notification.content()),
        ),
        Letter::Joined {
            vault, name, role, ..
        } => (
            None,
            mail.id.time(),
            NotificationData::VaultJoined {
                vault_id: vault.to_string(),
                vault_name: name.to_string(),
                role: role.to_string(),
            },
        ),
        Letter::KeepRequest { vault, .. } => (
            None,
            mail.id.time(),
            NotificationData::KeepRequest {
                vault_id: vault.to_string(),
            },
        ),
        Letter::Succeeded { former, .. } => (
            None,
            mail.id.time(),
            NotificationData::NodeSucceeded {
                former_node_id: former.to_string(),
            },
        ),
        Letter::Device {
            member,
            vault,
            name,
            role,
            ..
        } => (
            None,
            mail.id.time(),
            NotificationData::MemberDevice {
                member_node_id: member.to_string(),
                vault_id: vault.to_string(),
                vault_name: name.to_string(),
                role: role.map(|role| role.to_string()),
            },
        ),
        Letter::DeviceGone { itself, .. } => (
            None,
            mail.id.time(),
            NotificationData::DeviceGone { itself: *itself },
        ),
        Letter::DeviceJoined { .. } => (None, mail.id.time(), NotificationData::DeviceJoined {}),
        Letter::Doubt { forked, .. } => (
            None,
            mail.id.time(),
            NotificationData::SigchainDoubt { forked: *forked },
        ),
        Letter::LinkEnded { identity, ending, .. } => (
            None,
            mail.id.time(),
            NotificationData::IdentityUnlinked {
                identity: identity.to_string(),
                reason: ending_name(*ending).to_owned(),
            },
        ),
        Letter::Linked { identity, .. } => (
            None,
            mail.id.time(),
            NotificationData::IdentityLinked {
                identity: identity.to_string(),
            },
        ),
        Letter::Reach { came, .. } => (
            None,
            mail.id.time(),
            NotificationData::DeviceReach { came: *came },
        ),
        Letter::Proposal {
            vault, name, whom, ..
        } => (
            None,
            mail.id.time(),
            NotificationData::ShareProposal {
                vault_id: vault.to_string(),
                vault_name: name.to_string(),
                whom: whom.clone(),
            },
        ),
        Letter::Friend { news, .. } => (None, mail.id.time(), friends::shown(news)),
    };
    NotificationItem {
        notification: Shown {
            typ: "notification".to_owned(),
            notification_id_encoded: mail.id.to_string(),
            peer_notification_id_encoded: peer,
            iss: mail.letter.from().to_string(),
            sub: me.to_string(),
            iat: iat.as_millis() / 1000,
            is_read: mail.read,
            data,
        },
        task_metadata: None,
    }
}

fn shown_outgoing(outgoing: &Outgoing) -> NotificationItem {
    let notification = &outgoing.notification;
    NotificationItem {
        notification: Shown {
            typ: "notification".to_owned(),
            notification_id_encoded: outgoing.id.to_string(),
            peer_notification_id_encoded: None,
            iss: notification.from().to_string(),
            sub: notification.to().to_string(),
            iat: notification.created().as_millis() / 1000,
            is_read: false,
            data: data(notification.content()),
        },
        task_metadata: Some(Delivery {
            remaining_retries: outgoing.left,
            created: outgoing.id.time().as_millis(),
            scheduled: outgoing.next.as_millis(),
        }),
    }
}
