//! The node's keys.

use std::io;

use axum::body::Body;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use polykey_api::keys::{
    Certificate, Certificates, EncryptQuery, ExportRequest, PasswordRequest, PrivateJwe, Proposal,
    ProposeRequest, PublicJwk, RenewRequest, Renewed, Signature, Verdict, VerifyQuery,
};
use polykey_api::{Code, Nothing, Problem};
use polykey_core::key_record::KeyRecord;
use polykey_core::password::{Limits, Password};
use polykey_core::random::OsRandom;
use polykey_core::user_box::{Opener, Sealer, UserBoxError};
use polykey_core::user_signature::{ContentHash, UserSignature};
use polykey_core::{Clock, SecretBytes, clock::SystemClock};

use crate::agent::Agent;
use crate::blocking::{BodyReader, blocking, streamed, to_the_end};
use crate::door::{Action, Caller};
use crate::gestalts::named;
use crate::network::known_keys;
use crate::rekey::{self, RekeyError, Tie};
use crate::{certificate, jwk, open};

/// The public keys.
pub async fn public(agent: Agent, caller: Caller, _: Nothing) -> Result<PublicJwk, Problem> {
    let pass = agent.enter(&caller, Action::new("keys.public")).await?;
    let node = pass.node();
    Ok(jwk::public(&node.id(), Some(&node.key_record)))
}

/// The root key under a password.
pub async fn export(agent: Agent, caller: Caller, request: ExportRequest) -> Result<PrivateJwe, Problem> {
    let pass = agent.enter(&caller, Action::new("keys.export")).await?;
    let node = pass.node().clone();
    let (password, limits) = new_password(&request.password, &request.ops_limit, &request.mem_limit)?;
    blocking(move || {
        jwk::protect(&node.root, &password, limits, &OsRandom)
            .map_err(|error| Problem::new(Code::Io, "the key cannot be exported").caused_by(&error))
    })
    .await
}

/// A new password. All sessions end: who knew the old one is out.
pub async fn password(agent: Agent, caller: Caller, request: PasswordRequest) -> Result<Nothing, Problem> {
    let pass = agent.enter(&caller, Action::new("keys.password")).await?;
    let (password, limits) = new_password(&request.password, &request.ops_limit, &request.mem_limit)?;
    to_the_end(async move {
        let transition = agent.transition().await;
        let (node, paths) = (pass.node().clone(), agent.paths().clone());
        drop(pass);
        let changed = change(move || rekey::set_password(&node, &paths, &password, limits, &OsRandom)).await;
        drop(transition);
        settled(&agent, changed).await?;
        agent.sessions().forget_all();
        Ok(Nothing {})
    })
    .await
}

/// A recovery code that may be taken. Nothing changes.
pub async fn propose(agent: Agent, caller: Caller, request: ProposeRequest) -> Result<Proposal, Problem> {
    let pass = agent.enter(&caller, Action::new("keys.propose")).await?;
    let node = pass.node().clone();
    blocking(move || rekey::propose(&node, request.recovery_code.as_deref(), &OsRandom)).await
}

/// A new root key that the old one names.
pub async fn renew(agent: Agent, caller: Caller, request: RenewRequest) -> Result<Renewed, Problem> {
    new_root(agent, caller, request, Action::new("keys.renew"), Tie::Named).await
}

/// A new root key without a tie to the old one.
pub async fn reset(agent: Agent, caller: Caller, request: RenewRequest) -> Result<Renewed, Problem> {
    new_root(agent, caller, request, Action::new("keys.reset"), Tie::None).await
}

async fn new_root(
    agent: Agent,
    caller: Caller,
    request: RenewRequest,
    action: Action,
    tie: Tie,
) -> Result<Renewed, Problem> {
    let node = agent.enter(&caller, action).await?.node().clone();
    let (password, limits) = new_password(&request.password, &request.ops_limit, &request.mem_limit)?;
    let again = SecretBytes::copy_from(password.expose());
    let paths = agent.paths().clone();
    if tie == Tie::Named {
        agent.settle_past(&node, &[]).await?;
    }
    to_the_end(async move {
        let transition = agent.transition().await;
        let changed =
            change(move || rekey::take_new_root(&node, &paths, &request, tie, &password, limits, &OsRandom))
                .await;
        drop(transition);
        let renewed = settled(&agent, changed).await?;
        agent.lock_keys().await;
        let turn = agent.backoff().turn().await;
        agent.unlock_keys(turn, &again).await?;
        Ok(renewed)
    })
    .await
}

/// Runs a change of keys.
async fn change<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RekeyError> + Send + 'static,
) -> Result<T, RekeyError> {
    let ended = blocking(move || Ok(work())).await;
    // After a panic nobody knows how far it came.
    ended.unwrap_or_else(|problem| Err(RekeyError::Unsure(problem)))
}

/// What came of a change of keys. Keys that may not be those on the disk are dropped.
async fn settled<T>(agent: &Agent, changed: Result<T, RekeyError>) -> Result<T, Problem> {
    match changed {
        Ok(done) => Ok(done),
        Err(RekeyError::Unchanged(problem)) => Err(problem),
        Err(RekeyError::Unsure(problem)) => {
            agent.lock_keys().await;
            Err(problem
                .hint("the agent is locked: open it with the new password or, if that is wrong, the old one"))
        }
    }
}

/// Signs the body.
pub async fn sign(agent: Agent, caller: Caller, _: Nothing, body: Body) -> Result<Signature, Problem> {
    let pass = agent.enter(&caller, Action::new("keys.sign")).await?;
    let node = pass.node().clone();
    let mut body = BodyReader::new(body, pass.node().closing());
    blocking(move || {
        let content = ContentHash::read(&mut body).map_err(|error| cut_off(&error))?;
        Ok(Signature {
            signature: UserSignature::sign(&node.root, &content).to_string(),
        })
    })
    .await
}

/// Checks a signature over the body.
pub async fn verify(
    agent: Agent,
    caller: Caller,
    query: VerifyQuery,
    body: Body,
) -> Result<Verdict, Problem> {
    let action = Action::new("keys.verify").target(query.signer.clone());
    let pass = agent.enter(&caller, action).await?;
    let signer = named::node(pass.node(), &query.signer).await?;
    let mut body = BodyReader::new(body, pass.node().closing());
    blocking(move || {
        let content = ContentHash::read(&mut body).map_err(|error| cut_off(&error))?;
        let signature = UserSignature::parse(&query.signature);
        Ok(Verdict {
            success: signature.is_ok_and(|signature| signature.covers(&signer, &content)),
        })
    })
    .await
}

/// Encrypts the body to a node.
pub async fn encrypt(agent: Agent, caller: Caller, query: EncryptQuery, body: Body) -> Result<Body, Problem> {
    let action = Action::new("keys.encrypt").target(query.to.clone());
    let pass = agent.enter(&caller, action).await?;
    let to = named::confirmed_node(pass.node(), &query.to).await?;
    let record = match &query.key_record {
        Some(text) => Some(read_key_record(text)?),
        None if to == pass.node().id() => Some(pass.node().key_record.clone()),
        None => known_keys(&pass.node().contacts, &to).map(|keys| keys.record().clone()),
    };
    let Some(record) = record.filter(|record| record.node() == to) else {
        return Err(Problem::new(
            Code::NodeNotFound,
            format!("no encryption key of node {to} is known"),
        )
        .hint("ask for the output of `polykey keys public --json` there, and name that file instead"));
    };
    let mut body = BodyReader::new(body, pass.node().closing());
    streamed(pass.node().closing(), move |out| {
        let mut sealer = Sealer::new(record.encryption(), &OsRandom, out.buffer());
        loop {
            let piece = body.piece().map_err(|error| cut_off(&error))?;
            if piece.is_empty() {
                break;
            }
            sealer.push(&piece, out.buffer());
            out.flush_full()?;
        }
        sealer.finish(out.buffer());
        Ok(())
    })
    .await
}

/// Decrypts the body.
pub async fn decrypt(agent: Agent, caller: Caller, _: Nothing, body: Body) -> Result<Body, Problem> {
    let pass = agent.enter(&caller, Action::new("keys.decrypt")).await?;
    let node = pass.node().clone();
    let mut body = BodyReader::new(body, pass.node().closing());
    streamed(pass.node().closing(), move |out| {
        let damaged = |error: UserBoxError| Problem::new(Code::BadData, error.to_string()).caused_by(&error);
        let keys = [&node.encryption];
        let mut opener = Opener::new(&keys);
        loop {
            let piece = body.piece().map_err(|error| cut_off(&error))?;
            if piece.is_empty() {
                break;
            }
            opener.push(&piece, out.buffer()).map_err(damaged)?;
            out.flush_full()?;
        }
        opener.finish(out.buffer()).map_err(damaged)?;
        Ok(())
    })
    .await
}

/// Certificates of the node key.
pub async fn certificates(agent: Agent, caller: Caller, _: Nothing) -> Result<Certificates, Problem> {
    let pass = agent.enter(&caller, Action::new("keys.cert")).await?;
    let node = pass.node();
    // A reset ends the chain: nothing leads from the new key to those before.
    let keys: Vec<_> = std::iter::once(&node.root)
        .chain(node.former.iter().rev().take(node.succession.len()))
        .collect();
    let chain = certificate::chain(&keys, SystemClock.now())
        .map_err(|error| Problem::new(Code::Internal, "the certificate cannot be made").caused_by(&error))?;
    Ok(Certificates {
        chain: chain.into_iter().map(|cert| Certificate { cert }).collect(),
    })
}

fn read_key_record(text: &str) -> Result<KeyRecord, Problem> {
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).unwrap_or_default();
    KeyRecord::verify(bytes)
        .map_err(|error| Problem::new(Code::BadData, "the key record is not valid").caused_by(&error))
}

/// A password in base64 that shall become one.
fn new_password(
    text: &str,
    ops: &Option<String>,
    memory: &Option<String>,
) -> Result<(Password, Limits), Problem> {
    let bytes = BASE64
        .decode(text.as_bytes())
        .map(SecretBytes::new)
        .map_err(|_| Problem::new(Code::Usage, "the password is not in base64"))?;
    let password =
        Password::parse(bytes.expose()).map_err(|error| Problem::new(Code::Usage, error.to_string()))?;
    if password.is_empty() {
        return Err(Problem::new(Code::Usage, "the password is empty"));
    }
    Ok((password, open::limits(ops, memory)?))
}

fn cut_off(error: &io::Error) -> Problem {
    Problem::new(Code::Io, "the request broke off").caused_by(error)
}
