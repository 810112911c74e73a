//! The rules, as plain functions of settings and facts.
//!
//! In order: what an agent may control at all, protected agents, everybody at once, the limit that
//! fits caller and place, how many and how often ([`pace`]), and the approval mode. The first that refuses counts.

mod pace;

use crate::settings::{AgentsMay, Kind, Limit, Mode, OnExcess, Settings};
use agent_relay_plugin::policy::{
    AgentFacts, Amendment, Context, Control, Denial, RunningAgent, Spawn, Target, Verdict,
};
use agent_relay_plugin::{Caller, Site};

/// The host tells of this many running agents and no more.
const RUNNING_MAX: usize = 1_000;

/// What becomes of one control action.
pub(crate) fn decide(settings: &Settings, control: &Control, context: &Context) -> Verdict {
    let decided = match control {
        Control::Spawn(spawn) => decide_spawn(settings, spawn, context),
        Control::Restart(target) => decide_target(settings, Kind::Restart, target, context),
        Control::Shutdown(target) => decide_target(settings, Kind::Shutdown, target, context),
    };
    decided.unwrap_or_else(Verdict::Deny)
}

fn decide_spawn(settings: &Settings, spawn: &Spawn, context: &Context) -> Result<Verdict, Denial> {
    let caller = &context.caller;
    if bound_agent(caller).is_some() && settings.agents_may_control != AgentsMay::Anyone {
        return Err(agents_may_not("start agents"));
    }
    let place = Place { site: Some(&spawn.site), provider: Some(&spawn.provider) };
    let limit = limit_for(settings, caller, &place);
    check_allowed(limit, Kind::Spawn, &place)?;
    pace::check(settings, limit, spawn, context)?;

    let limit_mode = limit.and_then(|limit| limit.max_approval_mode);
    let mut widest = limit_mode.unwrap_or(settings.max_approval_mode);
    let mut whose = format!("at {} for provider {}", place.name(), spawn.provider);
    if let Some(agent) = bound_agent(caller)
        && !settings.agents_may_widen
    {
        let own = mode_of(agent, context);
        if own < widest {
            widest = own;
            whose = format!("for agents started by {agent:?}, whose own approval mode that is");
        }
    }
    let asked = Mode::from(spawn.approval_mode);
    if asked <= widest {
        return Ok(Verdict::Allow);
    }
    let reason =
        format!("approval mode {} is wider than allowed; the widest is {} {whose}", asked.name(), widest.name());
    match settings.on_excess {
        OnExcess::Deny => Err(denial("approval_mode_exceeded", reason)),
        OnExcess::Amend => Ok(Verdict::Amend(Amendment { cwd: None, approval_mode: Some(widest.into()), reason })),
    }
}

fn decide_target(settings: &Settings, kind: Kind, target: &Target, context: &Context) -> Result<Verdict, Denial> {
    let caller = &context.caller;
    let place = match target {
        Target::Agent(agent) => {
            check_bound_caller(settings, caller, agent)?;
            check_protected(settings, agent)?;
            let running = context.running.iter().find(|running| running.agent_id == agent.id);
            Place { site: agent.site.as_ref(), provider: running.map(|running| running.provider.as_str()) }
        }
        Target::EveryAgentOf(site) => {
            if bound_agent(caller).is_some() && settings.agents_may_control != AgentsMay::Anyone {
                return Err(agents_may_not("control every agent at once"));
            }
            if settings.every_agent_needs_administrator && !caller.administrator {
                return Err(denial(
                    "administrator_required",
                    format!(
                        "only the administrator may {} every agent at once; name the agents one by one",
                        kind.name()
                    ),
                ));
            }
            check_none_protected(settings, site, &context.running)?;
            Place { site: Some(site), provider: None }
        }
    };
    check_allowed(limit_for(settings, caller, &place), kind, &place)?;
    Ok(Verdict::Allow)
}

/// The agent whose credential the caller holds. The administrator is no agent, whatever else the
/// credential says.
fn bound_agent(caller: &Caller) -> Option<&str> {
    if caller.administrator { None } else { caller.agent_id.as_deref() }
}

fn check_bound_caller(settings: &Settings, caller: &Caller, agent: &AgentFacts) -> Result<(), Denial> {
    let Some(own) = bound_agent(caller) else {
        return Ok(());
    };
    match settings.agents_may_control {
        AgentsMay::Anyone => Ok(()),
        AgentsMay::Itself if own == agent.id => Ok(()),
        AgentsMay::Itself => Err(agents_may_not("control another agent than themselves")),
        AgentsMay::Nothing => Err(agents_may_not("control agents")),
    }
}

fn agents_may_not(what: &str) -> Denial {
    denial("agent_may_not_control", format!("agents may not {what} here; ask a person who may"))
}

fn check_protected(settings: &Settings, agent: &AgentFacts) -> Result<(), Denial> {
    let protects = |pattern: &String| match pattern.split_once(':') {
        Some(("id", pattern)) => matches(pattern, &agent.id),
        Some(("label", pattern)) => agent.label.as_deref().is_some_and(|label| matches(pattern, label)),
        Some(("tag", pattern)) => agent.tags.iter().any(|tag| matches(pattern, tag)),
        _ => false,
    };
    match settings.protected_agents.iter().find(|pattern| protects(pattern)) {
        None => Ok(()),
        Some(pattern) => Err(protected(&agent.id, pattern)),
    }
}

/// Refuses when one of a site's agents is protected, or when that cannot be told: of running
/// agents neither tags nor more than the newest thousand are known.
fn check_none_protected(settings: &Settings, site: &Site, running: &[RunningAgent]) -> Result<(), Denial> {
    if settings.protected_agents.is_empty() {
        return Ok(());
    }
    for agent in running.iter().filter(|agent| agent.orchestrator == site.orchestrator) {
        for pattern in &settings.protected_agents {
            let protects = match pattern.split_once(':') {
                Some(("id", pattern)) => matches(pattern, &agent.agent_id),
                Some(("label", pattern)) => agent.label.as_deref().is_some_and(|label| matches(pattern, label)),
                // Its tags are not known here.
                _ => true,
            };
            if protects {
                return Err(protected(&agent.agent_id, pattern));
            }
        }
    }
    if running.len() >= RUNNING_MAX {
        return Err(denial(
            "agent_protected",
            "too many agents run to tell whether a protected one is among them; name the agents one by one".to_owned(),
        ));
    }
    Ok(())
}

fn protected(agent: &str, pattern: &str) -> Denial {
    denial(
        "agent_protected",
        format!(
            "agent {agent:?} is or may be protected by {pattern:?} of protected_agents; name other agents one by one, or ask the operator to change that setting"
        ),
    )
}

/// Where a control happens, as far as that is known.
struct Place<'a> {
    site: Option<&'a Site>,
    provider: Option<&'a str>,
}

impl Place<'_> {
    /// For reasons.
    fn name(&self) -> &str {
        match self.site {
            None => "an unknown host",
            Some(Site { orchestrator: None, .. }) => "the relay's own host",
            Some(Site { orchestrator: Some(id), .. }) => id,
        }
    }
}

/// The first limit whose patterns all match.
fn limit_for<'a>(settings: &'a Settings, caller: &Caller, place: &Place<'_>) -> Option<&'a Limit> {
    settings.limit.iter().find(|limit| {
        any(&limit.callers, |pattern| matches_caller(pattern, caller))
            && any(&limit.orchestrators, |pattern| matches_site(pattern, place.site))
            && any(&limit.providers, |pattern| place.provider.is_some_and(|provider| matches(pattern, provider)))
    })
}

/// Whether one of these patterns matches; those that are left out match everything.
fn any(patterns: &Option<Vec<String>>, matches: impl Fn(&str) -> bool) -> bool {
    patterns.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| matches(pattern)))
}

fn matches_caller(pattern: &str, caller: &Caller) -> bool {
    match pattern.split_once(':') {
        Some(("name", pattern)) => matches(pattern, &caller.name),
        Some(("agent", pattern)) => caller.agent_id.as_deref().is_some_and(|id| matches(pattern, id)),
        Some(("scope", pattern)) => caller.scopes.iter().any(|scope| matches(pattern, scope)),
        _ => match pattern {
            "administrator" => caller.administrator,
            "loopback" => caller.loopback,
            "remote" => !caller.loopback,
            _ => pattern == "*",
        },
    }
}

fn matches_site(pattern: &str, site: Option<&Site>) -> bool {
    site.map_or(pattern == "*", |site| matches_orchestrator(pattern, site.orchestrator.as_deref()))
}

/// None is the relay's own host.
fn matches_orchestrator(pattern: &str, orchestrator: Option<&str>) -> bool {
    match orchestrator {
        None => pattern == "@relay" || pattern == "*",
        // An orchestrator that calls itself @relay is not the relay's own host.
        Some(id) => pattern != "@relay" && matches(pattern, id),
    }
}

fn check_allowed(limit: Option<&Limit>, kind: Kind, place: &Place<'_>) -> Result<(), Denial> {
    let Some(allow) = limit.and_then(|limit| limit.allow.as_ref()) else {
        return Ok(());
    };
    if allow.contains(&kind) {
        return Ok(());
    }
    let allowed = match allow.as_slice() {
        [] => "nothing is".to_owned(),
        [one] => format!("only {} is", one.name()),
        several => format!("only {} are", several.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" and ")),
    };
    Err(denial(
        "control_not_allowed",
        format!("{} is not allowed at {} for this caller; {allowed}", kind.name(), place.name()),
    ))
}

/// The approval mode an agent was started with. One that the relay did not start, or that is not
/// among those it tells of, counts as the narrowest.
fn mode_of(agent: &str, context: &Context) -> Mode {
    context
        .running
        .iter()
        .find(|running| running.agent_id == agent)
        .map_or(Mode::ReadOnly, |running| running.approval_mode.into())
}

/// Whether `text` matches a pattern in which `*` stands for any number of characters.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(start) else {
        return false;
    };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        // The leftmost place is always good enough: it leaves most for the parts that follow.
        let Some(found) = text.find(part) else {
            return false;
        };
        text = &text[found + part.len()..];
    }
    true
}

fn denial(code: &str, reason: String) -> Denial {
    Denial { code: code.to_owned(), reason }
}

#[cfg(test)]
mod tests;
