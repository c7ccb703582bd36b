//! In step: what belongs to the person and not to one device is the same at all devices of a principal.
//!
//! That is the name of each node, whom the user trusts and whom not, and what other nodes may do to us. Each is a
//! short value under a name, here and in the [hidden vault](super::hidden). What both last agreed on is remembered, so
//! that it shows which side changed: a change here is written there, a change there is done here, and when both
//! changed, what stands in the vault holds; but whom one of two that meet for the first time blocks, both block.
//!
//! Values: `contact/<node>`: array `[petname or null, trusted, blocked]`; `permission/<node>`: 1 notify + 2 scan +
//! 4 claim + 8 its messages are not wanted; `device/<node>`: the text of its name, which the device writes itself.
//! The names of the others are remembered here as well, and written where a hidden vault has none: one that is away
//! cannot write its own into a new vault, and nor can one that is lost.
//!
//! Always: what comes from the vault was written by a device of the user's own, and is read like anything from
//! elsewhere: what is malformed is left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::{Clock, NodeId, SecretPath, VaultId};
use polykey_store::StoreError;
use polykey_trust::TrustError;
use polykey_trust::permission::{self, Action, Actions};
use polykey_vault::{Depth, Expect, Kind, VaultError};

use super::hidden::{self, DEVICE, MAX_VALUE_LEN};
use super::names;
use crate::agent::Agent;
use crate::blocking::blocking;
use crate::contacts::{Contact, Contacts};
use crate::failure;
use crate::node::Node;
use crate::tables::IN_STEP;
use crate::vaults::InUse;
use crate::vaults::problem::vault_problem;

const CONTACT: &str = "contact";
const PERMISSION: &str = "permission";
/// Highest number behind the name of a node when others have it.
const MAX_NUMBER: u32 = 99;

/// Values by name.
type Values = BTreeMap<String, Vec<u8>>;
/// What is to be written under each name; nothing for what is to be removed.
type Changes = BTreeMap<String, Option<Vec<u8>>>;

/// What the user keeps about a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Kept {
    petname: Option<String>,
    trusted: bool,
    blocked: bool,
}

impl Kept {
    fn of(contact: &Contact) -> Kept {
        Kept {
            petname: contact.petname.clone(),
            trusted: contact.trusted,
            blocked: contact.blocked,
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.array(3);
        match &self.petname {
            Some(name) => out.text(name),
            None => out.null(),
        };
        out.bool(self.trusted).bool(self.blocked);
        out.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Kept, CodecError> {
        let mut from = Reader::new(bytes, MAX_VALUE_LEN, "a node in the hidden vault")?;
        from.array_of(3)?;
        let petname = match from.null()? {
            true => None,
            false => Some(from.text()?.to_owned()),
        };
        let kept = Kept {
            petname,
            trusted: from.bool()?,
            blocked: from.bool()?,
        };
        from.finish()?;
        Ok(kept)
    }
}

/// A node whose messages the user does not want, behind the actions.
const MUTED: u64 = 8;

fn encode_actions(actions: Actions, is_muted: bool) -> Vec<u8> {
    let bit = |(at, (action, _)): (usize, &(Action, &str))| u64::from(actions.contains(*action)) << at;
    let bits: u64 = Action::ALL.iter().enumerate().map(bit).sum();
    let mut out = Writer::new();
    out.u64(bits | if is_muted { MUTED } else { 0 });
    out.finish()
}

fn decode_actions(bytes: &[u8]) -> Result<(Actions, bool), CodecError> {
    let mut from = Reader::new(bytes, MAX_VALUE_LEN, "permissions in the hidden vault")?;
    let bits = from.u64()?;
    from.finish()?;
    let known = Action::ALL.iter().enumerate();
    let is_set = |at: usize| bits & (1 << at) != 0;
    let actions = known
        .filter(|(at, _)| is_set(*at))
        .map(|(_, (action, _))| *action)
        .collect();
    Ok((actions, bits & MUTED != 0))
}

/// What stands here.
fn here(node: &Node) -> Result<Values, Problem> {
    let mut values = Values::new();
    for contact in node.contacts.all() {
        let kept = Kept::of(&contact);
        // A node that is blocked for having new keys is so by what its chain says.
        if kept != Kept::default() && contact.successor.is_none() {
            values.insert(format!("{CONTACT}/{}", contact.node), kept.encode());
        }
    }
    let read = node
        .db
        .read(|tx| Ok::<_, TrustError>((permission::records(tx)?, permission::muted(tx)?)));
    let (records, muted) = read.map_err(|error| failure::trust(&error))?;
    for id in records.keys().chain(&muted) {
        let actions = records.get(id).map_or(Actions::NONE, |record| record.actions);
        let is_muted = muted.contains(id);
        if is_muted || !actions.is_empty() {
            values.insert(format!("{PERMISSION}/{id}"), encode_actions(actions, is_muted));
        }
    }
    if let Some(name) = names::own_name(node)? {
        values.insert(format!("{DEVICE}/{}", node.id()), name.into_bytes());
    }
    Ok(values)
}

/// What stands in the hidden vault, but for the names of other devices.
fn there(node: &Node, open: &InUse) -> Result<Values, Problem> {
    let mut values = Values::new();
    for dir in [CONTACT, PERMISSION, DEVICE] {
        for (name, value) in hidden::read(open, dir)? {
            let Ok(id) = name.parse::<NodeId>() else {
                continue;
            };
            if (dir == DEVICE) == (id == node.id()) {
                values.insert(format!("{dir}/{id}"), value);
            }
        }
    }
    Ok(values)
}

fn agreed(node: &Node, vault: &VaultId) -> Result<Values, Problem> {
    let rows = node.db.read(|tx| tx.group(IN_STEP, vault.as_bytes()));
    let rows = rows.map_err(|error: StoreError| failure::store(&error))?;
    Ok(rows
        .into_iter()
        .filter_map(|(name, value)| Some((String::from_utf8(name).ok()?, value.expose().to_vec())))
        .collect())
}

/// What is to be done so that both sides say the same.
#[derive(Debug, Default, PartialEq, Eq)]
struct Steps {
    /// To be written into the vault, or removed there.
    push: Changes,
    /// To be done here.
    take: Changes,
}

fn compare(here: &Values, there: &Values, agreed: &Values) -> Steps {
    let mut steps = Steps::default();
    let all: BTreeSet<&String> = here.keys().chain(there.keys()).chain(agreed.keys()).collect();
    for name in all {
        let (ours, theirs) = (here.get(name), there.get(name));
        if ours == theirs {
            continue;
        }
        // A device's name is its own word, and one that has lost it, as on an empty disk, has it from there.
        let is_own = name.starts_with(DEVICE);
        let is_lost = is_own && ours.is_none();
        let is_first = agreed.get(name).is_none();
        let holds = theirs == agreed.get(name) || is_own || (is_first && keeps_out(name, ours, theirs));
        let (side, value) = match holds && !is_lost {
            true => (&mut steps.push, ours),
            false => (&mut steps.take, theirs),
        };
        side.insert(name.clone(), value.cloned());
    }
    steps
}

/// True for a node that is blocked here and not there: who meets the others for the first time lets nobody in by it.
fn keeps_out(name: &str, ours: Option<&Vec<u8>>, theirs: Option<&Vec<u8>>) -> bool {
    let blocks = |value: Option<&Vec<u8>>| {
        let kept = value.and_then(|value| Kept::decode(value).ok());
        kept.is_some_and(|kept| kept.blocked)
    };
    name.starts_with(CONTACT) && theirs.is_some() && blocks(ours) && !blocks(theirs)
}

/// Brings this node and the hidden vault level.
///
/// # Errors
/// What the store and the vault say.
pub fn keep_in_step(node: &Node) -> Result<(), Problem> {
    let turn = node.turns.stepping.lock();
    let _turn = turn.unwrap_or_else(PoisonError::into_inner);
    let others = super::others(node)?;
    // One that is alone has nobody to agree with.
    let open = match others.is_empty() {
        true => None,
        false => hidden::current(node, &others),
    };
    let Some(open) = open else {
        return Ok(());
    };
    let (ours, theirs, before) = (here(node)?, there(node, &open)?, agreed(node, &open.id)?);
    let steps = compare(&ours, &theirs, &before);
    push(&open, &steps.push)?;
    names::remember(node, &others, &open)?;
    let missing = names::missing(node, &others, &open)?.into_iter();
    let missing = missing.map(|(id, name)| (format!("{DEVICE}/{id}"), Some(name.into_bytes())));
    push(&open, &missing.collect())?;
    for (name, value) in &steps.take {
        if let Err(problem) = take(node, name, value.as_deref()) {
            tracing::warn!(name, "what another device says was not done: {problem}");
        }
    }
    // What could not be done here is undone there by the next comparison.
    let mut now = theirs;
    for (name, value) in steps.push {
        match value {
            Some(value) => drop(now.insert(name, value)),
            None => drop(now.remove(&name)),
        }
    }
    note(node, &open.id, &before, &now)
}

fn push(open: &InUse, values: &Changes) -> Result<(), Problem> {
    if values.is_empty() {
        return Ok(());
    }
    let made = open.vault.change(Some("in step"), |change| {
        for (name, value) in values {
            let path = SecretPath::parse(name).map_err(|_| VaultError::NoSuchPath {
                path: SecretPath::root(),
            })?;
            match value {
                Some(value) => {
                    let staged = change.stage(Kind::Raw, value)?;
                    change.put(&path, staged, &Expect::Any)?;
                }
                None if change.exists(&path)? => change.remove(&path, Depth::Single)?,
                None => {}
            }
        }
        Ok::<_, VaultError>(())
    });
    made.map(drop)
        .map_err(|error| vault_problem("of own devices", error))
}

fn note(node: &Node, vault: &VaultId, before: &Values, now: &Values) -> Result<(), Problem> {
    if before == now {
        return Ok(());
    }
    let noted = node.db.write(|tx| {
        for name in before.keys().filter(|name| !now.contains_key(*name)) {
            tx.remove(IN_STEP, vault.as_bytes(), name.as_bytes())?;
        }
        for (name, value) in now
            .iter()
            .filter(|(name, value)| before.get(*name) != Some(*value))
        {
            tx.put(IN_STEP, vault.as_bytes(), name.as_bytes(), value)?;
        }
        Ok::<_, StoreError>(())
    });
    noted.map_err(|error| failure::store(&error))
}

/// Does here what another device did.
fn take(node: &Node, name: &str, value: Option<&[u8]>) -> Result<(), Problem> {
    let Some((dir, id)) = name.split_once('/') else {
        return Ok(());
    };
    let Ok(id) = id.parse::<NodeId>() else {
        return Ok(());
    };
    let malformed = |error: CodecError| failure::record("a value of the hidden vault", &error);
    match dir {
        CONTACT if id != node.id() => {
            let kept = match value {
                Some(value) => Kept::decode(value).map_err(malformed)?,
                None => Kept::default(),
            };
            take_contact(node, id, &kept)
        }
        PERMISSION if id != node.id() => {
            let (actions, is_muted) = match value {
                Some(value) => decode_actions(value).map_err(malformed)?,
                None => (Actions::NONE, false),
            };
            let now = SystemClock.now();
            let view = node.gestalts.view()?;
            let taken = node.db.write(|tx| {
                permission::forget(tx, &id)?;
                permission::set_muted(tx, &id, is_muted)?;
                for action in actions.iter() {
                    permission::allow(tx, &id, action, now)?;
                }
                // The user decided it, so it is no news.
                permission::follow(tx, &view.graph).map(drop)
            });
            node.gestalts.changed();
            taken.map_err(|error| failure::trust(&error))
        }
        // It is never without one again.
        DEVICE if id == node.id() => match value.map(<[u8]>::to_vec).map(String::from_utf8) {
            Some(Ok(name)) => names::set_own_name(node, &names::parse_name(&name)?),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn take_contact(node: &Node, id: NodeId, kept: &Kept) -> Result<(), Problem> {
    let contacts = &node.contacts;
    let known = contacts.find(&id);
    if known.is_none() && *kept == Kept::default() {
        return Ok(());
    }
    // A device that has not heard of its new keys yet does not let the old ones in again.
    if known.as_ref().is_some_and(|known| known.successor.is_some()) {
        return Ok(());
    }
    contacts.set_trust(id, kept.trusted)?;
    if known.as_ref().is_some_and(|known| known.blocked) != kept.blocked {
        contacts.block(id, kept.blocked)?;
    }
    match &kept.petname {
        Some(petname) => name_one(contacts, id, petname),
        None => contacts.name(id, None),
    }
}

/// Names a node. Another one may have that name here: the one with the lower id has it, so that devices that give it to
/// two nodes at once agree, and the other one gets a number.
fn name_one(contacts: &Contacts, id: NodeId, petname: &str) -> Result<(), Problem> {
    let named = contacts.name(id, Some(petname));
    let taken = |named: &Result<(), Problem>| matches!(named, Err(problem) if problem.code == Code::Exists);
    let mut later = id;
    if taken(&named)
        && let Ok(holder) = contacts.who(petname)
        && id < holder
    {
        contacts.name(holder, None)?;
        contacts.name(id, Some(petname))?;
        later = holder;
    } else if !taken(&named) {
        return named;
    }
    let mut numbered = named;
    for number in 1..=MAX_NUMBER {
        numbered = contacts.name(later, Some(&format!("{petname}-{number}")));
        if !taken(&numbered) {
            break;
        }
    }
    numbered
}

impl Agent {
    /// Brings this node and the hidden vault level, in the background.
    pub fn step_soon(&self) {
        let agent = self.clone();
        tokio::spawn(async move { agent.keep_in_step().await });
    }

    /// Brings this node and the hidden vault level.
    pub async fn keep_in_step(&self) {
        let Some(node) = self.node() else { return };
        if let Err(problem) = blocking(move || keep_in_step(&node)).await
            && problem.code != Code::Locked
        {
            tracing::warn!("own devices are not in step: {problem}");
        }
    }
}

#[cfg(test)]
mod tests {
    use polykey_trust::book::Source;

    use super::super::pairing::tests::links_with;
    use super::super::principals;
    use super::*;
    use crate::chains::cast::Life;
    use crate::chains::learn::{Kept as Learned, keep};
    use crate::devices::names::{names, own_name, parse_name, remember, remembered, written};
    use crate::peer::bench::{Bench, nobody};

    fn values(pairs: &[(&str, &str)]) -> Values {
        let value = |(name, value): &(&str, &str)| ((*name).to_owned(), value.as_bytes().to_vec());
        pairs.iter().map(value).collect()
    }

    #[test]
    fn each_side_takes_what_the_other_changed_and_the_vault_holds_when_both_did() {
        // Name, here, there, agreed; then what is pushed and taken: `-` is nothing.
        let rows = [
            ("x/same", "1", "1", "-", "", ""),
            ("x/new-here", "1", "-", "-", "1", ""),
            ("x/new-there", "-", "1", "-", "", "1"),
            ("x/changed-here", "2", "1", "1", "2", ""),
            ("x/changed-there", "1", "2", "1", "", "2"),
            ("x/both", "2", "3", "1", "", "3"),
            ("x/gone-here", "-", "1", "1", "-", ""),
            ("x/gone-there", "1", "-", "1", "", "-"),
            ("x/gone-here-changed-there", "-", "2", "1", "", "2"),
            ("x/gone-twice", "-", "-", "1", "", ""),
            ("device/own", "2", "3", "1", "2", ""),
            ("device/lost", "-", "3", "3", "", "3"),
        ];
        let side = |pick: fn(&(&'static str, &'static str, &'static str, &'static str)) -> &'static str| {
            let pairs: Vec<(&str, &str)> = rows
                .iter()
                .map(|row| (row.0, pick(&(row.1, row.2, row.3, ""))))
                .filter(|(_, value)| *value != "-")
                .collect();
            values(&pairs)
        };
        let steps = compare(&side(|row| row.0), &side(|row| row.1), &side(|row| row.2));
        for (name, _, _, _, push, take) in rows {
            let want = |text: &str| match text {
                "" => None,
                "-" => Some(None),
                value => Some(Some(value.as_bytes().to_vec())),
            };
            assert_eq!(steps.push.get(name).cloned(), want(push), "{name}");
            assert_eq!(steps.take.get(name).cloned(), want(take), "{name}");
        }
    }

    #[test]
    fn whom_one_of_two_blocked_before_they_met_both_block() {
        let name = format!("contact/{}", nobody());
        let kept = |blocked: bool| {
            let kept = Kept {
                petname: None,
                trusted: !blocked,
                blocked,
            };
            Values::from([(name.clone(), kept.encode())])
        };
        let (out, let_in) = (kept(true), kept(false));
        let none = Values::new();
        let steps = |ours, theirs, agreed| {
            let Steps { push, take } = compare(ours, theirs, agreed);
            (push.len(), take.len())
        };
        assert_eq!(steps(&out, &let_in, &none), (1, 0));
        assert_eq!(steps(&let_in, &out, &none), (0, 1));
        // Later the user lets it in again, over there.
        assert_eq!(steps(&out, &let_in, &out), (0, 1));
    }

    /// The names in the hidden vault that counts, of one with this device.
    fn in_vault(node: &Node, others: &BTreeSet<NodeId>) -> BTreeMap<NodeId, String> {
        written(&hidden::current(node, others).expect("there")).expect("reads")
    }

    #[test]
    fn names_of_devices_that_are_away_stay_when_another_hidden_vault_counts() {
        let (bench, life) = (Bench::new(), Life::new());
        let node = bench.node();
        let phone = life.node();
        let mut chain = life.chain();
        links_with(&node, &life, &mut chain);
        let kept = keep(&node, phone, chain.entries().to_vec(), Source::Other);
        assert_eq!(kept, Ok(Learned::Taken));
        let others = super::super::others(&node).expect("reads");
        assert_eq!(others, BTreeSet::from([phone]));
        node.vaults.create_hidden().expect("made");
        let first = hidden::current(&node, &others).expect("there");
        let name = (format!("{DEVICE}/{phone}"), Some(b"phone".to_vec()));
        push(&first, &BTreeMap::from([name])).expect("written");
        // Others made one, too, which comes to count: the first one goes.
        let first = first.id;
        while hidden::current(&node, &others).is_some_and(|open| open.id == first) {
            node.vaults.create_hidden().expect("made");
        }
        assert_eq!(in_vault(&node, &others), BTreeMap::new());
        principals::follow_all(&node).expect("followed");
        assert!(!node.vaults.hidden().contains(&first));
        let want = BTreeMap::from([(phone, "phone".to_owned())]);
        assert_eq!(names(&node, &others), Ok(want.clone()));
        keep_in_step(&node).expect("in step");
        assert_eq!(in_vault(&node, &others), want);
        // It gets new keys while it is away, and then gives itself another name.
        let next = nobody();
        node.contacts.meet(phone).expect("kept");
        node.contacts.succeed(phone, next).expect("moved");
        let others = BTreeSet::from([next]);
        let want = BTreeMap::from([(next, "phone".to_owned())]);
        assert_eq!(remembered(&node, &others), Ok(want));
        let open = hidden::current(&node, &others).expect("there");
        let name = (format!("{DEVICE}/{next}"), Some(b"new phone".to_vec()));
        push(&open, &BTreeMap::from([name])).expect("written");
        remember(&node, &others, &open).expect("kept");
        let want = BTreeMap::from([(next, "new phone".to_owned())]);
        assert_eq!(remembered(&node, &others), Ok(want));
    }

    #[test]
    fn a_device_that_lost_its_name_has_it_from_the_others() {
        let bench = Bench::new();
        let node = bench.node();
        let name = format!("{DEVICE}/{}", node.id());
        assert!(take(&node, &name, Some(b"a/b")).is_err());
        assert_eq!(own_name(&node), Ok(None));
        take(&node, &name, Some(b"laptop")).expect("taken");
        take(&node, &name, None).expect("nothing to do");
        assert_eq!(own_name(&node), Ok(Some("laptop".to_owned())));
    }

    #[test]
    fn the_old_keys_of_a_node_are_not_let_in_by_a_device_that_knows_no_new_ones() {
        let bench = Bench::new();
        let node = bench.node();
        let contacts = &node.contacts;
        let (old, new) = (nobody(), nobody());
        contacts.trust(old).expect("kept");
        contacts.succeed(old, new).expect("moved");
        let kept = Kept {
            petname: Some("anna".to_owned()),
            trusted: true,
            blocked: false,
        };
        take(&node, &format!("contact/{old}"), Some(&kept.encode())).expect("left alone");
        assert!(contacts.is_blocked(&old) && !contacts.is_trusted(&old));
        assert!(contacts.who("anna").is_err());
    }

    #[test]
    fn devices_that_give_one_name_to_two_nodes_at_once_agree() {
        let ids = [nobody(), nobody()];
        let (low, high) = (ids[0].min(ids[1]), ids[0].max(ids[1]));
        let benches = [Bench::new(), Bench::new()];
        for (bench, id) in benches.iter().zip(&ids) {
            bench.node().contacts.name(*id, Some("bob")).expect("named");
        }
        let kept = Kept {
            petname: Some("bob".to_owned()),
            ..Kept::default()
        };
        for (bench, other) in benches.iter().zip(ids.iter().rev()) {
            let name = format!("{CONTACT}/{other}");
            take(&bench.node(), &name, Some(&kept.encode())).expect("done");
            let node = bench.node();
            let named = (node.contacts.who("bob"), node.contacts.who("bob-1"));
            assert_eq!(named, (Ok(low), Ok(high)));
        }
    }

    #[test]
    fn what_another_device_says_of_a_node_is_done_here() {
        let bench = Bench::new();
        let node = bench.node();
        let (a, b) = (nobody(), nobody());
        let (id, other) = (a.min(b), a.max(b));
        let kept = |petname: Option<&str>, trusted, blocked| {
            Kept {
                petname: petname.map(str::to_owned),
                trusted,
                blocked,
            }
            .encode()
        };
        let name = format!("contact/{id}");
        take(&node, &name, Some(&kept(Some("anna"), true, false))).expect("done");
        assert_eq!(node.contacts.who("anna"), Ok(id));
        assert!(node.contacts.is_trusted(&id));
        // The name is taken: it gets a number.
        take(
            &node,
            &format!("contact/{other}"),
            Some(&kept(Some("anna"), false, true)),
        )
        .expect("done");
        assert_eq!(
            (node.contacts.who("anna"), node.contacts.who("anna-1")),
            (Ok(id), Ok(other))
        );
        assert!(node.contacts.is_blocked(&other));
        take(&node, &name, None).expect("done");
        assert!(!node.contacts.is_trusted(&id) && node.contacts.who("anna").is_err());
        let permission = format!("permission/{id}");
        for bits in [7u64, 10, 8, 2, 0] {
            let mut out = Writer::new();
            out.u64(bits);
            take(&node, &permission, Some(&out.finish())).expect("done");
            let records = node.db.read(permission::records).expect("reads");
            let actions = records.get(&id).map_or(Actions::NONE, |record| record.actions);
            let is_muted = node.gestalts.view().expect("made").is_muted(&id);
            assert_eq!(
                encode_actions(actions, is_muted),
                [u8::try_from(bits).expect("small")]
            );
        }
    }

    #[test]
    fn nonsense_in_the_hidden_vault_does_nothing() {
        let bench = Bench::new();
        let node = bench.node();
        let me = node.id();
        let before = node.contacts.all();
        let id = nobody();
        for (name, value) in [
            (format!("contact/{id}"), &b"nonsense"[..]),
            (format!("contact/{id}"), &[0x83, 0x61, b'a', 0xf5]),
            (format!("permission/{id}"), &[0x61, b'1']),
        ] {
            assert!(take(&node, &name, Some(value)).is_err(), "{name}");
        }
        for name in ["contact/x", "contact", "other/thing", &format!("contact/{me}")] {
            take(&node, name, Some(b"x")).expect("left alone");
        }
        assert_eq!(node.contacts.all(), before);
        for bad in [
            "",
            " ",
            "a/b",
            "a:b",
            "a\u{1b}[2J",
            ".",
            "..",
            &me.to_string(),
            &"x".repeat(65),
        ] {
            assert!(parse_name(bad).is_err(), "{bad:?}");
        }
        assert_eq!(parse_name(" my phone \n"), Ok("my phone".to_owned()));
    }
}
