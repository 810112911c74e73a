//! Who may name whom, and which dependencies stay inside one module.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{none, sources};

/// Who may name whom, beside itself: the arrows of the design, followed to their ends. `lib` is
/// `src/lib.rs`, which everything below the command line is assembled in.
const IMPORTS: [(&str, &[&str]); 17] = [
    // A table of what stands elsewhere, which nobody in the house reads.
    ("bounds", &["config", "http", "jobs", "mcp", "plugins", "sessions", "stream", "domain"]),
    ("domain", &[]),
    ("telemetry", &[]),
    // What others ask a relay with: it must not know how a relay is made.
    ("client", &["domain"]),
    ("plugins", &["domain", "telemetry"]),
    ("sessions", &["domain", "telemetry"]),
    ("store", &["domain", "telemetry"]),
    ("stream", &["store", "domain", "telemetry"]),
    ("launcher", &["plugins", "sessions", "domain", "telemetry"]),
    ("relay", &["stream", "store", "launcher", "plugins", "sessions", "domain", "telemetry"]),
    ("orchestrator", &["client", "launcher", "plugins", "sessions", "domain", "telemetry"]),
    // The jobs and the front doors call operations. What an operation answers with may be a stream's or a plugin's.
    ("jobs", &["relay", "domain", "telemetry"]),
    ("mcp", &["relay", "domain", "telemetry"]),
    // It carries the protocol of the tools as well.
    ("http", &["mcp", "relay", "stream", "plugins", "domain", "telemetry"]),
    // It fills each module's options, so it sees those, and nobody below `lib` sees it.
    ("config", &["http", "jobs", "relay", "stream", "store", "launcher", "plugins", "sessions", "domain", "telemetry"]),
    (
        "lib",
        &[
            "config",
            "http",
            "jobs",
            "launcher",
            "mcp",
            "orchestrator",
            "relay",
            "stream",
            "store",
            "plugins",
            "sessions",
            "domain",
            "telemetry",
        ],
    ),
    (
        "cli",
        &[
            "lib",
            "client",
            "config",
            "http",
            "launcher",
            "mcp",
            "orchestrator",
            "plugins",
            "sessions",
            "domain",
            "telemetry",
        ],
    ),
];

/// The modules in which something may wait: `domain` and `config` are not among them.
const WAITING: &[&str] = &[
    "cli",
    "client",
    "http",
    "jobs",
    "launcher",
    "lib",
    "mcp",
    "orchestrator",
    "plugins",
    "relay",
    "sessions",
    "store",
    "stream",
];

/// The modules that may name a dependency. What is not listed may be named anywhere.
const ENGINES: [(&str, &[&str]); 17] = [
    ("axum", &["http", "lib"]),
    ("clap", &["cli"]),
    ("hyper", &["http", "lib"]),
    ("hyper_util", &["http", "lib"]),
    ("metrics_prometheus", &["telemetry"]),
    ("notify", &["plugins"]),
    ("reqwest", &["client", "config", "jobs", "orchestrator"]),
    ("rmcp", &["mcp"]),
    ("rusqlite", &["store"]),
    ("rustls", &["client", "jobs"]),
    ("tokio", WAITING),
    ("tokio_util", WAITING),
    ("toml", &["config", "plugins"]),
    ("tower_http", &["http", "lib"]),
    ("tracing_subscriber", &["telemetry"]),
    ("wasmtime", &["plugins"]),
    ("wasmtime_wasi", &["plugins"]),
];

/// Every module that `text` names after `prefix`, also in braces.
fn named_after(prefix: &str, text: &str) -> Vec<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut names = Vec::new();
    for (at, _) in text.match_indices(prefix) {
        if text[..at].chars().next_back().is_some_and(is_word) {
            continue;
        }
        let rest = &text[at + prefix.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.push(rest.chars().take_while(|c| is_word(*c)).collect());
            continue;
        };
        // Only what stands at the group's own level names a module.
        let (mut depth, mut level) = (0_u32, String::new());
        for c in group.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                c if depth == 0 => level.push(c),
                _ => {}
            }
        }
        let entries = level.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        names.extend(entries.map(|entry| entry.chars().take_while(|c| is_word(*c)).collect::<String>()));
    }
    names
}

#[test]
fn named_after_reads_groups() {
    let text = "use crate::{a, b::{c, d}, e::F};\nlet x = crate::g::h(); mycrate::no";
    assert_eq!(named_after("crate::", text), ["a", "b", "e", "g"]);
}

#[test]
fn modules_import_only_what_lies_below_them() {
    let allowed: BTreeMap<_, _> = IMPORTS.into_iter().collect();
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| source.is_rust()) {
        let Some(module) = source.module() else {
            continue;
        };
        let Some(below) = allowed.get(&*module) else {
            findings.push(format!("{}: `{module}` has no row in IMPORTS", source.path.display()));
            continue;
        };
        let mut code = String::new();
        for (_, line) in source.code_lines() {
            writeln!(code, "{line}").expect("a string");
        }
        let mut named = named_after("crate::", &code);
        if module == "cli" {
            named.extend(named_after("agent_relay::", &code));
        }
        for name in named {
            // What is no module of `src/` is an item of lib.rs, such as `serve`.
            let target = if allowed.contains_key(&*name) { &*name } else { "lib" };
            if target != module && !below.contains(&target) {
                findings.push(format!("{}: names {name}", source.path.display()));
            }
        }
    }
    none("imports against the direction of the design", &findings);
}

#[test]
fn engines_are_named_only_where_they_are_narrowed() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| source.is_rust()) {
        let Some(module) = source.module() else {
            continue;
        };
        for (number, line) in source.code_lines() {
            for (engine, modules) in ENGINES {
                let path = format!("{engine}::");
                let named = line.match_indices(&path).any(|(at, _)| {
                    // `use axum::..` or `axum::..`, but neither `tower_axum::` nor `crate::axum::`.
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
                });
                if named && !modules.contains(&&*module) {
                    findings.push(format!("{}:{number}: {engine}", source.path.display()));
                }
            }
        }
    }
    none("engines named outside their module", &findings);
}

/// The store's verbs are written once for every engine: only what lies below `engine` knows which one it is.
#[test]
fn verbs_of_the_store_are_for_any_engine() {
    // What one of them takes and the other does not, as it would stand in a statement.
    const DIALECT: [&str; 14] = [
        "?1",
        "AUTOINCREMENT",
        "INSERT OR",
        "PRAGMA",
        "STRICT",
        "char(10)",
        "group_concat",
        "instr(",
        "json_",
        "last_insert_rowid",
        "pragma_",
        "rowid",
        "rusqlite",
        "strftime",
    ];
    let mut findings = Vec::new();
    let mut read = 0;
    for source in sources().iter().filter(|source| source.is_rust()) {
        let inside = source.path.strip_prefix("src/store").is_ok_and(|path| !path.starts_with("engine"));
        if !inside {
            continue;
        }
        read += 1;
        for (number, line) in source.code_lines() {
            // A way of declaring columns, no function of SQLite's.
            let line = line.replace("json_or_null", "");
            findings.extend(
                DIALECT
                    .iter()
                    .filter(|word| line.contains(**word))
                    .map(|word| format!("{}:{number}: {word}", source.path.display())),
            );
        }
    }
    assert!(read > 10, "only {read} files were found");
    none("statements for one engine only", &findings);
}
