//! `plugin new` and `plugin build`: a project of each language, built where its tools are.

use std::fs;
use std::path::{Path, PathBuf};

use super::plugin;

/// Tools for building guests are taken from here, beside the PATH: `node_modules` and `.venv`.
const TOOLS: &str = "AGENT_RELAY_TEST_TOOLS";

fn project(home: &Path, lang: &str, kind: &str) -> PathBuf {
    project_with(home, lang, kind, &[])
}

/// With these optional interfaces.
fn project_with(home: &Path, lang: &str, kind: &str, with: &[&str]) -> PathBuf {
    let folder = home.join([&["my", lang, kind], with].concat().join("-"));
    let mut args = vec!["new", folder.to_str().expect("text"), "--kind", kind, "--lang", lang];
    args.extend(with.iter().flat_map(|with| ["--with", with]));
    let said = plugin(home, &args);
    assert!(said.exits(0).out.contains("plugin build"), "{}", said.out);
    folder
}

#[test]
fn a_project_has_everything_it_needs() {
    let home = tempfile::tempdir().expect("a directory");
    for lang in ["rust", "js", "python", "c"] {
        let plain = [("policy", &[][..]), ("provider", &[])];
        let more = [("provider", &["observer"][..]), ("provider", &["observer", "courier"])];
        for (kind, with) in plain.into_iter().chain(more.into_iter().filter(|_| lang == "rust")) {
            let folder = project_with(home.path(), lang, kind, with);
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
    for (kind, lang) in [("policy", "rust"), ("provider", "js"), ("provider", "python"), ("provider", "c")] {
        let said = new("x", &["--kind", kind, "--lang", lang, "--with", "observer"]);
        assert!(said.exits(2).err.contains("only a provider in Rust"), "{}", said.err);
    }
    new("x", &["--kind", "provider", "--lang", "rust", "--with", "waker"]).exits(2);
    assert!(!home.path().join("x").exists(), "nothing is begun");
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

/// Builds and tests a project of each kind.
fn builds(lang: &str) {
    let home = tempfile::tempdir().expect("a directory");
    builds_with(home.path(), lang, "policy", &[], 2);
    builds_with(home.path(), lang, "provider", &[], 5);
}

/// Builds a project and tests it by its cases. Where the tools are not there it says so, and checks that the command does.
fn builds_with(home: &Path, lang: &str, kind: &str, with: &[&str], cases: usize) {
    let folder = project_with(home, lang, kind, with);
    for name in ["node_modules", ".venv"] {
        if let Some(tools) = std::env::var_os(TOOLS).map(|tools| Path::new(&tools).join(name)).filter(|at| at.exists())
        {
            std::os::unix::fs::symlink(tools, folder.join(name)).expect("linked");
        }
    }
    // Other users' umasks differ; a relay wants to know who may write.
    crate::plugins::make_directory(&folder);
    let path = folder.to_str().expect("text");
    let said = plugin(home, &["build", path]);
    if said.code != Some(0) {
        eprintln!("NOT BUILT: no tools for {lang} here; set {TOOLS} or install them: {}", said.err);
        assert!(said.exits(1).err.contains("install"), "{}", said.err);
        return;
    }
    let manifest = fs::read_to_string(folder.join("plugin.toml")).expect("a manifest");
    let patient =
        manifest.lines().map(|line| if line.starts_with("deadline_ms") { "deadline_ms = 10000" } else { line });
    fs::write(folder.join("plugin.toml"), patient.collect::<Vec<_>>().join("\n")).expect("written");
    let checked = plugin(home, &["check", path, "--json"]);
    assert_eq!(checked.exits(0).json()["component"]["wasi"], false);
    let tested = plugin(home, &["test", path]);
    assert!(tested.exits(0).out.ends_with(&format!("{cases} cases: {cases} passed, 0 failed\n")), "{}", tested.out);
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
        let home = tempfile::tempdir().expect("a directory");
        // What they have in common is built once.
        let settings = home.path().join(".cargo/config.toml");
        fs::create_dir(settings.parent().expect("a folder")).expect("made");
        fs::write(settings, format!("[build]\ntarget-dir = {:?}\n", home.path().join("built"))).expect("written");
        builds_with(home.path(), "rust", "policy", &[], 2);
        builds_with(home.path(), "rust", "provider", &[], 5);
        builds_with(home.path(), "rust", "provider", &["observer"], 10);
        builds_with(home.path(), "rust", "provider", &["observer", "courier"], 13);
    } else {
        eprintln!("NOT BUILT: no target wasm32-unknown-unknown here; set {TOOLS} to build with Debian's compiler");
    }
}
