//! New passwords and new root keys.
//!
//! The master key stays, so nothing at rest is sealed again: a new password rewrites one slot of the key
//! file, a new root key both slots and the node's own records. The former root key is kept, sealed: a vault that
//! knows the node by it is told of the new one when it is [opened](crate::vaults), and one that cannot be told goes
//! on under the old one.
//!
//! Always: whoever knows the present recovery code or the one that was [proposed](propose) opens the node after a
//! crash at any moment; how, [`mod@successor`] says.

use std::fs;

use polykey_api::keys::{Proposal, RenewRequest, Renewed};
use polykey_api::{Code, Problem};
use polykey_core::genesis::SigchainStart;
use polykey_core::key_file::KeyFile;
use polykey_core::key_record::KeyRecord;
use polykey_core::password::{Limits, Password};
use polykey_core::recovery::{RecoveryCode, RecoveryKeys};
use polykey_core::rotation::Rotation;
use polykey_core::sign::SigningKey;
use polykey_core::{Clock, Key, Random, clock::SystemClock};

use crate::chains::own;
use crate::failure;
use crate::node::{Node, PasswordCheck};
use crate::open;
use crate::paths::NodePaths;
use crate::recovery::past::check_settled;
use crate::successor::{self, Successor};

/// Whether the old root key names the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tie {
    /// It does, and the recovery key too: others can follow.
    Named,
    /// It does not.
    None,
}

/// Why keys were not changed.
#[derive(Debug)]
pub enum RekeyError {
    /// All is as it was, on the disk and in memory.
    Unchanged(Problem),
    /// The disk may hold the old keys or the new ones: those in memory are not to be used any more.
    Unsure(Problem),
}

impl From<Problem> for RekeyError {
    fn from(problem: Problem) -> Self {
        RekeyError::Unchanged(problem)
    }
}

/// Makes `password` the one that opens the node. The old one opens no file any more.
///
/// # Errors
/// [`RekeyError`].
pub fn set_password(
    node: &Node,
    paths: &NodePaths,
    password: &Password,
    limits: Limits,
    random: &dyn Random,
) -> Result<(), RekeyError> {
    let before = open::read_key_file(paths)?;
    let mut file = before.clone();
    file.set_password(&node.master, password, limits, random)
        .map_err(|error| cannot_stretch(&error))?;
    replace_key_file(paths, &before, &file)?;
    node.set_password_check(PasswordCheck::new(password, random));
    Ok(())
}

/// A new recovery code and the node id that goes with it, to be shown before [`take_new_root`] takes them.
///
/// # Errors
/// [`Code::WrongPassword`] when `present`, the present recovery code, is given and is not this node's.
pub fn propose(node: &Node, present: Option<&str>, random: &dyn Random) -> Result<Proposal, Problem> {
    if let Some(words) = present {
        check_present(node, words)?;
    }
    let code = RecoveryCode::generate(random);
    Ok(Proposal {
        node_id: code.keys().root.public().to_string(),
        recovery_code: String::from_utf8_lossy(code.words().expose()).into_owned(),
    })
}

/// Takes a new root key from a recovery code that was [proposed](propose). The node must be opened again to use it.
///
/// # Errors
/// [`RekeyError`]; [`Code::WrongPassword`] in it when the present recovery code is needed and is not this node's.
pub fn take_new_root(
    node: &Node,
    paths: &NodePaths,
    request: &RenewRequest,
    tie: Tie,
    password: &Password,
    limits: Limits,
    random: &dyn Random,
) -> Result<Renewed, RekeyError> {
    let keys = open::recovery_code(&request.new_recovery_code)?.keys();
    let successor = successor(node, request, tie, &keys)?;
    let before = open::read_key_file(paths)?;
    let mut file = before.clone();
    file.set_password(&node.master, password, limits, random)
        .map_err(|error| cannot_stretch(&error))?;
    file.set_code(&node.master, &keys, random);
    successor
        .prepare(node, &file, random)
        .map_err(|error| failure::store(&error))?;
    replace_key_file(paths, &before, &file)?;
    // The new key holds. What fails now, the next opening does.
    if let Err(problem) = successor::settle(&node.db, paths, &file) {
        tracing::warn!("the new root key takes its place later: {problem}");
    }
    Ok(Renewed {
        node_id: successor.root.public().to_string(),
    })
}

fn successor(
    node: &Node,
    request: &RenewRequest,
    tie: Tie,
    keys: &RecoveryKeys,
) -> Result<Successor, Problem> {
    let root = SigningKey::from_seed(&Key::copy_of(keys.root.expose_seed()));
    if std::iter::once(&node.root)
        .chain(&node.former)
        .any(|had| had.public() == root.public())
    {
        return Err(
            Problem::new(Code::Usage, "the new recovery code is one that this node has had")
                .hint("take a new one"),
        );
    }
    let rotation = match tie {
        Tie::None => None,
        Tie::Named => {
            check_settled(node)?;
            Some(name_successor(node, request, &root, &keys.recovery)?)
        }
    };
    let key_record = KeyRecord::first(&root, node.encryption.public());
    let start = SigchainStart::sign(&root, keys, &key_record, SystemClock.now());
    Ok(Successor {
        root,
        key_record,
        start,
        rotation,
    })
}

fn name_successor(
    node: &Node,
    request: &RenewRequest,
    root: &SigningKey,
    recovery: &SigningKey,
) -> Result<Rotation, Problem> {
    let words = request.recovery_code.as_deref().ok_or_else(|| {
        Problem::new(Code::Usage, "the recovery code is needed to name a successor")
            .hint("set PK_RECOVERY_CODE, or use `keys reset` when it is lost")
    })?;
    let present = check_present(node, words)?;
    let chain = own::chain(&node.db, &node.id())?;
    let place = chain.next_place();
    Rotation::sign(
        &node.root,
        &present,
        (place.number, place.previous),
        chain.vouch_time(SystemClock.now()),
        root.public(),
        recovery.public(),
    )
    .map_err(|error| Problem::new(Code::Internal, "the successor cannot be named").caused_by(&error))
}

/// The recovery key of the present code.
fn check_present(node: &Node, words: &str) -> Result<SigningKey, Problem> {
    let present = open::recovery_code(words)?.keys().recovery;
    if present.public() != node.sigchain_start.recovery_public() {
        return Err(Problem::new(
            Code::WrongPassword,
            "the recovery code belongs to another node",
        ));
    }
    Ok(present)
}

/// Puts `file` in the place of `before`.
fn replace_key_file(paths: &NodePaths, before: &KeyFile, file: &KeyFile) -> Result<(), RekeyError> {
    open::replace(&paths.keys(), &file.encode()).map_err(|problem| {
        // A name that was not made durable is the new one until the machine stops, and the old one then.
        match fs::read(paths.keys()) {
            Ok(bytes) if bytes == before.encode() => RekeyError::Unchanged(problem),
            _ => RekeyError::Unsure(problem),
        }
    })
}

fn cannot_stretch(error: &dyn std::error::Error) -> Problem {
    Problem::new(Code::Io, "the password cannot be stretched").caused_by(error)
}

#[cfg(test)]
mod tests {
    use polykey_api::start::StartOrder;
    use polykey_core::password::Level;
    use polykey_core::random::OsRandom;
    use polykey_store::{StoreError, Table};

    use super::*;

    const OLD: &str = "correct horse";
    const NEW: &str = "battery staple";

    struct Place {
        _dir: tempfile::TempDir,
        paths: NodePaths,
        code: String,
    }

    fn password(text: &str) -> Password {
        Password::new(text).expect("short")
    }

    fn cheap() -> Limits {
        Limits::named(Level::Min, Level::Min)
    }

    impl Place {
        fn new() -> Place {
            let dir = tempfile::tempdir().expect("a temporary folder");
            let order = StartOrder {
                node_path: dir.path().join("node"),
                password: Some(data_encoding::BASE64.encode(OLD.as_bytes())),
                ops_limit: Some("min".to_owned()),
                mem_limit: Some("min".to_owned()),
                ..StartOrder::default()
            };
            let paths = NodePaths::new(order.node_path.clone());
            paths.create().expect("a folder");
            let opened = open::create(&paths, &order, &OsRandom).expect("a node");
            let code = opened.recovery_code.expect("a new node").expose().to_vec();
            opened.node.close().expect("closes");
            Place {
                _dir: dir,
                paths,
                code: String::from_utf8(code).expect("words"),
            }
        }

        fn open(&self, text: &str) -> Result<Node, Code> {
            open::open(&self.paths, &password(text), &OsRandom).map_err(|problem| problem.code)
        }

        fn request(&self, proposal: &Proposal) -> RenewRequest {
            RenewRequest {
                password: String::new(),
                new_recovery_code: proposal.recovery_code.clone(),
                recovery_code: Some(self.code.clone()),
                ops_limit: None,
                mem_limit: None,
            }
        }

        fn take(&self, node: &Node, proposal: &Proposal) -> Result<Renewed, RekeyError> {
            let request = self.request(proposal);
            take_new_root(
                node,
                &self.paths,
                &request,
                Tie::Named,
                &password(NEW),
                cheap(),
                &OsRandom,
            )
        }

        /// Demands that the node opens by this password and this code, and by no other ones.
        #[track_caller]
        fn check(&self, id: &str, (good, bad): (&str, &str), (code, other): (&str, &str), when: &str) {
            assert_eq!(self.open(bad).map(drop), Err(Code::WrongPassword), "{when}");
            let node = self.open(good).unwrap_or_else(|code| panic!("{code:?} {when}"));
            assert_eq!(node.id().to_string(), id, "{when}");
            let file = open::read_key_file(&self.paths).expect("reads");
            let keys = |words: &str| open::recovery_code(words).expect("a code").keys();
            assert!(file.unlock_code(&keys(code)).is_ok(), "{when}");
            assert!(file.unlock_code(&keys(other)).is_err(), "{when}");
            // What the file opens by also names the next successor.
            propose(&node, Some(code), &OsRandom).expect("the present code");
            let refused = propose(&node, Some(other), &OsRandom).map_err(|problem| problem.code);
            assert_eq!(refused.map(drop), Err(Code::WrongPassword), "{when}");
            node.close().expect("closes");
        }
    }

    #[test]
    fn wherever_a_renewal_breaks_off_one_password_and_one_code_open_the_node() {
        for steps in 0..=3 {
            let place = Place::new();
            let node = place.open(OLD).expect("opens");
            let id = node.id().to_string();
            let proposal = propose(&node, Some(&place.code), &OsRandom).expect("proposed");
            let keys = open::recovery_code(&proposal.recovery_code)
                .expect("a code")
                .keys();
            let next = successor(&node, &place.request(&proposal), Tie::Named, &keys).expect("made");
            let before = open::read_key_file(&place.paths).expect("reads");
            let mut file = before.clone();
            file.set_password(&node.master, &password(NEW), cheap(), &OsRandom)
                .expect("8 KiB");
            file.set_code(&node.master, &keys, &OsRandom);
            if steps > 0 {
                next.prepare(&node, &file, &OsRandom).expect("stored");
            }
            if steps > 1 {
                replace_key_file(&place.paths, &before, &file).expect("replaced");
            }
            if steps > 2 {
                successor::settle(&node.db, &place.paths, &file).expect("settled");
            }
            // What is open is the former key until the node is opened again.
            assert_eq!(node.id().to_string(), id);
            node.close().expect("closes");
            let (old, new) = (place.code.as_str(), proposal.recovery_code.as_str());
            for again in ["", ", once more"] {
                let when = format!("after {steps} steps{again}");
                if steps < 2 {
                    place.check(&id, (OLD, NEW), (old, new), &when);
                } else {
                    place.check(&proposal.node_id, (NEW, OLD), (new, old), &when);
                }
            }
            let node = place.open(if steps < 2 { OLD } else { NEW }).expect("opens");
            assert_eq!(node.former.len(), usize::from(steps > 1));
            // The chains say what the keys say.
            let present = own::chain(&node.db, &node.id()).expect("there");
            let old = own::chain(&node.db, &id.parse().expect("an id")).expect("there");
            let names = |rotation: &Rotation| (rotation.node() == old.node()).then(|| rotation.successor());
            let next = (steps > 1).then(|| node.id());
            assert_eq!(old.successor().and_then(names), next);
            assert_eq!(present.predecessors().find_map(names), next);
            assert_eq!(node.succession.last().and_then(names), next);
            node.close().expect("closes");
        }
    }

    #[test]
    fn a_new_password_between_the_steps_changes_nothing() {
        let place = Place::new();
        let node = place.open(OLD).expect("opens");
        let proposal = propose(&node, None, &OsRandom).expect("proposed");
        // The key file cannot be replaced: the records of the next root key wait in vain.
        let draft = place.paths.keys().with_extension("new");
        fs::create_dir(&draft).expect("free");
        let refused = place.take(&node, &proposal);
        assert!(matches!(refused, Err(RekeyError::Unchanged(_))), "{refused:?}");
        let changed = set_password(&node, &place.paths, &password(NEW), cheap(), &OsRandom);
        assert!(matches!(changed, Err(RekeyError::Unchanged(_))), "{changed:?}");
        assert!(node.is_password(&polykey_core::SecretBytes::copy_from(OLD.as_bytes())));
        fs::remove_dir(&draft).expect("empty");
        set_password(&node, &place.paths, &password(NEW), cheap(), &OsRandom).expect("changed");
        let id = node.id().to_string();
        node.close().expect("closes");
        place.check(&id, (NEW, OLD), (&place.code, &proposal.recovery_code), "then");
    }

    #[test]
    fn a_node_from_before_there_were_chains_gets_them() {
        let place = Place::new();
        let node = place.open(OLD).expect("opens");
        let former = node.id();
        let proposal = propose(&node, None, &OsRandom).expect("proposed");
        place.take(&node, &proposal).expect("taken");
        node.close().expect("closes");
        let node = place.open(NEW).expect("opens");
        let there =
            || [former, node.id()].map(|id| own::chain(&node.db, &id).expect("there").entries().len());
        assert_eq!(there(), [2, 2]);
        let removed = node.db.write(|tx| {
            tx.remove_group(Table::new(48), former.as_bytes())?;
            tx.remove_group(Table::new(48), node.id().as_bytes())?;
            tx.remove_group(Table::new(49), b"all")
        });
        assert_eq!(removed.map_err(|error: StoreError| error.to_string()), Ok(2));
        assert!(own::chain(&node.db, &former).is_err());
        node.close().expect("closes");
        let node = place.open(NEW).expect("opens");
        let chains = [former, node.id()].map(|id| own::chain(&node.db, &id).expect("there"));
        assert_eq!(chains[0].successor().map(Rotation::successor), Some(node.id()));
        assert_eq!(chains[1].predecessors().next().map(Rotation::node), Some(former));
        node.close().expect("closes");
    }

    #[test]
    fn a_code_is_taken_once() {
        let place = Place::new();
        let node = place.open(OLD).expect("opens");
        let own = Proposal {
            node_id: node.id().to_string(),
            recovery_code: place.code.clone(),
        };
        let refused = place.take(&node, &own);
        assert!(
            matches!(&refused, Err(RekeyError::Unchanged(problem)) if problem.code == Code::Usage),
            "{refused:?}"
        );
        let proposal = propose(&node, None, &OsRandom).expect("proposed");
        place.take(&node, &proposal).expect("taken");
        node.close().expect("closes");
        let node = place.open(NEW).expect("opens");
        let refused = place.take(&node, &own);
        assert!(matches!(refused, Err(RekeyError::Unchanged(_))), "{refused:?}");
        node.close().expect("closes");
    }

    #[test]
    fn a_key_file_that_cannot_be_looked_at_leaves_doubt() {
        let place = Place::new();
        let before = open::read_key_file(&place.paths).expect("reads");
        fs::remove_file(place.paths.keys()).expect("there");
        // A folder takes no file's place.
        fs::create_dir(place.paths.keys()).expect("free");
        let replaced = replace_key_file(&place.paths, &before, &before);
        assert!(matches!(replaced, Err(RekeyError::Unsure(_))), "{replaced:?}");
    }
}
