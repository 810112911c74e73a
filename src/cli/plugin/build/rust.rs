//! Rust: rustup's targets, or Debian's compiler with its own sources of the standard library.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Source, find, read};

/// Its modules import nothing but the plugin interface, where a WASI target brings in a clock, files and
/// an environment that no plugin is given.
const PLAIN: &str = "wasm32-unknown-unknown";
const WASI: &str = "wasm32-wasip2";

/// A small stack: all of the memory then fits what a relay keeps at hand for the next call.
const STACK: &str = "-Clink-arg=-zstack-size=65536";

/// Where Debian puts its own compiler, whatever rustup has put before it on the PATH.
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

pub(super) fn build(source: &Source) -> Result<Vec<u8>, String> {
    let sysroot = sysroot("rustc", source);
    let has = |target: &str| {
        sysroot.as_ref().is_some_and(|sysroot| sysroot.join("lib/rustlib").join(target).join("lib").is_dir())
    };
    if has(PLAIN) {
        return cargo(Command::new("cargo"), source, PLAIN, STACK, &[]);
    }
    if let Some((command, flags)) = debian(source, sysroot.as_deref()) {
        // Panics end the call without a message nobody would see: a fifth of the size.
        let std = ["-Zbuild-std=std,panic_abort", "-Zbuild-std-features=optimize_for_size"];
        return cargo(command, source, PLAIN, &flags, &std);
    }
    if has(WASI) {
        return cargo(Command::new("cargo"), source, WASI, STACK, &[]);
    }
    let rustup = format!("`rustup target add {PLAIN}`");
    let apt = "`apt-get install rustc-web cargo-web rust-web-src`";
    Err(if sysroot.is_some() {
        format!("no Rust compiler here has the target {PLAIN}: run {rustup}, or on Debian {apt}")
    } else {
        format!("no Rust compiler: install one from https://rustup.rs and run {rustup}, or on Debian {apt}")
    })
}

fn sysroot(rustc: &str, source: &Source) -> Option<PathBuf> {
    let output = Command::new(rustc)
        .args(["--print", "sysroot"])
        .current_dir(&source.folder)
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
}

/// Debian's compiler, a linker that understands WebAssembly, and the flags they need.
fn debian(source: &Source, rustup: Option<&Path>) -> Option<(Command, String)> {
    let own = sysroot(DEBIAN_RUSTC, source)?;
    if !Path::new(DEBIAN_CARGO).is_file() || !own.join("lib/rustlib/src/rust/library").is_dir() {
        return None;
    }
    let bundled = rustup.into_iter().chain([own.as_path()]).find_map(rust_lld);
    let linker = bundled.or_else(|| find(source, &["rust-lld", "wasm-ld"]))?;
    let mut command = Command::new(DEBIAN_CARGO);
    command
        .env("RUSTC", DEBIAN_RUSTC)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
    Some((command, format!("-Zunstable-options -Cpanic=immediate-abort {STACK}")))
}

fn rust_lld(sysroot: &Path) -> Option<PathBuf> {
    let hosts = std::fs::read_dir(sysroot.join("lib/rustlib")).ok()?;
    hosts.flatten().map(|host| host.path().join("bin/rust-lld")).find(|program| program.is_file())
}

/// Builds the library of the crate, and reads what came of it.
fn cargo(mut command: Command, source: &Source, target: &str, flags: &str, more: &[&str]) -> Result<Vec<u8>, String> {
    let output = command
        .args(["build", "--release", "--lib", "--target", target, "--message-format=json-render-diagnostics"])
        .args(more)
        .current_dir(&source.folder)
        .env("RUSTFLAGS", flags)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("failed to run cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo ended with {}; what is wrong stands above", output.status));
    }
    // Cargo says which file it made; the crate's own comes last.
    let text = String::from_utf8_lossy(&output.stdout);
    let mut made = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter_map(|message| {
        let files = message["filenames"].as_array()?;
        files.iter().filter_map(Value::as_str).find(|file| file.ends_with(".wasm")).map(PathBuf::from)
    });
    let made = made.next_back().ok_or("the crate makes no WebAssembly: say `crate-type = [\"cdylib\"]` below [lib]")?;
    read(&made)
}
