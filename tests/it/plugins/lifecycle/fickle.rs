//! A policy that is well at some times only. A plugin is a function of what it is given, so it goes by
//! the time it is told: in every other half second it traps, and in the rest it allows everything.

use agent_relay::domain::control::{Context, Decision};
use agent_relay::plugins::Plugins;

use crate::plugins::{context, handmade, spawn};

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

/// Asks at a time of the test's choice: nothing but a probe asks by the clock.
pub(super) async fn decide(plugins: &Plugins, well: bool) -> Decision {
    let context = Context { now: if well { 0 } else { HALF }, ..context() };
    plugins.current().decide(spawn(""), &context).await
}
