//! What other nodes leave here for the user: messages, invitations that they redeem, ciphertext to keep.

use std::sync::Arc;

use polykey_api::Problem;
use polykey_core::{NodeId, VaultId};
use polykey_trust::permission::Action;

use super::limits::Standing;
use super::message::{Answer, SECRET_LEN};
use crate::agent::Agent;
use crate::blocking::blocking;
use crate::node::Node;
use crate::post::Tray;

impl Agent {
    /// A message for the user. Its signature was not checked yet.
    pub(super) async fn take_notification(
        &self,
        node: Arc<Node>,
        from: NodeId,
        standing: Standing,
        statement: Vec<u8>,
    ) -> Result<Answer, Problem> {
        let tray = match standing {
            Standing::Contact => Tray::Inbox,
            Standing::Stranger => {
                let here = node.clone();
                match blocking(move || here.gestalts.allows(&from, Action::Notify)).await? {
                    true => Tray::Inbox,
                    false => Tray::Strangers,
                }
            }
        };
        self.take_post(node, from, tray, statement).await
    }

    /// The secret of an invitation, and the keys of its bearer, which were not checked yet.
    pub(super) async fn redeem(
        &self,
        node: Arc<Node>,
        from: NodeId,
        secret: [u8; SECRET_LEN],
        start: Vec<u8>,
        record: Vec<u8>,
    ) -> Result<Answer, Problem> {
        self.redeem_ticket(node, from, secret, start, record).await
    }

    /// A vault whose ciphertext is to be kept here. The genesis was not checked yet.
    pub(super) async fn keep(
        &self,
        node: Arc<Node>,
        from: NodeId,
        standing: Standing,
        vault: VaultId,
        genesis: Vec<u8>,
    ) -> Result<Answer, Problem> {
        let here = node.clone();
        let is_muted = move || Ok::<_, Problem>(here.gestalts.view()?.is_muted(&from));
        let tray = match standing {
            Standing::Contact if !blocking(is_muted).await? => Tray::Inbox,
            _ => Tray::Strangers,
        };
        self.keep_for(node, from, tray, vault, genesis).await
    }
}
