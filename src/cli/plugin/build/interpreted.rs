//! JavaScript and Python: tools that put an interpreter and the source into one component.

use std::process::Command;

use serde_json::Value;

use super::{Built, Source, compile, find, read};

/// The versions that plugins were built with.
const QJS: &str = "0.4.5";
const PY: &str = "0.25.1";

pub(super) fn javascript(source: &Source, debug: bool) -> Result<Built, String> {
    let tool = find(source, &["node_modules/.bin/componentize-qjs", "componentize-qjs"]).ok_or_else(|| {
        let npm = find(source, &["npm"]).is_some();
        let first = if npm { "" } else { "install Node.js (on Debian `apt-get install nodejs npm`), then " };
        format!(
            "componentize-qjs is not there: {first}run `npm install --save-dev componentize-qjs@{QJS}` in {}",
            source.folder.display()
        )
    })?;
    let package = read(&source.folder.join("package.json"))?;
    let package: Value = serde_json::from_slice(&package).map_err(|error| format!("package.json: {error}"))?;
    let main = package["main"].as_str().unwrap_or("plugin.js");
    let output = source.folder.join("target/plugin.wasm");
    prepare(source)?;
    let mut command = Command::new(tool);
    // Without --sync the component wants asynchronous calls, which plugins do not have.
    command
        .args(["-w", "wit", "-n", &source.world(), "--sync", "--module-root", ".", "-j", main, "-o"])
        .arg(&output)
        .args(stubbed(debug));
    compile(&mut command, source)?;
    Ok(Built { wasm: read(&output)?, with: "componentize-qjs".to_owned() })
}

pub(super) fn python(source: &Source, debug: bool) -> Result<Built, String> {
    let tool = find(source, &[".venv/bin/componentize-py", "componentize-py"]).ok_or_else(|| {
        format!(
            "componentize-py is not there: in {} run `python3 -m venv .venv && .venv/bin/pip install componentize-py=={PY}` \
             (on Debian first `apt-get install python3-venv`)",
            source.folder.display()
        )
    })?;
    let files = source.files("py");
    let app = if source.has("app.py") {
        "app".to_owned()
    } else if let [only] = files.as_slice() {
        only.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    } else {
        return Err("several *.py and none is app.py: call the one that holds the plugin app.py".to_owned());
    };
    let output = source.folder.join("target/plugin.wasm");
    prepare(source)?;
    let mut command = Command::new(tool);
    command.args(["-d", "wit", "-w", &source.world(), "componentize", &app, "-o"]).arg(&output).args(stubbed(debug));
    compile(&mut command, source)?;
    Ok(Built { wasm: read(&output)?, with: "componentize-py".to_owned() })
}

/// What the interpreter would ask of an operating system traps; left in, it prints a traceback, which goes to the log.
fn stubbed(debug: bool) -> &'static [&'static str] {
    if debug { &[] } else { &["--stub-wasi"] }
}

fn prepare(source: &Source) -> Result<(), String> {
    let target = source.folder.join("target");
    std::fs::create_dir_all(&target).map_err(|error| format!("failed to make {}: {error}", target.display()))
}
