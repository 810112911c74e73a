//! `agent-relay plugin test`: every case of a plugin, in the real host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use agent_relay::config::Environment;
use agent_relay::plugins::workbench::{Called, Case, Difference, Loaded, Project, Workbench, blessed, differences};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::{Failure, print};
use super::{BenchArgs, code, cost, diff, load, print_json, read_case, show_log, wait};

/// Put every case in tests/*.json to the plugin, under the real limits; 1 if one comes out otherwise.
///
/// A case is a question and the answer it should have, such as
/// `{"control": {"spawn": {"cwd": {"given": "/etc"}}}, "expect": {"deny": {"code": "outside"}}}` for a policy and
/// `{"reason": "shutdown", "expect": {"stopPlan": {"keys": ["C-c"]}}}` for a provider, which is also asked
/// with a `request` for a `plan` and with a `message` for a `presentation`.
/// What a question leaves out is taken from a sample; of the answer only what is written is compared.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Test {
    #[command(flatten)]
    plugin: BenchArgs,
    /// Write what was answered into the cases that come out otherwise, as far as they expect something of it
    ///
    /// A case that expects nothing yet gets the whole answer. A call that failed where an answer was expected is never
    /// blessed: it trapped, or ran out of time or memory.
    #[arg(long)]
    bless: bool,
}

/// Cases of one plugin.
const CASES_MAX: usize = 10_000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tested {
    case: String,
    passed: bool,
    /// Whether its file now expects what was answered.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    blessed: bool,
    /// Why it could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    differences: Vec<Difference>,
    #[serde(flatten)]
    called: Option<Called>,
}

pub(super) fn run(args: &Test, env: &Environment) -> Result<ExitCode, Failure> {
    let project = args.plugin.project()?;
    let cases = cases(project.folder())?;
    let workbench = args.plugin.workbench(env)?;
    show_log("warn");
    let mut tested = wait(ask_all(&workbench, &project, &cases))??;
    if args.bless {
        for (tested, path) in tested.iter_mut().zip(&cases).filter(|(tested, _)| !tested.passed) {
            match bless(tested, path) {
                Ok(()) => (tested.passed, tested.blessed, tested.problem) = (true, true, None),
                Err(problem) => tested.problem = Some(problem),
            }
        }
    }
    let failed = tested.iter().filter(|tested| !tested.passed).count();
    let passed = tested.len() - failed;
    if args.plugin.json {
        print_json(&json!({"cases": tested, "passed": passed, "failed": failed}))?;
    } else {
        let lines: String = tested.iter().map(line).collect();
        print(&format!("{lines}{} cases: {passed} passed, {failed} failed", tested.len()))?;
    }
    Ok(code(failed == 0))
}

/// The cases in `tests/` of a folder, by name.
pub(super) fn cases(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let tests = folder.join("tests");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(&tests)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    cases.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    cases.sort();
    match cases.len() {
        0 => Err(Failure::Other(format!(
            "no case in {}: write one, such as {} for a policy and {} for a provider",
            tests.display(),
            r#"{"control": {"spawn": {}}, "expect": "allow"}"#,
            r#"{"request": {}, "expect": {"plan": {}}}"#
        ))),
        count if count > CASES_MAX => {
            Err(Failure::Other(format!("{count} cases in {} are more than {CASES_MAX}", tests.display())))
        }
        _ => Ok(cases),
    }
}

async fn ask_all(workbench: &Workbench, project: &Project, cases: &[PathBuf]) -> Result<Vec<Tested>, Failure> {
    let plain = load(workbench, project, &Map::new()).await?;
    // Cases with the same settings share one load.
    let mut others: BTreeMap<String, Result<Loaded, String>> = BTreeMap::new();
    let mut tested = Vec::with_capacity(cases.len());
    for path in cases {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let case = read_case(path).and_then(|text| Case::parse(plain.kind(), plain.grants(), &text));
        let case = match case {
            Ok(case) => case,
            Err(problem) => {
                tested.push(unasked(name, problem));
                continue;
            }
        };
        let loaded = if case.settings.is_empty() {
            Ok(&plain)
        } else {
            let key = Value::Object(case.settings.clone()).to_string();
            if !others.contains_key(&key) {
                let loaded = workbench.load(project, &case.settings).await;
                others.insert(key.clone(), loaded.map_err(|rejection| rejection.reason));
            }
            others[&key].as_ref()
        };
        let called = match loaded {
            Ok(loaded) => loaded.call(&case.question).await,
            // That settings are refused is an answer, which a case may expect.
            Err(reason) => Called { answer: json!({"error": reason}), asked: false, micros: 0, peak_bytes: 0 },
        };
        let found = case.expect.as_ref().map(|expect| differences(expect, &called.answer));
        let problem = found.is_none().then(|| "expect: is missing; --bless writes what was answered".to_owned());
        let differences = found.unwrap_or_default();
        let passed = differences.is_empty() && problem.is_none();
        tested.push(Tested { case: name, passed, blessed: false, problem, differences, called: Some(called) });
    }
    Ok(tested)
}

fn unasked(case: String, problem: String) -> Tested {
    Tested { case, passed: false, blessed: false, problem: Some(problem), differences: Vec::new(), called: None }
}

/// Has the file of a case expect what was answered.
fn bless(tested: &Tested, path: &Path) -> Result<(), String> {
    let refused = || tested.problem.clone().unwrap_or_else(|| "it was not asked".to_owned());
    let called = tested.called.as_ref().ok_or_else(refused)?;
    let blessed = blessed(&read_case(path)?, &called.answer)?;
    let draft = path.with_extension("json.draft");
    std::fs::write(&draft, blessed)
        .and_then(|()| std::fs::rename(&draft, path))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}

fn line(tested: &Tested) -> String {
    let cost = tested.called.as_ref().map(cost).unwrap_or_default();
    let word = match tested {
        Tested { blessed: true, .. } => "new ",
        Tested { passed: true, .. } => "ok  ",
        _ => "FAIL",
    };
    let problem = tested.problem.as_ref().map(|problem| format!("    {problem}\n")).unwrap_or_default();
    format!("{word}  {}  {cost}\n{problem}{}", tested.case, diff(&tested.differences))
}
