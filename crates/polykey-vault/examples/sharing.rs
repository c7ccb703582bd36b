//! Measures what sharing costs inside one process: `cargo run --release -p polykey-vault --example sharing`.
//!
//! Prints one line a case. Arguments: the number of small secrets (10000), MiB of the large one (1024), and the
//! folder to work in (a temporary one).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use polykey_core::clock::SystemClock;
use polykey_core::random::OsRandom;
use polykey_core::sealing::EncryptionKey;
use polykey_core::sign::SigningKey;
use polykey_core::{Key, KeyRecordId, SecretPath};
use polykey_store::RealDisk;
use polykey_vault::charter::{DeviceKey, Joiner, MemberKeys, Role};
use polykey_vault::sync::{FolderReplica, Pull, Replica, Request, Response, Seen, exchange, serve};
use polykey_vault::{Env, Expect, Identity, Keeper, Vault, VaultError};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn identity(seed: u8) -> Arc<Identity> {
    let key = |what: u8| Key::from_array([seed ^ what; 32]);
    let device = EncryptionKey::from_seed(&key(0));
    let keys = MemberKeys {
        recovery: SigningKey::from_seed(&key(0x40)).public(),
        code: EncryptionKey::from_seed(&key(0x80)).public(),
        device: DeviceKey {
            record: KeyRecordId::from_bytes([seed; 32]),
            number: 0,
            public: device.public(),
        },
    };
    Arc::new(Identity::new(
        SigningKey::from_seed(&key(0)),
        keys,
        vec![(0, device)],
    ))
}

fn env() -> Env {
    Env {
        clock: Arc::new(SystemClock),
        random: Arc::new(OsRandom),
        disk: Arc::new(RealDisk),
        machine: b"bench".to_vec(),
    }
}

fn say<T>(what: &str, job: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let done = job()?;
    println!("{what:<58} {:>9.1} ms", start.elapsed().as_secs_f64() * 1000.0);
    Ok(done)
}

/// Pulls as from a peer; with the time that each side took.
fn pull<F, T>(from: &F, to: &mut T, me: &Identity, peer: &Identity) -> Result<()>
where
    F: Replica<Error = VaultError>,
    T: Replica<Error = VaultError>,
{
    let mut pull = Pull::new(me.node(), peer.node(), Seen::default());
    let (mut asking, mut serving) = (0.0, 0.0);
    loop {
        let start = Instant::now();
        let Some(request) = pull.next(to)? else { break };
        let request = Request::decode(&request.encode())?;
        let asked = Instant::now();
        let response = serve(from, &me.node(), &request)?.encode();
        let served = Instant::now();
        pull.receive(to, Response::decode(&response.into())?)?;
        serving += (served - asked).as_secs_f64();
        asking += (asked - start).as_secs_f64() + served.elapsed().as_secs_f64();
    }
    let (asking, serving) = (asking * 1000.0, serving * 1000.0);
    println!(
        "  {:?}: asking {asking:.0} ms, serving {serving:.0} ms",
        pull.report().outcome
    );
    Ok(())
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let count: u32 = args.next().map_or(Ok(10_000), |text| text.parse())?;
    let mib: usize = args.next().map_or(Ok(1024), |text| text.parse())?;
    let place = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let place = place.join(format!("polykey-sharing-{}", std::process::id()));
    std::fs::create_dir(&place)?;
    let done = measure(count, mib, &place);
    std::fs::remove_dir_all(&place)?;
    done
}

fn put(vault: &Vault, range: std::ops::Range<u32>) -> Result<()> {
    vault.change(None, |change| {
        for number in range {
            let at = SecretPath::parse(&format!("d{}/secret-{number}", number % 100))?;
            let staged = change.stage(polykey_vault::Kind::Raw, &[number as u8; 100])?;
            change.put(&at, staged, &Expect::Any)?;
        }
        Ok::<_, VaultError>(())
    })?;
    Ok(())
}

fn measure(count: u32, mib: usize, place: &std::path::Path) -> Result<()> {
    let key = Key::from_array([7; 32]);
    let (a, b, c) = (identity(1), identity(2), identity(3));
    let joiner = |who: &Identity, role: Role| Joiner {
        node: who.node(),
        role,
        keys: role.reads().then(|| who.keys().clone()),
    };
    for commits in [1, count] {
        println!("{count} small secrets in {commits} commits");
        let at = |name: &str| place.join(format!("{name}-{commits}"));
        let vault = Vault::create(&at("a"), &key, a.clone(), env())?;
        say("  written", || {
            let each = count / commits;
            (0..commits).try_for_each(|n| put(&vault, n * each..(n + 1) * each))
        })?;
        vault.grant(&joiner(&b, Role::Writer))?;
        vault.grant(&joiner(&c, Role::Keeper))?;
        let mut other = Vault::join(&at("b"), &key, b.clone(), env(), &vault.genesis())?;
        say("  pulled by a member", || pull(&vault, &mut other, &b, &a))?;
        let mut keeper = Keeper::create(&at("k"), &key, &vault.genesis(), env())?;
        say("  pulled by a keeper", || pull(&vault, &mut keeper, &c, &a))?;
        let stick = at("stick");
        std::fs::create_dir(&stick)?;
        say("  into a folder", || {
            let mut folder = FolderReplica::open_or_create(&stick, &vault.genesis(), env())?;
            Ok(exchange(
                &vault,
                &mut folder,
                a.node(),
                Seen::default(),
                &mut |_| {},
            )?)
        })?;
        let mut third = Vault::join(&at("c"), &key, b.clone(), env(), &vault.genesis())?;
        say("  out of a folder", || {
            let folder = FolderReplica::open(&stick, vault.id(), env())?;
            Ok(exchange(
                &folder,
                &mut third,
                b.node(),
                Seen::default(),
                &mut |_| {},
            )?)
        })?;
        put(&other, 0..count.min(100))?;
        say("  pull of one change", || {
            pull(&other, &mut vault.clone(), &a, &b)
        })?;
        say("  revoke", || Ok(vault.revoke(&b.node())?))?;
        say("  pull of the revoke", || pull(&vault, &mut keeper, &c, &a))?;
        let listed = say("  rotation", || Ok(vault.rotation()?))?;
        println!("  {} to rotate", listed.len());
    }
    println!("one secret of {mib} MiB");
    let vault = Vault::create(&place.join("large"), &key, a.clone(), env())?;
    vault.grant(&joiner(&b, Role::Writer))?;
    let content = vec![5; 1 << 20];
    let mut content = std::io::Read::take(Cycle(&content), (mib as u64) << 20);
    let staged = say("  staged", || Ok(vault.stage(&mut content)?))?;
    vault.change(None, |change| {
        change.put(&SecretPath::parse("large")?, staged, &Expect::Any)
    })?;
    let mut other = Vault::join(&place.join("larger"), &key, b.clone(), env(), &vault.genesis())?;
    say("  pulled by a member", || pull(&vault, &mut other, &b, &a))
}

/// The same bytes again and again.
struct Cycle<'a>(&'a [u8]);

impl std::io::Read for Cycle<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let len = into.len().min(self.0.len());
        into[..len].copy_from_slice(&self.0[..len]);
        Ok(len)
    }
}
