//! The layout is a promise: which crate may use which, where a library may be named, how long a file may be.
//!
//! Each message says what to do instead. The rules and their reasons: `ARCHITECTURE.md`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Crate folder → the Egogrid crates that it may depend on. Dependencies point inward.
const ARROWS: [(&str, &[&str]); 6] = [
    ("action_grids", &[]),
    ("runtime", &["egogrid-action-grids"]),
    ("policies", &["egogrid-runtime", "egogrid-action-grids"]),
    ("sim_bridge", &["egogrid-runtime"]),
    ("launch", &["egogrid-policies", "egogrid-sim-bridge", "egogrid-runtime", "egogrid-action-grids"]),
    ("tests", &["egogrid-launch", "egogrid-policies", "egogrid-sim-bridge", "egogrid-runtime", "egogrid-action-grids"]),
];

/// Library → the only folder that may name it.
const HOMES: [(&str, &str, &str); 6] = [
    ("ort", "runtime/src/execution", "go through `runtime::execution::Graph`"),
    ("zenoh", "sim_bridge", "add an endpoint in `sim_bridge/src/endpoint`"),
    ("arrow_array", "sim_bridge/src/dataset", "use its rows"),
    ("parquet", "sim_bridge/src/dataset", "use its reader or writer"),
    ("mcap", "sim_bridge/src/recording", "use its reader or writer"),
    ("rerun", "launch/src/view", "add what is to be seen to `launch::view`"),
];

/// Files that may hold `unsafe`, each block with a `// SAFETY:` line.
const UNSAFE_ALLOWED: [&str; 1] = ["runtime/src/execution/weights.rs"];
const LINES_MAX: usize = 500;
/// What the control tick is made of: no lock, no clock of its own, no log line. `runtime/tests/tick_memory.rs` proves the
/// rest, that it takes no memory.
const IN_THE_TICK: [&str; 6] = [
    "runtime/src/safety",
    "runtime/src/schedule",
    "runtime/src/live/control.rs",
    "runtime/src/live/histogram.rs",
    "runtime/src/live/signs.rs",
    "runtime/src/live/slot.rs",
];
const NOT_IN_THE_TICK: [&str; 12] = [
    "Mutex",
    "RwLock",
    "Condvar",
    "Barrier",
    "OnceLock",
    "LazyLock",
    "mpsc",
    "thread",
    "Instant",
    "SystemTime",
    "tracing",
    "println",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Every source file with one of `endings`, relative to the root, without build output and generated files.
fn sources(endings: &[&str]) -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let skipped = name.starts_with('.')
                || ["target", "third_party", "out", "__pycache__", "corpus", "artifacts"].contains(&name.as_str());
            if path.is_dir() && !skipped && !path.is_symlink() {
                walk(&path, endings, found);
            } else if path.is_file() && endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), endings, &mut found);
    assert!(found.len() > 10, "the walk found only {} files; it is broken", found.len());
    found
        .into_iter()
        .map(|path| (path.strip_prefix(root()).unwrap().to_path_buf(), fs::read_to_string(&path).unwrap()))
        .collect()
}

fn refuse(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn dependencies_point_inward() {
    let mut problems = Vec::new();
    for (folder, allowed) in ARROWS {
        let text = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = text.parse().unwrap();
        let section = |name: &str| manifest.get(name).and_then(toml::Value::as_table).cloned().unwrap_or_default();
        // The tests of `tests` are its dev-dependencies; the other crates' own tests obey the arrows too.
        let names: BTreeSet<String> = ["dependencies", "dev-dependencies", "build-dependencies"]
            .into_iter()
            .flat_map(|s| section(s).into_iter())
            .map(|(name, _)| name)
            .collect();
        for name in names.iter().filter(|name| name.starts_with("egogrid-") && !allowed.contains(&name.as_str())) {
            problems.push(format!("{folder} depends on {name}, allowed are {allowed:?}; move the shared part inward (runtime or action_grids)"));
        }
    }
    refuse(&problems);
}

#[test]
fn every_folder_of_the_workspace_is_in_the_table() {
    let manifest: toml::Table = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let members: Vec<&str> =
        manifest["workspace"]["members"].as_array().unwrap().iter().map(|member| member.as_str().unwrap()).collect();
    assert_eq!(members, ARROWS.map(|(folder, _)| folder), "add the new crate to ARROWS, with what it may use");
    assert!(manifest.get("package").is_none(), "the root manifest stays virtual: a root package would claim tests/");
}

#[test]
fn each_library_is_named_in_its_own_folder_only() {
    let mut problems = Vec::new();
    for (path, text) in sources(&[".rs"]) {
        for (library, home, instead) in HOMES {
            let named = text.lines().any(|line| {
                let code = line.split("//").next().unwrap_or_default();
                code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
                    .any(|word| word.starts_with(&format!("{library}::")) || word == library)
                    && (code.contains(&format!("{library}::")) || code.trim_start().starts_with("use "))
            });
            if named && !path.starts_with(home) && path != Path::new("tests/layering.rs") {
                problems.push(format!("{}: names `{library}`, which belongs to {home}; {instead}", path.display()));
            }
        }
    }
    refuse(&problems);
}

#[test]
fn the_control_tick_has_no_lock_no_clock_and_no_log_line() {
    let mut problems = Vec::new();
    for (path, text) in sources(&[".rs"]) {
        if !IN_THE_TICK.iter().any(|folder| path.starts_with(folder)) {
            continue;
        }
        for line in text.lines() {
            let code = line.split("//").next().unwrap_or_default();
            let words = code.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            for word in words.filter(|word| NOT_IN_THE_TICK.contains(word)) {
                problems.push(format!("{}: `{word}`; pass time and values in, hand results out", path.display()));
            }
        }
    }
    refuse(&problems);
}

#[test]
fn every_file_says_what_it_is_and_stays_short() {
    let mut problems = Vec::new();
    for (path, text) in sources(&[".rs", ".py"]) {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            problems.push(format!("{}: {lines} lines, at most {LINES_MAX}; split it by idea", path.display()));
        }
        let is_rust = path.extension().is_some_and(|ending| ending == "rs");
        let first = text.lines().find(|line| !line.starts_with("#!")).unwrap_or_default();
        let opens =
            if is_rust { first.starts_with("//!") } else { first.starts_with("\"\"\"") || text.trim().is_empty() };
        if !opens {
            problems.push(format!(
                "{}: open it with `//!` (Rust) or a docstring (Python): from, to, shape, source",
                path.display()
            ));
        }
    }
    refuse(&problems);
}

#[test]
fn unsafe_stays_on_the_list() {
    let mut problems = Vec::new();
    for (path, text) in sources(&[".rs"]) {
        let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
        let blocks = text.lines().filter(|line| code(line).split_whitespace().any(|word| word == "unsafe")).count();
        if blocks > 0 && path != Path::new("tests/layering.rs") {
            if !UNSAFE_ALLOWED.iter().any(|allowed| path == Path::new(allowed)) {
                problems.push(format!(
                    "{}: unsafe; find a library that does it, or argue for a place in UNSAFE_ALLOWED",
                    path.display()
                ));
            } else if text.matches("// SAFETY:").count() < blocks {
                problems.push(format!("{}: {blocks} unsafe blocks, fewer `// SAFETY:` lines", path.display()));
            }
        }
    }
    refuse(&problems);
}

#[test]
fn no_file_names_a_machine() {
    let paths = ["/root/", "/home/", "/tmp/bash"];
    let mut problems = Vec::new();
    for (path, text) in sources(&[".rs", ".py", ".md", ".toml", ".sh", ".json", ".lock"]) {
        for (number, line) in text.lines().enumerate() {
            if path != Path::new("tests/layering.rs") && paths.iter().any(|machine| line.contains(machine)) {
                problems.push(format!("{}:{}: a path of one machine: {line}", path.display(), number + 1));
            }
        }
    }
    refuse(&problems);
}
