//! Everything that loading would say about a plugin, at once, with what to do about it.

use serde::Serialize;
use serde_json::{Map, Value};

use super::super::kinds::Stage;
use super::super::package::{Manifest, PluginKind};
use super::super::registry::PluginStatus;
use super::super::runtime::bindings::{PACKAGE, TRACK};
use super::bench::Workbench;
use super::inspection::Inspection;
use super::project::Project;

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

/// What became of a check.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether a relay would load it.
    pub loads: bool,
    /// What is not as it should be, errors first.
    pub findings: Vec<Finding>,
    /// What the component is, when it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<Inspection>,
    /// What a relay would show of it, when it loads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<PluginStatus>,
    /// What it says it can do, when it loads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abilities: Option<Value>,
    /// The median of instance and call, over the questions that loading asked, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_micros: Option<u64>,
}

impl Workbench {
    /// Takes a plugin through everything that loading checks, and goes on after a failure as far as
    /// that makes sense.
    pub async fn check(&self, project: &Project) -> Report {
        let mut findings = Vec::new();
        if let Err(problem) = project.as_a_relay_would() {
            findings.push(error(Stage::Read, problem, None));
        }
        let manifest = manifest(project, &mut findings);
        let component = match self.inspect(project).await {
            Ok(component) => Some(component),
            Err(rejection) => {
                findings.push(error(rejection.stage, rejection.reason, None));
                None
            }
        };
        if let Some(component) = &component {
            shape(component, manifest.as_ref().map(|manifest| manifest.kind), &mut findings);
        }
        let mut report = Report { loads: false, findings, component, plugin: None, abilities: None, p50_micros: None };
        // A component of the wrong shape was complained about already, in clearer words.
        if report.component.is_some() && report.findings.iter().all(|finding| finding.stage != Stage::World) {
            match self.load(project, &Map::new()).await {
                Ok(loaded) => {
                    let status = loaded.status();
                    report.p50_micros = Some(status.p50_micros);
                    abilities(&loaded.abilities(), &status, &mut report.findings);
                    report.abilities = Some(loaded.abilities());
                    report.plugin = Some(status);
                }
                Err(rejection) => {
                    let told = report.findings.iter().any(|finding| finding.problem == rejection.reason);
                    if !told {
                        let next = next_step(rejection.stage);
                        report.findings.push(error(rejection.stage, rejection.reason, next));
                    }
                }
            }
        }
        report.findings.sort_by_key(|finding| finding.level == Level::Warning);
        report.loads = report.findings.iter().all(|finding| finding.level == Level::Warning);
        report
    }
}

fn manifest(project: &Project, findings: &mut Vec<Finding>) -> Option<Manifest> {
    let Some(text) = project.manifest() else {
        let next = "write one beside plugin.wasm with at least `id` and `kind`, or begin with `agent-relay plugin new`";
        findings.push(error(Stage::Manifest, "there is no plugin.toml".into(), Some(next)));
        return None;
    };
    let manifest = match Manifest::parse(text) {
        Ok(manifest) => manifest,
        Err(problem) => {
            findings.push(error(Stage::Manifest, format!("plugin.toml: {problem}"), None));
            return None;
        }
    };
    let name = project.name();
    if manifest.id != name {
        findings.push(error(
            Stage::Manifest,
            format!("plugin.toml: `id` is {:?} and the folder is {name:?}; they must be the same", manifest.id),
            Some("rename the folder, or change `id` here and in the source"),
        ));
    }
    if let Some(expected) = &manifest.sha256
        && !expected.eq_ignore_ascii_case(project.digest())
    {
        findings.push(error(
            Stage::Manifest,
            format!("plugin.toml: `sha256` is {expected}, but that of plugin.wasm is {}", project.digest()),
            Some("write the digest of the component that was built last"),
        ));
    }
    Some(manifest)
}

/// What can be seen from outside: the world, the track, the imports and the size.
fn shape(component: &Inspection, kind: Option<PluginKind>, findings: &mut Vec<Finding>) {
    let wanted = kind.or(component.kind);
    match (component.kind, wanted) {
        (Some(found), Some(wanted)) if found == wanted => {
            if !component.spoken {
                let track = component.track.as_deref().unwrap_or_default();
                findings.push(error(
                    Stage::World,
                    format!("built for track {track} of the interface; this relay speaks {TRACK}"),
                    Some("build it against the wit/ that `agent-relay plugin new` writes"),
                ));
            }
        }
        (_, wanted) => {
            let kind = wanted.map_or_else(|| PluginKind::named(" or "), |kind| kind.as_str().to_owned());
            let exports = if component.exports.is_empty() { "nothing".into() } else { component.exports.join(", ") };
            findings.push(error(
                Stage::World,
                format!("a {kind} must export {PACKAGE}{kind}@{TRACK}; it exports {exports}"),
                Some("build it for the world of its kind in wit/worlds.wit"),
            ));
        }
    }
    let offered = |name: &&String| {
        name.starts_with("wasi:")
            || **name == format!("{PACKAGE}host@{TRACK}")
            || **name == format!("{PACKAGE}types@{TRACK}")
    };
    let foreign: Vec<&str> = component.imports.iter().filter(|name| !offered(name)).map(String::as_str).collect();
    if !foreign.is_empty() {
        findings.push(error(
            Stage::World,
            format!("imports what no relay offers: {}", foreign.join(", ")),
            Some("a plugin may use `host` and nothing else; leave out the library that imports these"),
        ));
    }
    if component.wasi {
        findings.push(warning(
            Stage::World,
            "imports WASI: it finds no files, network, environment or arguments there, and each call takes longer",
            Some("build with WASI stubbed: --stub-wasi for JavaScript and Python, wasm32-unknown-unknown for Rust"),
        ));
    }
    if component.bytes > BYTES_NOTABLE {
        findings.push(warning(
            Stage::Compile,
            &format!("has {} bytes: compiling it takes seconds the first time", component.bytes),
            None,
        ));
    }
}

/// What it says of itself against what it was granted.
fn abilities(abilities: &Value, status: &PluginStatus, findings: &mut Vec<Finding>) {
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
}

fn next_step(stage: Stage) -> Option<&'static str> {
    match stage {
        Stage::Describe => Some("make `describe` answer what plugin.toml says"),
        Stage::Settings => Some("change [settings] in plugin.toml, or what `check-settings` takes"),
        Stage::Probe => Some("see what it answers with `agent-relay plugin run`"),
        _ => None,
    }
}

fn error(stage: Stage, problem: String, next: Option<&str>) -> Finding {
    Finding { level: Level::Error, stage, problem, next: next.map(str::to_owned) }
}

fn warning(stage: Stage, problem: &str, next: Option<&str>) -> Finding {
    Finding { level: Level::Warning, stage, problem: problem.to_owned(), next: next.map(str::to_owned) }
}
