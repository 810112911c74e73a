//! `agent-relay plugin new`: a project that builds at once.

mod languages;
mod with;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use agent_relay::plugins::PluginKind;
use agent_relay::plugins::workbench::{self, check_id};
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use serde_json::json;

use super::super::{Failure, print};
use super::print_json;
use languages::{File, Language, shipped};
use with::With;

/// Begin a plugin: a folder with source, manifest, interface and tests, that builds at once.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct New {
    /// The plugin's id, which is also the name of its folder; a path before it says where
    #[arg(value_name = "NAME")]
    path: PathBuf,
    /// What it does: policies decide whether something may happen, providers plan how it is started
    #[arg(long, value_parser = PossibleValuesParser::new(PluginKind::ALL.map(PluginKind::as_str)).try_map(known_kind))]
    kind: PluginKind,
    /// The language it is written in
    #[arg(long, value_enum)]
    lang: Language,
    /// What a provider in Rust begins with besides; in other languages, wit/ says what more can be exported
    #[arg(long, value_enum, value_delimiter = ',', value_name = "INTERFACE")]
    with: Vec<With>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const POLICY_CASES: [(&str, &str); 2] = [
    ("tests/allows-guarded.json", r#"{"control": {"spawn": {"approvalMode": "guarded"}}, "expect": "allow"}"#),
    (
        "tests/denies-open.json",
        r#"{"control": {"spawn": {"approvalMode": "open"}}, "expect": {"deny": {"code": "open_mode"}}}"#,
    ),
];

const PROVIDER_CASES: [(&str, &str); 5] = [
    (
        "tests/plans-guarded.json",
        r#"{"request": {"prompt": "Say hello."}, "site": {"cwd": "/code/a"},
 "expect": {"plan": {"program": "PLUGIN_ID", "args": [], "cwd": "/code/a", "prompt": "typed"}}}"#,
    ),
    (
        "tests/plans-without-a-prompt.json",
        r#"{"request": {"prompt": null}, "expect": {"plan": {"prompt": "inArguments"}}}"#,
    ),
    (
        "tests/presents-without-escapes.json",
        r#"{"message": {"id": 7, "sender": "alice", "body": "Say hello.\u001b"},
 "expect": {"presentation": {"keysBefore": [], "text": PRESENTED, "submit": true}}}"#,
    ),
    (
        "tests/refuses-open.json",
        r#"{"request": {"approvalMode": "open"}, "expect": {"error": "approval mode open is not supported"}}"#,
    ),
    (
        "tests/stops-with-an-interrupt.json",
        r#"{"reason": "shutdown", "expect": {"stopPlan": {"keys": ["C-c"], "graceMs": 5000}}}"#,
    ),
];

/// The kind of this name. The parser lets no other through.
fn known_kind(name: String) -> Result<PluginKind, String> {
    PluginKind::parse(&name).ok_or(name)
}

pub(super) fn run(args: &New) -> Result<ExitCode, Failure> {
    let kind = args.kind;
    let id = args.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    check_id(&id).map_err(|problem| Failure::Usage(format!("{id:?} is no plugin id: it {problem}")))?;
    if args.lang == Language::Rust && !id.starts_with(|first: char| first.is_ascii_lowercase()) {
        return Err(Failure::Usage(format!("{id:?} is no name of a crate: for Rust it must begin with a letter")));
    }
    if !args.with.is_empty() && (kind != PluginKind::Provider || args.lang != Language::Rust) {
        let problem = "--with: only a provider in Rust begins with an observer or a courier";
        return Err(Failure::Usage(format!("{problem}; other languages export what wit/worlds.wit names")));
    }
    if fs::read_dir(&args.path).is_ok_and(|mut entries| entries.next().is_some()) || args.path.is_file() {
        return Err(Failure::Usage(format!("{} is there and not empty; choose another name", args.path.display())));
    }
    let files = files(&id, kind, args.lang, &args.with);
    for (name, text) in &files {
        write(&args.path.join(name), text)?;
    }
    let folder = args.path.display();
    if args.json {
        let names: Vec<&String> = files.iter().map(|(name, _)| name).collect();
        print_json(
            &json!({"id": id, "kind": kind, "language": args.lang.as_str(), "folder": args.path, "files": names}),
        )?;
    } else {
        let prepare = args.lang.prepare().map(|command| format!("  cd {folder} && {command}\n")).unwrap_or_default();
        print(&format!(
            "{folder} holds a {} in {}. Next:\n{prepare}  agent-relay plugin build {folder}\n  agent-relay plugin test {folder}",
            kind.as_str(),
            args.lang.as_str()
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Every file of a project, by its path in it.
fn files(id: &str, kind: PluginKind, language: Language, with: &[With]) -> Vec<(String, String)> {
    let cases: &[File] = match kind {
        PluginKind::Policy => &POLICY_CASES,
        PluginKind::Provider => &PROVIDER_CASES,
    };
    let mut files: Vec<File> = language.files(kind);
    files.extend(cases);
    files.extend(with::files(with));
    let source = |name: &str, text: &str| {
        if name == "src/lib.rs" { with::exported(text, with) } else { text.to_owned() }
    };
    let mut files: Vec<(String, String)> = files
        .into_iter()
        .map(|(name, text)| (name.to_owned(), fill(&source(name, text), id, kind, language)))
        .collect();
    // The worlds name every interface.
    files.extend(workbench::INTERFACE.map(|(name, text)| (format!("wit/{name}"), text.to_owned())));
    for (_, text) in &mut files {
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    files.push(("plugin.toml".to_owned(), manifest(id, kind, language)));
    files.push(("README.md".to_owned(), readme(id, kind, language, cases[0].0)));
    files.push((".gitignore".to_owned(), "target\nnode_modules\n.venv\n__pycache__\n".to_owned()));
    files.sort();
    files
}

/// Puts the names of this project in. The SDK's own sources say where the interface lies from there.
fn fill(text: &str, id: &str, kind: PluginKind, language: Language) -> String {
    text.replace("PLUGIN_ID", id)
        .replace("PRESENTED", language.presented())
        .replace("force_link_WORLD", &format!("force_link_{}_plugin", kind.as_str()))
        .replace("path: \"../../wit\"", "path: \"../wit\"")
}

fn manifest(id: &str, kind: PluginKind, language: Language) -> String {
    let grants = workbench::guide(kind).grants.replace("PLUGIN_ID", id);
    let (memory_mb, deadline_ms) = language.limits();
    format!(
        "id = \"{id}\"\nkind = \"{}\"\n{grants}\n# What one call may use.\n[limits]\nmemory_mb = {memory_mb}\ndeadline_ms = {deadline_ms}\n",
        kind.as_str()
    )
}

fn readme(id: &str, kind: PluginKind, language: Language, case: &str) -> String {
    let guide = workbench::guide(kind);
    let replay = if guide.is_replayable {
        "What it would have decided about everything that a running relay was asked so far:\n\n    agent-relay plugin replay .\n\n"
    } else {
        ""
    };
    shipped!("templates/README.md.in")
        .replace("PREPARE", &language.prepare().map_or_else(String::new, |command| format!("    {command}")))
        .replace("tests/CASE.json", case)
        .replace("QUESTIONS", guide.questions)
        .replace("REPLAY", replay)
        .replace("KIND", kind.as_str())
        .replace("PLUGIN_ID", id)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let made = path.parent().map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| fs::write(path, text))
        .map_err(|error| Failure::Other(format!("failed to write {}: {error}", path.display())))
}
