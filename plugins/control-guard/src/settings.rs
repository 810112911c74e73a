//! What an operator may set, read and checked.

use agent_relay_plugin::policy::ControlKind;
use agent_relay_plugin::{ApprovalMode, settings};
use serde::Deserialize;

/// The most limits, and the most patterns of one list: each decision walks through all of them.
const ENTRIES_MAX: usize = 100;
const PATTERN_CHARS_MAX: usize = 300;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) max_approval_mode: Mode,
    pub(crate) on_excess: OnExcess,
    pub(crate) agents_may_control: AgentsMay,
    pub(crate) agents_may_widen: bool,
    pub(crate) every_agent_needs_administrator: bool,
    pub(crate) protected_agents: Vec<String>,
    pub(crate) max_running: Option<u32>,
    pub(crate) spawns_per_minute: Option<u32>,
    pub(crate) spawns_per_hour: Option<u32>,
    pub(crate) spawns_per_day: Option<u32>,
    pub(crate) max_depth: Option<u32>,
    pub(crate) while_limited: WhileLimited,
    pub(crate) limit: Vec<Limit>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_approval_mode: Mode::Open,
            on_excess: OnExcess::Deny,
            agents_may_control: AgentsMay::Nothing,
            agents_may_widen: false,
            every_agent_needs_administrator: true,
            protected_agents: Vec::new(),
            max_running: None,
            spawns_per_minute: None,
            spawns_per_hour: None,
            spawns_per_day: None,
            max_depth: None,
            while_limited: WhileLimited::Allow,
            limit: Vec::new(),
        }
    }
}

/// One `[[settings.limit]]`.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limit {
    pub(crate) callers: Option<Vec<String>>,
    pub(crate) orchestrators: Option<Vec<String>>,
    pub(crate) providers: Option<Vec<String>>,
    pub(crate) max_approval_mode: Option<Mode>,
    pub(crate) allow: Option<Vec<Kind>>,
    pub(crate) max_running: Option<u32>,
    pub(crate) spawns_per_minute: Option<u32>,
    pub(crate) spawns_per_hour: Option<u32>,
    pub(crate) spawns_per_day: Option<u32>,
    pub(crate) max_depth: Option<u32>,
    pub(crate) while_limited: Option<WhileLimited>,
}

/// An approval mode, ordered by how much it allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    ReadOnly,
    Guarded,
    Open,
}

impl Mode {
    /// Its name in settings and requests.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::Guarded => "guarded",
            Self::Open => "open",
        }
    }
}

impl From<ApprovalMode> for Mode {
    fn from(mode: ApprovalMode) -> Self {
        match mode {
            ApprovalMode::ReadOnly => Self::ReadOnly,
            ApprovalMode::Guarded => Self::Guarded,
            ApprovalMode::Open => Self::Open,
        }
    }
}

impl From<Mode> for ApprovalMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::ReadOnly => Self::ReadOnly,
            Mode::Guarded => Self::Guarded,
            Mode::Open => Self::Open,
        }
    }
}

/// A kind of control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Spawn,
    Restart,
    Shutdown,
}

impl Kind {
    /// Its name in settings and reasons.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Spawn => "spawn",
            Self::Restart => "restart",
            Self::Shutdown => "shutdown",
        }
    }
}

impl From<ControlKind> for Kind {
    fn from(kind: ControlKind) -> Self {
        match kind {
            ControlKind::Spawn => Self::Spawn,
            ControlKind::Restart => Self::Restart,
            ControlKind::Shutdown => Self::Shutdown,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnExcess {
    Deny,
    Amend,
}

/// What becomes of a spawn while agents of its provider are at a usage limit: they share an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WhileLimited {
    Allow,
    Deny,
}

/// What a caller may control that is bound to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AgentsMay {
    Nothing,
    Itself,
    Anyone,
}

impl settings::Settings for Settings {
    fn read(json: &str) -> Result<Self, String> {
        let settings: Self = settings::from_json(json)?;
        settings.check()?;
        Ok(settings)
    }
}

impl Settings {
    fn check(&self) -> Result<(), String> {
        check_patterns(
            "protected_agents",
            &self.protected_agents,
            |pattern| ["id:", "tag:", "label:"].iter().any(|kind| pattern.starts_with(kind)),
            "id:NAME, tag:NAME or label:NAME",
        )?;
        if self.limit.len() > ENTRIES_MAX {
            return Err(format!("settings.limit: has {} entries; at most {ENTRIES_MAX} are allowed", self.limit.len()));
        }
        for (index, limit) in self.limit.iter().enumerate() {
            limit.check(index)?;
        }
        Ok(())
    }
}

impl Limit {
    fn check(&self, index: usize) -> Result<(), String> {
        let check = |key: &str, patterns: &Option<Vec<String>>, allowed: fn(&str) -> bool, says: &str| {
            let key = format!("limit[{index}].{key}");
            match patterns {
                Some(patterns) if patterns.is_empty() => {
                    Err(format!("settings.{key}: matches nothing; leave it out to match everything"))
                }
                Some(patterns) => check_patterns(&key, patterns, allowed, says),
                None => Ok(()),
            }
        };
        check(
            "callers",
            &self.callers,
            |pattern| {
                ["administrator", "loopback", "remote", "*"].contains(&pattern)
                    || ["name:", "agent:", "scope:"].iter().any(|kind| pattern.starts_with(kind))
            },
            "administrator, name:NAME, agent:ID, scope:NAME, loopback, remote or *",
        )?;
        check(
            "orchestrators",
            &self.orchestrators,
            |pattern| !pattern.starts_with('@') || pattern == "@relay",
            "an orchestrator's id, or @relay for the relay's own host",
        )?;
        check("providers", &self.providers, |_| true, "a provider's id")?;
        let numbers =
            [self.max_running, self.spawns_per_minute, self.spawns_per_hour, self.spawns_per_day, self.max_depth];
        let limits_nothing = self.max_approval_mode.is_none()
            && self.allow.is_none()
            && self.while_limited.is_none()
            && numbers.iter().all(Option::is_none);
        if limits_nothing {
            return Err(format!(
                "settings.limit[{index}]: limits nothing; give one of max_approval_mode, allow, max_running, \
                 spawns_per_minute, spawns_per_hour, spawns_per_day, max_depth and while_limited"
            ));
        }
        Ok(())
    }
}

fn check_patterns(key: &str, patterns: &[String], allowed: impl Fn(&str) -> bool, says: &str) -> Result<(), String> {
    if patterns.len() > ENTRIES_MAX {
        return Err(format!("settings.{key}: has {} entries; at most {ENTRIES_MAX} are allowed", patterns.len()));
    }
    for pattern in patterns {
        if pattern.is_empty() || pattern.chars().count() > PATTERN_CHARS_MAX || !allowed(pattern) {
            return Err(format!("settings.{key}: {pattern:?} is no pattern; expected {says}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use agent_relay_plugin::Settings as _;

    use super::*;

    fn error(json: &str) -> String {
        Settings::read(json).expect_err(json)
    }

    #[test]
    fn nothing_needs_to_be_set() {
        assert_eq!(Settings::read("{}"), Ok(Settings::default()));
    }

    #[test]
    fn every_setting_is_read() {
        let settings = Settings::read(
            r#"{"max_approval_mode": "guarded", "on_excess": "amend", "agents_may_control": "itself", "agents_may_widen": true,
                "every_agent_needs_administrator": false, "protected_agents": ["id:a", "tag:infra", "label:x*"],
                "limit": [{"callers": ["name:ci-*", "administrator"], "orchestrators": ["@relay", "prod-*"], "providers": ["codex"],
                           "max_approval_mode": "read-only", "allow": ["spawn", "restart", "shutdown"],
                           "max_running": 5, "spawns_per_minute": 1, "spawns_per_hour": 2, "spawns_per_day": 3, "max_depth": 0,
                           "while_limited": "deny"}],
                "max_running": 50, "spawns_per_minute": 10, "spawns_per_hour": 20, "spawns_per_day": 30, "max_depth": 2,
                "while_limited": "allow"}"#,
        )
        .expect("every setting is known");
        assert_eq!(settings.max_approval_mode, Mode::Guarded);
        assert_eq!(settings.on_excess, OnExcess::Amend);
        assert_eq!(settings.agents_may_control, AgentsMay::Itself);
        assert_eq!(settings.limit[0].allow.as_ref().map(Vec::len), Some(3));
        assert_eq!((settings.spawns_per_hour, settings.limit[0].spawns_per_hour), (Some(20), Some(2)));
    }

    #[test]
    fn what_does_not_fit_is_named_with_what_would() {
        for (json, expected) in [
            (
                r#"{"max_approval_mod": "open"}"#,
                "settings.max_approval_mod: unknown field `max_approval_mod`, expected one of `max_approval_mode`",
            ),
            (
                r#"{"max_approval_mode": "wide"}"#,
                "settings.max_approval_mode: unknown variant `wide`, expected one of `read-only`, `guarded`, `open`",
            ),
            (r#"{"on_excess": "warn"}"#, "settings.on_excess: unknown variant `warn`, expected `deny` or `amend`"),
            (r#"{"agents_may_control": true}"#, "settings.agents_may_control: "),
            (
                r#"{"protected_agents": ["db"]}"#,
                "settings.protected_agents: \"db\" is no pattern; expected id:NAME, tag:NAME or label:NAME",
            ),
            (
                r#"{"limit": [{"callers": ["ci"], "allow": []}]}"#,
                "settings.limit[0].callers: \"ci\" is no pattern; expected administrator, ",
            ),
            (r#"{"limit": [{"callers": [], "allow": []}]}"#, "settings.limit[0].callers: matches nothing"),
            (
                r#"{"limit": [{"orchestrators": ["@here"], "allow": []}]}"#,
                "settings.limit[0].orchestrators: \"@here\" is no pattern",
            ),
            (
                r#"{"limit": [{"allow": ["spwan"]}]}"#,
                "settings.limit[0].allow[0]: unknown variant `spwan`, expected one of `spawn`, `restart`, `shutdown`",
            ),
            (r#"{"limit": [{"allow": []}, {"providers": ["x"]}]}"#, "settings.limit[1]: limits nothing"),
            (r#"{"limit": [{"max": "open"}]}"#, "settings.limit[0].max: unknown field `max`"),
            (r#"{"while_limited": "no"}"#, "settings.while_limited: unknown variant `no`, expected `allow` or `deny`"),
            (r#"{"spawns_per_hour": -1}"#, "settings.spawns_per_hour: "),
            ("[]x", "settings: "),
        ] {
            let error = error(json);
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn lists_are_bounded() {
        let many = vec![r#""id:a""#; ENTRIES_MAX + 1].join(",");
        assert!(error(&format!(r#"{{"protected_agents": [{many}]}}"#)).contains("at most 100"));
        let many = vec![r#"{"allow": []}"#; ENTRIES_MAX + 1].join(",");
        assert!(error(&format!(r#"{{"limit": [{many}]}}"#)).contains("at most 100"));
        let long = "x".repeat(PATTERN_CHARS_MAX);
        assert!(error(&format!(r#"{{"protected_agents": ["id:{long}"]}}"#)).contains("is no pattern"));
    }
}
