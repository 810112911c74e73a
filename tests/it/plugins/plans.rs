//! What providers answer, and what of it is believed.

use agent_relay::domain::control::ApprovalMode;
use agent_relay::domain::control::plan::{IncomingMessage, LaunchSite, SpawnRequest, StopReason};
use agent_relay::plugins::{AllowedGrants, CallError, PlanRefusal, PluginConfig, PluginError, PluginState, Plugins};

use super::{Home, guest, open, provider, status};

async fn opened() -> (Home, Plugins) {
    let home = Home::new();
    home.put("misplan", &provider("misplan", ""), &guest("misplan"));
    let plugins = home.open().await;
    (home, plugins)
}

pub(super) fn request(wish: &str) -> SpawnRequest {
    SpawnRequest {
        agent_id: "sleeper-1".into(),
        approval_mode: ApprovalMode::Guarded,
        label: Some(wish.into()),
        prompt: Some("sleep".into()),
        resume: None,
        conversation: None,
    }
}

pub(super) fn site() -> LaunchSite {
    LaunchSite {
        cwd: "/base/code".into(),
        home: "/home/me".into(),
        hostname: "here".into(),
        session_dir: "/run/session".into(),
        relay_url: "http://127.0.0.1:1".into(),
        token_variable: "AGENT_RELAY_TOKEN".into(),
        mcp_url: None,
        host_variables: vec!["SECRET".into()],
        root: false,
    }
}

fn message(body: &str) -> IncomingMessage {
    IncomingMessage { id: 7, sender: "friend".into(), subject: None, body: body.into(), interrupt: false }
}

#[tokio::test]
async fn a_good_plan_carries_who_made_it_and_its_hash() {
    let (_home, plugins) = opened().await;
    let set = plugins.current();
    assert_eq!(set.provider_ids(), ["misplan"]);
    let plan = set.plan("tester", "misplan", &request(""), &site()).await.expect("a good plan");
    assert_eq!((plan.provider(), plan.version(), plan.generation()), ("misplan", "1.0.0", 1));
    assert_eq!(Some(plan.digest()), status(&plugins, "misplan", PluginState::Active).digest.as_deref());
    assert_eq!(plan.plan().program, "sleeper");
    assert_eq!(plan.plan().args, ["sleep", "--last"]);
    let again = set.plan("tester", "misplan", &request(""), &site()).await.expect("a good plan");
    assert_eq!(plan.sha256(), again.sha256());
}

#[tokio::test]
async fn a_plan_beyond_the_grants_is_a_failure_that_names_the_field() {
    let (home, _) = opened().await;
    let cases = [
        ("program", "plan: program: "),
        ("cwd", "plan: cwd: "),
        ("env", "plan: env[0]: "),
        ("token", "plan: env[0]: "),
        ("steal", "plan: env[0]: "),
        ("args", "plan: args: "),
        ("nul", "plan: args[0]: "),
        ("file", "plan: files[0]: "),
        ("huge", ""),
    ];
    for (wish, field) in cases {
        // Opened anew, because five failures are all that is suffered.
        let plugins = home.open().await;
        let error = plugins.current().plan("tester", "misplan", &request(wish), &site()).await.expect_err(wish);
        let PluginError::Failed { error: CallError::Output(problem), .. } = &error else { panic!("{wish}: {error:?}") };
        assert!(problem.starts_with(field), "{wish}: {problem}");
    }
}

#[tokio::test]
async fn a_refusal_is_not_a_failure() {
    let (_home, plugins) = opened().await;
    let set = plugins.current();
    let error = set.plan("tester", "misplan", &request("refuse"), &site()).await.expect_err("refused");
    assert_eq!(error.to_string(), "provider misplan refuses: nottoday");
    let open = SpawnRequest { approval_mode: ApprovalMode::Open, ..request("") };
    let error = set.plan("tester", "misplan", &open, &site()).await.expect_err("refused");
    assert!(matches!(
        error,
        PluginError::Refused { refusal: PlanRefusal::UnsupportedApprovalMode(ApprovalMode::Open), .. }
    ));
    assert_eq!(status(&plugins, "misplan", PluginState::Active).traps, 0);
    let error = set.plan("tester", "nobody", &request(""), &site()).await.expect_err("not loaded");
    assert_eq!(error.to_string(), "no provider \"nobody\" is loaded; loaded are: misplan");
}

#[tokio::test]
async fn messages_and_stops_are_checked_too() {
    let (_home, plugins) = opened().await;
    let set = plugins.current();
    let shown = set.present("misplan", &message("hello\x1b[201~ there")).await.expect("shown");
    assert_eq!(shown.text, "message 7 from friend: hello[201~ there");
    assert_eq!(shown.keys_before, ["Escape"]);
    assert!(set.present("misplan", &message("flag")).await.is_err(), "a key that is a flag");
    assert!(set.present("misplan", &message("trap")).await.is_err());
    let largest = "x".repeat(256 * 1024);
    assert!(set.present("misplan", &message(&largest)).await.expect("shown").text.ends_with(&largest));

    assert_eq!(set.stop("misplan", StopReason::Shutdown).await.expect("a way").grace_ms, 500);
    assert!(set.stop("misplan", StopReason::Failed).await.is_err(), "ten minutes are too long");
}

#[tokio::test]
async fn a_provider_whose_sample_plans_are_not_acceptable_is_not_loaded() {
    let home = Home::new();
    let wasm = guest("misplan");
    home.put("misplan", &provider("misplan", "plan = 'program'"), &wasm);
    let plugins = home.open().await;
    let error = status(&plugins, "misplan", PluginState::Rejected).error.expect("a reason");
    assert_eq!(error.stage.as_str(), "probe");
    assert!(error.reason.contains("/bin/sh"), "{}", error.reason);

    home.put("misplan", &provider("misplan", "plan = 'refuse'"), &wasm);
    plugins.reload(None).await;
    let error = status(&plugins, "misplan", PluginState::Rejected).error.expect("a reason");
    assert!(error.reason.contains("lists approval mode guarded"), "{}", error.reason);
    assert!(plugins.current().provider_ids().is_empty());
}

#[tokio::test]
async fn the_operator_can_withhold_a_grant() {
    let home = Home::new();
    home.put("misplan", &provider("misplan", ""), &guest("misplan"));
    let mut options = home.options();
    let grants = AllowedGrants { executables: Some(vec!["something-else".into()]), ..AllowedGrants::default() };
    options.plugins.insert("misplan".into(), PluginConfig { grants, ..PluginConfig::default() });
    let plugins = open(options).await;
    let error = status(&plugins, "misplan", PluginState::Rejected).error.expect("a reason");
    assert!(error.reason.contains("\"sleeper\" is not granted"), "{}", error.reason);
}
