//! Components made from the interface alone: they have the right shape, or a wrong one on
//! purpose, and trap when they are called. No WebAssembly toolchain is needed for them.

use std::fs;
use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve, WorldId};

/// A component of a world of `wit/`, after `edit` has had its way with each of the files.
pub(crate) fn component(world: &str, edit: impl Fn(&str) -> String) -> Vec<u8> {
    component_with(world, edit, &[])
}

/// The same with further packages beside ours.
pub(crate) fn component_with(world: &str, edit: impl Fn(&str) -> String, dependencies: &[&str]) -> Vec<u8> {
    let (resolve, world) = self::world(world, edit, dependencies);
    encode(dummy_module(&resolve, world, ManglingAndAbi::Standard32), &resolve, world)
}

/// The interface, edited like that, and one of its worlds.
pub(super) fn world(name: &str, edit: impl Fn(&str) -> String, dependencies: &[&str]) -> (Resolve, WorldId) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("wit")).expect("the interface") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            continue;
        }
        let text = fs::read_to_string(&path).expect("readable");
        fs::write(directory.path().join(path.file_name().expect("a name")), edit(&text)).expect("written");
    }
    for (number, text) in dependencies.iter().enumerate() {
        let folder = directory.path().join(format!("deps/{number}"));
        fs::create_dir_all(&folder).expect("made");
        fs::write(folder.join("package.wit"), text).expect("written");
    }
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(directory.path()).expect("valid WIT");
    let world = resolve.select_world(&[package], Some(name)).expect("the world is there");
    (resolve, world)
}

/// The component of this world that a core module makes.
pub(super) fn encode(mut module: Vec<u8>, resolve: &Resolve, world: WorldId) -> Vec<u8> {
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8, false).expect("embedded");
    ComponentEncoder::default().module(&module).and_then(|encoder| encoder.encode()).expect("encoded")
}
