//! The files of a plugin, wherever its author keeps them.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::super::package::{self, MANIFEST_BYTES_MAX, Manifest, PluginKind, WASM_BYTES_MAX, sha256_hex};

/// A component, and the manifest beside it where there is one.
#[derive(Clone, Debug)]
pub struct Project {
    folder: PathBuf,
    manifest: Option<String>,
    wasm: Bytes,
    digest: String,
}

impl Project {
    /// Reads a plugin's folder, or one component. The manifest beside a file called `plugin.wasm`
    /// counts as its own.
    ///
    /// # Errors
    /// When there is no component, or a file is too large; each says what to do.
    pub fn read(path: &Path) -> Result<Self, String> {
        let metadata = path.metadata().map_err(|error| format!("cannot find {}: {error}", path.display()))?;
        let (folder, wasm) = if metadata.is_dir() {
            (path.to_owned(), path.join("plugin.wasm"))
        } else {
            (
                path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned(),
                path.to_owned(),
            )
        };
        if metadata.is_dir() && !wasm.exists() {
            return Err(format!(
                "no plugin.wasm in {0}: build it with `agent-relay plugin build {0}`",
                folder.display()
            ));
        }
        let toml = folder.join("plugin.toml");
        let manifest = if wasm.file_name().is_some_and(|name| name == "plugin.wasm") && toml.exists() {
            let bytes = bounded(&toml, MANIFEST_BYTES_MAX)?;
            Some(String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8", toml.display()))?)
        } else {
            None
        };
        let wasm = bounded(&wasm, WASM_BYTES_MAX)?;
        Ok(Self { folder, manifest, digest: sha256_hex(&wasm), wasm: wasm.into() })
    }

    /// The folder it lies in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The text of its manifest.
    pub fn manifest(&self) -> Option<&str> {
        self.manifest.as_deref()
    }

    /// SHA-256 of the component, in hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The id its manifest gives it.
    ///
    /// # Errors
    /// When there is no manifest, or it cannot be understood.
    pub fn id(&self) -> Result<String, String> {
        let missing = || format!("no plugin.toml in {}", self.folder.display());
        id_in(self.manifest().ok_or_else(missing)?)
    }

    /// The component.
    pub fn wasm(&self) -> Bytes {
        self.wasm.clone()
    }

    /// Reads it the way a relay reads its plugin directory, which also looks at who may write there.
    pub(super) fn as_a_relay_would(&self) -> Result<(), String> {
        let folder =
            self.folder.canonicalize().map_err(|error| format!("cannot find {}: {error}", self.folder.display()))?;
        package::read(&folder, &folder, false).map(drop)
    }

    /// The name of its folder.
    pub(super) fn name(&self) -> String {
        let folder = self.folder.canonicalize().unwrap_or_else(|_| self.folder.clone());
        folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// The id and the kind in the manifest of a folder, which need hold no component yet.
///
/// # Errors
/// When there is no manifest, or it cannot be understood.
pub fn identity(folder: &Path) -> Result<(String, PluginKind), String> {
    let path = folder.join("plugin.toml");
    if !path.exists() {
        return Err(format!("no plugin.toml in {}; begin with `agent-relay plugin new`", folder.display()));
    }
    let text = String::from_utf8(bounded(&path, MANIFEST_BYTES_MAX)?).map_err(|_| "plugin.toml is not UTF-8")?;
    let manifest = Manifest::parse(&text).map_err(|problem| format!("plugin.toml: {problem}"))?;
    Ok((manifest.id, manifest.kind))
}

/// Checks that a name can be the id of a plugin.
///
/// # Errors
/// What an id may be.
pub fn check_id(id: &str) -> Result<(), String> {
    package::check_id(id)
}

/// The id in a manifest.
pub(super) fn id_in(manifest: &str) -> Result<String, String> {
    Manifest::parse(manifest).map(|manifest| manifest.id).map_err(|problem| format!("plugin.toml: {problem}"))
}

/// The kind in a manifest that can be understood.
pub(super) fn kind_in(manifest: &str) -> Option<PluginKind> {
    Manifest::parse(manifest).ok().map(|manifest| manifest.kind)
}

fn bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let metadata = path.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(format!("{} is not a regular file", path.display()));
    }
    if metadata.len() > bytes_max {
        return Err(format!("{} has {} bytes; a relay takes {bytes_max}", path.display(), metadata.len()));
    }
    std::fs::read(path).map_err(failed)
}
