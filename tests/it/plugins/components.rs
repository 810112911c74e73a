//! Every committed component belongs to the sources beside it.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../../../examples/componentize/sources.rs"]
mod sources;

/// The built component of the guest in `folder` (from the root of the repository, such as
/// `plugins/claude`): the committed one, or with `AGENT_RELAY_TEST_PLUGINS` set the one that
/// `.ci/build-plugins` wrote there.
pub(crate) fn component(folder: &Path) -> PathBuf {
    let root = std::env::var_os("AGENT_RELAY_TEST_PLUGINS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    root.join(folder).join("plugin.wasm")
}

#[test]
fn every_component_was_built_from_its_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guests = sources::guests(root).expect("the guests' manifests are readable");
    assert!(guests.iter().any(|guest| guest.module == "containment"), "the guests are not found");
    for guest in guests {
        let path = component(&guest.folder);
        let component = fs::read(&path).unwrap_or_else(|error| {
            panic!("{}: {error}; run .ci/build-plugins and .ci/build-examples", path.display())
        });
        let section = sources::section(root, &guest).expect("the sources are readable");
        assert!(
            component.ends_with(&section),
            "{} is older than its sources; run .ci/build-plugins and .ci/build-examples, and commit what they write",
            path.display()
        );
    }
}
