//! Paths as policies see them: compared by components, never by string prefix.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

/// One path, three ways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PathFacts {
    /// As the caller wrote it.
    pub given: String,
    /// Absolute, with `.` and `..` resolved by components, without asking the file system.
    pub normalised: String,
    /// With every symlink followed; `None` where this host is not the one that would start the
    /// process.
    pub resolved: Option<String>,
}

impl PathFacts {
    /// The facts of a path on another host: a relative one is taken from `base`.
    pub fn elsewhere(given: &str, base: &Path) -> Self {
        Self {
            given: given.to_owned(),
            normalised: normalise(&base.join(given)).to_string_lossy().into_owned(),
            resolved: None,
        }
    }

    /// The path a process would really be in: resolved where that is known.
    pub fn effective(&self) -> &str {
        self.resolved.as_deref().unwrap_or(&self.normalised)
    }
}

/// Resolves `.` and `..` by components, without asking the file system. A `..` at the root stays
/// at the root, as it does for the operating system.
pub fn normalise(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => {
                normal.push(component);
            }
        }
    }
    normal
}

/// Whether `path` is `base` or lies below it. Both are normalised first, and compared component
/// by component: `/base-evil` is not in `/base`.
pub fn is_within(path: &Path, base: &Path) -> bool {
    normalise(path).starts_with(normalise(base))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_sibling_with_the_same_prefix_is_outside() {
        assert!(!is_within(Path::new("/base-evil"), Path::new("/base")));
        assert!(is_within(Path::new("/base/x/../y"), Path::new("/base")));
        assert!(!is_within(Path::new("/base/../etc"), Path::new("/base")));
        assert!(is_within(Path::new("/base"), Path::new("/base/")));
    }

    proptest! {
        /// An oracle that walks the components with a depth counter must agree.
        #[test]
        fn containment_agrees_with_a_depth_counter(
            parts in proptest::collection::vec(prop_oneof![Just(".."), Just("."), Just("a"), Just("base")], 0..12)
        ) {
            let path = PathBuf::from(format!("/base/{}", parts.join("/")));
            let mut stack = vec!["base"];
            for part in &parts {
                match *part {
                    "." => {}
                    ".." => { stack.pop(); }
                    name => stack.push(name),
                }
            }
            prop_assert_eq!(is_within(&path, Path::new("/base")), stack.first() == Some(&"base"));
        }
    }
}
