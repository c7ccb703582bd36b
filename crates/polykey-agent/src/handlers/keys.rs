//! The node's keys.

use polykey_api::keys::PublicJwk;
use polykey_api::{Nothing, Problem};

use crate::agent::Agent;
use crate::door::{Action, Caller};

/// The public root key.
pub async fn public(agent: Agent, caller: Caller, _: Nothing) -> Result<PublicJwk, Problem> {
    let pass = agent.enter(&caller, Action::new("keys.public")).await?;
    Ok(PublicJwk {
        alg: "EdDSA".to_owned(),
        kty: "OKP".to_owned(),
        crv: "Ed25519".to_owned(),
        x: data_encoding::BASE64URL_NOPAD.encode(pass.node().id().as_bytes()),
        ext: true,
        key_ops: vec!["verify".to_owned()],
    })
}
