//! What a provider may export beside its own interface: what it sees in a session, and the ways into one. Whatever a
//! guest does there, agents go on being started.

use agent_relay::domain::control::ApprovalMode;
use agent_relay::domain::control::courier::{Attempt, Carrier, Notice, Sign, Way};
use agent_relay::domain::control::observation::{Doing, GrantedFile, Observation, RunningSession, ScreenView};
use agent_relay::plugins::{CallError, PluginError, PluginState, Plugins};

use super::plans::{request, site};
use super::{Home, dummies, guest, mislook, provider, status};

async fn opened(settings: &str) -> (Home, Plugins) {
    let home = Home::new();
    home.put("mislook", &mislook(settings), &guest("mislook"));
    let plugins = home.open().await;
    (home, plugins)
}

fn session() -> RunningSession {
    RunningSession {
        agent_id: "a1".into(),
        label: None,
        approval_mode: ApprovalMode::Guarded,
        cwd: "/base/code".into(),
        home: "/home/me".into(),
        session_dir: "/run/session".into(),
        pids: vec![4711],
        conversation: None,
        now_ms: 1_700_000_000_000,
        utc_offset_minutes: 60,
        files: vec![GrantedFile {
            path: "/base/code/conversation".into(),
            contents: "c-1\n".into(),
            cut: false,
            modified_ms: 1,
        }],
        variables: [("MISLOOK_HOME".to_owned(), "/base/code".to_owned())].into(),
    }
}

fn screen(text: &str) -> ScreenView {
    ScreenView { rows: text.lines().map(str::to_owned).collect(), ..ScreenView::default() }
}

fn notice(text: &str) -> Notice {
    Notice { id: 17, text: text.into(), interrupt: false, attempt_id: "0190163d-8694-739b-aea5-966c26f8ad91".into() }
}

fn idle() -> Observation {
    Observation { doing: Doing::Idle, has_draft: false, conversation: None, version: None }
}

async fn observe(plugins: &Plugins, text: &str) -> Result<Option<Observation>, PluginError> {
    plugins.current().observe("mislook", &session(), &screen(text)).await
}

async fn deliver(plugins: &Plugins, text: &str) -> Result<Option<Vec<Attempt>>, PluginError> {
    plugins.current().deliver("mislook", &notice(text), &session(), &idle()).await
}

fn failure<T: std::fmt::Debug>(answer: Result<T, PluginError>) -> CallError {
    match answer.expect_err("it fails") {
        PluginError::Failed { error, .. } => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_provider_says_what_it_sees_and_names_the_ways_in() {
    let (_home, plugins) = opened("ladder = ['queue', 'inbox', 'typed']").await;
    let seen = observe(&plugins, "> \n(shift+tab to cycle)").await.expect("seen").expect("it observes");
    assert_eq!(seen, Observation { conversation: Some("c-1".into()), ..idle() });
    let seen = observe(&plugins, "Usage limit reached").await.expect("seen").expect("it observes");
    assert_eq!(seen.doing, Doing::Limit { until_ms: Some(1_700_000_060_000), text: "Usage limit reached".into() });
    let ladder = deliver(&plugins, "hello").await.expect("a ladder").expect("it delivers");
    assert_eq!(ladder.iter().map(|rung| rung.rung.as_str()).collect::<Vec<_>>(), ["queue", "inbox", "typed"]);
    assert_eq!((ladder[0].carrier, ladder[2].carrier), (Carrier::Queue, Carrier::Typed));
    assert!(matches!(&ladder[0].way, Way::Run { program, .. } if program == "queue"));
    assert!(matches!(&ladder[1].evidence[..], [Sign::File { path, .. }] if path == "/base/code/inbox"));
}

#[tokio::test]
async fn a_provider_without_them_is_loaded_as_before() {
    let home = Home::new();
    home.put("misplan", &provider("misplan", ""), &guest("misplan"));
    let set = home.open().await.current();
    assert_eq!(set.observe("misplan", &session(), &screen("")).await, Ok(None));
    assert_eq!(set.deliver("misplan", &notice("hello"), &session(), &idle()).await, Ok(None));
    assert!(matches!(set.observe("nobody", &session(), &screen("")).await, Err(PluginError::NotLoaded { .. })));
}

#[tokio::test]
async fn an_observer_that_misbehaves_is_left_alone_and_still_plans() {
    let (home, _) = opened("").await;
    home.put("mislook", &mislook("").replace("deadline_ms = 5000", "deadline_ms = 200"), &guest("mislook"));
    let plugins = home.open().await;
    assert_eq!(failure(observe(&plugins, "!loop").await), CallError::Deadline(200));
    assert!(matches!(failure(observe(&plugins, "!trap").await), CallError::Trap(_)));
    assert!(matches!(failure(observe(&plugins, "!hog").await), CallError::Memory { .. }));
    // Ten megabytes do not get through to anybody.
    failure(observe(&plugins, "!huge").await);
    // The fifth within a minute is one too many.
    failure(observe(&plugins, "!trap").await);
    assert_eq!(failure(observe(&plugins, "> \n(shift+tab to cycle)").await), CallError::Quarantined);
    let active = status(&plugins, "mislook", PluginState::Active);
    assert!(active.traps >= 5, "they are counted: {active:?}");
    let set = plugins.current();
    set.plan("tester", "mislook", &request(""), &site()).await.expect("agents are started");
    deliver(&plugins, "hello").await.expect("the other interface is not left alone");
}

#[tokio::test]
async fn what_an_observer_says_is_cut_or_refused() {
    let (_home, plugins) = opened("").await;
    let seen = observe(&plugins, "!long").await.expect("seen").expect("it observes");
    let Doing::Dialog(text) = seen.doing else { panic!("{:?}", seen.doing) };
    assert_eq!(text.chars().count(), 999, "a thousand, and no space at the end");
    // A name that would lead elsewhere is a name, and leads nowhere.
    let seen = observe(&plugins, "!climb").await.expect("seen").expect("it observes");
    assert_eq!(seen.conversation.as_deref(), Some("../../etc"));
}

#[tokio::test]
async fn a_courier_names_nothing_beyond_its_grants() {
    for (wish, field) in [
        ("!ungranted", "attempts[0].program: \"/bin/sh\" is not granted"),
        ("!climb", "attempts[0].evidence[0]: path: "),
        ("!outside", "attempts[0].path: \"/run/docker.sock\""),
        ("!lie", "attempts[0].carrier: "),
        ("!patient", "attempts[0].confirm-ms: "),
        ("!many", "attempts are more than 8"),
    ] {
        // Opened anew, because five failures are all that is suffered.
        let (_home, plugins) = opened("").await;
        let CallError::Output(problem) = failure(deliver(&plugins, wish).await) else { panic!("{wish}") };
        assert!(problem.contains(field), "{wish}: {problem}");
    }
    let (_home, plugins) = opened("").await;
    assert_eq!(deliver(&plugins, "!none").await, Ok(Some(Vec::new())));
}

#[tokio::test]
async fn one_that_fails_before_it_goes_live_is_rejected() {
    for (settings, word) in [
        ("observe = 'trap'", "trapped"),
        ("observe = 'huge'", ""),
        ("ladder = ['ungranted']", "/bin/sh"),
        ("ladder = ['climb']", "evidence[0]"),
    ] {
        let (_home, plugins) = opened(settings).await;
        let error = status(&plugins, "mislook", PluginState::Rejected).error.expect("a reason");
        assert_eq!(error.stage.as_str(), "probe", "{settings}");
        assert!(error.reason.contains(word), "{settings}: {}", error.reason);
    }
}

#[tokio::test]
async fn one_of_another_shape_is_rejected_and_told_where() {
    let home = Home::new();
    let plugins = home.open().await;
    for (from, to, word) in [
        ("still-ms: u64", "still-ms: u32", "`still-ms` of record `screen`"),
        ("confirm-ms: u32", "confirm-ms: u32, hurry: bool", "record `attempt` has fields"),
    ] {
        let other = dummies::component("delivering-provider-plugin", |text| text.replace(from, to));
        home.put("mislook", &mislook(""), &other);
        plugins.reload(None).await;
        let error = status(&plugins, "mislook", PluginState::Rejected).error.expect("a reason");
        assert_eq!(error.stage.as_str(), "world", "{}", error.reason);
        assert!(error.reason.contains(word), "{}", error.reason);
    }
}

#[tokio::test]
async fn what_it_may_read_is_part_of_what_it_asks_for() {
    let (home, plugins) = opened("").await;
    home.put("mislook", &mislook("").replace("reads = [", "reads = ['{home}/.ssh/*', "), &guest("mislook"));
    plugins.reload(None).await;
    let error = status(&plugins, "mislook", PluginState::Rejected).error.expect("a reason");
    assert!(error.reason.contains("reads \"{home}/.ssh/*\""), "{}", error.reason);
    status(&plugins, "mislook", PluginState::Active);
}
