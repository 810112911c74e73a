//! The command line of one session.

use agent_relay_plugin::provider::{
    LaunchPlan, LaunchSite, PromptDelivery, Readiness, SessionFile, SpawnRequest, introduction, variables,
};
use agent_relay_plugin::{ApprovalMode, Extension};

use crate::records::is_id;
use crate::settings::Settings;

/// Keeps a session from updating itself, reporting home and asking how it went.
const QUIET: [(&str, &str); 3] =
    [("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"), ("DISABLE_AUTOUPDATER", "1"), ("DISABLE_TELEMETRY", "1")];

/// How the program finds its account, its model and its own configuration.
const PASSED: [&str; 9] = [
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_CUSTOM_HEADERS",
    "ANTHROPIC_MODEL",
    "ANTHROPIC_SMALL_FAST_MODEL",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CONFIG_DIR",
    "NODE_EXTRA_CA_CERTS",
];

/// The footer of the input box in each of the modes used here. Dialogs replace it.
const READY: &str = "(shift+tab to cycle)";

/// Everything of the relay's own server. Its tools need no person's consent: they are how the
/// agent is spoken to, and what they may do is the relay's to decide.
const RELAY_TOOLS: &str = "mcp__relay";

/// The session file that describes the relay's server.
const MCP_FILE: &str = "mcp.json";

/// Plans one session.
pub(crate) fn plan(settings: &Settings, request: &SpawnRequest, site: &LaunchSite) -> LaunchPlan {
    let mut args = settings.extra_args.clone();
    args.extend(approval(request.approval_mode, site));
    // Free text is joined to its flag, so that a leading dash is no flag of its own.
    args.extend(settings.model.iter().map(|model| format!("--model={model}")));
    args.extend(request.label.iter().map(|label| format!("--name={label}")));
    let (conversation, resumed) = conversation(request);
    args.extend(conversation);
    let mut files = Vec::new();
    if let Some(url) = &site.mcp_url {
        args.extend(["--mcp-config".to_owned(), format!("{}/{MCP_FILE}", site.session_dir.trim_end_matches('/'))]);
        files.push(SessionFile { name: MCP_FILE.to_owned(), contents: mcp_servers(url, &site.token_variable) });
    }
    // Also the end of the list of files, which would otherwise take in what follows.
    args.extend(["--append-system-prompt".to_owned(), introduction(request, site)]);
    if let Some(prompt) = &request.prompt {
        args.extend(["--".to_owned(), prompt.clone()]);
    }
    LaunchPlan {
        program: settings.executable.clone(),
        args,
        env: variables(site, &QUIET, &PASSED, &settings.pass_env),
        cwd: site.cwd.clone(),
        files,
        prompt: PromptDelivery::InArguments,
        ready: Readiness { screen_texts: vec![READY.to_owned()], settle_ms: 60_000 },
        extensions: resumed.into_iter().collect(),
    }
}

/// Which conversation it is: an earlier one goes on under its id, a new one gets the id that the relay gives it, so that
/// it is known before anything was said.
fn conversation(request: &SpawnRequest) -> (Option<String>, Option<Extension>) {
    let id = |name| request.extension(name).filter(|id| is_id(id));
    if let Some(id) = id("resume") {
        let resumed = Extension { name: "resumed".to_owned(), value: "true".to_owned() };
        return (Some(format!("--resume={id}")), Some(resumed));
    }
    (id("conversation").map(|id| format!("--session-id={id}")), None)
}

/// The flags of an approval mode.
///
/// - `open`: everything, nobody is asked. As root the program refuses to skip its permissions, and
///   saying `IS_SANDBOX=1` for the operator would be a lie; so its usual tools are allowed by name
///   and all else is refused without asking.
/// - `guarded`: edits inside the directory at once, a person is asked about all else.
/// - `read-only`: there is no tool that changes anything, whatever the user's own settings allow,
///   and no server but the relay's. Not `plan`: there a person in front of the terminal may
///   consent to a change.
fn approval(mode: ApprovalMode, site: &LaunchSite) -> Vec<String> {
    let relay = site.mcp_url.is_some().then_some(RELAY_TOOLS);
    let allowed = |tools: &[&'static str]| {
        let tools: Vec<&str> = tools.iter().copied().chain(relay).collect();
        if tools.is_empty() { Vec::new() } else { vec!["--allowedTools".to_owned(), tools.join(",")] }
    };
    let flags =
        |flags: &[&str], allowed: Vec<String>| flags.iter().map(|flag| (*flag).to_owned()).chain(allowed).collect();
    match mode {
        ApprovalMode::Open if site.root => flags(
            &["--permission-mode", "dontAsk"],
            allowed(&["Bash", "Edit", "Write", "NotebookEdit", "WebFetch", "WebSearch", "Skill"]),
        ),
        ApprovalMode::Open => flags(
            &["--dangerously-skip-permissions", "--settings", r#"{"skipDangerousModePermissionPrompt":true}"#],
            Vec::new(),
        ),
        ApprovalMode::Guarded => flags(&["--permission-mode", "acceptEdits"], allowed(&[])),
        ApprovalMode::ReadOnly => flags(
            &["--permission-mode", "dontAsk", "--tools", "Read,Glob,Grep,WaitForMcpServers", "--strict-mcp-config"],
            allowed(&[]),
        ),
    }
}

/// The relay as a server of tools. The token itself stays in the environment. Its tools are few and are the work itself:
/// the model sees them from the start, and need not search for them.
fn mcp_servers(url: &str, token_variable: &str) -> String {
    serde_json::json!({
        "mcpServers": {
            "relay": {
                "type": "http",
                "url": url,
                "headers": { "Authorization": format!("Bearer ${{{token_variable}}}") },
                "alwaysLoad": true,
            },
        },
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn site() -> LaunchSite {
        LaunchSite {
            cwd: "/code/project".to_owned(),
            home: "/home/me".to_owned(),
            hostname: "here".to_owned(),
            session_dir: "/data/sessions/a 1".to_owned(),
            relay_url: "http://127.0.0.1:4850".to_owned(),
            token_variable: "AGENT_RELAY_TOKEN".to_owned(),
            mcp_url: Some("http://127.0.0.1:4850/mcp".to_owned()),
            host_variables: vec!["ANTHROPIC_API_KEY".to_owned(), "MINE".to_owned(), "OTHER".to_owned()],
            root: false,
            extensions: Vec::new(),
        }
    }

    fn request(approval_mode: ApprovalMode) -> SpawnRequest {
        SpawnRequest {
            agent_id: "a1".to_owned(),
            approval_mode,
            label: Some("-x".to_owned()),
            prompt: Some("--help me".to_owned()),
            extensions: Vec::new(),
        }
    }

    /// The arguments of a plan, with the introduction left out.
    fn arguments(mode: ApprovalMode, site: &LaunchSite) -> Vec<String> {
        let mut args = plan(&Settings::default(), &request(mode), site).args;
        let told = args.iter().position(|arg| arg == "--append-system-prompt").expect("the agent is told who it is");
        args.remove(told + 1);
        args
    }

    const SHARED: [&str; 6] =
        ["--name=-x", "--mcp-config", "/data/sessions/a 1/mcp.json", "--append-system-prompt", "--", "--help me"];

    #[test]
    fn open_skips_permissions() {
        let expected =
            ["--dangerously-skip-permissions", "--settings", r#"{"skipDangerousModePermissionPrompt":true}"#];
        assert_eq!(arguments(ApprovalMode::Open, &site()), [&expected[..], &SHARED].concat());
    }

    #[test]
    fn open_as_root_allows_tools_by_name() {
        let mut site = site();
        site.root = true;
        let expected = [
            "--permission-mode",
            "dontAsk",
            "--allowedTools",
            "Bash,Edit,Write,NotebookEdit,WebFetch,WebSearch,Skill,mcp__relay",
        ];
        assert_eq!(arguments(ApprovalMode::Open, &site), [&expected[..], &SHARED].concat());
    }

    #[test]
    fn guarded_accepts_edits_and_the_relay() {
        let expected = ["--permission-mode", "acceptEdits", "--allowedTools", "mcp__relay"];
        assert_eq!(arguments(ApprovalMode::Guarded, &site()), [&expected[..], &SHARED].concat());
    }

    #[test]
    fn read_only_has_no_tool_that_changes_anything() {
        let expected = [
            "--permission-mode",
            "dontAsk",
            "--tools",
            "Read,Glob,Grep,WaitForMcpServers",
            "--strict-mcp-config",
            "--allowedTools",
            "mcp__relay",
        ];
        for root in [false, true] {
            let site = LaunchSite { root, ..site() };
            assert_eq!(arguments(ApprovalMode::ReadOnly, &site), [&expected[..], &SHARED].concat());
        }
    }

    #[test]
    fn without_a_server_of_the_relay_none_is_named() {
        let site = LaunchSite { mcp_url: None, ..site() };
        let plan = plan(&Settings::default(), &request(ApprovalMode::Guarded), &site);
        assert!(plan.files.is_empty());
        assert!(!plan.args.iter().any(|arg| arg.contains("mcp")), "{:?}", plan.args);
    }

    #[test]
    fn the_token_is_named_and_never_written() {
        let plan = plan(&Settings::default(), &request(ApprovalMode::Guarded), &site());
        let file: serde_json::Value = serde_json::from_str(&plan.files[0].contents).expect("the file is JSON");
        let server = &file["mcpServers"]["relay"];
        assert_eq!(server["url"], "http://127.0.0.1:4850/mcp");
        assert_eq!(server["headers"]["Authorization"], "Bearer ${AGENT_RELAY_TOKEN}");
        assert_eq!(server["alwaysLoad"], true, "or the model would have to search for the relay's tools");
    }

    #[test]
    fn a_session_without_a_prompt_starts_idle() {
        let request = SpawnRequest { prompt: None, ..request(ApprovalMode::Guarded) };
        let plan = plan(&Settings::default(), &request, &site());
        assert!(!plan.args.contains(&"--".to_owned()), "{:?}", plan.args);
        assert_eq!(plan.prompt, PromptDelivery::InArguments);
    }

    #[test]
    fn a_conversation_goes_on_or_gets_its_id() {
        const ID: &str = "e33d5e62-d65a-4bb1-bcbc-c0fbc051e4d1";
        let with = |name: &str, id: &str| {
            let extension = Extension { name: name.to_owned(), value: format!("{id:?}") };
            let request = SpawnRequest { extensions: vec![extension], ..request(ApprovalMode::Guarded) };
            plan(&Settings::default(), &request, &site())
        };
        let fresh = with("conversation", ID);
        assert!(fresh.args.contains(&format!("--session-id={ID}")), "{:?}", fresh.args);
        assert!(fresh.extensions.is_empty());
        let resumed = with("resume", ID);
        assert!(resumed.args.contains(&format!("--resume={ID}")), "{:?}", resumed.args);
        assert_eq!(resumed.extensions, [Extension { name: "resumed".to_owned(), value: "true".to_owned() }]);
        // What is no id of this program is no argument either, and the plan does not say that anything goes on.
        let strange = with("resume", "--dangerously-skip-permissions");
        assert!(
            !strange.args.iter().any(|arg| arg.contains("resume") || arg.contains("dangerous")),
            "{:?}",
            strange.args
        );
        assert!(strange.extensions.is_empty());
    }

    #[test]
    fn settings_find_their_place() {
        let settings = Settings {
            executable: "/opt/claude".to_owned(),
            model: Some("opus".to_owned()),
            extra_args: vec!["--effort".to_owned(), "high".to_owned()],
            pass_env: vec!["MINE".to_owned()],
            ..Settings::default()
        };
        let plan = plan(&settings, &request(ApprovalMode::Guarded), &site());
        assert_eq!(plan.program, "/opt/claude");
        assert_eq!(plan.cwd, "/code/project");
        assert_eq!(plan.args[..2], ["--effort", "high"]);
        assert!(plan.args.contains(&"--model=opus".to_owned()));
        let names: Vec<&str> = plan.env.iter().map(|variable| variable.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
                "DISABLE_AUTOUPDATER",
                "DISABLE_TELEMETRY",
                "ANTHROPIC_API_KEY",
                "MINE"
            ]
        );
    }

    #[test]
    fn the_manifest_grants_what_plans_ask_for() {
        let manifest: toml::Table = include_str!("../plugin.toml").parse().expect("it is TOML");
        let granted =
            |key: &str| -> Vec<String> { manifest["grants"][key].clone().try_into().expect("a list of names") };
        assert_eq!(granted("executables"), [Settings::default().executable]);
        let literals = QUIET.iter().map(|(name, _)| *name);
        let asked = literals.chain(PASSED).chain(agent_relay_plugin::provider::NETWORK).collect::<BTreeSet<_>>();
        assert_eq!(granted("env").iter().map(String::as_str).collect::<BTreeSet<_>>(), asked);
    }
}
