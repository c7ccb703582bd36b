//! The walls between crates: an arrow that the design does not draw fails this test.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Who may stand on whom. A new arrow is a design choice: change `ARCHITECTURE.md` in the same commit.
const ARROWS: &[(&str, &[&str])] = &[
    ("polykey-core", &[]),
    ("polykey-store", &["polykey-core"]),
    ("polykey-net", &["polykey-core"]),
    ("polykey-api", &["polykey-core"]),
    ("polykey-vault", &["polykey-core", "polykey-store"]),
    ("polykey-trust", &["polykey-core", "polykey-store"]),
    (
        "polykey-agent",
        &[
            "polykey-api",
            "polykey-core",
            "polykey-net",
            "polykey-store",
            "polykey-trust",
            "polykey-vault",
        ],
    ),
    ("polykey-client", &["polykey-api", "polykey-core"]),
    ("polykey-cli", &["polykey-api", "polykey-client", "polykey-core"]),
    // The types in which the CLI asks for what needs no live agent are the API's.
    ("polykey", &["polykey-agent", "polykey-api", "polykey-cli"]),
    // Never in the product: for tests and measurements.
    (
        "polykey-testkit",
        &[
            "polykey-agent",
            "polykey-api",
            "polykey-client",
            "polykey-core",
            "polykey-store",
            "polykey-vault",
        ],
    ),
    (
        "polykey-bench",
        &[
            // A write is measured inside the agent, from its handler on.
            "polykey-agent",
            "polykey-api",
            "polykey-client",
            "polykey-core",
            "polykey-store",
            "polykey-vault",
            "polykey-testkit",
        ],
    ),
];

/// Crates that only `[dev-dependencies]` may name.
const DEV_ONLY: &[&str] = &["polykey-testkit", "polykey-bench"];

/// Arrows of tests alone.
const TESTS: &[(&str, &str)] = &[
    // A hostile node, which no program of ours can be made to be, meets the real one over the network.
    ("polykey", "polykey-core"),
    ("polykey", "polykey-net"),
];

fn metadata() -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

#[test]
fn no_crate_gains_an_arrow_that_the_design_does_not_draw() {
    let allowed: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let names: BTreeSet<_> = packages
        .iter()
        .filter_map(|package| package["name"].as_str())
        .collect();
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        let Some(arrows) = allowed.get(name) else {
            panic!("crate {name} is not in the plan")
        };
        for dependency in package["dependencies"].as_array().expect("a list") {
            let to = dependency["name"].as_str().expect("a name");
            if !names.contains(to) {
                continue;
            }
            if dependency["kind"].as_str() == Some("dev") {
                assert!(
                    arrows.contains(&to)
                        || DEV_ONLY.contains(&to)
                        || TESTS.contains(&(name, to))
                        || to == name,
                    "the tests of {name} reach for {to}"
                );
            } else {
                assert!(arrows.contains(&to), "{name} gained an arrow to {to}");
                assert!(
                    !DEV_ONLY.contains(&to) || DEV_ONLY.contains(&name),
                    "{name} ships {to}"
                );
            }
        }
    }
}

#[test]
fn arrows_only_fall() {
    // In the order of the table nothing points downwards, so there is no circle.
    for (i, (name, arrows)) in ARROWS.iter().enumerate() {
        for to in *arrows {
            let j = ARROWS
                .iter()
                .position(|(other, _)| other == to)
                .expect("arrows point at rows");
            assert!(j < i || DEV_ONLY.contains(name), "{name} points down to {to}");
        }
    }
}
