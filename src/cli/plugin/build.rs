//! `agent-relay plugin build`: a component from source, with the compilers this machine has.
//!
//! Each language is a file in `build/`. They leave a component or a core module; a core module becomes
//! a component here.

mod c;
mod interpreted;
mod rust;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use agent_relay::plugins::PluginKind;
use agent_relay::plugins::workbench::identity;
use serde_json::json;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::super::{Failure, print};
use super::{memory, print_json};
pub(super) use rust::Toolchain;

/// Build a plugin with what this machine has, and write plugin.wasm beside plugin.toml.
///
/// The language is recognised by the files: Cargo.toml is Rust, package.json JavaScript, *.py Python,
/// *.c C. What is missing is named, with the command that installs it; a target of rustup's is fetched where it can be.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Build {
    /// The plugin's folder
    #[arg(value_name = "DIR", default_value = ".")]
    path: PathBuf,
    /// Keep what tells where a call failed: names of functions in Rust and C, tracebacks in JavaScript and Python
    ///
    /// Not for a relay that others use: it is larger, and the interpreters import WASI.
    #[arg(long)]
    debug: bool,
    /// For Rust: what compiles it [default: the first of these that is there]
    #[arg(long, value_enum)]
    toolchain: Option<Toolchain>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// What a compiler left, and which it was.
struct Built {
    /// A component, or a core module.
    wasm: Vec<u8>,
    with: String,
}

/// A component that was written, and how it came about.
pub(super) struct Component {
    pub(super) target: PathBuf,
    pub(super) id: String,
    kind: PluginKind,
    language: &'static str,
    with: String,
    bytes: usize,
    millis: u128,
}

impl Component {
    /// For people.
    pub(super) fn told(&self) -> String {
        let Self { target, bytes, language, with, millis, .. } = self;
        format!("{}: {} from {language} in {millis} ms, with {with}", target.display(), memory(*bytes))
    }
}

/// A plugin's source.
struct Source {
    /// Absolute.
    folder: PathBuf,
    kind: PluginKind,
}

impl Source {
    fn world(&self) -> String {
        format!("{}-plugin", self.kind.as_str())
    }

    fn has(&self, name: &str) -> bool {
        self.folder.join(name).exists()
    }

    /// Its files with this extension, by name.
    fn files(&self, extension: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> =
            entries.map(|entry| entry.path()).filter(|path| path.extension() == Some(OsStr::new(extension))).collect();
        files.sort();
        files
    }
}

pub(super) fn run(args: &Build) -> Result<ExitCode, Failure> {
    let component = build(&args.path, args.toolchain, args.debug)?;
    if args.json {
        let Component { target, id, kind, language, with, bytes, millis } = &component;
        let millis = u64::try_from(*millis).unwrap_or(u64::MAX);
        print_json(&json!({"id": id, "kind": kind, "language": language, "with": with, "file": target,
            "bytes": bytes, "millis": millis}))?;
    } else {
        print(&component.told())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether a folder holds a source that [`build`] takes.
pub(super) fn has_source(folder: &Path) -> bool {
    let source = Source { folder: folder.to_owned(), kind: PluginKind::Policy };
    let named = ["Cargo.toml", "package.json"].iter().any(|name| source.has(name));
    named || ["py", "c"].iter().any(|extension| !source.files(extension).is_empty())
}

/// Builds what lies in a folder, and writes plugin.wasm beside plugin.toml.
pub(super) fn build(path: &Path, toolchain: Option<Toolchain>, debug: bool) -> Result<Component, Failure> {
    let folder = path
        .canonicalize()
        .map_err(|error| Failure::Usage(format!("cannot find {}: {error}; name a plugin's folder", path.display())))?;
    let (id, kind) = identity(&folder).map_err(Failure::Other)?;
    let source = Source { folder, kind };
    let started = Instant::now();
    let (language, built) = if source.has("Cargo.toml") {
        ("rust", rust::build(&source, toolchain, debug))
    } else if source.has("package.json") {
        ("js", interpreted::javascript(&source, debug))
    } else if !source.files("py").is_empty() {
        ("python", interpreted::python(&source, debug))
    } else if !source.files("c").is_empty() {
        ("c", c::build(&source, debug))
    } else {
        return Err(Failure::Usage(format!(
            "{} holds none of Cargo.toml, package.json, *.py and *.c; begin with `agent-relay plugin new`",
            source.folder.display()
        )));
    };
    let Built { wasm, with } = built.map_err(Failure::Other)?;
    let component = component(&source, wasm).map_err(Failure::Other)?;
    let target = source.folder.join("plugin.wasm");
    write(&target, &component)
        .map_err(|error| Failure::Other(format!("failed to write {}: {error}", target.display())))?;
    Ok(Component { target, id, kind, language, with, bytes: component.len(), millis: started.elapsed().as_millis() })
}

/// Whole or not at all: a running relay may watch this folder.
fn write(target: &Path, component: &[u8]) -> std::io::Result<()> {
    // Hidden, so that a folder which is copied takes no half of it along.
    let draft = target.with_file_name(".plugin.wasm.draft");
    std::fs::write(&draft, component)?;
    std::fs::rename(&draft, target)
}

/// A core module wrapped in its world; a component as it is.
fn component(source: &Source, wasm: Vec<u8>) -> Result<Vec<u8>, String> {
    if !wasm.starts_with(b"\0asm\x01\0\0\0") {
        return Ok(wasm);
    }
    ComponentEncoder::default()
        .validate(true)
        .module(&wasm)
        .and_then(|encoder| encoder.encode())
        .map_err(|error| format!("the module does not fit world {} of wit/: {error:#}", source.world()))
}

/// Writes into a core module which world of `wit/` it is for.
fn embed(source: &Source, mut module: Vec<u8>) -> Result<Vec<u8>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("cannot use {}/wit: {error:#}", source.folder.display());
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(source.folder.join("wit")).map_err(|error| failed(&error))?;
    let world = resolve.select_world(&[package], Some(&source.world())).map_err(|error| failed(&error))?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)
        .map_err(|error| failed(&error))?;
    Ok(module)
}

/// The first of these programs that is there: a path of the project, or a name on the PATH.
fn find(source: &Source, names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    names.iter().find_map(|name| {
        if name.contains('/') {
            let own = source.folder.join(name);
            return own.is_file().then_some(own);
        }
        directories.iter().map(|directory| directory.join(name)).find(|program| program.is_file())
    })
}

/// Runs a compiler in the project's folder. What it says goes to standard error, as it says it.
fn compile(command: &mut Command, source: &Source) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command
        .current_dir(&source.folder)
        // Standard output is for the result.
        .stdout(std::io::stderr())
        .status()
        .map_err(|error| format!("failed to run {name}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{name} ended with {status}; what is wrong stands above")) }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("the compiler left no {}: {error}", path.display()))
}
