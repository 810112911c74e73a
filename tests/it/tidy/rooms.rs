//! The rooms of `src/plugins`: which may import which, and that no files import each other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{none, sources};

/// Each room and the rooms it may import beside itself: those before it. The cover page of all of them,
/// `src/plugins.rs`, is the empty name.
const ROOMS: [(&str, &[&str]); 5] = [
    ("package", &[]),
    ("runtime", &["package"]),
    ("kinds", &["package", "runtime"]),
    ("registry", &["package", "runtime", "kinds"]),
    ("workbench", &["", "package", "runtime", "kinds", "registry"]),
];

/// The code of each file of `src/plugins`, by its module's path below `plugins`; empty for the cover page.
type Modules = BTreeMap<Vec<String>, String>;

fn path(text: &str) -> Vec<String> {
    text.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// The modules as they are. What only tests import is left out.
fn modules() -> Modules {
    let mut modules = Modules::new();
    for source in sources().iter().filter(|source| source.is_rust()) {
        let Ok(inside) = source.path.strip_prefix("src") else { continue };
        let inside = inside.with_extension("");
        let Ok(inside) = inside.strip_prefix("plugins") else { continue };
        if inside.ends_with(Path::new("tests")) {
            continue;
        }
        let name = inside.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
        let untested = source.text.split("#[cfg(test)]\nmod tests").next().unwrap_or("");
        let code = untested.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n");
        modules.insert(name, code);
    }
    modules
}

/// Every path that the `use` declarations of some code name, in full.
fn used(code: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let before = code[..at].lines().next_back().unwrap_or("").trim();
        let is_declaration = at == 0 || code[..at].ends_with('\n') || before.starts_with("pub") || before.is_empty();
        if is_declaration && let Some((tree, _)) = code[at + "use ".len()..].split_once(';') {
            expand(&[], tree, &mut paths);
        }
    }
    paths
}

fn expand(prefix: &[String], tree: &str, paths: &mut Vec<Vec<String>>) {
    let tree = tree.trim();
    let Some((before, group)) = tree.split_once('{') else {
        let name = tree.split(" as ").next().unwrap_or("");
        paths.push([prefix, &path(name.trim())].concat());
        return;
    };
    let prefix = [prefix, &path(before)].concat();
    let group = group.trim_end().strip_suffix('}').unwrap_or(group);
    let (mut depth, mut start) = (0_u32, 0);
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !group[start..at].trim().is_empty() {
                    expand(&prefix, &group[start..at], paths);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// The file that a path used in `module` leads to; nothing when it is outside of `src/plugins`.
fn target(modules: &Modules, module: &[String], used: &[String]) -> Option<Vec<String>> {
    let mut place = module.to_vec();
    let mut rest = used;
    match used.first()?.as_str() {
        "crate" => {
            if used.get(1)? != "plugins" {
                return None;
            }
            (place, rest) = (Vec::new(), &used[2..]);
        }
        "super" => {
            while let Some(("super", below)) = rest.split_first().map(|(first, below)| (first.as_str(), below)) {
                // Above `src/plugins` there is the rest of the crate.
                place.pop()?;
                rest = below;
            }
        }
        "self" => rest = &used[1..],
        first => {
            let child = [module, &[first.to_owned()]].concat();
            if !modules.contains_key(&child) {
                return None;
            }
        }
    }
    for part in rest {
        place.push(part.clone());
        if !modules.contains_key(&place) {
            place.pop();
            break;
        }
    }
    Some(place)
}

/// Every file with the files it imports.
fn imports(modules: &Modules) -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let of = |module: &Vec<String>, code: &str| {
        let targets = used(code).into_iter().filter_map(|used| target(modules, module, &used));
        targets.filter(|target| target != module).collect()
    };
    modules.iter().map(|(module, code)| (module.clone(), of(module, code))).collect()
}

/// What is wrong with the rooms.
fn findings(modules: &Modules) -> Vec<String> {
    let rooms: BTreeMap<_, _> = ROOMS.into_iter().collect();
    let room = |module: &[String]| module.first().cloned().unwrap_or_default();
    let imports = imports(modules);
    let mut findings = Vec::new();
    for (module, targets) in &imports {
        let own = room(module);
        let Some(before) = rooms.get(&*own) else {
            if !own.is_empty() {
                findings.push(format!("{}: `{own}` is no room", module.join("::")));
            }
            continue;
        };
        for target in targets.iter().filter(|target| room(target) != own) {
            if !before.contains(&&*room(target)) {
                findings.push(format!("{} imports {}", module.join("::"), target.join("::")));
            }
        }
    }
    // Whatever imports nothing that is left is in no circle.
    let mut left = imports;
    loop {
        let remaining: BTreeSet<Vec<String>> = left.keys().cloned().collect();
        let before = left.len();
        left.retain(|_, targets| targets.iter().any(|target| remaining.contains(target)));
        if left.len() == before {
            break;
        }
    }
    for (module, targets) in &left {
        let targets = targets.iter().filter(|target| left.contains_key(*target)).map(|target| target.join("::"));
        let targets: Vec<_> = targets.collect();
        findings.push(format!("in or before a circle: {} imports {}", module.join("::"), targets.join(", ")));
    }
    findings
}

#[test]
fn rooms_import_only_rooms_before_them_and_no_files_in_a_circle() {
    let modules = modules();
    assert!(modules.len() > 40, "only {} files of src/plugins were found", modules.len());
    let found: usize = imports(&modules).values().map(BTreeSet::len).sum();
    assert!(found > 100, "only {found} imports were found, so this test no longer reads them");
    none("imports against the order of the rooms", &findings(&modules));
}

/// The check above finds what it is there for.
#[test]
fn a_planted_import_is_found() {
    let planted = |file: &str, code: &str| {
        let mut modules: Modules = [
            ("", "mod package;\nuse registry::Registry;"),
            ("package", "mod limits;\npub use limits::Limits;"),
            ("package::limits", "use serde::Deserialize;"),
            ("runtime", "mod sandbox;\nmod gate;\npub(crate) use sandbox::Sandbox;"),
            ("runtime::gate", ""),
            ("runtime::sandbox", "use super::super::package::{Limits, self};\nuse super::gate::Gate;"),
            ("kinds", "use super::runtime::Sandbox;"),
            ("registry", "use super::{kinds::Kind, package as files};"),
        ]
        .into_iter()
        .map(|(name, code)| (path(name), code.to_owned()))
        .collect();
        modules.entry(path(file)).or_default().push_str(&format!("\n{code}\n"));
        findings(&modules)
    };
    assert_eq!(planted("", ""), Vec::<String>::new());
    for (file, code) in [
        ("package::limits", "use super::super::runtime::Sandbox;"),
        ("package::limits", "use crate::plugins::{registry::Registry};"),
        ("runtime::gate", "pub(crate) use crate::plugins::kinds::{self, Kind};"),
        ("kinds", "use super::{\n    package::Limits,\n    registry::{Registry, Slot},\n};"),
        ("kinds", "use super::OpenError;"),
        ("cupboard", "use std::fmt;"),
    ] {
        assert!(!planted(file, code).is_empty(), "{file}: {code}");
    }
    // Within a room: two files that import each other, and one that imports its cover page.
    for code in ["use super::sandbox::Sandbox;", "use super::Sandbox;", "use super::*;"] {
        let found = planted("runtime::gate", code);
        assert!(found.iter().any(|finding| finding.contains("circle")), "{code}: {found:?}");
    }
}
