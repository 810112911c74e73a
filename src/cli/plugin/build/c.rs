//! C: clang and its linker, or zig. Nothing of a C library is needed but what the project brings.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::{Source, compile, embed, find, read};

pub(super) fn build(source: &Source) -> Result<Vec<u8>, String> {
    let mut command = clang(source).or_else(|| zig(source)).ok_or(
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
        .args(["-Oz", "-std=c11", "-Wall", "-ffreestanding", "-fno-builtin", "-nostdlib", "-Ibindings", "-Ilibc"])
        // A small stack, first in memory: what overflows it traps instead of writing over data.
        .args(["-Wl,--no-entry", "-Wl,-z,stack-size=65536", "-Wl,--stack-first", "-Wl,--strip-all", "-o"])
        .arg(&output)
        .args(files);
    compile(&mut command, source)?;
    embed(source, read(&output)?)
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
    command.arg("--target=wasm32-unknown-unknown").arg(joined("-fuse-ld=", linker));
    Some(command)
}

fn joined(flag: &str, path: PathBuf) -> std::ffi::OsString {
    let mut joined = std::ffi::OsString::from(flag);
    joined.push(path);
    joined
}

/// Zig by itself, or as Python's package.
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
