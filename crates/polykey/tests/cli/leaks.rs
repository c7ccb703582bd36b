//! Canaries: nothing that passes through the program is left where others could look for it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use data_encoding::{BASE64, HEXLOWER, HEXUPPER};

use crate::home::{Home, run, skip};

const PASSWORD: &str = "pw-canary-5tq8";
const GUESS: &str = "guess-canary-7wk2";
const VAULT: &str = "vault-canary-3hz9";
const SECRET: &str = "secret-canary-8px4";
const SMALL: &str = "small-canary-2nv6";
const LARGE: &str = "large-canary-9rb3.";
const FIELD: &str = "field-canary-4cj7";

/// What is looked for, in every form in which it could lie around.
struct Canaries(Vec<(String, Vec<u8>)>);

impl Canaries {
    fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Canaries {
        let mut all = Vec::new();
        for text in texts {
            let utf16 = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            all.push((text.to_owned(), text.as_bytes().to_vec()));
            all.push((format!("{text} in UTF-16"), utf16));
            all.push((format!("{text} in hex"), HEXLOWER.encode(text.as_bytes()).into()));
            all.push((format!("{text} in HEX"), HEXUPPER.encode(text.as_bytes()).into()));
            for before in 0..3 {
                // Whole groups only: what stands before and behind changes the others.
                let shifted = [&b"\0\0"[..before], text.as_bytes()].concat();
                let form = BASE64.encode(&shifted[..shifted.len() / 3 * 3]);
                let from = if before == 0 { 0 } else { 4 };
                all.push((format!("{text} in base64 at {before}"), form[from..].into()));
            }
        }
        Canaries(all)
    }

    /// And keys, which lie around as they are.
    fn and_keys(mut self, keys: &[(&str, [u8; 32])]) -> Canaries {
        for (name, key) in keys {
            self.0.push((format!("{name}, first half"), key[..16].to_vec()));
            self.0.push((format!("{name}, second half"), key[16..].to_vec()));
        }
        self
    }

    /// Fails when one of them is in `bytes`.
    #[track_caller]
    fn check(&self, place: &str, bytes: &[u8]) {
        // By first byte, so that one pass finds all.
        let mut starts: HashMap<u8, Vec<&(String, Vec<u8>)>> = HashMap::new();
        for canary in &self.0 {
            starts.entry(canary.1[0]).or_default().push(canary);
        }
        let mut wanted = [false; 256];
        starts.keys().for_each(|byte| wanted[usize::from(*byte)] = true);
        for (at, byte) in bytes.iter().enumerate() {
            if wanted[usize::from(*byte)]
                && let Some((what, _)) = starts[byte]
                    .iter()
                    .find(|(_, form)| bytes[at..].starts_with(form))
            {
                let around = &bytes[at.saturating_sub(40)..(at + 40).min(bytes.len())];
                panic!("{what} is in {place}: {:?}", String::from_utf8_lossy(around));
            }
        }
    }
}

fn check_files(canaries: &Canaries, folder: &Path) {
    canaries.check("a name of a file", folder.as_os_str().as_encoded_bytes());
    for entry in fs::read_dir(folder).expect("readable").flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            check_files(canaries, &path);
        } else if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            canaries.check("a name of a file", path.as_os_str().as_encoded_bytes());
            canaries.check(&path.to_string_lossy(), &fs::read(&path).expect("readable"));
        }
    }
}

/// All memory of a process that it can read itself.
fn memory(pid: i32) -> Option<Vec<u8>> {
    let mut file = File::open(format!("/proc/{pid}/mem")).ok()?;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let mut all = Vec::new();
    for line in maps.lines() {
        let (range, rights) = line.split_once(' ')?;
        let (from, to) = range.split_once('-')?;
        let (from, to) = (
            u64::from_str_radix(from, 16).ok()?,
            u64::from_str_radix(to, 16).ok()?,
        );
        if rights.starts_with('r') && file.seek(SeekFrom::Start(from)).is_ok() {
            // Some of the kernel's own pages do not open.
            let _ = (&mut file).take(to - from).read_to_end(&mut all);
        }
    }
    Some(all)
}

/// Uses the node in every way that secrets can take. Gives its recovery code.
fn use_everything(home: &Home) -> String {
    let pk = |args: &[&str], input: &[u8]| {
        let mut command = home.command(args.iter().copied().chain(["-vvv"]));
        command
            .env("PK_PASSWORD", PASSWORD)
            .env("RUST_LOG", "trace")
            .env("RUST_BACKTRACE", "1");
        run(command, input)
    };
    let started = pk(&["agent", "start", "--background", "--json"], b"").ok().json();
    let code = started["recoveryCode"].as_str().expect("a new node").to_owned();
    let (place, record) = (format!("{VAULT}:dir/{SECRET}"), format!("{VAULT}:record"));
    let (large, field) = (format!("{VAULT}:large"), format!("{VAULT}:record#pass"));
    let big = LARGE.repeat(100_000).into_bytes();
    pk(&["vaults", "create", VAULT], b"").ok();
    pk(&["secrets", "write", &place], SMALL.as_bytes()).ok();
    pk(&["secrets", "write", &large], &big).ok();
    pk(&["secrets", "set", &record, "--field", "pass"], FIELD.as_bytes()).ok();
    pk(&["secrets", "cat", &place], b"").ok();
    assert!(pk(&["secrets", "cat", &large], b"").ok().stdout == big);
    pk(&["secrets", "cat", &field], b"").ok();
    pk(&["secrets", "cat", &record], b"").ok();
    pk(
        &["secrets", "env", &format!("{place}=X"), "--env-format", "json"],
        b"",
    )
    .ok();
    pk(&["secrets", "find", "--content", "canary"], b"").ok();
    pk(&["secrets", "mv", &place, &format!("{VAULT}:moved")], b"").ok();
    pk(&["secrets", "stat", &large], b"").ok();
    pk(&["vaults", "log", VAULT], b"").ok();
    pk(&["audit", "--limit", "5"], b"").ok();
    pk(&["agent", "unlock"], b"").ok();
    home.pk_without_password(["secrets", "cat", &large]).ok();
    home.pk_as(GUESS, ["secrets", "cat", &large]).ended(77);
    // Errors say what was tried, not what was in it.
    let told = pk(
        &["secrets", "set", &record, "--field", "pass", "--cas", "99"],
        FIELD.as_bytes(),
    );
    Canaries::new([PASSWORD, FIELD]).check("an error", told.stderr.as_bytes());
    let told = home.pk_as(GUESS, ["agent", "stop", "-vvv"]).ended(77);
    Canaries::new([PASSWORD, GUESS]).check("an error", told.stderr.as_bytes());
    code
}

/// Enough of the code to know it by.
fn some_words(code: &str) -> String {
    code.split(' ').skip(4).take(4).collect::<Vec<_>>().join(" ")
}

/// Ends the looking, also when what is looked at fails.
struct Finish<'a>(&'a AtomicBool);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn no_file_argument_or_environment_shows_a_secret() {
    let home = Home::empty();
    let done = AtomicBool::new(false);
    let hidden = Canaries::new([PASSWORD, GUESS, SMALL, LARGE, FIELD]);
    let code = std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            // As `ps` of another user sees them. The tests' own inputs travel through pipes.
            let mut seen = 0;
            while !done.load(Ordering::SeqCst) {
                for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
                    let argv = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                    seen += usize::from(argv.windows(7).any(|part| part == b"polykey"));
                    hidden.check("the arguments of a process", &argv);
                }
                std::thread::yield_now();
            }
            seen
        });
        let finish = Finish(&done);
        let code = use_everything(&home);
        drop(finish);
        let seen = looking.join().expect("finds nothing");
        assert!(seen > 0 || !Path::new("/proc/self/cmdline").exists());
        code
    });
    let words = some_words(&code);
    let key_file = fs::read(home.node().join("keys")).expect("there");
    let keys = polykey_testkit::keys::of_node(&code, &key_file);
    let pid = home.agent_pid();
    let sealed = Canaries::new([PASSWORD, GUESS, VAULT, SECRET, SMALL, LARGE, FIELD, &words]).and_keys(&keys);
    for name in ["environ", "cmdline"] {
        let bytes = fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        sealed.check(name, &bytes);
    }
    check_files(&sealed, home.path());
    home.pk_without_password(["agent", "stop"]).ok();
    check_files(&sealed, home.path());
}

#[test]
fn the_memory_of_a_locked_agent_holds_nothing() {
    if !rustix::process::getuid().is_root() {
        return skip("only root may read an agent's memory");
    }
    let home = Home::empty();
    let code = use_everything(&home);
    let words = some_words(&code);
    let key_file = fs::read(home.node().join("keys")).expect("there");
    let keys = polykey_testkit::keys::of_node(&code, &key_file);
    let pid = home.agent_pid();
    let token = fs::read_to_string(home.node().join("token")).expect("saved");
    let look = || memory(pid).unwrap_or_default();
    let open = look();
    if open.len() < 1 << 20 {
        return skip("an agent's memory cannot be read here");
    }
    let root = &keys[0].1;
    assert!(
        open.windows(32).any(|part| part == root),
        "an open agent has its root key, and the search finds it"
    );
    let all = [
        PASSWORD,
        GUESS,
        VAULT,
        SECRET,
        SMALL,
        LARGE,
        FIELD,
        &words,
        &token[..40],
    ];
    let canaries = Canaries::new(all).and_keys(&keys);
    home.pk_without_password(["agent", "lockall"]).ok();
    canaries.check("the memory of the agent", &look());

    // Nor after a second life, and after answers that it refused.
    home.pk_as(PASSWORD, ["agent", "unlock"]).ok();
    home.pk_as(PASSWORD, ["secrets", "cat", &format!("{VAULT}:large")])
        .ok();
    home.pk_as(PASSWORD, ["agent", "lockall"]).ok();
    home.pk_as(PASSWORD, ["secrets", "cat", &format!("{VAULT}:large")])
        .ended(77);
    // That last request itself names the vault; it stands in the audit record that waits for the next unlock.
    let canaries = Canaries::new([PASSWORD, GUESS, SECRET, SMALL, LARGE, FIELD, &words, &token[..40]]);
    let canaries = canaries.and_keys(&keys);
    canaries.check("the memory of the agent", &look());

    // Nor for a caller that does not take its answer.
    home.pk_as(PASSWORD, ["agent", "unlock"]).ok();
    let mut stuck = UnixStream::connect(home.node().join("agent.sock")).expect("listens");
    let (body, basic) = (
        format!(r#"{{"vault":"{VAULT}","path":"large"}}"#),
        BASE64.encode(format!(":{PASSWORD}").as_bytes()),
    );
    let asked = format!(
        "POST /v1/secrets/read HTTP/1.1\r\nhost: x\r\nauthorization: Basic {basic}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stuck.write_all(asked.as_bytes()).expect("takes it");
    let mut begin = [0; 12];
    stuck.read_exact(&mut begin).expect("answers");
    assert_eq!(&begin, b"HTTP/1.1 200");
    home.pk_as(PASSWORD, ["agent", "lockall"]).ok();
    canaries.check("the memory of the agent", &look());
    let mut rest = Vec::new();
    let _ = stuck.read_to_end(&mut rest);
    assert!(!rest.ends_with(b"0\r\n\r\n"), "half an answer is no answer");
}
