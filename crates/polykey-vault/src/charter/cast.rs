//! The cast of the tests: seeded chance, and people with real keys.

use polykey_core::id::{ActorId, NodeId, StatementId};
use polykey_core::random::Random;
use polykey_core::rotation::Rotation;
use polykey_core::sealing::EncryptionKey;
use polykey_core::sign::SigningKey;
use polykey_core::{Key, KeyRecordId, Timestamp};

pub(crate) use polykey_testkit::Chance;

use super::{Authored, Charter, CutOff, DeviceKey, EpochKeys, Joiner, MemberKeys, Opener, Removal, Role};

/// Somebody with a device and a recovery code.
pub(crate) struct Person {
    pub(crate) root: SigningKey,
    pub(crate) recovery: SigningKey,
    pub(crate) device: EncryptionKey,
    pub(crate) code: EncryptionKey,
    pub(crate) number: u64,
}

fn key(seed: u8, what: u8) -> Key {
    let mut bytes = [seed; 32];
    bytes[31] = what;
    Key::from_array(bytes)
}

impl Person {
    pub(crate) fn new(seed: u8) -> Self {
        Person {
            root: SigningKey::from_seed(&key(seed, 0)),
            recovery: SigningKey::from_seed(&key(seed, 1)),
            device: EncryptionKey::from_seed(&key(seed, 2)),
            code: EncryptionKey::from_seed(&key(seed, 3)),
            number: 0,
        }
    }

    pub(crate) fn node(&self) -> NodeId {
        self.root.public()
    }

    pub(crate) fn device_key(&self) -> DeviceKey {
        DeviceKey {
            record: KeyRecordId::from_bytes([self.number as u8; 32]),
            number: self.number,
            public: self.device.public(),
        }
    }

    pub(crate) fn keys(&self) -> MemberKeys {
        MemberKeys {
            recovery: self.recovery.public(),
            code: self.code.public(),
            device: self.device_key(),
        }
    }

    pub(crate) fn joiner(&self, role: Role) -> Joiner {
        Joiner {
            node: self.node(),
            role,
            keys: role.reads().then(|| self.keys()),
        }
    }

    /// What this person's device opens.
    pub(crate) fn open(&self, charter: &Charter) -> EpochKeys {
        let devices = [(self.number, &self.device)];
        let opener = Opener {
            node: self.node(),
            devices: &devices,
            code: None,
        };
        EpochKeys::open(charter, &opener)
    }

    /// What this person's recovery code opens.
    pub(crate) fn open_with_code(&self, charter: &Charter) -> EpochKeys {
        let opener = Opener {
            node: self.node(),
            devices: &[],
            code: Some(&self.code),
        };
        EpochKeys::open(charter, &opener)
    }

    pub(crate) fn found(&self, seed: u64) -> Charter {
        let (charter, ..) = Charter::create(&self.root, &self.keys(), time(0), &Chance::new(seed)).unwrap();
        charter
    }

    pub(crate) fn grants(&self, charter: &mut Charter, who: &Person, role: Role) -> StatementId {
        let held = self.open(charter);
        let statement = charter
            .grant(&self.root, &held, &who.joiner(role), time(1), &chance(charter))
            .unwrap();
        let id = statement.id();
        charter.insert(statement).unwrap();
        id
    }

    pub(crate) fn revokes(&self, charter: &mut Charter, who: &Person, cut_offs: &[CutOff]) -> StatementId {
        let held = self.open(charter);
        let removal = Removal {
            node: who.node(),
            cut_offs: cut_offs.to_vec(),
        };
        let made = charter
            .revoke(&self.root, &held, &removal, time(2), &chance(charter))
            .unwrap();
        insert(charter, made)
    }

    /// A claim that moves this person's role to `new`.
    pub(crate) fn rotation(&self, new: &Person) -> Rotation {
        let place = (1, StatementId::from_bytes([6; 32]));
        let (node, recovery) = (new.node(), new.recovery.public());
        Rotation::sign(&self.root, &self.recovery, place, time(5), node, recovery).unwrap()
    }

    pub(crate) fn succeeds(&self, charter: &mut Charter, new: &Person, cut_offs: &[CutOff]) -> StatementId {
        let (held, rotation, keys) = (self.open(charter), self.rotation(new), new.keys());
        let entropy = (time(6), &chance(charter) as &dyn Random);
        let made = charter
            .succeed(&self.root, &held, &rotation, Some(&keys), cut_offs, entropy)
            .unwrap();
        let id = made.id();
        charter.insert(made).unwrap();
        id
    }

    pub(crate) fn rekeys(&self, charter: &mut Charter, devices: &[(NodeId, DeviceKey)]) -> StatementId {
        let held = self.open(charter);
        let made = charter
            .rekey(&self.root, &held, devices, time(3), &chance(charter))
            .unwrap();
        insert(charter, made)
    }
}

pub(crate) fn insert(charter: &mut Charter, made: Authored) -> StatementId {
    let id = made.id();
    charter.insert(made.statement).unwrap();
    id
}

/// Chance that differs with each state of the charter, and repeats.
pub(crate) fn chance(charter: &Charter) -> Chance {
    let heads: Vec<u8> = charter.heads().iter().flat_map(|head| *head.as_bytes()).collect();
    let hash = polykey_core::hash::hash(polykey_core::label::RUNTIME_FOLDER, &[&heads]);
    Chance::new(u64::from_be_bytes(hash[..8].try_into().unwrap()))
}

/// Brings all entries of `from` into `into`.
pub(crate) fn merge(into: &mut Charter, from: &Charter) {
    for entry in from.entries() {
        if entry.under().is_some() {
            into.insert(entry.statement().clone()).unwrap();
        }
    }
}

pub(crate) fn time(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
}

pub(crate) fn cut(actor: u8, seq: u64, commit: u8) -> CutOff {
    CutOff {
        actor: ActorId::from_bytes([actor; 16]),
        seq,
        commit: StatementId::from_bytes([commit; 32]),
    }
}
