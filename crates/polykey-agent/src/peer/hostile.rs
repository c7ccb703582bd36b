//! A hostile peer with a valid key, case by case, against the serving code of a real agent.

use std::collections::BTreeMap;

use polykey_core::codec::Writer;
use polykey_core::{NodeId, ObjectId, StatementId, Timestamp, VaultId};
use polykey_vault::charter::Role;
use polykey_vault::sync::{self, Replica};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};

use super::bench::{Bench, nobody, stranger};
use super::frame::BUDGET;
use super::message::{MAX_REQUEST_LEN, Refusal};
use super::serve::{Conduct, serve_stream};
use super::{Answer, Request};
use crate::friends::message as friends;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    /// A member of the vault `shared`.
    Member,
    /// Known, and a member of nothing.
    Contact,
    /// Known to nobody, with an id of its own in each case.
    Stranger,
    /// Blocked by the user.
    Blocked,
}

/// What must come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    /// An answer that is no refusal.
    Served,
    /// A refusal, and the connection stays.
    Refused(Refusal),
    /// A step of a pull is answered with nothing.
    Nothing,
    /// The request is malformed, and the connection is closed.
    Nonsense,
    /// No answer at all.
    Silence,
}

struct Stage {
    bench: Bench,
    shared: VaultId,
    private: VaultId,
    people: BTreeMap<Who, NodeId>,
}

impl Stage {
    fn new() -> Stage {
        let bench = Bench::new();
        let node = bench.node();
        for name in ["shared", "private"] {
            node.vaults.create(name, None).expect("made");
            bench.write(name, "secret", b"value");
        }
        let id = |name: &str| node.vaults.open(name).expect("open").id;
        let member = stranger();
        bench.grant("shared", &member, Role::Reader);
        let contact = nobody();
        node.contacts.meet(member.node()).expect("kept");
        node.contacts.trust(contact).expect("kept");
        let people = BTreeMap::from([(Who::Member, member.node()), (Who::Contact, contact)]);
        Stage {
            shared: id("shared"),
            private: id("private"),
            people,
            bench,
        }
    }

    fn person(&self, who: Who) -> NodeId {
        // A node that is not known may ask a few things at once; each case asks as another one.
        if who == Who::Blocked {
            let blocked = nobody();
            self.bench.node().contacts.block(blocked, true).expect("kept");
            return blocked;
        }
        self.people.get(&who).copied().unwrap_or_else(nobody)
    }

    /// Runs one case: the frame as the request `like`, if it is read at all.
    async fn check(&self, name: &str, who: Who, frame: &[u8], like: &Request, want: Want) {
        let (answer, conduct) = self.bench.say(self.person(who), frame).await;
        let answer = Answer::decode(like, &answer);
        let got = match (&answer, conduct) {
            (Ok(Answer::Refused(Refusal::Malformed, _)), Conduct::Nonsense) => Want::Nonsense,
            (Err(_), Conduct::Fair) => Want::Silence,
            (Ok(Answer::Refused(refusal, _)), Conduct::Fair) => Want::Refused(*refusal),
            (Ok(Answer::Sync(sync::Response::Refused)), Conduct::Fair) => Want::Nothing,
            (Ok(_), Conduct::Fair) => Want::Served,
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(got, want, "{name}, by {who:?}: {answer:?}");
    }
}

fn items(vault: VaultId) -> Request {
    Request::Sync(sync::Request::Items {
        vault,
        charter: Vec::new(),
        lines: Vec::new(),
    })
}

fn objects(vault: VaultId, wanted: usize) -> Request {
    let wanted = (0..wanted).map(|n| ObjectId::from_bytes([n as u8; 32])).collect();
    Request::Sync(sync::Request::Objects { vault, wanted })
}

fn announcement(vault: VaultId) -> Request {
    Request::Announce(sync::Announcement {
        vault,
        heads: vec![StatementId::from_bytes([9; 32])],
        tips: Vec::new(),
    })
}

/// A request of each kind that is well formed.
fn good(vault: VaultId) -> Vec<(&'static str, Request)> {
    let mut all = vec![
        ("ping", Request::Ping),
        ("who", Request::Who),
        ("scan", Request::Scan),
        ("items", items(vault)),
        ("objects", objects(vault, 2)),
        ("announce", announcement(vault)),
        ("notify", Request::Notify(vec![1; 50])),
        ("genesis", Request::Genesis(vault)),
        (
            "redeem",
            Request::Redeem {
                secret: [7; 32],
                start: vec![1; 50],
                record: vec![2; 50],
            },
        ),
        (
            "keep",
            Request::Keep {
                vault,
                genesis: vec![1; 50],
            },
        ),
        ("addresses", Request::Addresses),
        (
            "chain",
            Request::Chain {
                node: nobody(),
                from: 0,
            },
        ),
        (
            "succeed",
            Request::Succeed {
                rotations: vec![vec![1; 50]],
            },
        ),
        (
            "link",
            Request::Link {
                proposal: vec![1; 50],
            },
        ),
        ("invitations", Request::Invitations),
        ("chain news", Request::ChainNews { last: 1 << 40 }),
        (
            "pair",
            Request::Pair {
                secret: [7; 32],
                start: vec![1; 50],
                record: vec![2; 50],
            },
        ),
        ("devices", Request::Devices),
        ("hidden", Request::Hidden),
        ("my keys", Request::MyKeys),
        ("words", Request::Words { element: [7; 33] }),
        (
            "words proof",
            Request::WordsProof {
                proof: [7; 32],
                start: vec![1; 50],
                record: vec![2; 50],
            },
        ),
        (
            "witness",
            Request::Witness {
                identity: "github.com:alice".parse().expect("an identity"),
                node: Some(nobody()),
            },
        ),
    ];
    let about_shares = about_shares().map(|(name, request)| (name, Request::Friend(request)));
    all.extend(about_shares);
    all
}

/// A request of each kind about shares of recovery codes.
fn about_shares() -> [(&'static str, friends::Request); 8] {
    use friends::Request;
    let split = StatementId::from_bytes([9; 32]);
    let (owner, asker) = (nobody(), nobody());
    [
        (
            "leave",
            Request::Leave {
                split: vec![1; 50],
                sealed: vec![2; 50],
            },
        ),
        ("replace", Request::Replace { split: vec![1; 50] }),
        ("give up", Request::GiveUp { split }),
        (
            "prove",
            Request::Prove {
                split,
                nonce: [3; 32],
            },
        ),
        (
            "ask",
            Request::Ask {
                owner,
                start: vec![1; 50],
                records: vec![vec![2; 50]],
            },
        ),
        ("fetch", Request::Fetch { owner }),
        (
            "warn",
            Request::Warn {
                owner,
                asker,
                arrived: Timestamp::from_millis(1),
                until: Timestamp::from_millis(2),
            },
        ),
        ("veto", Request::Veto { owner, asker }),
    ]
}

/// Ways to spoil a frame, each with a name.
fn spoilt(frame: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut all = vec![
        ("empty".to_owned(), Vec::new()),
        ("one byte more".to_owned(), [frame, &[0]].concat()),
        ("twice".to_owned(), [frame, frame].concat()),
        ("another kind of item".to_owned(), [&[0xa1, 0], frame].concat()),
        ("nested too deep".to_owned(), [&[0x81; 40][..], frame].concat()),
        ("tagged".to_owned(), [&[0xc1], frame].concat()),
    ];
    for cut in [1, frame.len() / 2, frame.len() - 1] {
        all.push((format!("cut at {cut}"), frame[..cut].to_vec()));
    }
    let mut unknown = frame.to_vec();
    unknown[1] = 0x17;
    all.push(("of an unknown number".to_owned(), unknown));
    let mut longer = frame.to_vec();
    longer[0] += 1;
    longer.push(0);
    all.push(("with a field too many".to_owned(), longer));
    let mut indefinite = frame.to_vec();
    indefinite[0] = 0x9f;
    indefinite.push(0xff);
    all.push(("of no definite length".to_owned(), indefinite));
    all
}

/// Well-formed CBOR whose parts are of the wrong kind or size.
fn misshapen(vault: VaultId) -> Vec<(&'static str, Vec<u8>)> {
    let write = |edit: &dyn Fn(&mut Writer)| {
        let mut out = Writer::new();
        edit(&mut out);
        out.finish()
    };
    let id = *vault.as_bytes();
    let sync_of = |inner: Vec<u8>| {
        write(&|out| {
            out.array(2).u64(3).bytes(&inner);
        })
    };
    vec![
        (
            "a number for a list",
            write(&|out| {
                out.u64(0);
            }),
        ),
        (
            "a text for the number",
            write(&|out| {
                out.array(1).text("ping");
            }),
        ),
        (
            "a short vault id",
            write(&|out| {
                out.array(2).u64(6).bytes(&id[..31]);
            }),
        ),
        (
            "a long vault id",
            write(&|out| {
                out.array(2).u64(6).bytes(&[7; 33]);
            }),
        ),
        (
            "a text for a vault id",
            write(&|out| {
                out.array(2).u64(6).text("work");
            }),
        ),
        (
            "null for a vault id",
            write(&|out| {
                out.array(2).u64(6).null();
            }),
        ),
        (
            "an empty notification",
            write(&|out| {
                out.array(2).u64(5).bytes(b"");
            }),
        ),
        (
            "a huge notification",
            write(&|out| {
                out.array(2).u64(5).bytes(&[1; 70_000]);
            }),
        ),
        (
            "a short secret",
            write(&|out| {
                out.array(4).u64(7).bytes(&[1; 31]).bytes(b"x").bytes(b"y");
            }),
        ),
        (
            "an invitation without keys",
            write(&|out| {
                out.array(2).u64(7).bytes(&[1; 32]);
            }),
        ),
        (
            "a vault to keep without genesis",
            write(&|out| {
                out.array(2).u64(8).bytes(&id);
            }),
        ),
        (
            "an empty genesis",
            write(&|out| {
                out.array(3).u64(8).bytes(&id).bytes(b"");
            }),
        ),
        ("a pull that is no message", sync_of(b"nonsense".to_vec())),
        ("an empty pull", sync_of(Vec::new())),
        (
            "an announcement as a pull",
            sync_of(match announcement(vault) {
                Request::Announce(announcement) => announcement.encode(),
                _ => unreachable!("it is one"),
            }),
        ),
        ("an answer as a pull", sync_of(sync::Response::Refused.encode())),
        (
            "a pull as an announcement",
            write(&|out| {
                let inner = match items(vault) {
                    Request::Sync(request) => request.encode(),
                    _ => unreachable!("it is one"),
                };
                out.array(2).u64(4).bytes(&inner);
            }),
        ),
        (
            "more wanted than there may be",
            sync_of(write(&|out| {
                out.array(3).u64(1).bytes(&id).array(257);
                for _ in 0..257 {
                    out.bytes(&[1; 32]);
                }
            })),
        ),
        (
            "more charter ids than there may be",
            sync_of(write(&|out| {
                out.array(4).u64(0).bytes(&id).array(1025);
                for _ in 0..1025 {
                    out.bytes(&[1; 32]);
                }
                out.array(0);
            })),
        ),
        (
            "an empty proposal",
            write(&|out| {
                out.array(2).u64(12).bytes(b"");
            }),
        ),
        (
            "a proposal longer than any",
            write(&|out| {
                out.array(2).u64(12).bytes(&[1; 513]);
            }),
        ),
        (
            "a short secret for a device",
            write(&|out| {
                out.array(4).u64(15).bytes(&[1; 31]).bytes(b"x").bytes(b"y");
            }),
        ),
        (
            "a short element",
            write(&|out| {
                out.array(2).u64(19).bytes(&[1; 32]);
            }),
        ),
        (
            "a witness of what is no identity",
            write(&|out| {
                out.array(3).u64(27).text("alice").null();
            }),
        ),
        (
            "a witness of a second spelling",
            write(&|out| {
                out.array(3).u64(27).text("GitHub.com:Alice").null();
            }),
        ),
        (
            "a witness of an identity longer than any",
            write(&|out| {
                let long = format!("github.com:{}", "a".repeat(10_000));
                out.array(3).u64(27).text(&long).null();
            }),
        ),
        (
            "a witness of what drives a terminal",
            write(&|out| {
                out.array(3).u64(27).text("github.com:\u{1b}[2J").null();
            }),
        ),
        (
            "a witness of bytes",
            write(&|out| {
                out.array(3).u64(27).bytes(b"github.com:alice").null();
            }),
        ),
        (
            "a witness of a short node id",
            write(&|out| {
                out.array(3).u64(27).text("github.com:alice").bytes(&[1; 31]);
            }),
        ),
        (
            "a witness of a petname",
            write(&|out| {
                out.array(3).u64(27).text("github.com:alice").text("alice");
            }),
        ),
        (
            "a text for how far a chain goes",
            write(&|out| {
                out.array(2).u64(14).text("1");
            }),
        ),
        (
            "a line without an end",
            sync_of(write(&|out| {
                out.array(4)
                    .u64(0)
                    .bytes(&id)
                    .array(0)
                    .array(1)
                    .array(2)
                    .bytes(&[1; 32])
                    .bytes(&[1; 16]);
            })),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_a_hostile_peer_says_does_harm() {
    let stage = Stage::new();
    let (shared, private, missing) = (stage.shared, stage.private, VaultId::from_bytes([1; 32]));
    let mut cases = 0;

    for (name, request) in good(shared) {
        for (how, frame) in spoilt(&request.encode()) {
            let name = format!("{name} {how}");
            stage
                .check(&name, Who::Member, &frame, &request, Want::Nonsense)
                .await;
            cases += 1;
        }
    }
    for (name, frame) in misshapen(shared) {
        let like = Request::Ping;
        stage
            .check(name, Who::Member, &frame, &like, Want::Nonsense)
            .await;
        cases += 1;
    }
    // What is there and not shared reads the same as what is not there.
    let refused = Want::Refused(Refusal::Refused);
    for vault in [private, missing] {
        for (name, request) in good(vault) {
            let want = match name {
                "ping" | "who" | "scan" | "addresses" | "invitations" | "chain news" | "devices"
                | "my keys" => Want::Served,
                "items" | "objects" => Want::Nothing,
                // They are signed by nobody.
                "notify" | "keep" | "succeed" | "link" | "leave" | "replace" => {
                    Want::Refused(Refusal::Malformed)
                }
                _ => refused,
            };
            stage
                .check(name, Who::Member, &request.encode(), &request, want)
                .await;
            cases += 1;
        }
    }
    for who in [Who::Contact, Who::Stranger, Who::Blocked] {
        for (name, request) in good(shared) {
            let want = match (who, name) {
                (Who::Blocked, _) => refused,
                (_, "ping" | "who" | "invitations" | "chain news" | "my keys")
                | (Who::Contact, "addresses" | "devices") => Want::Served,
                (_, "items" | "objects") => Want::Nothing,
                (_, "notify" | "keep" | "succeed" | "link" | "replace") | (Who::Contact, "leave") => {
                    Want::Refused(Refusal::Malformed)
                }
                _ => refused,
            };
            stage.check(name, who, &request.encode(), &request, want).await;
            cases += 1;
        }
    }
    // A stranger has a shorter breath than somebody we know.
    let long = Request::Notify(vec![1; 30_000]);
    stage
        .check("long", Who::Stranger, &long.encode(), &long, Want::Nonsense)
        .await;
    let served = items(shared);
    stage
        .check("items", Who::Member, &served.encode(), &served, Want::Served)
        .await;
    cases += 2;
    assert!(cases >= 100, "{cases} cases");

    // Streams that end, lie about their length, or go on behind the frame.
    let member = stage.person(Who::Member);
    let ping = Request::Ping.encode();
    let framed = [&[0, 0, 0, ping.len() as u8][..], &ping].concat();
    for cut in 0..framed.len() {
        let (answer, conduct) = stage.bench.talk(member, &framed[..cut]).await;
        assert_eq!((answer.len(), conduct), (0, Conduct::Fair), "half a frame, {cut}");
    }
    for raw in [
        [&framed[..], &[0]].concat(),
        vec![0xff; 10],
        [
            &u32::try_from(MAX_REQUEST_LEN + 1).expect("fits").to_be_bytes()[..],
            &[0; 64],
        ]
        .concat(),
    ] {
        let (_, conduct) = stage.bench.talk(member, &raw).await;
        assert_eq!(conduct, Conduct::Nonsense, "{} bytes", raw.len());
    }
    assert_eq!(
        stage.bench.agent.manners().budget.free(),
        BUDGET,
        "memory is given back"
    );
    let before = stage.bench.node().vaults.open("shared").expect("open").vault;
    assert_eq!(before.charter().expect("open").len(), 2, "nothing was written");
    assert_eq!(stage.bench.paths("shared"), ["secret"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_and_half_open_streams_leave_others_served() {
    let stage = Stage::new();
    let (bench, flooding) = (&stage.bench, stage.person(Who::Contact));
    // Streams that send a part and then nothing, and one that drips.
    let mut open = Vec::new();
    for n in 0..200usize {
        let (here, there) = duplex(1 << 10);
        let agent = bench.agent.clone();
        tokio::spawn(async move {
            let (mut reader, mut writer) = split(there);
            serve_stream(&agent, flooding, &mut reader, &mut writer).await
        });
        let (reader, mut writer) = split(here);
        // It announces as much as it may, and sends little.
        let len = u32::try_from(MAX_REQUEST_LEN).expect("fits").to_be_bytes();
        writer.write_all(&len[..n % 5]).await.expect("room");
        open.push((reader, writer));
    }
    let (ping, frame) = (Request::Ping, Request::Ping.encode());
    // How soon depends on the machine: what it may ask grows again while it asks.
    let is_refused = |answer: &[u8]| match Answer::decode(&ping, answer).expect("an answer") {
        Answer::Refused(Refusal::TooMuch, _) => true,
        answer => {
            assert_eq!(answer, Answer::Done);
            false
        }
    };
    let mut asked = 0;
    while !is_refused(&bench.say(flooding, &frame).await.0) {
        asked += 1;
        assert!(asked < 100_000, "a flood meets its bound");
    }
    let member = stage.person(Who::Member);
    let (answer, _) = bench.say(member, &frame).await;
    assert_eq!(Answer::decode(&ping, &answer).expect("an answer"), Answer::Done);
    let request = items(stage.shared);
    let (answer, _) = bench.say(member, &request.encode()).await;
    assert!(matches!(
        Answer::decode(&request, &answer),
        Ok(Answer::Sync(sync::Response::Items(_)))
    ));
    let held = BUDGET - bench.agent.manners().budget.free();
    assert!(
        held <= 200 * (16 << 10),
        "{held} bytes are held for 200 streams that sent nothing"
    );
    drop(open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_does_not_take_its_answer_holds_little() {
    let stage = Stage::new();
    stage.bench.write("shared", "large", &vec![7; 3 << 20]);
    let member = stage.person(Who::Member);
    let mut open = Vec::new();
    for _ in 0..8 {
        let (here, there) = duplex(1 << 10);
        let agent = stage.bench.agent.clone();
        tokio::spawn(async move {
            let (mut reader, mut writer) = split(there);
            serve_stream(&agent, member, &mut reader, &mut writer).await
        });
        let (mut reader, mut writer) = split(here);
        let frame = items(stage.shared).encode();
        let len = u32::try_from(frame.len()).expect("short").to_be_bytes();
        writer
            .write_all(&[&len[..], &frame].concat())
            .await
            .expect("room");
        writer.shutdown().await.expect("open");
        // The first byte of the answer is there, and no more is taken.
        reader.read_exact(&mut [0]).await.expect("an answer begins");
        open.push((reader, writer));
    }
    let contact = stage.person(Who::Contact);
    let (answer, _) = stage.bench.say(contact, &Request::Ping.encode()).await;
    assert_eq!(
        Answer::decode(&Request::Ping, &answer).expect("an answer"),
        Answer::Done
    );
    assert!(stage.bench.agent.manners().budget.free() > BUDGET / 2);
    drop(open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_agent_is_not_available_and_tells_nothing() {
    let stage = Stage::new();
    stage.bench.agent.lock_keys().await;
    for (name, request) in good(stage.shared) {
        let want = Want::Refused(Refusal::Unavailable);
        stage
            .check(name, Who::Stranger, &request.encode(), &request, want)
            .await;
    }
}
