//! Keepers, folders and addresses: copies at other nodes, and how nodes find each other again.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::home::{Ended, Home, run};

/// What another node does arrives within this time, or never.
const PATIENCE: Duration = Duration::from_secs(120);

/// A node that listens on the loopback interface.
struct Node {
    home: Home,
    id: String,
}

impl Node {
    fn new() -> Node {
        Node::with(Home::empty())
    }

    fn with(home: Home) -> Node {
        let mut node = Node {
            home,
            id: String::new(),
        };
        node.start();
        node.id = node.json(["agent", "status"])["nodeId"]
            .as_str()
            .expect("an id")
            .to_owned();
        node
    }

    fn pk<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Ended {
        self.home.pk(args)
    }

    fn json<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Value {
        self.pk(args.into_iter().chain(["--json"])).ok().json()
    }

    fn start(&self) {
        let start = ["agent", "start", "--background", "--agent-host", "127.0.0.1"];
        self.pk(start).ok();
    }

    /// Starts on another port than before, where nobody expects it.
    fn start_elsewhere(&self) -> String {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let port = socket.local_addr().expect("bound").port().to_string();
        drop(socket);
        let mut start = self.home.command(["agent", "start", "--background"]);
        start.args(["--agent-host", "127.0.0.1", "--agent-port", &port]);
        run(start, b"").ok();
        port
    }

    fn stop(&self) {
        self.pk(["agent", "stop"]).ok();
    }

    /// Tells this node where `other` is.
    fn knows(&self, other: &Node) {
        let port = other.json(["agent", "status"])["agentPort"].to_string();
        self.pk(["nodes", "add", &other.id, "127.0.0.1", &port, "--no-ping"])
            .ok();
    }

    fn write(&self, place: &str, value: &[u8]) {
        self.home.pk_with_input(["secrets", "write", place], value).ok();
    }

    /// What this node knows of the copy of its vault `work` at `place`.
    fn copy_at(&self, place: &str) -> Value {
        let status = self.json(["vaults", "status", "work"]);
        let copies = status["copies"].as_array().expect("a list");
        let copy = copies.iter().find(|copy| copy["place"] == place);
        copy.cloned().unwrap_or_default()
    }

    fn kept(&self) -> Vec<Value> {
        let kept = self.json(["vaults", "kept"]);
        kept["vaults"].as_array().expect("a list").clone()
    }
}

/// Asks again and again until there is an answer.
#[track_caller]
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "not in time: {what}");
    }
}

/// A node with a vault `work`, and one that knows it and is asked to keep it.
fn kept_pair(keeper: Home) -> (Node, Node) {
    let (a, k) = (Node::new(), Node::with(keeper));
    a.knows(&k);
    k.knows(&a);
    a.pk(["vaults", "create", "work"]).ok();
    a.write("work:x", b"one");
    a.pk(["vaults", "replicas", "add", "work", &k.id]).ok();
    until("the keeper has it", || {
        (a.copy_at(&k.id)["fresh"] == true).then_some(())
    });
    (a, k)
}

#[test]
fn a_keeper_stops_at_its_quota_says_so_and_goes_on_when_there_is_room() {
    let home = Home::empty();
    home.pk(["config", "set", "keeper.quota", "16MiB"]).ok();
    let (a, k) = kept_pair(home);
    a.write("work:large", &vec![7; 40 << 20]);
    until("the member is told", || {
        (a.copy_at(&k.id)["trouble"] == "no-room").then_some(())
    });
    let kept = k.json(["vaults", "kept"]);
    assert_eq!(
        (&kept["quota"], &kept["vaults"][0]["full"]),
        (&json!(16 << 20), &json!(true))
    );
    assert!(kept["size"].as_u64() < Some(24 << 20), "{kept}");
    let replicas = a.json(["vaults", "replicas", "list", "work"]);
    assert_eq!(replicas[0]["trouble"], "no-room");
    assert!(a.pk(["vaults", "status", "work"]).ok().text().contains("no room"));
    // It answered, although it does not take all of it.
    a.pk(["vaults", "sync", "work"])
        .ok()
        .says("polykey: warning:")
        .says("no room left");
    let steps = a.json(["vaults", "sync", "work"]);
    assert_eq!(
        (&steps[0]["warning"]["code"], &steps[0]["problem"]),
        (&json!("disk-full"), &Value::Null)
    );

    // A small one still fits.
    a.pk(["vaults", "create", "more"]).ok();
    let added = a.json(["vaults", "replicas", "add", "more", &k.id]);
    assert_eq!(added["waiting"], false, "there is room for a small one");

    k.stop();
    k.pk(["config", "set", "keeper.quota", "1GiB"]).ok();
    k.start();
    until("the rest arrives", || {
        let copy = a.copy_at(&k.id);
        (copy["fresh"] == true && copy["trouble"] == Value::Null).then_some(())
    });
    assert!(k.kept().iter().all(|kept| kept["full"] == false));
    a.pk(["vaults", "sync", "work"]).ok();
}

#[test]
fn a_request_of_a_node_that_was_not_added_waits_until_it_is() {
    let (a, k) = (Node::new(), Node::new());
    a.knows(&k);
    a.pk(["vaults", "create", "work"]).ok();
    a.write("work:x", b"one");
    let added = a.json(["vaults", "replicas", "add", "work", &k.id]);
    assert_eq!(added["waiting"], true);
    let vault = added["vaultId"].as_str().expect("an id");
    let requests = || k.json(["notifications", "inbox", "read", "--strangers"]);
    let request = until("the request waits", || {
        let first = requests()[0]["notification"].clone();
        first.is_object().then_some(first)
    });
    assert_eq!(
        (&request["iss"], &request["data"]["type"]),
        (&json!(a.id), &json!("KeepRequest"))
    );
    assert_eq!(request["data"]["vaultId"], vault);
    assert_eq!(k.kept(), [] as [Value; 0]);
    // Asking again leaves no second letter.
    a.pk(["vaults", "replicas", "add", "work", &k.id]).ok();
    assert_eq!(requests().as_array().map(Vec::len), Some(1));

    k.knows(&a);
    until("the keeper has it", || {
        (a.copy_at(&k.id)["fresh"] == true).then_some(())
    });
    assert_eq!(k.kept()[0]["vaultId"], vault);
    assert_eq!(requests(), json!([]));
    until("it is waited for no longer", || {
        let list = a.json(["vaults", "replicas", "list", "work"]);
        (list[0]["waiting"] == false).then_some(())
    });
}

#[test]
fn what_is_kept_is_listed_and_can_be_dropped() {
    let (a, k) = kept_pair(Home::empty());
    let kept = k.kept();
    assert_eq!((kept.len(), &kept[0]["askedBy"]), (1, &json!(a.id)));
    assert!(kept[0]["size"].as_u64() > Some(0) && kept[0]["lastChange"].is_u64());
    let vault = kept[0]["vaultId"].as_str().expect("an id");
    let shown = k.pk(["vaults", "kept"]).ok();
    assert!(
        shown.text().contains(vault) && shown.text().contains(&a.id),
        "{shown:?}"
    );
    // Only what is kept for others is dropped, and it is named by its whole id.
    k.pk(["vaults", "create", "mine"]).ok();
    let mine = k.json(["vaults", "list"])[0]["vaultIdEncoded"].clone();
    for other in ["mine", mine.as_str().expect("an id"), &vault[..20], "", "kept"] {
        k.pk(["vaults", "drop", other, "--yes"]).ended(66);
    }
    k.pk(["vaults", "drop"]).ended(64);

    let dropped = k.json(["vaults", "drop", vault]);
    assert_eq!(dropped["vaultId"], vault);
    assert_eq!(k.kept(), [] as [Value; 0]);
    k.pk(["vaults", "drop", vault, "--yes"]).ended(66);
    let audit = k.pk(["audit", "--events", "vaults.drop", "--json"]).ok();
    assert!(audit.text().contains(vault), "{audit:?}");
    assert_eq!(k.json(["vaults", "list"]).as_array().map(Vec::len), Some(1));
    k.pk(["doctor"]).ok();

    // The member learns of it, and nothing brings it back but a new request.
    a.write("work:x", b"two");
    until("the member knows", || {
        a.pk(["vaults", "replicas", "sync", "work"]);
        (a.json(["vaults", "replicas", "list", "work"])[0]["trouble"] == "dropped").then_some(())
    });
    assert_eq!(a.json(["vaults", "status", "work"])["ciphertextCopies"], 0);
    assert_eq!(k.kept(), [] as [Value; 0]);
    a.pk(["vaults", "replicas", "add", "work", &k.id]).ok();
    until("it is kept again", || {
        let copy = a.copy_at(&k.id);
        (copy["fresh"] == true && copy["trouble"] == Value::Null).then_some(())
    });
    assert_eq!(k.kept().len(), 1);
}

#[test]
fn sync_brings_folders_and_keepers_level_and_lists_what_is_away() {
    let (a, k) = kept_pair(Home::empty());
    let place = tempfile::tempdir().expect("a temporary folder");
    let stick = place.path().join("stick");
    let folder = stick.to_str().expect("a text");
    a.pk(["vaults", "replicas", "add", "work", folder]).ok();
    let stick_name = a.json(["vaults", "replicas", "list", "work"])[1]["place"].clone();
    let stick_name = stick_name.as_str().expect("a text");
    a.write("work:x", b"two");
    // Of all vaults; those that nobody else holds need nobody.
    a.pk(["vaults", "create", "alone"]).ok();
    let steps = a.json(["vaults", "sync"]);
    let ended: Vec<&str> = steps
        .as_array()
        .expect("a list")
        .iter()
        .filter(|step| step["problem"] == Value::Null && step["done"] == true)
        .map(|step| step["node"].as_str().expect("a text"))
        .collect();
    assert!(ended.contains(&stick_name) && ended.contains(&&*k.id), "{steps}");
    assert_eq!(a.copy_at(stick_name)["fresh"], true);
    assert_eq!(a.copy_at(&k.id)["fresh"], true);
    a.pk(["vaults", "sync", "alone"]).ok();

    // What is away is named; whoever is there is enough.
    let away = place.path().join("away");
    std::fs::rename(&stick, &away).expect("moved");
    a.write("work:x", b"three");
    a.pk(["vaults", "sync", "work"]).ok().says("is absent");
    k.stop();
    a.pk(["vaults", "sync", "work"]).ended(68);
    std::fs::rename(&away, &stick).expect("moved");
    a.write("work:x", b"four");
    a.pk(["vaults", "sync", "work"]).ok().says("cannot be reached");
    assert_eq!(a.copy_at(stick_name)["fresh"], true);
    let status = a.pk(["vaults", "status", "work"]).ok();
    assert!(status.text().contains("last level"), "{status:?}");
}

#[test]
fn members_pass_on_where_another_member_is_now() {
    let (a, b, c) = (Node::new(), Node::new(), Node::new());
    for other in [&b, &c] {
        a.knows(other);
        other.knows(&a);
    }
    b.knows(&c);
    c.knows(&b);
    a.pk(["vaults", "create", "work"]).ok();
    for other in [&b, &c] {
        a.pk(["vaults", "share", "work", &other.id]).ok();
        until("the share takes effect", || {
            (other.pk(["vaults", "clone", "work", &a.id]).code == 0).then_some(())
        });
    }
    until("all are members everywhere", || {
        let all = |node: &Node| node.json(["vaults", "members", "work"]).as_array().map(Vec::len);
        (all(&b) == Some(3) && all(&c) == Some(3)).then_some(())
    });
    // B moves while A is away, and is gone again before A is back: only C can have told.
    a.stop();
    b.stop();
    let port = b.start_elsewhere();
    let moved = format!("127.0.0.1:{port}");
    let address_of = |at: &Node, of: &Node, address: &str| {
        let found = at.pk(["nodes", "find", &of.id, "--json"]);
        let addresses = (found.code == 0).then(|| found.json()["nodeContact"].clone())?;
        let addresses = addresses.as_array()?.clone();
        addresses.into_iter().find(|known| known["address"] == address)
    };
    until("C sees B", || address_of(&c, &b, &moved));
    b.stop();
    a.start_elsewhere();
    let told = until("A hears of it", || address_of(&a, &b, &moved));
    assert_eq!(told["source"], "told");
    // It is a good one.
    let mut start = b.home.command(["agent", "start", "--background"]);
    start.args(["--agent-host", "127.0.0.1", "--agent-port", &port]);
    run(start, b"").ok();
    until("A reaches B", || {
        (a.pk(["nodes", "ping", &b.id]).code == 0).then_some(())
    });
}

#[test]
fn an_address_that_was_seen_is_kept_and_dialled_at_the_next_start() {
    let (a, b) = (Node::new(), Node::new());
    a.pk(["vaults", "create", "work"]).ok();
    let ticket = a.json(["vaults", "invite", "work"])["ticket"].clone();
    // A is never told where B is.
    b.pk(["join", ticket.as_str().expect("a text")]).ok();
    let seen = until("A has seen B", || {
        let found = a.json(["nodes", "find", &b.id]);
        found["nodeContact"][0]
            .is_object()
            .then(|| found["nodeContact"][0].clone())
    });
    assert_eq!(seen["source"], "seen");
    // B does not know where A is then, so it is A who dials.
    a.stop();
    a.start_elsewhere();
    let connection = until("A dials B", || {
        let connections = a.json(["nodes", "connections"]);
        let connections = connections.as_array()?.clone();
        connections.into_iter().find(|up| up["nodeIdEncoded"] == b.id)
    });
    assert_eq!(
        (&connection["dialled"], &connection["path"]),
        (&json!(true), &json!("direct"))
    );
    assert!(
        connection["roundTrip"].is_u64() && connection["lookup"] == "known",
        "{connection}"
    );
    let shown = a.pk(["nodes", "connections"]).ok();
    assert!(
        shown.text().starts_with("NODE") && shown.text().contains("known"),
        "{shown:?}"
    );
    let members = a.json(["vaults", "members", "work"]);
    let members = members.as_array().expect("a list");
    let member = members.iter().find(|member| member["nodeIdEncoded"] == b.id);
    assert!(member.expect("a member")["lastSync"].is_u64(), "{members:?}");
}

#[test]
fn the_quota_is_a_setting() {
    let home = Home::empty();
    let shown = || home.pk(["config", "show", "--json"]).ok().json()["keeper.quota"].clone();
    assert_eq!(shown(), "10GiB");
    for bad in ["ten", "10 gib", "-1GiB", "1.5GiB", "99999999TiB"] {
        home.pk(["config", "set", "keeper.quota", bad]).ended(64);
    }
    home.pk(["config", "set", "keeper.quota", "500MB"]).ok();
    assert_eq!(shown(), "500MB");
    home.pk(["config", "set", "keeper.quota", "2GiB"]).ok();
    let file = home.node().join("config.toml");
    let text = std::fs::read_to_string(&file).expect("written");
    assert_eq!(text, "keeper.quota = \"2GiB\"\n");
    let human = home.pk(["config", "show", "--origin"]).ok();
    assert!(
        human.text().contains("keeper.quota = \"2GiB\" # from"),
        "{human:?}"
    );
    home.pk(["config", "unset", "keeper.quota"]).ok();
    assert_eq!(std::fs::read_to_string(&file).expect("there"), "");
    std::fs::write(&file, "keeper = 5\n").expect("written");
    home.pk(["config", "set", "keeper.quota", "1GiB"]).ended(78);
    home.pk(["vaults", "kept"]).ended(78).says("keeper");
}
