//! `agent-relay plugin inspect` and `check`: what a component is, and whether a relay would load it.

use std::fmt::Write;
use std::process::ExitCode;

use agent_relay::config::Environment;
use agent_relay::plugins::Grants;
use agent_relay::plugins::workbench::{Finding, Inspection, Level, Outcome, Report};

use super::super::{Failure, print};
use super::test::cases;
use super::{BenchArgs, code, memory, plain, print_json, show_log, wait};

/// Say what a component is: its world, its imports and exports, its size. It is not called.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Inspect {
    #[command(flatten)]
    plugin: BenchArgs,
}

/// Check everything that a relay checks when it loads a plugin; 1 if it would be rejected.
///
/// The files, the manifest, the component, its world, what the plugin says of itself, its settings and harmless
/// questions, by the relay's own code and in its order. What could not be tested is called that. What the plugin logs
/// goes to standard error.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Check {
    #[command(flatten)]
    plugin: BenchArgs,
}

pub(super) fn inspect(args: &Inspect, env: &Environment) -> Result<ExitCode, Failure> {
    let project = args.plugin.project()?;
    let workbench = args.plugin.workbench(env)?;
    let inspection = wait(workbench.inspect(&project))?
        .map_err(|rejection| Failure::Other(format!("{}: {}", args.plugin.path.display(), rejection.reason)))?;
    if args.plugin.json {
        print_json(&inspection)?;
    } else {
        print(&described(&inspection))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn check(args: &Check, env: &Environment) -> Result<ExitCode, Failure> {
    let project = args.plugin.project()?;
    let workbench = args.plugin.workbench(env)?;
    show_log("trace");
    let report = wait(workbench.check(&project))?;
    if args.plugin.json {
        print_json(&report)?;
    } else {
        print(&told(&report, cases(project.folder()).map_or(0, |cases| cases.len())))?;
    }
    Ok(code(report.loads))
}

fn described(component: &Inspection) -> String {
    let mut text = String::new();
    let world = match (component.world(), &component.track) {
        (Some(world), Some(track)) => {
            format!("{world}, track {track}{}", if component.spoken { "" } else { " (not spoken by this relay)" })
        }
        _ => "none of agent-relay:plugin".to_owned(),
    };
    let _ = writeln!(text, "world    {}", plain(&world));
    let _ = writeln!(text, "size     {}", memory(component.bytes));
    let _ = writeln!(text, "sha256   {}", component.sha256);
    let _ = writeln!(text, "wasi     {}", if component.wasi { "yes, and it finds nothing there" } else { "no" });
    let lists = [("imports", &component.imports), ("exports", &component.exports)];
    for (heading, names) in lists {
        for (number, name) in names.iter().enumerate() {
            let _ = writeln!(text, "{:8} {}", if number == 0 { heading } else { "" }, plain(name));
        }
    }
    for (number, tool) in component.made_with.iter().enumerate() {
        let heading = if number == 0 { "made by" } else { "" };
        let _ = writeln!(text, "{heading:8} {} {} ({})", plain(&tool.name), plain(&tool.version), plain(&tool.role));
    }
    text
}

fn told(report: &Report, cases: usize) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        text.push_str(&line(finding));
    }
    if let (Some(plugin), Some(component)) = (&report.plugin, &report.component) {
        let kind = plugin.kind.map_or("plugin", |kind| kind.as_str());
        let _ = writeln!(
            text,
            "{kind} {} {}, {}, {} us for instance and call",
            plugin.id,
            plain(plugin.version.as_deref().unwrap_or_default()),
            memory(component.bytes),
            report.p50_micros.unwrap_or_default()
        );
        if let Some(abilities) = &report.abilities {
            let _ = writeln!(text, "it says: {abilities}");
        }
        if let Some(limits) = plugin.limits {
            let _ = writeln!(text, "limits: {} MiB, {} ms a call", limits.memory_mb, limits.deadline_ms);
        }
        let Grants { executables, env, files, reads, sockets } = &plugin.grants;
        let asked =
            [("executables", executables), ("env", env), ("files", files), ("reads", reads), ("sockets", sockets)];
        for (what, names) in asked {
            if !names.is_empty() {
                let _ = writeln!(text, "asks for {what}: {}", names.join(", "));
            }
        }
    }
    for checked in report.stages.iter().filter(|checked| checked.outcome == Outcome::NotTested) {
        let reason = checked.reason.as_deref().unwrap_or("nothing before it passed");
        let _ = writeln!(text, "not tested: {}: {}", checked.stage.as_str(), plain(reason));
    }
    if !report.calls.is_empty() {
        let _ = writeln!(text, "it was asked: {}", plain(&report.calls.join(", ")));
        let rest = match cases {
            0 => "write cases into tests/, which `agent-relay plugin test` runs".to_owned(),
            _ => format!("`agent-relay plugin test` runs the {cases} of tests/"),
        };
        let _ = writeln!(text, "code that these calls do not reach was not tested: {rest}");
    }
    text.push_str(match report {
        Report { loads: true, .. } => "a relay would load it",
        Report { disabled: true, .. } => "a relay would leave it alone: `enabled = false` in plugin.toml",
        _ => "a relay would reject it",
    });
    text
}

fn line(finding: &Finding) -> String {
    let level = match finding.level {
        Level::Error => "error",
        Level::Warning => "warning",
    };
    let next = finding.next.as_ref().map_or_else(String::new, |next| format!("\n    next: {next}"));
    format!("{level}: {}: {}{next}\n", finding.stage.as_str(), plain(&finding.problem))
}
