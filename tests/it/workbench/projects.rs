//! `plugin new` and `plugin build`: a project of each language, built where its tools are.

use std::fs;
use std::path::{Path, PathBuf};

use super::plugin;

/// Tools for building guests are taken from here, beside the PATH: `node_modules` and `.venv`.
const TOOLS: &str = "AGENT_RELAY_TEST_TOOLS";

fn project(home: &Path, lang: &str, kind: &str) -> PathBuf {
    let folder = home.join(format!("my-{lang}-{kind}"));
    let said = plugin(home, &["new", folder.to_str().expect("text"), "--kind", kind, "--lang", lang]);
    assert!(said.exits(0).out.contains("plugin build"), "{}", said.out);
    folder
}

#[test]
fn a_project_has_everything_it_needs() {
    let home = tempfile::tempdir().expect("a directory");
    for lang in ["rust", "js", "python", "c"] {
        for kind in ["policy", "provider"] {
            let folder = project(home.path(), lang, kind);
            for file in ["plugin.toml", "README.md", "wit/worlds.wit", "tests"] {
                assert!(folder.join(file).exists(), "{file}");
            }
            let id = folder.file_name().and_then(|name| name.to_str()).expect("text");
            let manifest = fs::read_to_string(folder.join("plugin.toml")).expect("a manifest");
            assert!(manifest.contains(&format!("id = \"{id}\"")), "{manifest}");
            every_file(&folder, &mut |path| {
                let text = fs::read_to_string(path).expect("text");
                for left in
                    ["PLUGIN_ID", "force_link_WORLD", "PREPARE", "PRESENTED", "QUESTIONS", "REPLAY", "../../wit"]
                {
                    assert!(!text.contains(left), "{left} in {}", path.display());
                }
            });
        }
    }
}

fn every_file(folder: &Path, visit: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        if entry.path().is_dir() {
            every_file(&entry.path(), visit);
        } else {
            visit(&entry.path());
        }
    }
}

#[test]
fn nothing_is_overwritten_and_names_are_ids() {
    let home = tempfile::tempdir().expect("a directory");
    let folder = project(home.path(), "js", "policy");
    let source = fs::read(folder.join("plugin.js")).expect("a source");
    let new = |name: &str, more: &[&str]| {
        let path = home.path().join(name);
        let args = [&["new", path.to_str().expect("text")], more].concat();
        plugin(home.path(), &args)
    };
    let python = ["--kind", "policy", "--lang", "python"];
    assert!(new("my-js-policy", &python).exits(2).err.contains("not empty"));
    assert_eq!(fs::read(folder.join("plugin.js")).expect("a source"), source);
    assert!(new("My_Policy", &python).exits(2).err.contains("must be 1 to 64 of a-z"));
    new("x", &["--kind", "referee", "--lang", "c"]).exits(2);
    new("x", &["--kind", "policy", "--lang", "cobol"]).exits(2);
    new("9lives", &["--kind", "policy", "--lang", "rust"]).exits(2);
}

#[test]
fn what_is_missing_for_a_build_is_named_with_what_installs_it() {
    let home = tempfile::tempdir().expect("a directory");
    let folder = project(home.path(), "js", "policy");
    let build = |folder: &Path| plugin(home.path(), &["build", folder.to_str().expect("text")]);
    let said = build(&folder);
    if said.code != Some(0) {
        assert!(said.exits(1).err.contains("npm install --save-dev componentize-qjs@"), "{}", said.err);
    }
    let empty = home.path().join("empty");
    fs::create_dir(&empty).expect("made");
    assert!(build(&empty).exits(1).err.contains("no plugin.toml"));
    fs::write(empty.join("plugin.toml"), "id = 'empty'\nkind = 'policy'").expect("written");
    assert!(build(&empty).exits(2).err.contains("none of Cargo.toml, package.json"));
    build(Path::new("/nowhere/at/all")).exits(2);
}

/// Builds and tests a project. Where the tools are not there it says so, and checks that the command does.
fn builds(lang: &str) {
    let home = tempfile::tempdir().expect("a directory");
    for kind in ["policy", "provider"] {
        let folder = project(home.path(), lang, kind);
        for name in ["node_modules", ".venv"] {
            if let Some(tools) =
                std::env::var_os(TOOLS).map(|tools| Path::new(&tools).join(name)).filter(|at| at.exists())
            {
                std::os::unix::fs::symlink(tools, folder.join(name)).expect("linked");
            }
        }
        // Other users' umasks differ; a relay wants to know who may write.
        crate::plugins::make_directory(&folder);
        let path = folder.to_str().expect("text");
        let said = plugin(home.path(), &["build", path]);
        if said.code != Some(0) {
            eprintln!("NOT BUILT: no tools for {lang} here; set {TOOLS} or install them: {}", said.err);
            assert!(said.exits(1).err.contains("install"), "{}", said.err);
            return;
        }
        let manifest = fs::read_to_string(folder.join("plugin.toml")).expect("a manifest");
        let patient =
            manifest.lines().map(|line| if line.starts_with("deadline_ms") { "deadline_ms = 10000" } else { line });
        fs::write(folder.join("plugin.toml"), patient.collect::<Vec<_>>().join("\n")).expect("written");
        let checked = plugin(home.path(), &["check", path, "--json"]);
        assert_eq!(checked.exits(0).json()["component"]["wasi"], false);
        let tested = plugin(home.path(), &["test", path]);
        let cases = if kind == "policy" { 2 } else { 5 };
        assert!(tested.exits(0).out.ends_with(&format!("{cases} cases: {cases} passed, 0 failed\n")), "{}", tested.out);
    }
}

#[test]
fn a_javascript_project_builds_and_passes_its_tests() {
    builds("js");
}

#[test]
fn a_python_project_builds_and_passes_its_tests() {
    builds("python");
}

#[test]
fn a_c_project_builds_and_passes_its_tests() {
    builds("c");
}

#[test]
fn a_rust_project_builds_and_passes_its_tests() {
    let sysroot = std::process::Command::new("rustc").args(["--print", "sysroot"]).output().expect("a compiler");
    let sysroot = PathBuf::from(String::from_utf8(sysroot.stdout).expect("text").trim());
    // Without the target the standard library would be built first, which takes minutes.
    if sysroot.join("lib/rustlib/wasm32-unknown-unknown").is_dir()
        || std::env::var_os(TOOLS).is_some_and(|at| !at.is_empty())
    {
        builds("rust");
    } else {
        eprintln!("NOT BUILT: no target wasm32-unknown-unknown here; set {TOOLS} to build with Debian's compiler");
    }
}
