//! Where the guests are and what each is built from.
//!
//! A built component ends with a custom section that holds a SHA-256 of its sources, so that a
//! committed one which no longer belongs to them is found without any WebAssembly toolchain.
//! `examples/componentize.rs` writes the section; the integration tests compare it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The folders that hold guests, from the root of the repository.
const GUEST_FOLDERS: [&str; 4] = ["plugins", "examples/plugins", "tests/plugins", "tests/plugins/conformance"];

/// What every guest written in C is compiled with.
const C_LIBRARY: &str = "plugins/sdk-c";

/// What the library holds for others: the guests here are policies, and only `agent-relay plugin new`
/// gives the bindings of providers away.
const C_LIBRARY_UNUSED: [&str; 2] =
    ["plugins/sdk-c/bindings/provider_plugin.c", "plugins/sdk-c/bindings/provider_plugin.h"];

/// The section's name.
const SECTION: &[u8] = b"agent-relay:sources";

/// Sources that become a component which is committed.
pub(crate) struct Guest {
    /// Its folder, from the root of the repository.
    pub(crate) folder: PathBuf,
    /// What it is written in.
    pub(crate) language: Language,
    /// The name of its core module, without `.wasm`.
    pub(crate) module: String,
}

/// The languages whose components are small enough to be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    /// A crate.
    Rust,
    /// A `plugin.c`.
    C,
}

/// Every guest of the repository at `root`, ordered by folder. A crate there that is no `cdylib`
/// is a library of the guests and none of them.
pub(crate) fn guests(root: &Path) -> io::Result<Vec<Guest>> {
    let mut guests = Vec::new();
    for parent in GUEST_FOLDERS {
        if !root.join(parent).is_dir() {
            continue;
        }
        for entry in fs::read_dir(root.join(parent))? {
            let folder = Path::new(parent).join(entry?.file_name());
            if root.join(&folder).join("plugin.c").is_file() {
                let module = folder.to_string_lossy().replace('/', "_");
                guests.push(Guest { folder, language: Language::C, module });
                continue;
            }
            let manifest = root.join(&folder).join("Cargo.toml");
            if !manifest.is_file() {
                continue;
            }
            let manifest = read_manifest(&manifest)?;
            let value = |table: &str, key: &str| manifest.get(table)?.get(key).cloned();
            let kinds = value("lib", "crate-type").and_then(|kinds| kinds.try_into().ok());
            if kinds.is_some_and(|kinds: Vec<String>| kinds.iter().any(|kind| kind == "cdylib"))
                && let Some(package) = value("package", "name").and_then(|name| name.try_into::<String>().ok())
            {
                guests.push(Guest { folder, language: Language::Rust, module: package.replace('-', "_") });
            }
        }
    }
    guests.sort_by(|a, b| a.folder.cmp(&b.folder));
    Ok(guests)
}

/// The last bytes of a component that was built from what `guest` holds now.
pub(crate) fn section(root: &Path, guest: &Guest) -> io::Result<Vec<u8>> {
    let mut files = match guest.language {
        Language::Rust => crate_files(root, &guest.folder)?,
        Language::C => c_files(root, &guest.folder)?,
    };
    collect_files(root, Path::new("wit"), &mut files)?;
    let digest = digest(root, files)?;
    let size = u8::try_from(1 + SECTION.len() + digest.len()).expect("a size below 128 is one byte of LEB128");
    assert!(size < 128);
    let mut section = vec![0, size, SECTION.len() as u8];
    section.extend_from_slice(SECTION);
    section.extend_from_slice(&digest);
    Ok(section)
}

/// All that goes into a crate's component beside the interface: the crate, the crates it names by
/// path, and the guests' workspace and lock file.
fn crate_files(root: &Path, guest: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = vec![PathBuf::from("plugins/Cargo.toml"), PathBuf::from("plugins/Cargo.lock")];
    let mut crates = vec![guest.to_owned()];
    while let Some(folder) = crates.pop() {
        let manifest = folder.join("Cargo.toml");
        if let Some(toml::Value::Table(dependencies)) = read_manifest(&root.join(&manifest))?.get("dependencies") {
            let paths = dependencies.values().filter_map(|dependency| dependency.get("path")?.as_str());
            crates.extend(paths.map(|path| beside(&folder, path)));
        }
        files.push(manifest);
        collect_files(root, &folder.join("src"), &mut files)?;
        // One that is not written against the published interface brings its own.
        if root.join(&folder).join("wit").is_dir() {
            collect_files(root, &folder.join("wit"), &mut files)?;
        }
    }
    Ok(files)
}

/// All that goes into a component written in C beside the interface.
fn c_files(root: &Path, guest: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    collect_files(root, Path::new(C_LIBRARY), &mut files)?;
    collect_files(root, guest, &mut files)?;
    files.retain(|file| {
        file.extension().is_some_and(|extension| ["c", "h", "o"].iter().any(|known| extension == *known))
            && !C_LIBRARY_UNUSED.iter().any(|unused| file == Path::new(unused))
    });
    Ok(files)
}

/// SHA-256 over the names and contents of files.
fn digest(root: &Path, mut files: Vec<PathBuf>) -> io::Result<Vec<u8>> {
    files.sort();
    files.dedup();

    let mut hash = Sha256::new();
    for file in files {
        let contents = fs::read(root.join(&file))?;
        // Lengths keep the end of one from passing for the beginning of the next.
        for part in [file.to_string_lossy().as_bytes(), &contents] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    Ok(hash.finalize().to_vec())
}

/// `folder` joined with a relative `path`, whose `..` are taken away by components.
fn beside(folder: &Path, path: &str) -> PathBuf {
    let mut joined = folder.to_owned();
    for part in Path::new(path) {
        if part == ".." {
            joined.pop();
        } else {
            joined.push(part);
        }
    }
    joined
}

fn collect_files(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect_files(root, &path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn read_manifest(path: &Path) -> io::Result<toml::Table> {
    let invalid =
        |error: toml::de::Error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()));
    fs::read_to_string(path)?.parse().map_err(invalid)
}
