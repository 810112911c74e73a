//! C: clang and its linker, or zig. Nothing of a C library is needed but what the project brings.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::rust::STACK_BYTES;
use super::{Built, Source, compile, embed, find, read};

pub(super) fn build(source: &Source, debug: bool) -> Result<Built, String> {
    let clang = clang(source).map(|command| (command, "clang"));
    let (mut command, with) = clang.or_else(|| zig(source).map(|command| (command, "zig"))).ok_or(
        "no C compiler for WebAssembly: on Debian run `apt-get install clang lld`, \
         or anywhere `python3 -m venv .venv && .venv/bin/pip install ziglang==0.15.2`",
    )?;
    let target = source.folder.join("target");
    std::fs::create_dir_all(&target).map_err(|error| format!("failed to make {}: {error}", target.display()))?;
    let output = target.join("core.wasm");
    let mut files = source.files("c");
    for folder in ["bindings", "libc"] {
        let inner = Source { folder: source.folder.join(folder), kind: source.kind };
        files.extend(inner.files("c"));
    }
    command
        .args(["-std=c11", "-Wall", "-ffreestanding", "-fno-builtin", "-nostdlib", "-Ibindings", "-Ilibc"])
        .args(["-Wl,--no-entry", &format!("-Wl,-z,stack-size={STACK_BYTES}")])
        // With names of functions, for where in it a call failed.
        .args(if debug { ["-O1", "-g"] } else { ["-Oz", "-Wl,--strip-all"] })
        .arg("-o")
        .arg(&output)
        .args(files);
    compile(&mut command, source)?;
    Ok(Built { wasm: embed(source, read(&output)?)?, with: with.to_owned() })
}

/// Clang, if it was built with WebAssembly and its linker is there.
fn clang(source: &Source) -> Option<Command> {
    let names = ["clang", "clang-19", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14"];
    let program = find(source, &names)?;
    let targets = Command::new(&program).arg("--print-targets").stderr(Stdio::null()).output().ok()?;
    let linker = ["wasm-ld", "wasm-ld-19", "wasm-ld-18", "wasm-ld-17", "wasm-ld-16", "wasm-ld-15", "wasm-ld-14"];
    let linker = find(source, &linker)?;
    if !String::from_utf8_lossy(&targets.stdout).contains("wasm32") {
        return None;
    }
    let mut command = Command::new(program);
    // The stack first in memory, so that what overflows it traps instead of writing over data.
    command.args(["--target=wasm32-unknown-unknown", "-Wl,--stack-first"]).arg(joined("-fuse-ld=", linker));
    Some(command)
}

fn joined(flag: &str, path: PathBuf) -> std::ffi::OsString {
    let mut joined = std::ffi::OsString::from(flag);
    joined.push(path);
    joined
}

/// Zig by itself, or as Python's package. Its linker puts the stack first of its own accord.
fn zig(source: &Source) -> Option<Command> {
    let mut command = match find(source, &["zig"]) {
        Some(zig) => Command::new(zig),
        None => {
            let python = find(source, &[".venv/bin/python", "python3"])?;
            let there = Command::new(&python)
                .args(["-c", "import ziglang"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success());
            if !there {
                return None;
            }
            let mut command = Command::new(python);
            command.args(["-m", "ziglang"]);
            command
        }
    };
    command.args(["cc", "-target", "wasm32-freestanding"]);
    Some(command)
}
