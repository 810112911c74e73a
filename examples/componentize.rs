//! Makes components of the guests' core modules, for `.ci/build-plugins` and `.ci/build-examples`.
//!
//! Usage: `componentize rust|c CORE_MODULES [OUTPUT]`. `CORE_MODULES` is the folder into which the
//! compiler put the modules. Without `OUTPUT` each component replaces the committed one in its guest's folder;
//! with it, `OUTPUT` mirrors the repository: `OUTPUT/plugins/claude/plugin.wasm` beside a copy of
//! `plugin.toml`. Run it at the root of the repository.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "componentize/sources.rs"]
mod sources;

use sources::Language;

const USAGE: &str = "usage: componentize rust|c CORE_MODULES [OUTPUT]";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let (Some(language), Some(modules)) = (arguments.next(), arguments.next()) else { return Err(USAGE.into()) };
    let output = arguments.next();
    let language = match language.to_str() {
        Some("rust") => Language::Rust,
        Some("c") => Language::C,
        _ => return Err(USAGE.into()),
    };

    let root = Path::new("");
    for guest in sources::guests(root)?.into_iter().filter(|guest| guest.language == language) {
        let module = modules.join(format!("{}.wasm", guest.module));
        let mut component = componentize(&module)?;
        component.extend(sources::section(root, &guest)?);

        let source = root.join(&guest.folder);
        let target = output.as_ref().map_or_else(|| source.clone(), |output| output.join(&guest.folder));
        fs::create_dir_all(&target)?;
        fs::write(target.join("plugin.wasm"), &component)?;
        let manifest = source.join("plugin.toml");
        if target != source && manifest.exists() {
            fs::copy(&manifest, target.join("plugin.toml"))?;
        }
        println!("{}: {} bytes", target.join("plugin.wasm").display(), component.len());
    }
    Ok(())
}

/// Wraps a core module in the world that wit-bindgen wrote into it. A module that imports anything
/// the world does not offer, WASI for instance, is an error.
fn componentize(module: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", module.display());
    let bytes = fs::read(module).map_err(|error| failed(&error))?;
    let component = wit_component::ComponentEncoder::default()
        .validate(true)
        .module(&bytes)
        .and_then(|encoder| encoder.encode())
        .map_err(|error| failed(&format!("{error:#}")))?;
    Ok(component)
}
