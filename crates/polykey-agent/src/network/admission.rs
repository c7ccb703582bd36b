//! Who gets in: everybody that the user has not blocked, and those that the user trusts before strangers.

use polykey_core::NodeId;
use polykey_net::Admission;

use crate::contacts::Contacts;

/// The contacts as the network asks them.
pub(super) struct Known(pub(super) Contacts);

impl Admission for Known {
    fn admits(&self, node: &NodeId) -> bool {
        !self.0.is_blocked(node)
    }

    fn prefers(&self, node: &NodeId) -> bool {
        self.0.is_trusted(node)
    }
}
