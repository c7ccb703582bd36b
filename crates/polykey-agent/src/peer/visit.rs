//! What other nodes leave here for the user: messages, invitations that they redeem, ciphertext to keep.

use std::sync::Arc;

use polykey_api::Problem;
use polykey_core::{NodeId, VaultId};

use super::limits::Standing;
use super::message::{Answer, Refusal, SECRET_LEN};
use crate::agent::Agent;
use crate::node::Node;

impl Agent {
    /// A message for the user. Its signature was not checked yet.
    pub(super) async fn take_notification(
        &self,
        _node: Arc<Node>,
        _from: NodeId,
        _standing: Standing,
        _statement: Vec<u8>,
    ) -> Result<Answer, Problem> {
        Ok(Answer::refused(Refusal::Refused))
    }

    /// The secret of an invitation, and the keys of its bearer, which were not checked yet.
    pub(super) async fn redeem(
        &self,
        _node: Arc<Node>,
        _from: NodeId,
        _secret: [u8; SECRET_LEN],
        _start: Vec<u8>,
        _record: Vec<u8>,
    ) -> Result<Answer, Problem> {
        Ok(Answer::refused(Refusal::Refused))
    }

    /// A vault whose ciphertext is to be kept here. The genesis was not checked yet.
    pub(super) async fn keep(
        &self,
        _node: Arc<Node>,
        _from: NodeId,
        _vault: VaultId,
        _genesis: Vec<u8>,
    ) -> Result<Answer, Problem> {
        Ok(Answer::refused(Refusal::Refused))
    }
}
