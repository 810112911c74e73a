//! Rust: a target of rustup's, or Debian's compiler with its own sources of the standard library.
//!
//! What the author set (`RUSTFLAGS`, `.cargo/config.toml`, the profile in Cargo.toml) holds: what a plugin needs beside
//! it is given to the linker of the one crate that becomes the component.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Built, Source, find, read};

const PLAIN: &str = "wasm32-unknown-unknown";
const WASI: &str = "wasm32-wasip2";

/// The stack, where Rust asks for a mebibyte: all of the memory then fits what a relay keeps at hand for the next call.
pub(super) const STACK_BYTES: usize = 128 * 1024;

/// Where Debian puts its own compiler, whatever rustup has put before it on the PATH.
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// The compilers that make a component of Rust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum Toolchain {
    /// rustup's target wasm32-unknown-unknown: imports nothing but the plugin interface
    Unknown,
    /// rustup's target wasm32-wasip2: imports WASI, which a relay has empty
    Wasip2,
    /// Debian's packages rustc-web, cargo-web and rust-web-src: imports nothing but the plugin interface
    Debian,
}

impl Toolchain {
    /// Said beside the result.
    fn as_text(self) -> &'static str {
        match self {
            Self::Unknown => "rustup's target wasm32-unknown-unknown",
            Self::Wasip2 => "rustup's target wasm32-wasip2",
            Self::Debian => "Debian's rustc-web, with the standard library from rust-web-src",
        }
    }
}

pub(super) fn build(source: &Source, asked: Option<Toolchain>, debug: bool) -> Result<Built, String> {
    let rustup = sysroot("rustc", source);
    let (toolchain, command) = match asked {
        Some(toolchain) => (toolchain, command(toolchain, source, rustup.as_deref())),
        None => {
            // One that somebody installed comes first: it makes the smallest component.
            let ways = [Toolchain::Unknown, Toolchain::Wasip2, Toolchain::Debian];
            let there = ways.into_iter().find_map(|way| Some((way, command(way, source, rustup.as_deref())?)));
            there.map_or((Toolchain::Wasip2, None), |(way, command)| (way, Some(command)))
        }
    };
    let command = command.ok_or_else(|| missing(asked, rustup.is_some()))?;
    let target = if toolchain == Toolchain::Wasip2 { WASI } else { PLAIN };
    let wasm = cargo(command, source, target, debug)?;
    Ok(Built { wasm, with: toolchain.as_text().to_owned() })
}

/// Cargo, as this toolchain wants to be called; nothing when it is not there.
fn command(toolchain: Toolchain, source: &Source, rustup: Option<&Path>) -> Option<Command> {
    match toolchain {
        Toolchain::Unknown => has(rustup?, PLAIN).then(|| Command::new("cargo")),
        Toolchain::Wasip2 => (has(rustup?, WASI) || add(WASI, source)).then(|| Command::new("cargo")),
        Toolchain::Debian => debian(source, rustup),
    }
}

fn has(sysroot: &Path, target: &str) -> bool {
    sysroot.join("lib/rustlib").join(target).join("lib").is_dir()
}

/// Has rustup fetch a target, where there is a rustup and a network.
fn add(target: &str, source: &Source) -> bool {
    let Some(rustup) = find(source, &["rustup"]) else { return false };
    eprintln!("rustup target add {target}");
    let status = Command::new(rustup)
        .args(["target", "add", target])
        .current_dir(&source.folder)
        .env("RUSTUP_MAX_RETRIES", "1")
        .stdout(std::io::stderr())
        .status();
    status.is_ok_and(|status| status.success())
}

fn missing(asked: Option<Toolchain>, has_rust: bool) -> String {
    let rustup = format!("`rustup target add {WASI}`");
    let apt = "`apt-get install rustc-web cargo-web rust-web-src`";
    match asked {
        Some(Toolchain::Unknown) => format!("that target is not installed: run `rustup target add {PLAIN}`"),
        Some(Toolchain::Wasip2) => format!("that target is not installed: run {rustup}"),
        Some(Toolchain::Debian) => format!("Debian's compiler is not installed: run {apt}"),
        None if has_rust => format!("no Rust compiler here makes WebAssembly: run {rustup}, or on Debian {apt}"),
        None => format!("no Rust compiler: install one from https://rustup.rs and run {rustup}, or on Debian {apt}"),
    }
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

/// Debian's compiler, its sources of the standard library, and a linker that understands WebAssembly.
fn debian(source: &Source, rustup: Option<&Path>) -> Option<Command> {
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
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker)
        .args(["-Zbuild-std=std,panic_abort", "-Zbuild-std-features=optimize_for_size"]);
    Some(command)
}

fn rust_lld(sysroot: &Path) -> Option<PathBuf> {
    let hosts = std::fs::read_dir(sysroot.join("lib/rustlib")).ok()?;
    hosts.flatten().map(|host| host.path().join("bin/rust-lld")).find(|program| program.is_file())
}

/// Builds the library of the crate, and reads what came of it.
fn cargo(mut command: Command, source: &Source, target: &str, debug: bool) -> Result<Vec<u8>, String> {
    command
        .args(["rustc", "--release", "--lib", "--target", target, "--message-format=json-render-diagnostics"])
        .current_dir(&source.folder)
        .stderr(Stdio::inherit());
    if debug {
        // Names of functions, for where in it a call failed.
        command.args(["--config", "profile.release.strip=false", "--config", "profile.release.debug=1"]);
    }
    let output = command
        .args(["--", &format!("-Clink-arg=-zstack-size={STACK_BYTES}")])
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
