//! One thing about a plugin that is not as it should be, with what to do about it.

use serde::Serialize;
use serde_json::Value;

use super::super::kinds::Stage;
use super::super::package::PluginKind;
use super::super::registry::PluginStatus;
use super::super::runtime::bindings::{PACKAGE, TRACK};
use super::inspection::Inspection;

/// Bytes above which a component takes long to compile and to load.
const BYTES_NOTABLE: usize = 4 << 20;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// A relay would reject the plugin for it.
    Error,
    /// A relay loads it all the same.
    Warning,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// Where loading would notice.
    pub stage: Stage,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What to do about a component that does not fit the world of its kind, as far as that shows from outside.
pub(super) fn world_hint(component: &Inspection, kind: PluginKind) -> String {
    if component.kind != Some(kind) {
        return format!("build it for the world {}-plugin in wit/worlds.wit", kind.as_str());
    }
    if !component.spoken {
        let track = component.track.as_deref().unwrap_or_default();
        return format!(
            "it is built for track {track} of the interface, and this relay speaks {TRACK}: build it against the wit/ \
             that `agent-relay plugin new` writes"
        );
    }
    let own = [format!("{PACKAGE}host@{TRACK}"), format!("{PACKAGE}types@{TRACK}")];
    // Of WASI a relay has the first preview's successor, without HTTP and what else came beside it.
    let wasi = ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];
    let offered = |name: &str| own.iter().any(|own| own == name) || wasi.iter().any(|wasi| name.starts_with(wasi));
    let foreign: Vec<&str> = component.imports.iter().map(String::as_str).filter(|name| !offered(name)).collect();
    if foreign.is_empty() {
        return "build it against the wit/ that `agent-relay plugin new` writes, as it is: no field more, none less"
            .to_owned();
    }
    format!(
        "no relay offers {}: a plugin may use `host` and nothing else, so leave out the library that imports that",
        foreign.join(", ")
    )
}

/// What can be seen from outside and is worth knowing, though a relay loads it all the same.
pub(super) fn notable(component: &Inspection) -> Vec<Finding> {
    let mut findings = Vec::new();
    if component.wasi {
        findings.push(warning(
            Stage::World,
            "imports WASI: it finds no files, network, environment or arguments there, and each call takes longer; where \
             the plugin before it imported none, an operator has to allow it",
            Some("build with WASI stubbed: --stub-wasi for JavaScript and Python; `agent-relay plugin build` does it"),
        ));
    }
    if component.bytes > BYTES_NOTABLE {
        findings.push(warning(
            Stage::Compile,
            &format!("has {} bytes: compiling it takes seconds the first time", component.bytes),
            None,
        ));
    }
    findings
}

/// What it says of itself against what it was granted.
pub(super) fn over_against_grants(abilities: &Value, status: &PluginStatus) -> Vec<Finding> {
    let mut findings = Vec::new();
    if abilities["kinds"].as_array().is_some_and(Vec::is_empty) {
        let next = "name the controls it wants to see in `kinds` of its description";
        findings.push(warning(Stage::Describe, "is asked about no kind of control", Some(next)));
    }
    for program in abilities["executables"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let granted = |name: &String| name == program || name.rsplit('/').next() == Some(program);
        if !status.grants.executables.iter().any(granted) {
            findings.push(warning(
                Stage::Describe,
                &format!("describes executable {program:?}, which is not granted: a plan that names it is refused"),
                Some("add it to `executables` below [grants] in plugin.toml"),
            ));
        }
    }
    if let Some(limits) = status.limits
        && status.p99_micros > u64::from(limits.deadline_ms) * 500
    {
        findings.push(warning(
            Stage::Probe,
            &format!("took {} us of the {} ms a call may take", status.p99_micros, limits.deadline_ms),
            Some("raise `deadline_ms` below [limits], or do less"),
        ));
    }
    findings
}

/// What the author does next about a plugin that a relay would reject at this stage.
pub fn next_step(stage: Stage) -> Option<&'static str> {
    match stage {
        Stage::Describe => Some(
            "make `describe` answer what plugin.toml says; what it logged before it failed stands on standard error",
        ),
        Stage::Settings => Some("change [settings] in plugin.toml, or what `check-settings` takes"),
        Stage::Probe => Some(
            "what it logged before it failed stands on standard error; `agent-relay plugin run` asks it the same and \
             anything else",
        ),
        Stage::Compile | Stage::World => Some("`agent-relay plugin check` says what to change"),
        _ => None,
    }
}

pub(super) fn error(stage: Stage, problem: String, next: Option<&str>) -> Finding {
    Finding { level: Level::Error, stage, problem, next: next.map(str::to_owned) }
}

fn warning(stage: Stage, problem: &str, next: Option<&str>) -> Finding {
    Finding { level: Level::Warning, stage, problem: problem.to_owned(), next: next.map(str::to_owned) }
}
