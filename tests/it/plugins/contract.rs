//! The interface that plugins are written against: documented, frozen, and never changed in a way that a
//! plugin of the same track would notice.
//!
//! `wit/published/VERSION` is what was published under that version. A change of `wit/` that old plugins
//! can live with goes there too; any other needs a new track.

use std::fs;
use std::path::{Path, PathBuf};

use wit_parser::{Docs, Resolve, TypeDefKind, UnresolvedPackageGroup, WorldId};

const WORLDS: [&str; 2] = ["policy-plugin", "provider-plugin"];

fn wit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("wit")
}

/// The files of a folder as one package, in which the version is replaced: two of the same name must
/// differ in something to be looked at together.
fn package(folder: &Path, version: &str, change: impl Fn(String) -> String) -> UnresolvedPackageGroup {
    let mut map = wit_parser::SourceMap::new();
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wit"))
        .collect();
    files.sort();
    for file in files {
        let text = fs::read_to_string(&file).expect("a file");
        let declared = "package agent-relay:plugin@0.1.0;";
        assert!(text.contains(declared), "{} does not begin with `{declared}`", file.display());
        map.push(&file, change(text).replace(declared, &format!("package agent-relay:plugin@{version};")));
    }
    map.parse().unwrap_or_else(|(_, error)| panic!("{}: {error:#}", folder.display()))
}

fn world(resolve: &Resolve, version: &str, name: &str) -> WorldId {
    let (id, _) = resolve
        .worlds
        .iter()
        .find(|(_, world)| {
            let package = &resolve.packages[world.package.expect("a package")].name;
            world.name == name && package.version.as_ref().is_some_and(|own| own.to_string() == version)
        })
        .unwrap_or_else(|| panic!("there is no world {name} in version {version}"));
    id
}

/// Whether plugins of the published version fit a relay with this change of it.
fn compatible(published: &Path, change: impl Fn(String) -> String) -> Result<(), String> {
    for name in WORLDS {
        let mut resolve = Resolve::default();
        resolve.push_group(package(published, "0.0.1", |text| text)).expect("the published package");
        resolve.push_group(package(&wit(), "0.0.2", &change)).map_err(|error| format!("{error:#}"))?;
        let (before, after) = (world(&resolve, "0.0.1", name), world(&resolve, "0.0.2", name));
        wit_component::semver_check(resolve, before, after).map_err(|error| format!("{name}: {error:#}"))?;
    }
    Ok(())
}

#[test]
fn what_is_published_stays_as_it_is() {
    let published = wit().join("published");
    let mut versions = 0;
    for entry in fs::read_dir(&published).expect("the published versions") {
        let folder = entry.expect("an entry").path();
        let fits = compatible(&folder, |text| text);
        assert!(fits.is_ok(), "{} and wit/ differ: {fits:?}; a change needs a new track", folder.display());
        versions += 1;
    }
    assert!(versions > 0, "nothing is published");
}

/// The check above finds what it is there for.
#[test]
fn a_change_that_plugins_would_notice_is_found() {
    let published = wit().join("published/0.1.0");
    let changes: [(&str, &str, &str); 6] = [
        ("a field more", "        now-ms: u64,", "        now-ms: u64,\n        today: u32,"),
        ("another type", "        started-at-ms: u64,", "        started-at-ms: u32,"),
        ("a case more", "        allow,\n", "        allow,\n        perhaps,\n"),
        ("another name", "    decide: func(", "    judge: func("),
        ("another argument", "stop: func(", "stop: func(hard: bool, "),
        ("another answer", "-> result<verdict, string>", "-> verdict"),
    ];
    for (what, from, to) in changes {
        let found = wit_texts().iter().any(|text| text.contains(from));
        assert!(found, "{what}: `{from}` is not in wit/ any more");
        assert!(compatible(&published, |text| text.replace(from, to)).is_err(), "{what} goes unnoticed");
    }
}

fn wit_texts() -> Vec<String> {
    let files = fs::read_dir(wit()).expect("wit/").map(|entry| entry.expect("an entry").path());
    files.filter(|path| path.is_file()).map(|path| fs::read_to_string(path).expect("a file")).collect()
}

/// The comments are the reference that authors read.
#[test]
fn every_item_says_what_it_is() {
    let mut resolve = Resolve::default();
    resolve.push_group(package(&wit(), "0.1.0", |text| text)).expect("the package");
    let mut silent = Vec::new();
    let mut look = |name: String, docs: &Docs| {
        if docs.contents.as_ref().is_none_or(|text| text.trim().is_empty()) {
            silent.push(name);
        }
    };
    for (_, world) in &resolve.worlds {
        look(format!("world {}", world.name), &world.docs);
    }
    for (_, interface) in &resolve.interfaces {
        let own = interface.name.clone().unwrap_or_default();
        look(format!("interface {own}"), &interface.docs);
        for (name, function) in &interface.functions {
            look(format!("{own}.{name}"), &function.docs);
        }
        for (name, id) in &interface.types {
            let definition = &resolve.types[*id];
            // A name taken over from another interface is explained there.
            if matches!(definition.kind, TypeDefKind::Type(_)) {
                continue;
            }
            look(format!("{own}.{name}"), &definition.docs);
            let parts: Vec<(&str, &Docs)> = match &definition.kind {
                TypeDefKind::Record(record) => record.fields.iter().map(|part| (&*part.name, &part.docs)).collect(),
                TypeDefKind::Variant(variant) => variant.cases.iter().map(|part| (&*part.name, &part.docs)).collect(),
                TypeDefKind::Enum(list) => list.cases.iter().map(|part| (&*part.name, &part.docs)).collect(),
                other => panic!("{own}.{name}: {other:?} is nothing that guests in every language can have"),
            };
            for (part, docs) in parts {
                look(format!("{own}.{name}.{part}"), docs);
            }
        }
    }
    assert!(silent.is_empty(), "without a comment: {silent:?}");
}
