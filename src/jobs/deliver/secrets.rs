//! The secret of a relay whose operator chose none: made once, and kept for this user alone.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::sign::SigningSecret;

/// The name of the file in the data directory.
pub const SECRET_FILE: &str = "callback-secret";
/// Far more than a secret has.
const FILE_BYTES_MAX: u64 = 4_096;

/// Why there is no secret to sign with.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}; put a signing secret there, or delete it and another one is made")]
pub struct SecretError {
    path: String,
    problem: String,
}

/// The secret in this file, which is made where it is not there.
pub(super) fn open(path: &Path) -> Result<SigningSecret, SecretError> {
    let failed = |problem: String| SecretError { path: path.display().to_string(), problem };
    match read(path) {
        Ok(text) => SigningSecret::parse(&text).map_err(failed),
        Err(error) if error.kind() == ErrorKind::NotFound => make(path).map_err(|error| failed(error.to_string())),
        Err(error) => Err(failed(error.to_string())),
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Under another name first, so that no half of it is ever found.
fn make(path: &Path) -> io::Result<SigningSecret> {
    let secret = SigningSecret::random().map_err(io::Error::other)?;
    let unfinished = PathBuf::from(format!("{}.new", path.display()));
    // What a start left that was cut short may have other permissions.
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    writeln!(file, "{}", secret.written())?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    tracing::info!(path = %path.display(), "made the secret that callbacks are signed with");
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_made_once_for_this_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SECRET_FILE);
        std::fs::write(folder.path().join("callback-secret.new"), "half").unwrap();
        let secret = open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(open(&path).unwrap(), secret);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(open(&other.path().join(SECRET_FILE)).unwrap(), secret);
        std::fs::write(&path, "whsec_short").unwrap();
        let error = open(&path).unwrap_err().to_string();
        assert!(error.contains("callback-secret") && error.contains("24 to 64") && !error.contains("short"), "{error}");
    }
}
