//! How a call ended that gave no answer, in words that say what to do.

use wasmtime::{Trap, WasmBacktrace};

use super::super::package::Limits;
use super::call_error::CallError;
use super::engine::STACK_KB;
use super::guest_log::clean;
use super::host::Host;
use super::memory::HANDLES_MAX;
use super::wasi::RANDOM_KB_MAX;

/// Calls of one function within each other, among the innermost, that look like a recursion without an end.
const NESTED_MIN: usize = 8;

/// Why the guest ended with this error.
pub(super) fn explain(error: &wasmtime::Error, host: &Host, limits: Limits) -> CallError {
    if let Some(Trap::Interrupt) = error.downcast_ref() {
        return CallError::Deadline(limits.deadline_ms);
    }
    if host.memory.denied {
        return CallError::Memory { limit_mb: limits.memory_mb };
    }
    let trapped = |what: String| match host.log.last_words() {
        Some(words) => CallError::Trap(clean(&format!("{what}; it said at last: {words}"))),
        None => CallError::Trap(what),
    };
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        return trapped(format!("exited with status {}, where a plugin has to answer", exit.0));
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => trapped(format!(
            "stack overflow: its calls nest deeper than the {STACK_KB} KiB that a call has for them; recurse less deeply"
        )),
        Some(trap @ Trap::MemoryOutOfBounds) if is_deep(error) => trapped(format!(
            "stack overflow, by its looks: its calls nest until its own stack is used up ({}); recurse less deeply, or \
             build it with a larger stack (-zstack-size)",
            named(*trap)
        )),
        Some(trap) => trapped(named(*trap)),
        None => unusable(error, limits),
    }
}

/// An instruction that ended the guest, as the engine calls it.
fn named(trap: Trap) -> String {
    let text = trap.to_string();
    text.strip_prefix("wasm trap: ").unwrap_or(&text).to_owned()
}

/// Whether the innermost calls are mostly of one function.
fn is_deep(error: &wasmtime::Error) -> bool {
    let frames = error.downcast_ref::<WasmBacktrace>().map_or(&[][..], WasmBacktrace::frames);
    frames.iter().any(|frame| frames.iter().filter(|it| it.func_index() == frame.func_index()).count() >= NESTED_MIN)
}

/// What the guest handed over that the engine could not take. Its words are for the log.
fn unusable(error: &wasmtime::Error, limits: Limits) -> CallError {
    let engine = error.root_cause().to_string();
    let says = |part: &str| engine.contains(part);
    let problem = if says("fuel allocated for hostcalls") {
        format!("it hands over more than the {} KiB of limits.output_kb", limits.output_kb)
    } else if says("utf-8") || says("utf8") {
        "a text in it is not UTF-8".to_owned()
    } else if says("out of bounds") || says("out-of-bounds") {
        "a text or a list in it lies outside of its memory".to_owned()
    } else if says("discriminant") || says("invalid variant") {
        "a value in it is none of those that its type has".to_owned()
    } else if says("aligned") {
        "a text or a list in it begins where none can begin".to_owned()
    } else if says("exceeds limit") {
        format!("it wants more than the {RANDOM_KB_MAX} KiB of randomness that one request of WASI may have")
    } else if says("no free keys") {
        format!("it holds more than {HANDLES_MAX} resources at once")
    } else {
        "it breaks a rule of the component model; the log has which".to_owned()
    };
    tracing::warn!("a plugin's answer is unusable: {}", clean(&format!("{error:#}")));
    CallError::Output(problem)
}
