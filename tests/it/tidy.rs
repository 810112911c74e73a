//! House rules, checked by reading the sources, so that no reviewer has to.

mod borders;
mod rooms;
mod trust;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The most lines a source file may have, and how many are worth a second look.
const LINES_MAX: usize = 600;
const LINES_NOTABLE: usize = 400;

/// The most sources a folder of the program or of its tests may have: more wants rooms.
const SOURCES_MAX: usize = 18;

/// What may lie at the top of the repository.
const TOP: [&str; 18] = [
    ".cargo",
    ".ci",
    ".clippy.toml",
    ".config",
    ".github",
    ".gitattributes",
    ".gitignore",
    ".rustfmt.toml",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "examples",
    "plugins",
    "src",
    "tests",
    "wit",
];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] = ["util", "utils", "helper", "helpers", "manager", "managers", "common", "misc"];

/// A file of the repository.
struct Source {
    /// From the repository's root.
    path: PathBuf,
    text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }

    fn is_code(&self) -> bool {
        let extension = self.path.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("rs" | "js" | "mjs" | "py" | "css" | "html" | "sh" | "wit"))
    }

    /// The module of `src/` this file belongs to: `cli` for the program itself.
    fn module(&self) -> Option<String> {
        let inside = self.path.strip_prefix("src").ok()?;
        let first = Path::new(inside.components().next()?.as_os_str()).file_stem()?;
        let name = first.to_str()?;
        Some(if name == "main" { "cli".to_owned() } else { name.to_owned() })
    }

    /// The lines with their numbers, without what stands in comments.
    fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        lines.map(|(number, line)| (number, line.split("//").next().unwrap_or("")))
    }
}

/// Every file that is or could be committed, as git sees it.
fn files() -> Vec<PathBuf> {
    let root = root();
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .ok()
        .filter(|output| output.status.success());
    let mut files = Vec::new();
    match listed {
        Some(output) => {
            let names = String::from_utf8(output.stdout).expect("file names are UTF-8");
            files.extend(names.split_terminator('\0').map(PathBuf::from));
        }
        // An unpacked archive has no git.
        None => walk(root, &mut files),
    }
    files.retain(|file| root.join(file).is_file());
    assert!(files.len() > 20, "only {} files found in {}", files.len(), root.display());
    files
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a readable directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            if !path.ends_with("target") && !path.ends_with(".git") {
                walk(&path, files);
            }
        } else {
            files.push(path.strip_prefix(root()).expect("below the root").to_owned());
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let files = files().into_iter();
    files
        .filter_map(|path| {
            let text = std::fs::read_to_string(root().join(&path)).ok()?;
            Some(Source { path, text })
        })
        .filter(Source::is_code)
        .collect()
}

/// Fails with every finding at once.
fn none(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}

#[test]
fn no_file_is_too_long() {
    let mut lengths: Vec<_> =
        sources().iter().map(|source| (source.text.lines().count(), source.path.clone())).collect();
    lengths.sort();
    let longer = |limit: usize| {
        let long = lengths.iter().filter(move |(lines, _)| *lines > limit);
        long.map(|(lines, path)| format!("{lines} {}", path.display())).collect::<Vec<_>>()
    };
    for file in longer(LINES_NOTABLE) {
        println!("{file}");
    }
    none(&format!("files above {LINES_MAX} lines"), &longer(LINES_MAX));
}

#[test]
fn no_folder_is_crowded() {
    let mut folders = BTreeMap::<PathBuf, usize>::new();
    for source in sources().iter().filter(|source| source.is_rust()) {
        let folder = source.path.parent().expect("a folder");
        if folder.starts_with("src") || folder.starts_with("tests/it") {
            *folders.entry(folder.to_owned()).or_default() += 1;
        }
    }
    let crowded = folders.iter().filter(|(_, count)| **count > SOURCES_MAX);
    let crowded: Vec<_> = crowded.map(|(folder, count)| format!("{count} {}", folder.display())).collect();
    none(&format!("folders with more than {SOURCES_MAX} sources"), &crowded);
}

#[test]
fn names_say_what_is_inside() {
    let mut findings = Vec::new();
    for path in files() {
        if path.ends_with("mod.rs") {
            findings.push(format!("{}: name.rs is the cover page of name/", path.display()));
        }
        for part in path.components() {
            let part = Path::new(part.as_os_str());
            let stem = part.file_stem().and_then(|stem| stem.to_str()).unwrap_or("");
            if EMPTY_NAMES.contains(&stem) {
                findings.push(path.display().to_string());
            }
        }
    }
    for source in sources().iter().filter(|source| source.is_rust()) {
        for (number, line) in source.code_lines() {
            let Some((_, name)) = line.split_once("mod ") else {
                continue;
            };
            let name = name.trim_end_matches([' ', '{', ';']);
            if EMPTY_NAMES.contains(&name) {
                findings.push(format!("{}:{number}: mod {name}", source.path.display()));
            }
        }
    }
    none("names that say nothing", &findings);
}

#[test]
fn the_top_of_the_repository_is_tidy() {
    let mut findings = Vec::new();
    for path in files() {
        let first = path.components().next().expect("a name").as_os_str().to_string_lossy();
        if !TOP.contains(&&*first) {
            findings.push(path.display().to_string());
        }
    }
    none("names that do not belong at the top", &findings);
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not find itself.
    let unfinished = ["todo", "unimplemented", "dbg"].map(|name| format!("{name}!("));
    let notes = ["TO", "FIX"].map(|half| half.to_owned() + if half == "TO" { "DO" } else { "ME" });
    let ignored = format!("#[{}]", "ignore");
    let mut findings = Vec::new();
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            let mut patterns = unfinished.iter().chain(&notes).chain([&ignored]);
            if let Some(pattern) = patterns.find(|pattern| line.contains(&**pattern)) {
                findings.push(format!("{}:{}: {pattern}", source.path.display(), number + 1));
            }
        }
    }
    none("left for later", &findings);
}

#[test]
fn tests_await_events_and_do_not_sleep() {
    let sleeps = ["thread", "time"].map(|module| format!("{module}::sleep"));
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| source.is_rust()) {
        let in_tests = source.path.starts_with("tests") || source.path.ends_with("tests.rs");
        let from = source.text.find("#[cfg(test)]").filter(|_| source.path.starts_with("src"));
        let tested = if in_tests { &source.text[..] } else { from.map_or("", |at| &source.text[at..]) };
        if let Some(sleep) = sleeps.iter().find(|sleep| tested.contains(&***sleep)) {
            findings.push(format!("{}: {sleep}", source.path.display()));
        }
    }
    none("tests that sleep", &findings);
}

#[test]
fn every_module_begins_by_saying_what_it_is() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| source.is_rust()) {
        if source.path.starts_with("src") && !source.text.starts_with("//!") {
            findings.push(source.path.display().to_string());
        }
    }
    none("files that do not begin with a module comment", &findings);
}

/// What the README tells people to run is what the checks run.
#[test]
fn the_readme_and_the_checks_run_the_same_tests() {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).expect(name);
    let (readme, checks) = (read("README.md"), read(".ci/run"));
    let commands: Vec<_> = readme
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("cargo test") || line.starts_with("cargo nextest"))
        .collect();
    assert!(!commands.is_empty(), "the README names no test command");
    for command in commands {
        let command = command.split('#').next().unwrap_or("").trim();
        assert!(checks.contains(command), ".ci/run does not run `{command}`");
    }
}

/// A setting that nobody reads would be a promise that nobody keeps.
#[test]
fn every_setting_is_read_by_somebody() {
    let sources = sources();
    let is = |source: &Source, path: &str| source.path.starts_with(path);
    let readers: String = sources
        .iter()
        .filter(|source| is(source, "src/lib.rs") || is(source, "src/cli.rs") || is(source, "src/cli"))
        .flat_map(|source| source.code_lines().map(|(_, line)| line))
        .collect();
    let config = sources.iter().find(|source| is(source, "src/config.rs")).expect("src/config.rs");
    let fields = config.code_lines().filter_map(|(_, line)| line.trim().strip_prefix("pub ")?.split_once(": "));
    let names: Vec<_> =
        fields.map(|(name, _)| name).filter(|name| name.chars().all(|c| c.is_lowercase() || c == '_')).collect();
    assert!(names.len() > 15, "only {} settings were found, so this test no longer reads them", names.len());
    let unread = names.into_iter().filter(|name| !readers.contains(&format!(".{name}")));
    none("settings that nobody reads", &unread.map(str::to_owned).collect::<Vec<_>>());
}
