//! The key file: slots that each hold the node master key, wrapped.
//!
//! One slot opens with the password, one with the recovery code; both hold the same random master key,
//! so that a new password rewrites one slot and nothing else. From the key that opens a slot, HKDF gives
//! a *commitment*, compared first and in constant time, and a *wrapping key*. All parameters of the slot
//! are the context of both, and the associated data of what is wrapped.
//!
//! ```text
//! [1, file id (16), password slot, recovery slot, checksum (32)]
//! password slot: [1, salt (16), passes, memory in KiB, commitment (32), wrapped master key (72)]
//! recovery slot: [2, salt (16), commitment (32), wrapped master key (72)]
//! ```
//!
//! The checksum is BLAKE3 of all before it, so that damage is told from a wrong password. It is no
//! secret and guards against nobody: a hostile file still meets the parser's bounds and the ceiling of
//! [`Limits`] before anything is run.
//!
//! Always: no I/O here; whoever writes the file replaces it as a whole. Start at [`KeyFile::create`].

use std::fmt;

use subtle::ConstantTimeEq;

use crate::aead::{self, OpenError};
use crate::codec::{CodecError, Reader, Writer};
use crate::hash::{HASH_LEN, hash};
use crate::kdf::derive;
use crate::label::{self, Label};
use crate::password::{Limits, LimitsError, Password, SALT_LEN, StretchError, stretch};
use crate::random::{Random, random_array};
use crate::recovery::RecoveryKeys;
use crate::secret::{Key, SecretBytes};
use crate::statement::FORMAT_VERSION;

/// Longest key file in bytes. A good one has about 330.
pub const MAX_KEY_FILE_LEN: usize = 1024;

const FILE_ID_LEN: usize = 16;
const WRAPPED_LEN: usize = Key::LEN + aead::OVERHEAD;
const SLOT_PASSWORD: u64 = 1;
const SLOT_RECOVERY: u64 = 2;

/// Why a key file cannot be used. Trying again does not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// Not a key file, or a damaged one.
    #[error("the key file is damaged")]
    Malformed(#[from] CodecError),
    /// The checksum does not fit.
    #[error("the key file is damaged: its checksum does not fit")]
    Checksum,
    /// The format version is not ours.
    #[error("the key file has format version {0}, which this program does not know")]
    Version(u64),
    /// It asks for more work than is ever done, or less than Argon2 can do.
    #[error("the key file asks for an impossible amount of work")]
    Cost(#[from] LimitsError),
}

/// Why a key file did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnlockError {
    /// Not this password.
    #[error("the password is wrong")]
    WrongPassword,
    /// Not this code.
    #[error("the recovery code belongs to another node")]
    WrongCode,
    /// The right password or code, but what it should open was changed.
    #[error("the key file was changed: what it holds does not open")]
    Damaged,
    /// The password could not be checked.
    #[error(transparent)]
    Memory(#[from] StretchError),
}

/// The node master key: the root of every key that rests on this node's disk. Wiped on drop; never
/// printed. Made and opened only by a [`KeyFile`].
pub struct MasterKey(Key);

impl MasterKey {
    /// The key for the purpose `label` in `context`. See [`crate::kdf::derive`].
    pub fn derive(&self, label: Label, context: &[u8]) -> Key {
        derive(&self.0, label, context)
    }

    /// Seals the seed of a private key (root key, encryption key) under the key for `label`, to be kept
    /// in the node database. `context` names which seed it is.
    pub fn seal_seed(&self, label: Label, context: &[u8], seed: &Key, random: &dyn Random) -> Vec<u8> {
        aead::seal(
            &self.derive(label, context),
            label,
            context,
            seed.expose(),
            random,
        )
    }

    /// Opens what [`MasterKey::seal_seed`] made with the same label and context.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_seed(&self, label: Label, context: &[u8], sealed: &[u8]) -> Result<Key, OpenError> {
        let plain = aead::open(&self.derive(label, context), label, context, sealed)?;
        Key::copy_from(plain.expose()).ok_or(OpenError)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(hidden)")
    }
}

/// A parsed key file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    id: [u8; FILE_ID_LEN],
    limits: Limits,
    password: Slot,
    recovery: Slot,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Slot {
    salt: [u8; SALT_LEN],
    commitment: [u8; HASH_LEN],
    wrapped: [u8; WRAPPED_LEN],
}

impl KeyFile {
    /// A new random master key, in a slot for `password` and one for the recovery code.
    ///
    /// # Errors
    /// [`StretchError`] when there is too little memory for `limits`.
    pub fn create(
        password: &Password,
        recovery: &RecoveryKeys,
        limits: Limits,
        random: &dyn Random,
    ) -> Result<(KeyFile, MasterKey), StretchError> {
        let master = MasterKey(Key::random(random));
        let id = random_array(random);
        let file = KeyFile {
            id,
            limits,
            password: password_slot(&id, &master, password, limits, random)?,
            recovery: recovery_slot(&id, &master, recovery, random),
        };
        Ok((file, master))
    }

    /// Reads a key file. Costs next to nothing, whatever the bytes are.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<KeyFile, KeyFileError> {
        let mut reader = Reader::new(bytes, MAX_KEY_FILE_LEN, "a key file")?;
        reader.array_of(5)?;
        match reader.u64()? {
            FORMAT_VERSION => {}
            other => return Err(KeyFileError::Version(other)),
        }
        let id = reader.bytes_of()?;
        reader.array_of(6)?;
        reader.key(SLOT_PASSWORD)?;
        let salt = reader.bytes_of()?;
        let (passes, memory_kib) = (reader.u32()?, reader.u32()?);
        let password = Slot {
            salt,
            commitment: reader.bytes_of()?,
            wrapped: reader.bytes_of()?,
        };
        reader.array_of(4)?;
        reader.key(SLOT_RECOVERY)?;
        let recovery = Slot {
            salt: reader.bytes_of()?,
            commitment: reader.bytes_of()?,
            wrapped: reader.bytes_of()?,
        };
        let checksum: [u8; HASH_LEN] = reader.bytes_of()?;
        reader.finish()?;
        // The checksum is the last item: two bytes of head and its own.
        let covered = &bytes[..bytes.len() - 2 - HASH_LEN];
        if hash(label::KEY_FILE_CHECKSUM, &[covered]) != checksum {
            return Err(KeyFileError::Checksum);
        }
        let limits = Limits::checked(passes, memory_kib)?;
        Ok(KeyFile {
            id,
            limits,
            password,
            recovery,
        })
    }

    /// The bytes of the file: one spelling.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.array(5).u64(FORMAT_VERSION).bytes(&self.id);
        writer.array(6).u64(SLOT_PASSWORD).bytes(&self.password.salt);
        writer
            .u64(self.limits.passes().into())
            .u64(self.limits.memory_kib().into());
        writer
            .bytes(&self.password.commitment)
            .bytes(&self.password.wrapped);
        writer.array(4).u64(SLOT_RECOVERY).bytes(&self.recovery.salt);
        writer
            .bytes(&self.recovery.commitment)
            .bytes(&self.recovery.wrapped);
        writer.bytes(&[0; HASH_LEN]);
        let mut bytes = writer.finish();
        let end = bytes.len() - HASH_LEN;
        let checksum = hash(label::KEY_FILE_CHECKSUM, &[&bytes[..end - 2]]);
        bytes[end..].copy_from_slice(&checksum);
        bytes
    }

    /// Opens the password slot. Takes as long as [`KeyFile::limits`] say.
    ///
    /// # Errors
    /// [`UnlockError`]; never [`UnlockError::WrongCode`].
    pub fn unlock_password(&self, password: &Password) -> Result<MasterKey, UnlockError> {
        let key = stretch(password, &self.password.salt, self.limits)?;
        let params = password_params(&self.id, &self.password.salt, self.limits);
        open_slot(&self.password, &key, &params, UnlockError::WrongPassword)
    }

    /// Opens the recovery slot. Then [`KeyFile::set_password`] replaces a forgotten password.
    ///
    /// # Errors
    /// [`UnlockError::WrongCode`] or [`UnlockError::Damaged`].
    pub fn unlock_code(&self, recovery: &RecoveryKeys) -> Result<MasterKey, UnlockError> {
        let params = recovery_params(&self.id, &self.recovery.salt);
        open_slot(&self.recovery, &recovery.slot, &params, UnlockError::WrongCode)
    }

    /// Replaces the password slot. The old password no longer opens what this encodes to.
    ///
    /// # Errors
    /// [`StretchError`]; the slot is then as it was.
    pub fn set_password(
        &mut self,
        master: &MasterKey,
        password: &Password,
        limits: Limits,
        random: &dyn Random,
    ) -> Result<(), StretchError> {
        self.password = password_slot(&self.id, master, password, limits, random)?;
        self.limits = limits;
        Ok(())
    }

    /// Replaces the recovery slot. The old code no longer opens what this encodes to.
    pub fn set_code(&mut self, master: &MasterKey, recovery: &RecoveryKeys, random: &dyn Random) {
        self.recovery = recovery_slot(&self.id, master, recovery, random);
    }

    /// The random salt of the recovery slot: tells the slot of one code from that of another.
    pub fn code_salt(&self) -> &[u8; SALT_LEN] {
        &self.recovery.salt
    }

    /// What one guess at the password costs.
    pub fn limits(&self) -> Limits {
        self.limits
    }
}

fn password_slot(
    id: &[u8; FILE_ID_LEN],
    master: &MasterKey,
    password: &Password,
    limits: Limits,
    random: &dyn Random,
) -> Result<Slot, StretchError> {
    let salt = random_array(random);
    let key = stretch(password, &salt, limits)?;
    let params = password_params(id, &salt, limits);
    Ok(make_slot(master, &key, salt, &params, random))
}

fn recovery_slot(
    id: &[u8; FILE_ID_LEN],
    master: &MasterKey,
    recovery: &RecoveryKeys,
    random: &dyn Random,
) -> Slot {
    let salt = random_array(random);
    let params = recovery_params(id, &salt);
    make_slot(master, &recovery.slot, salt, &params, random)
}

/// Everything about a password slot but what it holds: one canonical item.
fn password_params(id: &[u8; FILE_ID_LEN], salt: &[u8; SALT_LEN], limits: Limits) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.array(6).u64(FORMAT_VERSION).bytes(id).u64(SLOT_PASSWORD);
    writer
        .bytes(salt)
        .u64(limits.passes().into())
        .u64(limits.memory_kib().into());
    writer.finish()
}

/// The same for a recovery slot.
fn recovery_params(id: &[u8; FILE_ID_LEN], salt: &[u8; SALT_LEN]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer
        .array(4)
        .u64(FORMAT_VERSION)
        .bytes(id)
        .u64(SLOT_RECOVERY)
        .bytes(salt);
    writer.finish()
}

fn commitment(key: &Key, params: &[u8]) -> Key {
    derive(key, label::KEY_FILE_COMMITMENT, params)
}

fn wrapping_key(key: &Key, params: &[u8]) -> Key {
    derive(key, label::KEY_FILE_WRAP, params)
}

fn make_slot(
    master: &MasterKey,
    key: &Key,
    salt: [u8; SALT_LEN],
    params: &[u8],
    random: &dyn Random,
) -> Slot {
    let wrapped = aead::seal(
        &wrapping_key(key, params),
        label::KEY_FILE_SLOT,
        params,
        master.0.expose(),
        random,
    );
    Slot {
        salt,
        commitment: *commitment(key, params).expose(),
        wrapped: wrapped
            .try_into()
            .expect("a box is 40 bytes longer than the 32 it holds"),
    }
}

fn open_slot(slot: &Slot, key: &Key, params: &[u8], wrong: UnlockError) -> Result<MasterKey, UnlockError> {
    // The cipher alone could be made to open under two keys; the commitment cannot.
    let committed: bool = commitment(key, params).expose().ct_eq(&slot.commitment).into();
    if !committed {
        return Err(wrong);
    }
    let plain: SecretBytes = aead::open(
        &wrapping_key(key, params),
        label::KEY_FILE_SLOT,
        params,
        &slot.wrapped,
    )
    .map_err(|_| UnlockError::Damaged)?;
    let master = Key::copy_from(plain.expose()).ok_or(UnlockError::Damaged)?;
    Ok(MasterKey(master))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::password::Level;
    use crate::random::OsRandom;
    use crate::recovery::RecoveryCode;

    fn cheap() -> Limits {
        Limits::named(Level::Min, Level::Min)
    }

    fn password(text: &str) -> Password {
        Password::new(text).expect("short")
    }

    fn code(entropy: u8) -> RecoveryKeys {
        RecoveryCode::from_entropy(&Key::from_array([entropy; 32])).keys()
    }

    fn made() -> (KeyFile, MasterKey) {
        KeyFile::create(&password("hunter2"), &code(1), cheap(), &OsRandom).expect("8 KiB")
    }

    #[track_caller]
    fn same(result: Result<MasterKey, UnlockError>, master: &MasterKey) {
        assert_eq!(result.expect("opens").0, master.0);
    }

    #[test]
    fn password_and_code_open_the_same_master_key() {
        let (file, master) = made();
        let file = KeyFile::parse(&file.encode()).expect("own bytes parse");
        same(file.unlock_password(&password("hunter2")), &master);
        same(file.unlock_code(&code(1)), &master);
        for wrong in ["", "hunter", "hunter2 ", "Hunter2"] {
            let result = file.unlock_password(&password(wrong)).map(drop);
            assert_eq!(result, Err(UnlockError::WrongPassword), "{wrong:?}");
        }
        assert_eq!(file.unlock_code(&code(2)).map(drop), Err(UnlockError::WrongCode));
    }

    #[test]
    fn a_forgotten_password_is_replaced_with_the_code() {
        let (mut file, master) = made();
        let opened = file.unlock_code(&code(1)).expect("the right code");
        let limits = Limits::checked(2, 16).expect("in range");
        file.set_password(&opened, &password("new"), limits, &OsRandom)
            .expect("16 KiB");
        let file = KeyFile::parse(&file.encode()).expect("own bytes parse");
        assert_eq!(file.limits(), limits);
        same(file.unlock_password(&password("new")), &master);
        same(file.unlock_code(&code(1)), &master);
        assert_eq!(
            file.unlock_password(&password("hunter2")).map(drop),
            Err(UnlockError::WrongPassword)
        );
    }

    #[test]
    fn a_new_code_replaces_the_old_one() {
        let (mut file, master) = made();
        let salt = *file.code_salt();
        file.set_password(&master, &password("hunter2"), cheap(), &OsRandom)
            .expect("8 KiB");
        assert_eq!(*file.code_salt(), salt, "a password leaves the code's slot alone");
        file.set_code(&master, &code(2), &OsRandom);
        assert_ne!(*file.code_salt(), salt);
        same(file.unlock_code(&code(2)), &master);
        same(file.unlock_password(&password("hunter2")), &master);
        assert_eq!(file.unlock_code(&code(1)).map(drop), Err(UnlockError::WrongCode));
    }

    #[test]
    fn every_flipped_bit_reads_as_damage() {
        let bytes = made().0.encode();
        assert!(bytes.len() < MAX_KEY_FILE_LEN);
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(KeyFile::parse(&bytes).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(KeyFile::parse(&bytes[..len]).is_err(), "{len} bytes");
        }
        assert!(KeyFile::parse(&[bytes.as_slice(), b"\0"].concat()).is_err());
        assert!(KeyFile::parse(&vec![0; 1 << 20]).is_err());
    }

    #[test]
    fn whoever_rewrites_the_file_gains_nothing() {
        let (file, _) = made();
        let (other, _) = made();
        let open = |file: &KeyFile| {
            let again = KeyFile::parse(&file.encode()).expect("a well-formed file");
            (
                again.unlock_password(&password("hunter2")).map(drop),
                again.unlock_code(&code(1)).map(drop),
            )
        };
        let (wrong_password, wrong_code) = (Err(UnlockError::WrongPassword), Err(UnlockError::WrongCode));

        let cheaper = KeyFile {
            limits: Limits::checked(1, 9).expect("in range"),
            ..file.clone()
        };
        assert_eq!(open(&cheaper), (wrong_password, Ok(())));
        let renamed = KeyFile {
            id: other.id,
            ..file.clone()
        };
        assert_eq!(open(&renamed), (wrong_password, wrong_code));
        let swapped = KeyFile {
            recovery: other.recovery.clone(),
            ..file.clone()
        };
        assert_eq!(open(&swapped), (Ok(()), wrong_code));
        let mixed = KeyFile {
            password: Slot {
                wrapped: other.password.wrapped,
                ..file.password.clone()
            },
            recovery: Slot {
                wrapped: other.recovery.wrapped,
                ..file.recovery.clone()
            },
            ..file.clone()
        };
        assert_eq!(
            open(&mixed),
            (Err(UnlockError::Damaged), Err(UnlockError::Damaged))
        );
        let crossed = KeyFile {
            password: file.recovery.clone(),
            recovery: file.password.clone(),
            ..file.clone()
        };
        assert_eq!(open(&crossed), (wrong_password, wrong_code));
    }

    #[test]
    fn a_file_that_asks_for_too_much_is_refused_unread() {
        let (file, _) = made();
        for (passes, memory_kib) in [
            (u32::MAX, 8),
            (1, u32::MAX),
            (9, 8),
            (0, 8),
            (1, 7),
            (1, (2 << 20) + 1),
        ] {
            let hostile = KeyFile {
                limits: Limits::unchecked(passes, memory_kib),
                ..file.clone()
            };
            let error = LimitsError { passes, memory_kib };
            assert_eq!(KeyFile::parse(&hostile.encode()), Err(KeyFileError::Cost(error)));
        }
    }

    #[test]
    fn seeds_open_only_where_they_were_sealed() {
        let (_, master) = made();
        let seed = Key::from_array([5; 32]);
        let sealed = master.seal_seed(label::MASTER_ROOT, b"one", &seed, &OsRandom);
        assert_eq!(master.open_seed(label::MASTER_ROOT, b"one", &sealed), Ok(seed));
        assert_eq!(
            master.open_seed(label::MASTER_ROOT, b"two", &sealed),
            Err(OpenError)
        );
        assert_eq!(
            master.open_seed(label::MASTER_AUDIT, b"one", &sealed),
            Err(OpenError)
        );
        assert_eq!(
            made().1.open_seed(label::MASTER_ROOT, b"one", &sealed),
            Err(OpenError)
        );
        assert_eq!(format!("{master:?}"), "MasterKey(hidden)");
    }
}
