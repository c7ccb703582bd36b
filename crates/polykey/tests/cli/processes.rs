//! Other users, other processes, and what lies in the way.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::home::{Ended, Home, run, skip};

const NOBODY: &str = "65534";

/// Runs `program` as another user; `None` where that cannot be done.
fn as_nobody(program: &str, args: &[&str]) -> Option<Ended> {
    if !rustix::process::getuid().is_root() {
        skip("only root can become another user");
        return None;
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", program])
        .args(args);
    match command.output() {
        Ok(_) => Some(run(command, b"")),
        Err(_) => {
            skip("setpriv is missing");
            None
        }
    }
}

fn each_below(folder: &Path, look: &mut dyn FnMut(&Path, &fs::Metadata)) {
    for entry in fs::read_dir(folder).expect("readable").flatten() {
        let meta = fs::symlink_metadata(entry.path()).expect("there");
        look(&entry.path(), &meta);
        if meta.is_dir() {
            each_below(&entry.path(), look);
        }
    }
}

#[test]
fn files_are_private_whatever_the_umask_is() {
    let home = Home::empty();
    let program = env!("CARGO_BIN_EXE_polykey");
    let script = "umask 000; for line in 'agent start --background' 'vaults create v' 'secrets mkdir v:d' \
                  'agent unlock' 'config set network offline'; do \"$0\" $line >/dev/null 2>&1 || exit 9; done; \
                  head -c 300000 /dev/zero | \"$0\" secrets write v:large";
    let mut sh = Command::new("sh");
    sh.args(["-c", script, program]).current_dir(home.path());
    for (name, value) in home.command(["x"]).get_envs() {
        if let Some(value) = value {
            sh.env(name, value);
        }
    }
    run(sh, b"").ok();
    let mut kinds = [0; 3];
    each_below(&home.node(), &mut |path, meta| {
        let want = if meta.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(meta.mode() & 0o777, want, "{}", path.display());
        kinds[0] += usize::from(meta.is_dir());
        kinds[1] += usize::from(meta.is_file());
        kinds[2] += usize::from(meta.file_type().is_socket());
    });
    assert_eq!(fs::metadata(home.node()).expect("there").mode() & 0o777, 0o700);
    assert!(kinds[0] >= 3 && kinds[1] >= 8 && kinds[2] == 1, "{kinds:?}");
}

#[test]
fn another_user_gets_nothing() {
    let home = Home::live();
    home.pk(["agent", "unlock"]).ok();
    // The folders above are open, as a home folder may be.
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let node = home.node();
    for name in ["keys", "node.db", "token", "agent.lock", "agent.log"] {
        let path = node.join(name);
        let Some(ended) = as_nobody("cat", &[path.to_str().expect("text")]) else {
            return;
        };
        assert!(ended.code != 0 && ended.stdout.is_empty(), "{name}: {ended:?}");
    }
    let node = node.to_str().expect("text");
    let pid = home.agent_pid();
    for path in [
        format!("/proc/{pid}/environ"),
        format!("/proc/{pid}/mem"),
        format!("/proc/{pid}/maps"),
    ] {
        let ended = as_nobody("cat", &[&path]).expect("it worked before");
        assert!(ended.code != 0 && ended.stdout.is_empty(), "{path}");
    }

    // Even where the folder and the socket are open, a stranger is cut off before he has said a word.
    fs::set_permissions(node, fs::Permissions::from_mode(0o755)).expect("ours");
    let socket = format!("{node}/agent.sock");
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).expect("ours");
    let url = "http://x/v1/agent/status";
    let Some(ended) = as_nobody(
        "curl",
        &["-sS", "-m", "20", "--unix-socket", &socket, "-X", "POST", url],
    ) else {
        return;
    };
    assert!(ended.code != 0 && ended.stdout.is_empty(), "{ended:?}");
    home.pk(["keys", "public"]).ok();
}

#[test]
fn an_agent_shows_itself_to_no_debugger_and_leaves_no_core() {
    let home = Home::live();
    let pid = home.agent_pid();
    let Ok(limits) = fs::read_to_string(format!("/proc/{pid}/limits")) else {
        return skip("the limits of a process cannot be read here");
    };
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .expect("listed");
    assert_eq!(
        core.split_whitespace().filter(|word| *word == "0").count(),
        2,
        "{core}"
    );
    // What is not dumpable belongs to root in /proc, so that its own user may not open it.
    let of = |name: &str| fs::metadata(format!("/proc/{pid}/{name}")).expect("there").uid();
    assert_eq!((of("environ"), of("mem")), (0, 0));
}

#[test]
fn the_agent_of_a_plain_user_is_closed_to_his_other_processes() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("ours");
    // The program itself may lie where only root can reach it.
    let program = dir.path().join("polykey");
    fs::copy(env!("CARGO_BIN_EXE_polykey"), &program).expect("copies");
    let script = "export PK_NODE_PATH=$1/node PK_PASSWORD=pw PK_PASSWORD_OPS_LIMIT=min PK_PASSWORD_MEM_LIMIT=min; \
                  cd $1; ./polykey agent start --background >/dev/null || exit 9; \
                  pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/;q' node/agent.lock); \
                  for name in environ mem maps; do cat /proc/$pid/$name >/dev/null 2>&1 && exit 8; done; \
                  ./polykey agent stop >/dev/null 2>&1 || exit 7; echo closed";
    let Some(ended) = as_nobody("sh", &["-c", script, "sh", dir.path().to_str().expect("text")]) else {
        return;
    };
    assert_eq!(ended.ok().text(), "closed\n");
}

#[test]
fn links_in_our_places_are_not_followed() {
    for name in [
        "agent.lock",
        "agent.log",
        "node.db",
        "node.db.new",
        "keys.new",
        "audit.tail",
        "agent.sock",
    ] {
        let home = Home::empty();
        let victim = home.path().join("victim");
        fs::write(&victim, b"theirs").expect("writes");
        fs::create_dir(home.node()).expect("free");
        fs::set_permissions(home.node(), fs::Permissions::from_mode(0o700)).expect("ours");
        symlink(&victim, home.node().join(name)).expect("links");
        let ended = home.pk(["agent", "start", "--background"]);
        assert!([0, 65, 73, 74].contains(&ended.code), "{name}: {ended:?}");
        assert_eq!(fs::read(&victim).expect("there"), b"theirs", "{name}: {ended:?}");
    }
}

#[test]
fn a_bootstrap_and_starts_at_once_make_one_node() {
    let home = Home::empty();
    let commands: Vec<_> = [
        &["bootstrap"][..],
        &["agent", "start", "--background"],
        &["bootstrap"],
        &["agent", "start"],
    ]
    .into_iter()
    .map(|args| home.command(args))
    .collect();
    let running: Vec<_> = commands
        .into_iter()
        .map(|mut command| {
            command.stdin(std::process::Stdio::null());
            let log = fs::File::create(home.path().join("out")).expect("writes");
            command.stdout(log.try_clone().expect("clones")).stderr(log);
            command.spawn().expect("the program was built")
        })
        .collect();
    let waiting: Vec<_> = running
        .into_iter()
        .map(|mut child| thread::spawn(move || child.wait().expect("waits").code()))
        .collect();
    // Whoever won, there is one node, and it opens with the password.
    let mut public = home.pk(["keys", "public", "--json"]);
    while public.code == 69 || public.code == 75 {
        public = home.pk(["keys", "public", "--json"]);
    }
    let public = public.ok().stdout;
    assert_eq!(home.pk(["keys", "public", "--json"]).ok().stdout, public);
    // A start that waited for the node path may come to life after the first agent's end.
    while !waiting.iter().all(thread::JoinHandle::is_finished) {
        let stopped = home.pk(["agent", "stop"]);
        assert!([0, 75].contains(&stopped.code), "{stopped:#?}");
    }
    for code in waiting
        .into_iter()
        .map(|child| child.join().expect("does not panic"))
    {
        assert!([Some(0), Some(73), Some(75)].contains(&code), "{code:?}");
    }
    assert_eq!(home.pk(["keys", "public", "--json"]).ok().stdout, public);
}

#[test]
fn an_upload_that_stalls_holds_up_neither_others_nor_the_end() {
    let home = Home::live();
    home.pk(["vaults", "create", "v"]).ok();
    let mut upload = home.command(["secrets", "write", "v:a"]);
    upload
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let mut child = upload.spawn().expect("the program was built");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(&vec![1; 2 << 20]).expect("a start");
    home.pk_with_input(["secrets", "write", "v:b"], b"1").ok();
    home.pk(["secrets", "cat", "v:a"]).ended(66);
    home.pk(["agent", "stop"]).ok();
    assert_eq!(home.status()["status"], "DEAD");
    drop(stdin);
    assert_ne!(child.wait().expect("waits").code(), Some(0));
    home.pk(["secrets", "cat", "v:a"]).ended(66);
    assert_eq!(home.pk(["secrets", "cat", "v:b"]).ok().stdout, b"1");
}
