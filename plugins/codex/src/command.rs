//! The command line of one session.

use agent_relay_plugin::provider::{
    LaunchPlan, LaunchSite, PlanError, PromptDelivery, Readiness, SpawnRequest, introduction, variables,
};
use agent_relay_plugin::{ApprovalMode, Extension};

use crate::screen::is_id;
use crate::settings::Settings;

/// How the program finds its account and its own configuration.
const PASSED: [&str; 5] = ["CODEX_API_KEY", "CODEX_CA_CERTIFICATE", "CODEX_HOME", "OPENAI_API_KEY", "OPENAI_BASE_URL"];

/// What the empty input box says. Dialogs replace it.
const READY: &str = "Ask Codex to do anything";

/// Plans one session.
pub(crate) fn plan(settings: &Settings, request: &SpawnRequest, site: &LaunchSite) -> Result<LaunchPlan, PlanError> {
    let resumed = request.extension("resume").filter(|id| is_id(id));
    // The flags are the same.
    let mut args: Vec<String> = resumed.iter().map(|_| "resume".to_owned()).collect();
    args.extend(settings.extra_args.clone());
    // Without this the session would live in a server shared with others, with their environment
    // (and so their token), and outlive its own end.
    args.push("--no-daemon".to_owned());
    args.extend(approval(request.approval_mode).map(str::to_owned));
    args.extend(settings.model.iter().map(|model| format!("--model={model}")));
    for assignment in configuration(settings, request, site) {
        args.extend(["-c".to_owned(), assignment]);
    }
    if let Some(prompt) = &request.prompt {
        check_prompt(prompt)?;
    }
    if resumed.is_some() || request.prompt.is_some() {
        args.push("--".to_owned());
    }
    let extensions = match &resumed {
        Some(_) => vec![Extension { name: "resumed".to_owned(), value: "true".to_owned() }],
        None => Vec::new(),
    };
    args.extend(resumed.into_iter().chain(request.prompt.clone()));
    Ok(LaunchPlan {
        program: settings.executable.clone(),
        args,
        env: variables(site, &[], &PASSED, &settings.pass_env),
        cwd: site.cwd.clone(),
        files: Vec::new(),
        prompt: PromptDelivery::InArguments,
        ready: Readiness { screen_texts: vec![READY.to_owned()], settle_ms: 60_000 },
        extensions,
    })
}

/// The flags of an approval mode. Each sets both: what is asked about, and what the sandbox lets
/// through without asking.
fn approval(mode: ApprovalMode) -> [&'static str; 4] {
    match mode {
        ApprovalMode::Open => ["--ask-for-approval", "never", "--sandbox", "danger-full-access"],
        ApprovalMode::Guarded => ["--ask-for-approval", "on-request", "--sandbox", "workspace-write"],
        // Nobody is asked, for a person could consent to a change.
        ApprovalMode::ReadOnly => ["--ask-for-approval", "never", "--sandbox", "read-only"],
    }
}

/// Assignments over the user's own configuration.
fn configuration(settings: &Settings, request: &SpawnRequest, site: &LaunchSite) -> Vec<String> {
    let mut assignments = vec![
        // A question about an update would wait for a person.
        "check_for_update_on_startup=false".to_owned(),
        // By these two it is known, in every session, which conversation and which version it is.
        "tui.status_line=[\"thread-id\",\"codex-version\",\"model-with-reasoning\",\"current-dir\"]".to_owned(),
        format!("developer_instructions={}", quoted(&introduction(request, site))),
    ];
    if let Some(url) = &site.mcp_url {
        assignments.extend([
            format!("mcp_servers.relay.url={}", quoted(url)),
            format!("mcp_servers.relay.bearer_token_env_var={}", quoted(&site.token_variable)),
            // They are how the agent is spoken to, and what they may do is the relay's to decide.
            "mcp_servers.relay.default_tools_approval_mode=\"approve\"".to_owned(),
        ]);
    }
    if settings.trust_folders {
        assignments.push(format!("projects={{{}={{trust_level=\"trusted\"}}}}", quoted(&site.cwd)));
    }
    assignments
}

/// Refuses a prompt that Codex would run as a command of the shell, outside its sandbox.
fn check_prompt(prompt: &str) -> Result<(), PlanError> {
    // Leading white space is kept by the version seen; one that strips it must find nothing.
    if prompt.trim_start().starts_with('!') {
        return Err(PlanError::Invalid(
            "a prompt for codex may not begin with !, which runs a shell command outside the sandbox; say in words what is to be done".to_owned(),
        ));
    }
    Ok(())
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            _ if character.is_control() => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(character)));
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn site() -> LaunchSite {
        LaunchSite {
            cwd: "/code/my \"project\"".to_owned(),
            home: "/home/me".to_owned(),
            hostname: "here".to_owned(),
            session_dir: "/data/sessions/a1".to_owned(),
            relay_url: "http://127.0.0.1:4850".to_owned(),
            token_variable: "AGENT_RELAY_TOKEN".to_owned(),
            mcp_url: Some("http://127.0.0.1:4850/mcp".to_owned()),
            host_variables: ["CODEX_HOME", "MOCK_KEY", "OTHER"].map(str::to_owned).to_vec(),
            root: false,
            extensions: Vec::new(),
        }
    }

    fn request(approval_mode: ApprovalMode) -> SpawnRequest {
        SpawnRequest {
            agent_id: "a1".to_owned(),
            approval_mode,
            label: None,
            prompt: Some("--help me".to_owned()),
            extensions: Vec::new(),
        }
    }

    /// The arguments of a plan, with the introduction left out.
    fn arguments(settings: &Settings, mode: ApprovalMode, site: &LaunchSite) -> Vec<String> {
        let mut args = plan(settings, &request(mode), site).expect("the prompt is fine").args;
        let told = args
            .iter_mut()
            .find(|arg| arg.starts_with("developer_instructions=\"You are the agent \\\"a1\\\""))
            .expect("the agent is told who it is");
        *told = "developer_instructions=...".to_owned();
        args
    }

    const SHARED: [&str; 14] = [
        "-c",
        "check_for_update_on_startup=false",
        "-c",
        "tui.status_line=[\"thread-id\",\"codex-version\",\"model-with-reasoning\",\"current-dir\"]",
        "-c",
        "developer_instructions=...",
        "-c",
        "mcp_servers.relay.url=\"http://127.0.0.1:4850/mcp\"",
        "-c",
        "mcp_servers.relay.bearer_token_env_var=\"AGENT_RELAY_TOKEN\"",
        "-c",
        "mcp_servers.relay.default_tools_approval_mode=\"approve\"",
        "--",
        "--help me",
    ];

    #[test]
    fn each_mode_sets_approval_and_sandbox() {
        for (mode, approval, sandbox) in [
            (ApprovalMode::Open, "never", "danger-full-access"),
            (ApprovalMode::Guarded, "on-request", "workspace-write"),
            (ApprovalMode::ReadOnly, "never", "read-only"),
        ] {
            let expected = ["--no-daemon", "--ask-for-approval", approval, "--sandbox", sandbox];
            assert_eq!(arguments(&Settings::default(), mode, &site()), [&expected[..], &SHARED].concat());
        }
    }

    #[test]
    fn a_prompt_is_never_a_shell_command() {
        for prompt in ["!touch x", " !touch x", "\n\t!touch x", "!"] {
            let request = SpawnRequest { prompt: Some(prompt.to_owned()), ..request(ApprovalMode::Open) };
            let refused = plan(&Settings::default(), &request, &site());
            assert!(matches!(refused, Err(PlanError::Invalid(_))), "{prompt:?}");
        }
        let fine = SpawnRequest { prompt: Some("go!".to_owned()), ..request(ApprovalMode::Open) };
        assert!(plan(&Settings::default(), &fine, &site()).is_ok());
    }

    #[test]
    fn settings_find_their_place() {
        let settings = Settings {
            executable: "/opt/codex".to_owned(),
            model: Some("m".to_owned()),
            extra_args: vec!["--search".to_owned()],
            pass_env: vec!["MOCK_KEY".to_owned()],
            trust_folders: true,
            ..Settings::default()
        };
        let args = arguments(&settings, ApprovalMode::Guarded, &site());
        assert_eq!(args[..2], ["--search", "--no-daemon"]);
        assert!(args.contains(&"--model=m".to_owned()));
        let trusted = r#"projects={"/code/my \"project\""={trust_level="trusted"}}"#.to_owned();
        assert!(args.contains(&trusted), "{args:?}");

        let plan = plan(&settings, &request(ApprovalMode::Guarded), &site()).expect("a plan");
        assert_eq!(plan.program, "/opt/codex");
        assert_eq!(plan.cwd, site().cwd);
        let names: Vec<&str> = plan.env.iter().map(|variable| variable.name.as_str()).collect();
        assert_eq!(names, ["CODEX_HOME", "MOCK_KEY"]);
    }

    #[test]
    fn a_conversation_goes_on() {
        const ID: &str = "01a218d9-b263-7502-b924-a54d6a7afa2a";
        let with = |id: &str, prompt: Option<&str>| {
            let extension = Extension { name: "resume".to_owned(), value: format!("{id:?}") };
            let prompt = prompt.map(str::to_owned);
            let request = SpawnRequest { extensions: vec![extension], prompt, ..request(ApprovalMode::Guarded) };
            plan(&Settings::default(), &request, &site()).expect("a plan")
        };
        let resumed = with(ID, Some("--help me"));
        assert_eq!(resumed.args[..2], ["resume", "--no-daemon"]);
        assert!(
            resumed.args.ends_with(&["--".to_owned(), ID.to_owned(), "--help me".to_owned()]),
            "{:?}",
            resumed.args
        );
        assert_eq!(resumed.extensions, [Extension { name: "resumed".to_owned(), value: "true".to_owned() }]);
        assert!(with(ID, None).args.ends_with(&["--".to_owned(), ID.to_owned()]));
        // What is no id of this program is no argument either, and the plan does not say that anything goes on.
        let strange = with("--last", None);
        assert!(
            !strange.args.iter().any(|arg| arg == "resume" || arg == "--last" || arg == "--"),
            "{:?}",
            strange.args
        );
        assert!(strange.extensions.is_empty());
    }

    #[test]
    fn without_a_server_of_the_relay_none_is_named() {
        let site = LaunchSite { mcp_url: None, ..site() };
        let args = arguments(&Settings::default(), ApprovalMode::Guarded, &site);
        assert!(!args.iter().any(|arg| arg.contains("mcp_servers")), "{args:?}");
    }

    #[test]
    fn texts_are_quoted_for_toml() {
        assert_eq!(quoted("a \"b\" \\ c\nd\u{7f}ä"), r#""a \"b\" \\ c\u000Ad\u007Fä""#);
    }

    #[test]
    fn the_manifest_grants_what_plans_ask_for() {
        let manifest: toml::Table = include_str!("../plugin.toml").parse().expect("it is TOML");
        let granted =
            |key: &str| -> Vec<String> { manifest["grants"][key].clone().try_into().expect("a list of names") };
        assert_eq!(granted("executables"), [Settings::default().executable]);
        let asked = PASSED.into_iter().chain(agent_relay_plugin::provider::NETWORK).collect::<BTreeSet<_>>();
        assert_eq!(granted("env").iter().map(String::as_str).collect::<BTreeSet<_>>(), asked);
    }
}
