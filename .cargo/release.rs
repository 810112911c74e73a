//! What the release binary keeps of its debug information. Cargo's profiles cannot say this: `strip` takes
//! all line tables or none, and `split-debuginfo` leaves line tables in the binary on Linux.

fn main() {
    println!("cargo:rerun-if-changed=.cargo/release.rs");
    let variable = |name| std::env::var(name).unwrap_or_default();
    if variable("PROFILE") == "release" && variable("CARGO_CFG_TARGET_OS") == "linux" {
        // A backtrace decompresses the line tables, which are a sixth of their size this way.
        println!("cargo:rustc-link-arg-bins=-Wl,--compress-debug-sections=zlib");
        // Names of functions come from the line tables too; those without any are dependencies.
        println!("cargo:rustc-link-arg-bins=-Wl,--discard-all");
    }
}
