//! Which names a plugin, a program, a variable and a file of a session may have.

use std::path::{Component, Path};

/// Checks the id of a plugin, which is also the name of its folder.
pub(crate) fn check_id(id: &str) -> Result<(), String> {
    let fits = (1..=64).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !id.starts_with('-');
    if fits { Ok(()) } else { Err("must be 1 to 64 of a-z, 0-9 and `-`, and not begin with `-`".into()) }
}

/// Checks the version a plugin gives itself.
pub(crate) fn check_version(version: &str) -> Result<(), String> {
    if (1..=64).contains(&version.len()) && version.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(())
    } else {
        Err("must be 1 to 64 printable characters without spaces".into())
    }
}

/// A program is a plain name or an absolute path without detours.
pub(crate) fn check_executable(program: &str) -> Result<(), String> {
    let plain = !program.contains('/') && check_file_name(program).is_ok();
    let absolute = file_name_of_absolute(program).is_some();
    if (plain || absolute) && !program.chars().any(char::is_control) {
        Ok(())
    } else {
        Err("must be a plain name, or an absolute path without `.` and `..`".into())
    }
}

/// The last component of an absolute path without detours.
pub(crate) fn file_name_of_absolute(path: &str) -> Option<&str> {
    let rest = path.strip_prefix('/')?;
    let straight = rest.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    straight.then(|| rest.rsplit('/').next()).flatten()
}

/// A name of the environment that a plan may set, where it is granted.
pub(crate) fn check_env_name(name: &str) -> Result<(), String> {
    let mut bytes = name.bytes();
    let portable = name.len() <= 128
        && bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !portable {
        return Err("must be letters, digits and `_`, at most 128, not beginning with a digit".into());
    }
    // These decide what code is run, so no grant covers them.
    let loader = name.starts_with("LD_") || name.starts_with("DYLD_");
    if loader || name == "PATH" || name == "HOME" {
        return Err("may not be set by a plugin".into());
    }
    Ok(())
}

/// A file of the session directory itself: one ordinary path component.
pub(crate) fn check_file_name(name: &str) -> Result<(), String> {
    let mut components = Path::new(name).components();
    let one = matches!(
        (components.next(), components.next()),
        (Some(Component::Normal(only)), None) if only == name
    );
    if one && name.len() <= 128 && !name.chars().any(char::is_control) {
        Ok(())
    } else {
        Err("must be a plain file name of at most 128 bytes".into())
    }
}
