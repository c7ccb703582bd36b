//! Vaults follow their members' devices, and people whom they are shared with: by hand, on one and on two admins' nodes.

use std::collections::BTreeSet;
use std::sync::Arc;

use polykey_core::Timestamp;
use polykey_trust::book::{self, Source};
use polykey_trust::claim::Body;
use polykey_trust::gestalt::Vertex;
use polykey_trust::link::LinkType;
use polykey_trust::sigchain::Chain;
use polykey_vault::Vault;
use polykey_vault::charter::{Joiner, Role};
use polykey_vault::sync::Seen;

use crate::chains::cast::{Life, link};
use crate::devices::principals;
use crate::peer::bench::{Bench, Wire};
use crate::peer::keys::NodeKeys;
use crate::peer::pull::pull;
use crate::post::{Letter, Tray};
use crate::sharing::people::propose;
use crate::sharing::{Wanted, let_in, take_out};
use crate::vaults::InUse;
use crate::vaults::problem::vault_problem;

/// A node whose vault `work` is shared, and the devices of others.
struct Stage {
    bench: Bench,
    vault: InUse,
}

impl Stage {
    fn new() -> Stage {
        let bench = Bench::new();
        let node = bench.node();
        node.vaults.create("work", None).expect("made");
        let vault = node.vaults.open("work").expect("open");
        Stage { bench, vault }
    }

    /// A laptop with which the vault is shared, its phone, and the laptop's chain.
    fn of_two_devices() -> (Stage, [Life; 2], Chain) {
        let stage = Stage::new();
        let [laptop, phone] = [0; 2].map(|_| Life::new());
        let (mut l, mut p) = (laptop.chain(), phone.chain());
        link(LinkType::Device, (&laptop, &mut l), (&phone, &mut p));
        stage.keep(&[(&laptop, &l), (&phone, &p)]);
        stage.share(&laptop);
        (stage, [laptop, phone], l)
    }

    /// The same vault at another admin.
    async fn with_another_admin(&self) -> Stage {
        let bench = Bench::new();
        self.bench.grant("work", &bench.keys(), Role::Admin);
        let node = bench.node();
        let genesis = self.vault.vault.genesis().clone();
        node.vaults.begin_joining("work", &genesis).expect("begins");
        let vault = node.vaults.open_id(self.vault.id).expect("open");
        let other = Stage { bench, vault };
        other.pull(self).await;
        let vaults = &other.bench.node().vaults;
        vaults.finish_joining(self.vault.id).expect("shown");
        other
    }

    async fn pull(&self, from: &Stage) {
        let wire = Wire::new(&from.bench, self.bench.id(), 1000);
        let vault = Vault::clone(&self.vault.vault);
        let wrong = |error| vault_problem("work", error);
        pull(
            Arc::new(wire),
            vault,
            self.bench.id(),
            Seen::default(),
            wrong,
            |_| {},
        )
        .await
        .expect("pulled");
    }

    fn keep(&self, lives: &[(&Life, &Chain)]) {
        let node = self.bench.node();
        for (life, chain) in lives {
            let entries = chain.entries().to_vec();
            node.db
                .write(|tx| {
                    book::receive(
                        tx,
                        &life.node(),
                        entries,
                        Source::Owner,
                        Timestamp::from_millis(9),
                    )
                })
                .expect("a chain");
            let keys = NodeKeys::known(life.start.clone(), life.record.clone()).expect("of one node");
            node.contacts
                .keep_keys(keys.start(), keys.record())
                .expect("kept");
        }
        node.gestalts.changed();
    }

    fn share(&self, life: &Life) {
        let node = self.bench.node();
        let view = node.gestalts.view().expect("made");
        let whom = Vertex::Node(life.node());
        let_in(&node, &self.vault, life.node(), Wanted::AtLeast(Role::Writer)).expect("let in");
        node.people
            .share(&view, self.vault.id, &whom, &[life.node()])
            .expect("kept");
    }

    fn follow(&self) {
        let node = self.bench.node();
        principals::follow_all(&node).expect("followed");
        propose(&node).expect("proposed");
    }

    /// As `vaults unshare`.
    fn unshare(&self, life: &Life) {
        let (node, id) = (self.bench.node(), life.node());
        principals::note_decision(&node, &self.vault.id, &id, false).expect("noted");
        take_out(&node, &self.vault, id).expect("out");
        node.people.took_out(self.vault.id, id).expect("noted");
    }

    fn role(&self, life: &Life) -> Option<Role> {
        self.vault.vault.role_of(&life.node())
    }

    fn letters(&self) -> Vec<Letter> {
        let inbox = self.bench.node().post.read(Tray::Inbox).expect("reads");
        inbox.into_iter().map(|mail| mail.letter).collect()
    }
}

#[test]
fn later_devices_come_in_and_removed_ones_go_with_a_notice() {
    let stage = Stage::new();
    let [laptop, phone, friend] = [0; 3].map(|_| Life::new());
    let (mut l, mut p, mut f) = (laptop.chain(), phone.chain(), friend.chain());
    stage.keep(&[(&laptop, &l), (&phone, &p), (&friend, &f)]);
    stage.share(&laptop);
    stage.follow();
    assert_eq!(
        (stage.role(&laptop), stage.role(&phone)),
        (Some(Role::Writer), None)
    );

    link(LinkType::Device, (&laptop, &mut l), (&phone, &mut p));
    link(LinkType::Node, (&laptop, &mut l), (&friend, &mut f));
    stage.keep(&[(&laptop, &l), (&phone, &p), (&friend, &f)]);
    for _ in 0..3 {
        stage.follow();
    }
    assert_eq!(stage.role(&phone), Some(Role::Writer));
    assert_eq!(stage.role(&friend), None, "a friend is no device");
    let letters = stage.letters();
    assert_eq!(letters.len(), 2, "{letters:?}");
    assert!(
        matches!(&letters[0], Letter::Device { from, role: Some(Role::Writer), .. } if *from == phone.node())
    );
    assert!(matches!(&letters[1], Letter::Proposal { from, .. } if *from == friend.node()));

    laptop.says(&mut l, &Body::DeviceRemoved(phone.node()));
    stage.keep(&[(&laptop, &l)]);
    stage.follow();
    stage.follow();
    assert_eq!(
        (stage.role(&laptop), stage.role(&phone)),
        (Some(Role::Writer), None)
    );
    assert!(matches!(
        stage.letters().last(),
        Some(Letter::Device { role: None, .. })
    ));
}

#[test]
fn a_device_has_the_role_of_its_member_also_when_that_is_lowered() {
    let (stage, [laptop, phone], _) = Stage::of_two_devices();
    for role in [Role::Writer, Role::Reader, Role::Admin, Role::Writer] {
        let node = stage.bench.node();
        let_in(&node, &stage.vault, laptop.node(), Wanted::Exactly(role)).expect("let in");
        for _ in 0..2 {
            stage.follow();
            assert_eq!(
                (stage.role(&laptop), stage.role(&phone)),
                (Some(role), Some(role))
            );
        }
    }
}

#[test]
fn a_role_that_was_given_to_a_device_elsewhere_stays_until_its_member_has_another() {
    let (stage, [laptop, phone], mut l) = Stage::of_two_devices();
    stage.follow();
    let keys = NodeKeys::known(phone.start.clone(), phone.record.clone()).expect("of one node");
    // As the agent of another admin does, which has no row for it.
    for role in [Role::Reader, Role::Admin] {
        let joiner = Joiner {
            node: phone.node(),
            role,
            keys: Some(keys.member_keys()),
        };
        stage.vault.vault.set_role(&joiner).expect("given");
        for _ in 0..2 {
            stage.follow();
            assert_eq!(stage.role(&phone), Some(role));
        }
    }
    // It goes with its member all the same.
    laptop.says(&mut l, &Body::DeviceRemoved(phone.node()));
    stage.keep(&[(&laptop, &l)]);
    stage.follow();
    assert_eq!(stage.role(&phone), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_that_two_admins_could_let_in_go_with_their_member() {
    let stage = Stage::new();
    let other = stage.with_another_admin().await;
    let [bob, two, three] = [0; 3].map(|_| Life::new());
    let (mut b, mut t, mut h) = (bob.chain(), two.chain(), three.chain());
    link(LinkType::Device, (&bob, &mut b), (&two, &mut t));
    stage.keep(&[(&bob, &b), (&two, &t)]);
    stage.share(&bob);
    stage.follow();
    assert!(stage.role(&two).is_some());
    other.pull(&stage).await;
    link(LinkType::Device, (&two, &mut t), (&three, &mut h));
    let all = [(&bob, &b), (&two, &t), (&three, &h)];
    other.keep(&all);
    other.follow();
    assert_eq!(other.role(&three), None, "who let Bob in lets it in");
    stage.keep(&all);
    stage.follow();
    assert!(stage.role(&three).is_some());
    other.pull(&stage).await;
    other.follow();
    other.unshare(&bob);
    stage.pull(&other).await;
    stage.follow();
    other.pull(&stage).await;
    other.follow();
    for stage in [&stage, &other] {
        let roles = [&bob, &two, &three].map(|life| stage.role(life));
        assert_eq!(roles, [None; 3]);
    }
}

#[test]
fn whoever_came_by_a_removed_device_alone_goes_with_it() {
    let stage = Stage::new();
    let [laptop, phone, tablet, other] = [0; 4].map(|_| Life::new());
    let [mut l, mut p, mut t, mut o] = [&laptop, &phone, &tablet, &other].map(Life::chain);
    link(LinkType::Device, (&laptop, &mut l), (&phone, &mut p));
    link(LinkType::Device, (&laptop, &mut l), (&tablet, &mut t));
    link(LinkType::Device, (&phone, &mut p), (&tablet, &mut t));
    link(LinkType::Device, (&phone, &mut p), (&other, &mut o));
    stage.keep(&[(&laptop, &l), (&phone, &p), (&tablet, &t), (&other, &o)]);
    stage.share(&laptop);
    stage.follow();
    for life in [&phone, &tablet, &other] {
        assert_eq!(stage.role(life), Some(Role::Writer));
    }
    laptop.says(&mut l, &Body::DeviceRemoved(phone.node()));
    stage.keep(&[(&laptop, &l)]);
    stage.follow();
    let roles = [&laptop, &phone, &tablet, &other].map(|life| stage.role(life));
    assert_eq!(roles, [Some(Role::Writer), None, Some(Role::Writer), None]);
}

#[test]
fn whom_the_user_took_out_does_not_come_back_by_itself() {
    let (stage, [laptop, phone], _) = Stage::of_two_devices();
    stage.follow();
    assert_eq!(stage.role(&phone), Some(Role::Writer));
    let node = stage.bench.node();
    stage.unshare(&phone);
    stage.follow();
    assert_eq!(stage.role(&phone), None);
    let gone = node
        .people
        .part(&stage.vault, &[Vertex::Node(laptop.node())], "x");
    assert_eq!(gone, Ok(BTreeSet::from([laptop.node()])));
    assert_eq!(node.people.all(), Ok(vec![]));
    assert!(
        node.people
            .part(&stage.vault, &[Vertex::Node(laptop.node())], "x")
            .is_err()
    );
}

#[test]
fn whoever_left_by_itself_brings_nobody_in() {
    let stage = Stage::new();
    let [laptop, phone] = [0; 2].map(|_| Life::new());
    let (mut l, mut p) = (laptop.chain(), phone.chain());
    stage.keep(&[(&laptop, &l), (&phone, &p)]);
    stage.share(&laptop);
    stage.vault.vault.revoke(&laptop.node()).expect("gone");
    link(LinkType::Device, (&laptop, &mut l), (&phone, &mut p));
    stage.keep(&[(&laptop, &l), (&phone, &p)]);
    stage.follow();
    assert_eq!((stage.role(&laptop), stage.role(&phone)), (None, None));
}

#[test]
fn a_merge_of_gestalts_lets_nobody_in_and_a_one_sided_device_neither() {
    let stage = Stage::new();
    let [a, m] = [0; 2].map(|_| Life::new());
    let (l, mut own) = (a.chain(), m.chain());
    let mut copy = l.clone();
    stage.keep(&[(&a, &l), (&m, &own)]);
    stage.share(&a);
    // Only the chain of the one that wants in holds the link.
    link(LinkType::Device, (&a, &mut copy), (&m, &mut own));
    stage.keep(&[(&m, &own)]);
    stage.follow();
    assert_eq!(stage.role(&m), None);
    assert_eq!(stage.letters(), []);
}
