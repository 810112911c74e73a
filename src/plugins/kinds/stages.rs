//! What the stages of loading make of an answer, whatever the kind of plugin.

use super::super::package::{Terms, check_executable, check_version};
use super::super::runtime::{CallError, clean};
use super::rejection::{Rejection, Stage, in_stage};

/// Programs a plugin may describe.
const EXECUTABLES_MAX: usize = 32;

/// Checks that a plugin describes itself as its manifest does.
pub(crate) fn check_description(id: &str, version: &str, terms: &Terms) -> Result<(), Rejection> {
    let rejected = |reason: String| Err(Rejection::new(Stage::Describe, reason));
    if id != terms.id {
        return rejected(format!("describes itself as {:?}, but the manifest says {:?}", clean(id), terms.id));
    }
    if let Err(problem) = check_version(version) {
        return rejected(format!("describes its version as {:?}: {problem}", clean(version)));
    }
    if let Some(expected) = &terms.version
        && expected != version
    {
        return rejected(format!("describes itself as version {version}, but the manifest says {expected}"));
    }
    Ok(())
}

/// Checks the programs that a plugin says its plans name.
pub(crate) fn check_executables(executables: &[String]) -> Result<(), Rejection> {
    let rejected = |reason: String| Rejection::new(Stage::Describe, reason);
    if executables.len() > EXECUTABLES_MAX {
        return Err(rejected(format!("describes more than {EXECUTABLES_MAX} executables")));
    }
    executables.iter().try_for_each(|program| {
        check_executable(program)
            .map_err(|problem| rejected(format!("describes executable {:?}: it {problem}", clean(program))))
    })
}

/// What `check-settings` came to.
pub(crate) fn settings_taken(answer: Result<Result<(), String>, CallError>) -> Result<(), Rejection> {
    answer
        .map_err(in_stage(Stage::Settings))?
        .map_err(|problem| Rejection::new(Stage::Settings, format!("does not take its settings: {}", clean(&problem))))
}
