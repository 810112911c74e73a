//! `agent-relay plugin install`: a plugin's files into the directory of a running relay, and what the relay says.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use agent_relay::client::plugins::{Plugin, Step};
use agent_relay::config::{Config, Environment, Flags};
use agent_relay::plugins::workbench::{Project, SourceWatch};

use super::super::connection::{ClientArgs, Connection};
use super::super::show::in_commands as told;
use super::super::{Failure, print};
use super::history::clock;
use super::{build, plain};

/// Put a plugin into the plugins directory of a running relay and say what the relay makes of it; 1 if it is rejected.
///
/// The component is written first and plugin.toml last, each in one step; with a signature beside them, plugin.wasm.minisig
/// as well. What the relay used before stays in use when it rejects the new one.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Install {
    /// The plugin's folder
    #[arg(value_name = "DIR", default_value = ".")]
    path: PathBuf,
    /// Build and install again whenever a source, the manifest or the component changes, until it is interrupted
    #[arg(long)]
    watch: bool,
    /// The relay's directory of plugins [default: as `serve` finds it]
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// The relay's configuration, which may say where the plugins are
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    client: ClientArgs,
}

/// How long the relay may take: the first compilation of an interpreter is slow on a small machine.
const LOADING_MAX: Duration = Duration::from_secs(300);

pub(super) fn run(args: &Install, env: &Environment) -> Result<ExitCode, Failure> {
    if !args.watch {
        return install(args, env);
    }
    let has_source = build::has_source(&args.path);
    let watch = SourceWatch::of(&args.path, has_source).map_err(Failure::Other)?;
    loop {
        if let Err(failure) = round(args, env, has_source) {
            // The author mends it and saves again.
            let (Failure::Usage(problem) | Failure::Other(problem)) = failure;
            let _ = writeln!(std::io::stderr(), "agent-relay: {problem}");
        }
        let _ = writeln!(std::io::stderr(), "waiting for a change in {}", args.path.display());
        if !watch.changed() {
            return Err(Failure::Other(format!("{} is not watched any more", args.path.display())));
        }
    }
}

fn round(args: &Install, env: &Environment, has_source: bool) -> Result<ExitCode, Failure> {
    if has_source {
        print(&build::build(&args.path, None, false)?.told())?;
    }
    install(args, env)
}

fn install(args: &Install, env: &Environment) -> Result<ExitCode, Failure> {
    let project = Project::read(&args.path).map_err(Failure::Other)?;
    let id = project.id().map_err(Failure::Other)?;
    let directory = directory(args, env)?;
    let connection = Connection::open_patiently(&args.client, env, LOADING_MAX)?;
    let plugins = connection.client.plugins();
    // Before anything is written: a relay that is not there cannot say anything.
    let known = connection.ask(plugins.list())?.value()?;
    let newest = known.iter().filter(|plugin| plugin.id == id).filter_map(|plugin| plugin.since).max().unwrap_or(0);
    place(&project, &directory.join(&id))
        .map_err(|problem| Failure::Other(format!("failed to install {id} in {}: {problem}", directory.display())))?;
    let answer = connection.ask(plugins.reload())?;
    let of_id: Vec<Plugin> = answer.value()?.into_iter().filter(|plugin| plugin.id == id).collect();
    let history = if of_id.is_empty() { Vec::new() } else { connection.ask(plugins.get(&id))?.value()?.history };
    let steps: Vec<&Step> =
        history.iter().filter(|step| step.at >= newest && step.digest.as_deref() == Some(project.digest())).collect();
    if args.client.json {
        let plugins = serde_json::from_str::<serde_json::Value>(answer.text()?)
            .map(|list| list.as_array().cloned().unwrap_or_default())
            .unwrap_or_default();
        let own: Vec<_> = plugins.into_iter().filter(|plugin| plugin["id"] == id.as_str()).collect();
        super::print_json(&serde_json::json!({"directory": directory, "digest": project.digest(), "plugins": own}))?;
    } else {
        for step in steps {
            let stage = step.stage.as_deref().map(|stage| format!(" at {}", plain(stage))).unwrap_or_default();
            let load = step.generation.map(|load| format!(", load {load}")).unwrap_or_default();
            print(&format!("{} {}{stage}{load}", clock(step.at), plain(&step.state)))?;
        }
    }
    let address = connection.client.address();
    verdict(&of_id, &project, &id).map(|()| ExitCode::SUCCESS).map_err(|problem| {
        Failure::Other(problem.unwrap_or_else(|| {
            format!(
                "the relay at {address} knows nothing of {}: it looks elsewhere; name its directory with --plugins",
                directory.join(&id).display()
            )
        }))
    })
}

/// Whether what was installed is in use, and if not, why; nothing when the relay does not know of it at all.
fn verdict(plugins: &[Plugin], project: &Project, id: &str) -> Result<(), Option<String>> {
    let not_in_use = |plugin: &&Plugin| ["rejected", "disabled", "quarantined"].contains(&plugin.state.as_str());
    if let Some(plugin) = plugins.iter().find(not_in_use) {
        let error = plugin.error.as_ref();
        let stage = error.map(|error| format!(" at {}", plain(&error.stage))).unwrap_or_default();
        let reason = error.map(|error| told(&error.reason)).unwrap_or_default();
        return Err(Some(format!("{id} is {}{stage}: {reason}", plain(&plugin.state))));
    }
    let active = plugins.iter().any(|plugin| {
        plugin.state == "active"
            && plugin.digest.as_deref() == Some(project.digest())
            && plugin.origin.as_deref() == Some("directory")
    });
    if active { Ok(()) } else { Err(None) }
}

/// Where the relay looks for plugins, found as `serve` finds it.
fn directory(args: &Install, env: &Environment) -> Result<PathBuf, Failure> {
    let flags = Flags {
        plugins: args.plugins.clone(),
        data_dir: args.client.data_dir.clone(),
        config: args.config.clone(),
        ..Flags::default()
    };
    let directory = Config::load(&flags, env)?.plugins.directory;
    directory.ok_or_else(|| Failure::Usage("there is no directory of plugins: name one with --plugins".to_owned()))
}

/// Writes the files of a plugin: all of a new one at once, and into one that is there the manifest last.
fn place(project: &Project, folder: &Path) -> Result<(), String> {
    let own = project.folder().canonicalize().ok();
    if own.is_some() && folder.canonicalize().ok() == own {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|error| format!("{}: {error}", parent.display()))?;
    if folder.exists() {
        return write(project, folder);
    }
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    // Names that begin with a dot are none of a relay's business.
    let draft = parent.join(format!(".{name}.draft"));
    let failed = |error: std::io::Error| format!("{}: {error}", draft.display());
    if draft.exists() {
        fs::remove_dir_all(&draft).map_err(failed)?;
    }
    fs::create_dir(&draft).map_err(failed)?;
    fs::set_permissions(&draft, Permissions::from_mode(0o755)).map_err(failed)?;
    write(project, &draft)?;
    fs::rename(&draft, folder).map_err(|error| format!("{}: {error}", folder.display()))
}

fn write(project: &Project, folder: &Path) -> Result<(), String> {
    let signature = project.folder().join("plugin.wasm.minisig");
    let minisig = fs::read(&signature).ok();
    let manifest = project.manifest().unwrap_or_default().as_bytes().to_vec();
    let files = [
        ("plugin.wasm.minisig", minisig),
        ("plugin.wasm", Some(project.wasm().to_vec())),
        ("plugin.toml", Some(manifest)),
    ];
    for (name, contents) in files {
        let Some(contents) = contents else { continue };
        let (target, draft) = (folder.join(name), folder.join(format!(".{name}.draft")));
        let failed = |error: std::io::Error| format!("{}: {error}", target.display());
        fs::write(&draft, contents).map_err(failed)?;
        // Whatever the umask says: nobody else may be able to write them.
        fs::set_permissions(&draft, Permissions::from_mode(0o644)).map_err(failed)?;
        fs::rename(&draft, &target).map_err(failed)?;
    }
    Ok(())
}
