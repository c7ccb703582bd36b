//! `secrets`: reading, writing, moving, records, attributes, history of one.

use std::fs;

use serde_json::json;

use crate::home::{Home, PASSWORD};

fn with_vault() -> Home {
    let home = Home::live();
    home.pk(["vaults", "create", "v"]).ok();
    home
}

fn write(home: &Home, secret: &str, value: &str) {
    home.pk_with_input(["secrets", "write", secret], value.as_bytes())
        .ok();
}

fn cat(home: &Home, secret: &str) -> Vec<u8> {
    home.pk(["secrets", "cat", secret]).ok().stdout
}

fn ls(home: &Home, target: &str) -> Vec<String> {
    home.pk(["secrets", "ls", target])
        .ok()
        .text()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn any_bytes_of_any_size_come_back() {
    let home = with_vault();
    let mut values: Vec<Vec<u8>> = vec![
        vec![],
        (0..=255).collect(),
        vec![0; 1000],
        b"\xc3\xa9\xff\x00\r\n".to_vec(),
    ];
    // Around the borders of pieces and objects, and some odd sizes.
    for size in [
        1, 255, 256, 257, 16_000, 65_537, 262_143, 262_144, 262_145, 1_048_577, 5_000_003,
    ] {
        values.push((0..size).map(|i: usize| (i * 31 + i / 257) as u8).collect());
    }
    for (index, value) in values.iter().enumerate() {
        let name = format!("v:s{index}");
        home.pk_with_input(["secrets", "write", &name], value)
            .ok()
            .silent();
        assert!(cat(&home, &name) == *value, "size {}", value.len());
        let file = home.path().join("file");
        fs::write(&file, value).expect("writes");
        home.pk(["secrets", "create", "file", &format!("v:c{index}")])
            .ok();
        home.pk(["secrets", "cp", &format!("v:c{index}"), "out"]).ok();
        assert!(
            fs::read(home.path().join("out")).expect("written") == *value,
            "size {}",
            value.len()
        );
    }
    let all = home.pk((0..3).map(|i| format!("v:s{i}")).fold(
        vec!["secrets".into(), "cat".into()],
        |mut args, s| {
            args.push(s);
            args
        },
    ));
    assert_eq!(all.ok().stdout, values[..3].concat());
}

#[test]
fn cat_prints_what_is_there_and_tells_what_is_not() {
    let home = with_vault();
    home.pk(["vaults", "create", "w"]).ok();
    write(&home, "v:a", "A");
    write(&home, "w:b", "B");
    write(&home, "v:d/x", "X");
    let ended = home
        .pk(["secrets", "cat", "v:a", "v:none", "w:b", "no:x", "v:d/none"])
        .ended(66);
    assert_eq!(ended.text(), "AB");
    for missing in ["v:none", "no", "v:d/none"] {
        assert!(ended.stderr.contains(missing), "{ended:?}");
    }
    home.pk(["secrets", "cat", "v:d"])
        .ended(64)
        .silent()
        .says("directory");
    home.pk(["secrets", "cat", "v"]).ended(64).silent();
    home.pk(["secrets", "cat", ":a"]).ended(64);
    home.pk(["secrets", "cat", ""]).ended(64);
    assert_eq!(
        home.pk_with_input(["secrets", "cat"], b"\xffthrough\n")
            .ok()
            .stdout,
        b"\xffthrough\n"
    );
    assert_eq!(cat(&home, "v:/a"), b"A");
    assert_eq!(cat(&home, "v://d//x"), b"X");
    let line = home.pk(["secrets", "cat", "--json", "v:a"]).ok().json();
    assert_eq!(
        (&line["path"], &line["value"], &line["version"]),
        (&json!("a"), &json!("A"), &json!(1))
    );
    let problem = home
        .pk(["--json", "secrets", "cat", "v:none"])
        .ended(66)
        .problem();
    assert_eq!(problem["code"], "secret-not-found");
}

#[test]
fn create_refuses_what_exists_and_write_replaces_it() {
    let home = with_vault();
    fs::write(home.path().join("f"), b"file").expect("writes");
    home.pk(["secrets", "create", "f", "v:deep/er/s"])
        .ok()
        .says("Created");
    assert_eq!(cat(&home, "v:deep/er/s"), b"file");
    home.pk(["secrets", "create", "f", "v:deep/er/s"]).ended(73);
    home.pk_with_input(["secrets", "create", "-", "v:stdin"], b"in")
        .ok();
    assert_eq!(cat(&home, "v:stdin"), b"in");
    home.pk(["secrets", "create", "none", "v:x"]).ended(66);
    home.pk(["secrets", "create", ".", "v:x"]).ended(64);
    home.pk(["secrets", "create", "f", "v"]).ended(64);
    home.pk(["secrets", "create", "f", "v:deep"]).ended(64);
    home.pk(["secrets", "create", "f", "v:stdin/below"]).ended(64);
    home.pk(["secrets", "create", "f", "no:x"]).ended(66);
    home.pk(["secrets", "create", "f"]).ended(64);
    write(&home, "v:stdin", "two");
    assert_eq!(cat(&home, "v:stdin"), b"two");
    let write_at = |cas: &str, code: i32| {
        home.pk_with_input(["secrets", "write", "--cas", cas, "v:stdin"], b"three")
            .ended(code);
    };
    write_at("1", 75);
    write_at("0", 75);
    write_at("x", 64);
    assert_eq!(cat(&home, "v:stdin"), b"two");
    write_at("2", 0);
    assert_eq!(cat(&home, "v:stdin"), b"three");
    home.pk_with_input(["secrets", "write", "--cas", "0", "v:fresh"], b"")
        .ok();
    let written = home
        .pk_with_input(["secrets", "write", "--json", "v:fresh"], b"x")
        .ok()
        .json();
    assert_eq!(
        (&written["version"], &written["created"]),
        (&json!(2), &json!(false))
    );
    assert!(written["commitId"].is_string());
    let same = home
        .pk_with_input(["secrets", "write", "--json", "v:fresh"], b"x")
        .ok()
        .json();
    assert!(same["commitId"].is_null(), "nothing changed: {same}");
}

#[test]
fn paths_keep_their_bounds_on_every_route() {
    let home = with_vault();
    let too_deep = format!("v:{}", vec!["x"; 513].join("/"));
    let too_long = format!("v:{}", vec!["x".repeat(200); 21].join("/"));
    let long_name = format!("v:{}", "x".repeat(256));
    let bad = [
        "v:..",
        "v:a/../b",
        "v:.",
        too_deep.as_str(),
        too_long.as_str(),
        long_name.as_str(),
    ];
    for bad in bad {
        home.pk_with_input(["secrets", "write", bad], b"x")
            .ended(65)
            .silent();
        home.pk(["secrets", "mkdir", "-p", bad]).ended(65);
        home.pk(["secrets", "touch", bad]).ended(65);
        home.pk_with_input(["secrets", "cp", "-", bad], b"x").ended(65);
        home.pk(["secrets", "cat", bad]).ended(65);
        home.pk(["secrets", "set", bad, "--text", "a=b"]).ended(65);
        home.pk(["secrets", "stat", bad]).ended(65);
    }
    write(&home, "v:a", "1");
    for bad in ["v:..", too_deep.as_str(), too_long.as_str()] {
        home.pk(["secrets", "mv", "v:a", bad]).ended(65);
        home.pk(["secrets", "cp", "v:a", bad]).ended(65);
    }
    home.pk(["secrets", "rename", "v:a", ".."]).ended(65);
    home.pk(["secrets", "rename", "v:a", "x/y"]).ended(64);
    let deepest = format!("v:{}", vec!["x"; 512].join("/"));
    write(&home, &deepest, "deep");
    assert_eq!(cat(&home, &deepest), b"deep");
    assert_eq!(ls(&home, "v"), ["a", "x"]);
}

#[test]
fn directories_work_as_in_unix() {
    let home = with_vault();
    home.pk(["secrets", "mkdir", "v:a/b"]).ended(66);
    home.pk(["secrets", "mkdir", "v:a"]).ok();
    home.pk(["secrets", "mkdir", "v:a"]).ended(73);
    home.pk(["secrets", "mkdir", "-p", "v:a", "v:x/y/z"])
        .ok()
        .says("Made v:x/y/z");
    let ended = home.pk(["secrets", "mkdir", "-p", "v:a"]).ok();
    assert_eq!(ended.stderr, "Nothing was made: all of it is there already\n");
    assert_eq!(ls(&home, "v"), ["a", "x"]);
    assert_eq!(ls(&home, "v:a"), Vec::<String>::new());
    // Some can be made, some not.
    let ended = home
        .pk(["secrets", "mkdir", "v:a", "v:new", "v:no/parent", "none:x"])
        .ended(1);
    assert!(ended.stderr.matches("polykey: error").count() == 3, "{ended:?}");
    assert_eq!(ls(&home, "v"), ["a", "new", "x"]);
    write(&home, "v:a/.hidden", "h");
    write(&home, "v:a/seen", "s");
    assert_eq!(ls(&home, "v:a"), ["seen"]);
    assert_eq!(
        home.pk(["secrets", "ls", "-a", "v:a"]).ok().text(),
        ".hidden\nseen\n"
    );
    assert_eq!(ls(&home, "v:a/seen"), ["a/seen"]);
    assert_eq!(
        home.pk(["secrets", "ls", "--json", "v:a"]).ok().text(),
        "[\"a/seen\"]\n"
    );
    let long = home.pk(["secrets", "ls", "-l", "--json", "v:a"]).ok().json();
    assert_eq!(
        (&long[0]["path"], &long[0]["size"], &long[0]["kind"]),
        (&json!("a/seen"), &json!(1), &json!("raw"))
    );
    assert_eq!(
        home.pk(["secrets", "ls", "-R", "--json", "v:x"]).ok().text(),
        "[\"x/y\",\"x/y/z\"]\n"
    );
    home.pk(["secrets", "ls", "v:none"]).ended(66).silent();
    home.pk(["secrets", "ls", "none"]).ended(66).silent();
    home.pk(["secrets", "ls"]).ended(64);
    let both = home.pk(["secrets", "ls", "v:a", "v:none", "v:x"]).ended(1);
    assert_eq!(both.text(), "v:a:\nseen\n\nv:x:\ny\n");
    home.pk(["secrets", "ls", "v:a/seen/below"]).ended(66);
    // Removal.
    home.pk(["secrets", "rm", "v:a"]).ended(64).says("-r");
    home.pk(["secrets", "rm", "v:none"]).ended(66);
    home.pk(["secrets", "rm", "-f", "v:none"]).ok();
    home.pk(["secrets", "rm", "v"]).ended(64).says("vaults delete");
    home.pk(["secrets", "rm", "-r", "-f", "v:/"]).ended(64);
    home.pk(["secrets", "rm", "v:none", "v:a/seen"]).ended(1);
    assert_eq!(home.pk(["secrets", "ls", "-a", "v:a"]).ok().text(), ".hidden\n");
    home.pk(["secrets", "rm", "-rf", "v:a", "v:a/.hidden"]).ok();
    home.pk(["secrets", "rm", "-r", "--format", "json", "v:x"]).ok();
    assert_eq!(ls(&home, "v"), ["new"]);
}

#[test]
fn a_removal_of_several_is_one_commit_a_vault() {
    let home = with_vault();
    home.pk(["vaults", "create", "w"]).ok();
    for secret in ["v:a", "v:b", "v:c", "w:a", "w:b"] {
        write(&home, secret, "x");
    }
    home.pk(["secrets", "rm", "v:a", "w:a", "v:b", "w:b"]).ok();
    let log = |vault: &str| home.pk(["vaults", "log", vault, "--json"]).ok().json();
    assert_eq!(log("v").as_array().map(Vec::len), Some(4));
    assert_eq!(log("w").as_array().map(Vec::len), Some(3));
    let message = log("v")[0]["message"].as_str().expect("text").to_owned();
    assert!(message.contains('a') && message.contains('b'), "{message}");
}

#[test]
fn patterns_find_names_and_an_exact_name_wins() {
    let home = with_vault();
    for (name, value) in [
        ("a.pem", "1"),
        ("b.pem", "2"),
        (".h.pem", "3"),
        ("d/c.pem", "4"),
        ("d/e/f.pem", "5"),
        ("x", "6"),
    ] {
        write(&home, &format!("v:{name}"), value);
    }
    assert_eq!(cat(&home, "v:*.pem"), b"12");
    assert_eq!(cat(&home, "v:**/*.pem"), b"1245");
    assert_eq!(cat(&home, "v:?"), b"6");
    assert_eq!(cat(&home, "v:.*"), b"3");
    assert_eq!(ls(&home, "v:d/*"), ["d/c.pem", "d/e"]);
    home.pk(["secrets", "cat", "v:*.none"]).ended(66);
    home.pk(["secrets", "cat", "v:A*"]).ended(66);
    home.pk(["secrets", "cat", "v:[ab].pem"]).ended(66);
    write(&home, "v:*", "star");
    assert_eq!(cat(&home, "v:*"), b"star");
    home.pk(["secrets", "rm", "v:*"]).ok();
    assert_eq!(cat(&home, "v:x"), b"6", "only the star went");
    home.pk(["secrets", "cp", "v:*.pem", "."]).ok();
    assert_eq!(fs::read(home.path().join("b.pem")).expect("copied"), b"2");
    home.pk(["secrets", "rm", "v:*.pem"]).ok();
    assert_eq!(
        home.pk(["secrets", "ls", "-a", "v"]).ok().text(),
        ".h.pem\nd\nx\n"
    );
}

#[test]
fn secrets_move_with_their_history() {
    let home = with_vault();
    home.pk(["vaults", "create", "w"]).ok();
    write(&home, "v:a", "1");
    write(&home, "v:a", "2");
    home.pk(["secrets", "attr", "v:a", "tag=t"]).ok();
    home.pk(["secrets", "mv", "v:a", "v:new/b"]).ok();
    let log = home.pk(["secrets", "log", "v:new/b", "--json"]).ok().json();
    assert_eq!(log.as_array().map(Vec::len), Some(2));
    assert_eq!(log[0]["version"], 2);
    // With the vault before it or without.
    home.pk(["secrets", "rename", "v:new/b", "v:d"]).ok();
    home.pk(["secrets", "rename", "v:new/d", "v:new/e"]).ok();
    home.pk(["secrets", "rename", "v:new/e", "v:old/e"]).ended(64);
    home.pk(["secrets", "rename", "v:new/e", "c"]).ok();
    assert_eq!(cat(&home, "v:new/c"), b"2");
    // A whole directory.
    home.pk(["secrets", "mv", "v:new", "v:old"]).ok();
    assert_eq!(cat(&home, "v:old/c"), b"2");
    // Into a directory, onto a secret, across.
    write(&home, "v:x", "x");
    let ended = home.pk(["secrets", "mv", "v:x", "v:old"]).ok();
    assert_eq!(ended.stderr, "Moved v:old/x\n");
    assert_eq!(cat(&home, "v:old/x"), b"x");
    home.pk(["secrets", "mv", "v:old/x", "v:old/c"]).ok();
    assert_eq!(cat(&home, "v:old/c"), b"x");
    home.pk(["secrets", "attr", "v:old/c", "user=me"]).ok();
    home.pk(["secrets", "mv", "v:old", "w:"])
        .ok()
        .says("Moved w:old; the history begins anew in the other vault\n");
    assert_eq!(cat(&home, "w:old/c"), b"x");
    assert!(
        home.pk(["secrets", "attr", "w:old/c"])
            .ok()
            .text()
            .contains("user\tme")
    );
    assert_eq!(ls(&home, "v"), Vec::<String>::new());
    for (args, code) in [
        (vec!["mv", "v:none", "v:x"], 66),
        (vec!["mv", "w:old", "w:old/below"], 64),
        (vec!["mv", "w:old"], 64),
        (vec!["mv", "none:a", "w:b"], 66),
        (vec!["mv", "w:old/c", "none:b"], 66),
        (vec!["mv", "w:", "v:"], 64),
        (vec!["rename", "w:none", "x"], 66),
        (vec!["rename", "w:old/c", ""], 65),
    ] {
        let args: Vec<&str> = std::iter::once("secrets").chain(args).collect();
        home.pk(&args).ended(code);
    }
    write(&home, "w:old/d", "d");
    home.pk(["secrets", "rename", "w:old/d", "c"]).ended(73);
    assert_eq!(cat(&home, "w:old/d"), b"d");
}

#[test]
fn copies_are_secrets_of_their_own() {
    let home = with_vault();
    home.pk(["vaults", "create", "w"]).ok();
    write(&home, "v:d/a", "1");
    home.pk(["secrets", "set", "v:d/r", "--text", "user=me"]).ok();
    home.pk(["secrets", "cp", "v:d", "v:e"]).ended(64).says("-r");
    home.pk(["secrets", "cp", "-r", "v:d", "v:e"]).ok();
    home.pk(["secrets", "cp", "-r", "v:d", "w:"]).ok();
    home.pk(["secrets", "cp", "v:d/a", "v:d/r", "w:several"]).ok();
    write(&home, "v:e/a", "2");
    assert_eq!(cat(&home, "v:d/a"), b"1");
    assert_eq!(cat(&home, "w:d/a"), b"1");
    assert_eq!(cat(&home, "w:several/a"), b"1");
    assert_eq!(cat(&home, "w:several/r#user"), b"me", "a record stays one");
    home.pk(["secrets", "cp", "v:d/a", "v:d/a"]).ended(64);
    home.pk(["secrets", "cp", "-r", "v:d", "v:d/below"]).ended(64);
    home.pk(["secrets", "cp", "v:none", "v:x"]).ended(66);
    home.pk(["secrets", "cp", "v:d/a", "none:x"]).ended(66);
    home.pk(["secrets", "cp", "a", "b"]).ended(64);
    home.pk(["secrets", "cp", "v:d/a", "-", "v:x"]).ended(64);
    assert_eq!(home.pk(["secrets", "cp", "v:d/a", "-"]).ok().stdout, b"1");
    home.pk_with_input(["secrets", "cp", "-", "v:in"], b"\xff").ok();
    assert_eq!(cat(&home, "v:in"), b"\xff");
}

#[test]
fn folders_go_in_and_out_whole() {
    let home = with_vault();
    let tree = home.path().join("tree");
    fs::create_dir_all(tree.join("sub/empty")).expect("makes");
    fs::write(tree.join("a b"), b"1").expect("writes");
    fs::write(tree.join("sub/.h"), b"\xff").expect("writes");
    home.pk(["secrets", "dir", "tree", "v"]).ok().says("2 secrets");
    assert_eq!(
        home.pk(["vaults", "log", "v"]).ok().text().lines().count(),
        1,
        "one commit"
    );
    home.pk(["secrets", "dir", "tree/", "v:deep/er"]).ok();
    assert_eq!(cat(&home, "v:deep/er/tree/a b"), b"1");
    assert_eq!(ls(&home, "v:tree/sub"), ["empty"]);
    home.pk(["secrets", "dir", "tree", "v"])
        .ok()
        .says("Nothing to change");
    home.pk(["secrets", "cp", "tree", "v:x"]).ended(64).says("-r");
    home.pk(["secrets", "cp", "-r", "tree", "v:renamed"]).ok();
    assert_eq!(cat(&home, "v:renamed/sub/.h"), b"\xff");
    home.pk(["secrets", "cp", "tree/a b", "v:tree/sub"]).ok();
    assert_eq!(cat(&home, "v:tree/sub/a b"), b"1");
    home.pk(["secrets", "cp", "-r", "v:renamed", "out"]).ok();
    assert_eq!(fs::read(home.path().join("out/sub/.h")).expect("copied"), b"\xff");
    assert!(home.path().join("out/sub/empty").is_dir());
    home.pk(["secrets", "dir", "none", "v"]).ended(66);
    home.pk(["secrets", "dir", "tree/a b", "v"]).ended(64);
    home.pk(["secrets", "dir", "tree", "none"]).ended(66);
    home.pk(["secrets", "dir", "tree", "v:tree/a b"]).ended(64);
    std::os::unix::fs::symlink("a b", tree.join("link")).expect("links");
    home.pk(["secrets", "dir", "tree", "v:other"])
        .ended(65)
        .says("symbolic link");
    home.pk(["secrets", "ls", "v:other"]).ended(66);
    home.pk(["secrets", "cp", "v:none", "out"]).ended(66);
    home.pk(["secrets", "cp", "v:tree/a b", "no/such/folder"])
        .ended(66);
    home.pk(["secrets", "cp", "v:tree/a b", "v:tree/sub/.h", "nofolder"])
        .ended(66);
}

#[test]
fn a_concealed_value_is_not_taken_from_the_command_line() {
    let home = with_vault();
    let ended = home
        .pk_with_input(["secrets", "set", "v:r", "--field", "pin=1234"], b"x")
        .ended(64)
        .silent()
        .says("--field pin`");
    assert!(!ended.stderr.contains("1234"), "{ended:?}");
    home.pk(["secrets", "cat", "v:r"]).ended(66);
}

#[test]
fn a_field_takes_a_file_from_stdin() {
    let home = with_vault();
    let bytes: Vec<u8> = (0..=255).collect();
    let set = |args: &[&str]| {
        let args = ["secrets", "set", "v:r"].iter().chain(args);
        home.pk_with_input(args, &bytes)
    };
    set(&["--file", "key=-"]).ok();
    assert_eq!(cat(&home, "v:r#key"), bytes);
    for twice in [
        ["--file", "a=-", "--file", "b=-"],
        ["--file", "a=-", "--field", "b"],
    ] {
        set(&twice).ended(64).silent();
    }
    assert_eq!(cat(&home, "v:r#key"), bytes);
}

#[test]
fn records_have_fields() {
    let home = with_vault();
    fs::write(home.path().join("key"), b"\xff\x00").expect("writes");
    let set = |args: &[&str], input: &[u8]| {
        let args: Vec<&str> = ["secrets", "set", "v:r"].iter().chain(args).copied().collect();
        home.pk_with_input(args, input)
    };
    set(
        &[
            "--text",
            "user=me=you",
            "--field",
            "password",
            "--file",
            "key=key",
        ],
        b"s3cret\n",
    )
    .ok()
    .says("Created");
    assert_eq!(cat(&home, "v:r#password"), b"s3cret");
    assert_eq!(cat(&home, "v:r#user"), b"me=you");
    assert_eq!(cat(&home, "v:r#key"), b"\xff\x00");
    let record = home.pk(["secrets", "cat", "v:r"]).ok().json();
    assert_eq!(record["user"], "me=you");
    assert_eq!(record["key"]["encoding"], "base64");
    set(&["--field", "password", "--field", "pin"], b"new\n1234\n").ok();
    assert_eq!(cat(&home, "v:r#pin"), b"1234");
    set(&["--field", "a", "--field", "b"], b"only one\n").ended(64);
    set(&["--unset", "pin", "--cas", "1"], b"").ended(75);
    set(&["--unset", "pin", "--cas", "2"], b"").ok();
    home.pk(["secrets", "cat", "v:r#pin"]).ended(66);
    set(&["--unset", "pin"], b"").ended(66);
    set(&[], b"").ended(64);
    set(&["--text", "novalue"], b"").ended(64);
    set(&["--text", "a#b=x"], b"").ended(65);
    set(&["--text", "=x"], b"").ended(64);
    set(&["--file", "f=none"], b"").ended(66);
    write(&home, "v:raw", "x");
    home.pk(["secrets", "set", "v:raw", "--text", "a=b"])
        .ended(64)
        .says("not a record");
    home.pk(["secrets", "cat", "v:raw#a"]).ended(66);
    // A field is written like a secret; an exact name wins over it.
    home.pk_with_input(["secrets", "write", "v:r#user"], b"you").ok();
    assert_eq!(cat(&home, "v:r#user"), b"you");
    home.pk(["secrets", "mkdir", "v:names"]).ok();
    write(&home, "v:names/r#user", "a name with a number sign");
    assert_eq!(cat(&home, "v:names/r#user"), b"a name with a number sign");
    // No concealed value has ever been an argument, and none is shown in errors.
    assert!(
        !set(&["--field", "a", "--field", "b"], b"hunter2")
            .stderr
            .contains("hunter2")
    );
}

#[test]
fn a_secret_has_a_history_and_attributes() {
    let home = with_vault();
    for value in ["1", "2", "3"] {
        write(&home, "v:a", value);
    }
    let log = home.pk(["secrets", "log", "v:a", "--json"]).ok().json();
    let versions: Vec<u64> = log
        .as_array()
        .expect("an array")
        .iter()
        .map(|v| v["version"].as_u64().expect("n"))
        .collect();
    assert_eq!(versions, [3, 2, 1]);
    assert_eq!(
        home.pk(["secrets", "log", "v:a", "-d", "1"])
            .ok()
            .text()
            .lines()
            .count(),
        1
    );
    home.pk(["secrets", "restore", "v:a", "1"]).ok();
    assert_eq!(cat(&home, "v:a"), b"1");
    home.pk([
        "secrets",
        "restore",
        "v:a",
        log[1]["commitId"].as_str().expect("text"),
    ])
    .ok();
    assert_eq!(cat(&home, "v:a"), b"2");
    home.pk(["secrets", "rm", "v:a"]).ok();
    home.pk(["secrets", "restore", "v:a", "3"]).ok();
    assert_eq!(cat(&home, "v:a"), b"3");
    for bad in ["99", "0", "deadbeef", "x", "-1"] {
        let ended = home.pk(["secrets", "restore", "v:a", "--", bad]);
        assert!([64, 66].contains(&ended.code), "{bad}: {ended:?}");
    }
    home.pk(["secrets", "log", "v:none"]).ended(66);
    home.pk(["secrets", "restore", "v:none", "1"]).ended(66);
    home.pk([
        "secrets",
        "attr",
        "v:a",
        "expires=2027-01-01",
        "note=two words",
        "tag=",
    ])
    .ok();
    assert_eq!(
        home.pk(["secrets", "attr", "v:a"]).ok().text(),
        "expires\t2027-01-01\nnote\ttwo words\ntag\t-\n".replace("\t-", "\t")
    );
    assert!(
        home.pk(["secrets", "ls", "-l", "v"])
            .ok()
            .text()
            .contains("expires=2027-01-01")
    );
    assert!(
        home.pk(["secrets", "stat", "v:a"])
            .ok()
            .text()
            .contains("note\ttwo words")
    );
    let stat = home.pk(["secrets", "stat", "v:a", "--json"]).ok().json();
    assert_eq!(stat["stat"]["size"], 1);
    assert_eq!(stat["stat"]["attributes"]["note"], "two words");
    assert_eq!(
        home.pk(["secrets", "stat", "v:", "--json"]).ok().json()["stat"]["kind"],
        "directory"
    );
    home.pk(["secrets", "attr", "v:a", "--unset", "note"]).ok();
    for bad in ["expires=soon", "expires=", "expires=2027-13-01", "expires=30"] {
        home.pk(["secrets", "attr", "v:a", bad, "tag=new"])
            .ended(65)
            .says("2027-01-31T18:30:00Z");
    }
    let attributes = home.pk(["secrets", "attr", "v:a"]).ok();
    assert!(attributes.text().contains("expires\t2027-01-01\n"));
    assert!(!attributes.text().contains("new"), "all or nothing");
    home.pk(["secrets", "attr", "v:a", "expires=30d"]).ok();
    let attributes = home.pk(["secrets", "attr", "v:a"]).ok();
    assert!(!attributes.text().contains("30d"), "{attributes:?}");
    home.pk(["secrets", "attr", "v:a", "novalue"]).ended(64);
    home.pk(["secrets", "attr", "v:a", "bad key=x"]).ended(64);
    home.pk(["secrets", "attr", "v:none", "a=b"]).ended(66);
    home.pk(["secrets", "stat", "v:none"]).ended(66);
}

#[test]
fn find_looks_where_it_was_told() {
    let home = with_vault();
    home.pk(["vaults", "create", "w"]).ok();
    write(&home, "v:Database/token", "needle");
    write(&home, "w:other", "NEEDLE in hay");
    home.pk(["secrets", "attr", "w:other", "user=alice"]).ok();
    home.pk(["secrets", "set", "w:rec", "--text", "login=bob"]).ok();
    let find = |args: &[&str]| {
        let args: Vec<&str> = ["secrets", "find"].iter().chain(args).copied().collect();
        home.pk(args).ok().text().to_owned()
    };
    assert_eq!(find(&["token"]), "v:Database/token\n");
    assert_eq!(find(&["database"]), "v:Database\nv:Database/token\n");
    assert_eq!(find(&["ALICE"]), "");
    assert_eq!(find(&["alice"]), "w:other\tuser\tuser=alice\n");
    assert_eq!(find(&["bob"]), "w:rec\tcontent\n");
    assert_eq!(find(&["needle"]), "");
    assert_eq!(
        find(&["--content", "needle"]),
        "v:Database/token\tcontent\nw:other\tcontent\tuser=alice\n"
    );
    assert_eq!(find(&["--content", "NEEDLE"]), "w:other\tcontent\tuser=alice\n");
    assert_eq!(
        find(&["--content", "needle", "--vault", "v"]),
        "v:Database/token\tcontent\n"
    );
    home.pk(["secrets", "find", ""]).ended(64);
    home.pk(["secrets", "find"]).ended(64);
    home.pk(["secrets", "find", "x", "--vault", "none"]).ended(66);
    let found = home.pk(["secrets", "find", "alice", "--json"]).ok().json();
    assert_eq!(
        (&found[0]["path"], &found[0]["vault"]),
        (&json!("other"), &json!("w"))
    );
}

#[test]
fn touch_makes_what_is_missing_and_leaves_the_rest() {
    let home = with_vault();
    write(&home, "v:a", "1");
    home.pk(["secrets", "touch", "v:a", "v:d/b"]).ok();
    assert_eq!((cat(&home, "v:a"), cat(&home, "v:d/b")), (b"1".to_vec(), vec![]));
    home.pk(["secrets", "touch", "v:a/below"]).ended(64);
    home.pk(["secrets", "touch", "v"]).ended(64);
    home.pk(["secrets", "touch"]).ended(64);
}

#[test]
fn editing_stores_only_what_was_changed_and_saved() {
    let home = with_vault();
    let edit = |editor: &str, secret: &str| {
        let mut command = home.command(["secrets", "edit", secret]);
        command.env("VISUAL", editor);
        crate::home::run(command, b"")
    };
    let append = "sh -c 'printf more >> \"$1\"' editor";
    write(&home, "v:a", "some ");
    edit(append, "v:a").ok().says("Wrote");
    assert_eq!(cat(&home, "v:a"), b"some more");
    edit("true", "v:a").ok().says("Nothing was changed");
    edit("true", "v:new").ok();
    home.pk(["secrets", "cat", "v:new"]).ended(66);
    edit(append, "v:new").ok();
    assert_eq!(cat(&home, "v:new"), b"more");
    edit("sh -c 'printf bad >> \"$1\"; exit 3' editor", "v:a")
        .ended(74)
        .says("nothing was stored");
    assert_eq!(cat(&home, "v:a"), b"some more");
    edit("no-such-editor", "v:a").ended(66);
    edit("sh 'unclosed", "v:a").ended(64);
    edit(append, "v").ended(64);
    edit(append, "none:x").ended(66);
    home.pk(["secrets", "mkdir", "v:d"]).ok();
    edit(append, "v:d").ended(64);
    // A hostile name is an argument and nothing else.
    edit(append, "v:$(touch pwned); touch pwned \"`touch pwned`").ok();
    assert!(!home.path().join("pwned").exists());
    // A record is edited by its fields.
    home.pk(["secrets", "set", "v:r", "--text", "user=me"]).ok();
    edit(append, "v:r").ended(64);
    edit(append, "v:r#user").ok();
    assert_eq!(cat(&home, "v:r#user"), b"memore");
    edit(append, "v:r#pin").ok();
    assert_eq!(cat(&home, "v:r#pin"), b"more");
}

#[test]
fn an_edit_never_overwrites_what_somebody_else_wrote() {
    let home = with_vault();
    write(&home, "v:a", "old");
    let program = env!("CARGO_BIN_EXE_polykey");
    let mut command = home.command(["secrets", "edit", "v:a"]);
    // An editor is not given the password of the node, so this one brings it along.
    command.env("BROUGHT", PASSWORD).env(
        "VISUAL",
        format!(
            "sh -c 'printf theirs | PK_PASSWORD=$BROUGHT {program} secrets write v:a; printf mine > \"$1\"' editor"
        ),
    );
    let ended = crate::home::run(command, b"")
        .ended(75)
        .says("is kept in memory at");
    assert_eq!(cat(&home, "v:a"), b"theirs");
    let kept = ended
        .stderr
        .split("in memory at ")
        .nth(1)
        .and_then(|rest| rest.split(':').next())
        .expect("a place");
    assert_eq!(fs::read(kept).expect("the text is there"), b"mine");
    fs::remove_dir_all(std::path::Path::new(kept).parent().expect("a folder")).expect("removes");
}

#[test]
fn fifty_commands_at_once_all_end_as_they_should() {
    let home = with_vault();
    std::thread::scope(|scope| {
        for index in 0..50 {
            let home = &home;
            scope.spawn(move || {
                let name = format!("v:s{}", index / 2);
                if index % 2 == 0 {
                    home.pk_with_input(["secrets", "write", &name], name.as_bytes())
                        .ok();
                } else {
                    let ended = home.pk(["secrets", "cat", &name]);
                    assert!([0, 66].contains(&ended.code), "{ended:?}");
                }
            });
        }
    });
    assert_eq!(ls(&home, "v").len(), 25);
    assert_eq!(
        home.pk(["vaults", "log", "v"]).ok().text().lines().count(),
        25,
        "each write stays a commit"
    );
}

#[test]
fn every_read_and_write_is_audited_by_name() {
    let home = with_vault();
    write(&home, "v:d/A", "1");
    write(&home, "v:d/B", "2");
    home.pk(["secrets", "env", "v:d"]).ok();
    home.pk_as("wrong", ["secrets", "cat", "v:d/A"]).ended(77);
    let audit = home.pk(["audit", "--json", "--events", "secrets"]).ok();
    let records: Vec<serde_json::Value> = audit
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).expect("one object a line"))
        .collect();
    let env = records
        .iter()
        .filter(|record| record["path"] == "secrets.env")
        .collect::<Vec<_>>();
    assert_eq!(env.len(), 1, "one record: {records:?}");
    assert_eq!(env[0]["data"]["targets"], json!(["v:d/A", "v:d/B"]));
    let refused = records
        .iter()
        .find(|record| record["data"]["allowed"] == false)
        .expect("refused ones too");
    assert_eq!(refused["path"], "secrets.read");
    assert!(records.iter().any(|record| record["path"] == "secrets.write"));
    assert!(!audit.text().contains("\"1\""), "no values");
}
