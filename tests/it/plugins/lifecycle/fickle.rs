//! A policy that is well at some times only. A plugin is a function of what it is given, so it goes by
//! the time it is told: in every other half second it traps, and in the rest it allows everything.

use agent_relay::domain::control::{Context, Decision};
use agent_relay::plugins::Plugins;

use crate::plugins::{CALLERS, context, handmade, spawn};

/// Milliseconds for which it is well, and then for which it is not.
const HALF: i64 = 500;

/// The component. It calls itself `guard`.
pub(super) fn component() -> Vec<u8> {
    handmade::policy(&format!(
        "(if (i32.wrap_i64 (i64.rem_u
               (i64.div_u (i64.load offset=NOW (local.get $parameters)) (i64.const {HALF}))
               (i64.const 2)))
           (then unreachable))"
    ))
}

/// One that is well until this time, in milliseconds since the epoch.
pub(super) fn well_until(ms: i64) -> Vec<u8> {
    handmade::policy(&format!(
        "(if (i64.ge_u (i64.load offset=NOW (local.get $parameters)) (i64.const {ms})) (then unreachable))"
    ))
}

/// Asks at a time of the test's choice: nothing but a probe asks by the clock. Each number is another question, and
/// every other one of another caller.
pub(super) async fn decide(plugins: &Plugins, well: bool, number: usize) -> Decision {
    let mut context = Context { now: if well { 0 } else { HALF }, ..context() };
    context.caller.name = CALLERS[number % 2].to_owned();
    plugins.current().decide(spawn(&number.to_string()), &context).await
}
