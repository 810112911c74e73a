//! Files of earlier generations, each under the SHA-256 of its bytes, so that the relay can go back
//! to them when the plugin's folder no longer has them.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::super::super::package::{
    MANIFEST_BYTES_MAX, WASM_BYTES_MAX, make_directory, open_private, sha256_hex, write_whole,
};

/// A private directory of files named by what is in them.
#[derive(Clone)]
pub(crate) struct KeptFiles {
    directory: PathBuf,
}

impl KeptFiles {
    pub(crate) fn open(directory: &Path) -> std::io::Result<Self> {
        make_directory(directory)?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// Keeps bytes of this digest, unless they are kept already. Blocks.
    pub(crate) fn keep(&self, digest: &str, bytes: &[u8]) -> std::io::Result<()> {
        let path = self.directory.join(digest);
        // What was damaged meanwhile is written again.
        if read(&path).is_ok_and(|kept| kept == bytes) {
            return Ok(());
        }
        write_whole(&self.directory, &path, &[bytes])
    }

    /// The bytes of this digest, if they are there and still the same. Blocks.
    pub(crate) fn take(&self, digest: &str) -> Result<Vec<u8>, String> {
        let path = self.directory.join(digest);
        let bytes = read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        if sha256_hex(&bytes) == digest {
            Ok(bytes)
        } else {
            Err(format!("{} was damaged or tampered with", path.display()))
        }
    }

    /// Removes whatever is not among these, unfinished writes included. Blocks.
    pub(crate) fn keep_only(&self, digests: &BTreeSet<String>) -> std::io::Result<()> {
        for entry in std::fs::read_dir(&self.directory)? {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(|name| digests.contains(name)) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let most = WASM_BYTES_MAX.max(MANIFEST_BYTES_MAX);
    let (file, metadata) = open_private(path)?;
    if metadata.len() > most {
        return Err(std::io::Error::other(format!("larger than {most} bytes")));
    }
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_same_bytes_come_back() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let kept = KeptFiles::open(&directory.path().join("generations")).expect("opened");
        let digest = sha256_hex(b"component");
        kept.keep(&digest, b"component").expect("kept");
        assert_eq!(kept.take(&digest).as_deref(), Ok(&b"component"[..]));

        let path = kept.directory.join(&digest);
        for bad in [&b"component!"[..], b"componenT", b""] {
            std::fs::write(&path, bad).expect("writable");
            let error = kept.take(&digest).expect_err("not the same");
            assert!(error.contains("damaged or tampered with"), "{error}");
        }
        kept.keep(&digest, b"component").expect("kept again");
        assert_eq!(kept.take(&digest).as_deref(), Ok(&b"component"[..]));
    }

    #[test]
    fn what_nobody_needs_is_removed() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let kept = KeptFiles::open(directory.path()).expect("opened");
        let [one, two] = [&b"one"[..], b"two"].map(|bytes| {
            kept.keep(&sha256_hex(bytes), bytes).expect("kept");
            sha256_hex(bytes)
        });
        std::fs::write(directory.path().join(".draft-0"), "cut short").expect("writable");
        kept.keep_only(&BTreeSet::from([one.clone()])).expect("removed");
        assert!(kept.take(&one).is_ok() && kept.take(&two).is_err());
        assert_eq!(std::fs::read_dir(directory.path()).expect("listed").count(), 1);
    }
}
