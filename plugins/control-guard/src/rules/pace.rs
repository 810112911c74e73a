//! How many agents may run, how often they may be started, how far from a person, and whether at all while the
//! provider's account is at its limit. Every refusal has the numbers, and says when it would be otherwise.

use agent_relay_plugin::policy::facts::{self, Condition};
use agent_relay_plugin::policy::{Context, Denial, RunningAgent, Spawn};

use super::{any, denial, matches, matches_orchestrator};
use crate::settings::{Limit, Settings, WhileLimited};

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// Refuses a spawn that is one too many. What the limit that fits does not say, the settings do.
pub(super) fn check(
    settings: &Settings,
    limit: Option<&Limit>,
    spawn: &Spawn,
    context: &Context,
) -> Result<(), Denial> {
    let of = |own: fn(&Limit) -> Option<u32>, general: Option<u32>| limit.and_then(own).or(general);
    if let Some(max) = of(|limit| limit.max_depth, settings.max_depth) {
        check_depth(max, context)?;
    }
    if let Some(max) = of(|limit| limit.max_running, settings.max_running) {
        let scope = limit.filter(|limit| limit.max_running.is_some());
        check_running(max, scope, context)?;
    }
    for (key, window, per, max) in [
        ("spawns_per_minute", MINUTE_MS, "minute", of(|limit| limit.spawns_per_minute, settings.spawns_per_minute)),
        ("spawns_per_hour", HOUR_MS, "hour", of(|limit| limit.spawns_per_hour, settings.spawns_per_hour)),
        ("spawns_per_day", DAY_MS, "day", of(|limit| limit.spawns_per_day, settings.spawns_per_day)),
    ] {
        if let Some(max) = max {
            check_rate(key, window, per, max, context)?;
        }
    }
    match limit.and_then(|limit| limit.while_limited).unwrap_or(settings.while_limited) {
        WhileLimited::Allow => Ok(()),
        WhileLimited::Deny => check_account(spawn, context),
    }
}

fn check_depth(max: u32, context: &Context) -> Result<(), Denial> {
    let depth = facts::depth(context).ok_or_else(|| unknown("max_depth", "how far from a person the caller is"))?;
    if depth <= max {
        return Ok(());
    }
    Err(denial(
        "too_deep",
        format!(
            "{depth} agents would stand between a person and this one, and {max} is the most (max_depth); ask a person \
             to start it"
        ),
    ))
}

fn check_running(max: u32, scope: Option<&Limit>, context: &Context) -> Result<(), Denial> {
    let fits = |agent: &&RunningAgent| {
        scope.is_none_or(|limit| {
            any(&limit.orchestrators, |pattern| matches_orchestrator(pattern, agent.orchestrator.as_deref()))
                && any(&limit.providers, |pattern| matches(pattern, &agent.provider))
        })
    };
    let running = context.running.iter().filter(fits).count();
    if running < max as usize {
        return Ok(());
    }
    Err(denial(
        "too_many_running",
        format!("{running} agents run, and {max} is the most (max_running); shut one down first"),
    ))
}

fn check_rate(key: &str, window: u64, per: &str, max: u32, context: &Context) -> Result<(), Denial> {
    let spawns = facts::spawns(context).ok_or_else(|| unknown(key, "how often the caller started agents"))?;
    let now = context.now_ms;
    let recent: Vec<u64> = spawns.into_iter().filter(|at| now.saturating_sub(*at) < window).collect();
    if recent.len() < max as usize {
        return Ok(());
    }
    // The one that has to grow old before there is room for another.
    let next = (max as usize).checked_sub(1).and_then(|last| recent.get(last)).map(|at| at + window);
    let when = next.map_or_else(
        || "none may be started".to_owned(),
        |at| format!("the next may start in {}", spoken(at.saturating_sub(now))),
    );
    Err(denial(
        "spawn_rate_exceeded",
        format!(
            "{} has started {} agents in the last {per}, and {max} is the most ({key}); {when}",
            context.caller.name,
            recent.len()
        ),
    ))
}

/// Agents of one provider on one host work for one account.
fn check_account(spawn: &Spawn, context: &Context) -> Result<(), Denial> {
    let conditions =
        facts::conditions(context).ok_or_else(|| unknown("while_limited", "which agents are at a usage limit"))?;
    let same =
        |agent: &&RunningAgent| agent.provider == spawn.provider && agent.orchestrator == spawn.site.orchestrator;
    let running: Vec<&RunningAgent> = context.running.iter().filter(same).collect();
    let holds = |condition: &&Condition| {
        condition.kind == "limit"
            && condition.until_ms.is_none_or(|until| until > context.now_ms)
            && running.iter().any(|agent| agent.agent_id == condition.agent_id)
    };
    let limited: Vec<&Condition> = conditions.iter().filter(holds).collect();
    if limited.is_empty() {
        return Ok(());
    }
    let ends: Option<Vec<u64>> = limited.iter().map(|condition| condition.until_ms).collect();
    let until = ends.and_then(|ends| ends.into_iter().max());
    let when = until.map_or_else(
        || "until when is not known".to_owned(),
        |until| format!("it ends in {}", spoken(until.saturating_sub(context.now_ms))),
    );
    Err(denial(
        "provider_limited",
        format!(
            "{} of {} running {} agents there are at a usage limit, and {when}; start it then, or with another provider",
            limited.len(),
            running.len(),
            spawn.provider
        ),
    ))
}

/// What is not known here allows nothing.
fn unknown(key: &str, what: &str) -> Denial {
    denial("not_known_here", format!("{what} is not known to this host; set {key} at the relay"))
}

/// A time for people, rounded up.
fn spoken(ms: u64) -> String {
    match ms.div_ceil(1_000) {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{} h", seconds.div_ceil(3_600)),
    }
}
