//! Compiled components, kept so that a start takes milliseconds instead of seconds.
//!
//! What is kept is machine code that will run with the rights of the relay. So the directory is
//! private, and every entry carries a MAC under a key of this directory: a file that was changed,
//! cut short or put there by somebody else is compiled anew, never run.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::super::package::{make_directory, open_private, write_private};
use super::engine::{Compiled, Engine};

/// Entries kept; the longest unused go first.
const ENTRIES_MAX: usize = 64;
/// Bytes of one entry: machine code is some five times as large as the component.
const ENTRY_BYTES_MAX: u64 = 512 << 20;
/// Which form an entry has. Those of another are not looked at, and go as the longest unused.
const FORMAT: &str = "v2";
const KEY_BYTES: usize = 32;
const MAC_BYTES: usize = 32;

/// The directory of compiled components, or nothing where none can be had.
pub(crate) struct Cache {
    store: Option<Store>,
    compatibility: u64,
}

/// A directory that entries are kept in, and the key that they are authenticated with.
struct Store {
    directory: PathBuf,
    key: [u8; KEY_BYTES],
}

impl Cache {
    /// Opens the cache. Without a usable directory everything is compiled each time, which is
    /// slower and otherwise the same.
    pub(crate) fn open(directory: &Path, engine: &Engine) -> Self {
        let store = match Store::open(directory) {
            Ok(store) => Some(store),
            Err(error) => {
                tracing::warn!(path = %directory.display(), "cannot keep compiled plugins: {error}");
                None
            }
        };
        Self { store, compatibility: engine.compatibility() }
    }

    /// The component compiled: from the cache, or by compiling it now. Blocks.
    pub(crate) fn compile(&self, engine: &Engine, wasm: &[u8], digest: &str) -> wasmtime::Result<Compiled> {
        let Some(store) = &self.store else {
            return engine.compile(wasm);
        };
        let name = format!("{digest}-{:016x}.{FORMAT}.bin", self.compatibility);
        if let Some(code) = store.load(&name) {
            match engine.load(&code) {
                Ok(compiled) => return Ok(compiled),
                Err(error) => {
                    tracing::warn!(file = name, "cannot load a compiled plugin: {error:#}");
                }
            }
        }
        let compiled = engine.compile(wasm)?;
        let stored =
            Engine::machine_code(&compiled).map_err(std::io::Error::other).and_then(|code| store.store(&name, &code));
        if let Err(error) = stored {
            tracing::warn!(file = name, "cannot keep a compiled plugin: {error}");
        }
        Ok(compiled)
    }
}

impl Store {
    fn open(directory: &Path) -> std::io::Result<Self> {
        make_directory(directory)?;
        Ok(Self { key: key(directory)?, directory: directory.to_owned() })
    }

    /// The machine code of this name, if it is there and authentic.
    fn load(&self, name: &str) -> Option<Vec<u8>> {
        let path = self.directory.join(name);
        let (mut file, metadata) = open_private(&path).ok()?;
        if metadata.len() > ENTRY_BYTES_MAX {
            return None;
        }
        let mut mac = [0; MAC_BYTES];
        let mut code = Vec::new();
        file.read_exact(&mut mac).ok()?;
        file.take(ENTRY_BYTES_MAX).read_to_end(&mut code).ok()?;
        if self.mac(name, &code).verify_slice(&mac).is_ok() {
            // Its time of change is when it was last used: what is pruned first.
            let _ = std::fs::File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
            return Some(code);
        }
        tracing::warn!(path = %path.display(), "a compiled plugin was tampered with or damaged; compiling it again");
        None
    }

    fn store(&self, name: &str, code: &[u8]) -> std::io::Result<()> {
        let path = self.directory.join(name);
        write_private(&self.directory, &path, &[&self.mac(name, code).finalize().into_bytes(), code])?;
        self.prune()
    }

    fn prune(&self) -> std::io::Result<()> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "bin") {
                entries.push((path.metadata()?.modified()?, path));
            }
        }
        entries.sort();
        for (_, path) in entries.iter().rev().skip(ENTRIES_MAX) {
            std::fs::remove_file(path)?;
        }
        Ok(())
    }

    /// Binds the code to its name, so that one plugin's code cannot be put in place of another's.
    fn mac(&self, name: &str, code: &[u8]) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        mac.chain_update((name.len() as u64).to_le_bytes()).chain_update(name).chain_update(code)
    }
}

/// The key of a directory; a new one where there is none that can be trusted, with which all
/// entries under the old one are void.
fn key(directory: &Path) -> std::io::Result<[u8; KEY_BYTES]> {
    let path = directory.join("key");
    if let Ok((mut file, metadata)) = open_private(&path)
        && metadata.len() == KEY_BYTES as u64
    {
        let mut key = [0; KEY_BYTES];
        file.read_exact(&mut key)?;
        return Ok(key);
    }
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(std::io::Error::other)?;
    write_private(directory, &path, &[&key])?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn opened() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(&directory.path().join("cache")).expect("a cache");
        (directory, store)
    }

    #[test]
    fn what_was_stored_comes_back() {
        let (_directory, store) = opened();
        store.store("a.bin", b"machine code").expect("stored");
        assert_eq!(store.load("a.bin").as_deref(), Some(&b"machine code"[..]));
        let again = Store::open(&store.directory).expect("opened again");
        assert_eq!(again.load("a.bin").as_deref(), Some(&b"machine code"[..]));
    }

    #[test]
    fn nothing_but_the_very_same_bytes_comes_back() {
        let (_directory, store) = opened();
        store.store("a.bin", b"machine code").expect("stored");
        let path = store.directory.join("a.bin");
        let good = std::fs::read(&path).expect("readable");
        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] ^= 1;
            std::fs::write(&path, &bad).expect("writable");
            assert_eq!(store.load("a.bin"), None, "byte {index} changed");
            std::fs::write(&path, &good[..index]).expect("writable");
            assert_eq!(store.load("a.bin"), None, "cut to {index} bytes");
        }
        std::fs::write(store.directory.join("b.bin"), &good).expect("writable");
        std::fs::set_permissions(store.directory.join("b.bin"), Permissions::from_mode(0o600)).expect("own file");
        assert_eq!(store.load("b.bin"), None, "under another name");
    }

    #[test]
    fn an_entry_made_with_another_key_is_void() {
        let (_directory, store) = opened();
        store.store("a.bin", b"machine code").expect("stored");
        std::fs::remove_file(store.directory.join("key")).expect("removed");
        let again = Store::open(&store.directory).expect("opened again");
        assert_eq!(again.load("a.bin"), None);
    }

    #[test]
    fn a_file_that_others_could_read_or_write_is_not_used() {
        let (_directory, store) = opened();
        store.store("a.bin", b"machine code").expect("stored");
        std::fs::set_permissions(store.directory.join("a.bin"), Permissions::from_mode(0o644)).expect("own file");
        assert_eq!(store.load("a.bin"), None);
    }

    #[test]
    fn only_so_many_entries_are_kept() {
        let (_directory, store) = opened();
        for number in 0..ENTRIES_MAX + 3 {
            store.store(&format!("{number:03}.bin"), b"code").expect("stored");
        }
        let left = std::fs::read_dir(&store.directory).expect("listed").count();
        assert_eq!(left, ENTRIES_MAX + 1, "the entries and the key");
    }
}
