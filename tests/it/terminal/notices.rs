//! Notices for programs of every kind: by the way that their provider names first, seen to be taken, and never into a
//! dialog, a turn, or what somebody types.

use std::fs;
use std::os::unix::fs::symlink;

use agent_relay::domain::control::courier::{Carrier, Notice};
use agent_relay::domain::control::observation::Doing;
use agent_relay::domain::control::plan::Presentation;
use agent_relay::launcher::{Look, Offered};
use agent_relay::plugins::Plugins;
use agent_relay::sessions::{Place, TmuxChoice};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixListener;

use super::{FOOTER, Site, can_run};
use crate::plugins::{Home, guest, mislook, provider};
use crate::server::eventually;
use crate::sessions::Bench;
use crate::spawn::install;

/// What its queue does: it notes who asks and as whom it runs, or fails.
const QUEUE: &str = "[ -e broken ] && { echo 'no such thread' >&2; exit 3; }\necho \"$1 $AGENT_RELAY_AGENT_ID\" > ran";
const ATTEMPT: &str = "0190163d-8694-739b-aea5-966c26f8ad91";

struct Offering {
    site: Site,
    plugins: Plugins,
    _home: Home,
}

impl Offering {
    /// A program under these rules, whose provider has these settings.
    async fn start(rules: Value, settings: &str) -> Self {
        let bench = Bench::new(TmuxChoice::Auto).await;
        let queue = install(&bench.folder("tools"), "queue", QUEUE);
        let queue = queue.to_str().expect("a plain path");
        let home = Home::new();
        let manifest = mislook(&format!("queue = '{queue}'\n{settings}"));
        let manifest = manifest.replace("['sleeper', 'queue']", &format!("['sleeper', '{queue}']"));
        home.put("mislook", &manifest, &guest("mislook"));
        home.put("misplan", &provider("misplan", ""), &guest("misplan"));
        Self::run(bench, home, rules, "mislook").await
    }

    async fn run(bench: Bench, home: Home, rules: Value, provider: &str) -> Self {
        let plugins = home.open().await;
        let folder = bench.folder("project");
        fs::write(folder.join("rules.json"), rules.to_string()).expect("rules");
        let mut launch = bench.program("python3", &[super::program().to_str().expect("a plain path")]);
        launch.place = Place::open(&folder).expect("a directory");
        launch.plan.cwd = folder.to_str().expect("a plain path").to_owned();
        launch.plan.ready.screen_texts = vec![FOOTER.to_owned()];
        launch.spec.provider = provider.to_owned();
        launch.variables = vec![("AGENT_RELAY_AGENT_ID".to_owned(), "docs".to_owned())];
        Self { site: Site::begin(bench, launch).await, plugins, _home: home }
    }

    /// What is seen, once it is this.
    async fn seen(&self, what: &str, is_it: impl Fn(&Look) -> bool) -> Look {
        eventually(what, async || self.look().await.filter(&is_it)).await
    }

    async fn idle(&self) -> Look {
        self.seen("an idle input", |look| look.observation.doing == Doing::Idle).await
    }

    async fn look(&self) -> Option<Look> {
        self.site.launcher.look(&self.plugins.current(), &self.site.name).await
    }

    async fn offer(&self, look: &Look, text: &str, after: Option<&str>) -> Offered {
        let notice = Notice { id: 17, text: text.into(), interrupt: false, attempt_id: ATTEMPT.into() };
        self.site.launcher.offer(&self.plugins.current(), &self.site.name, &notice, look, after).await
    }

    fn received(&self) -> Vec<Value> {
        self.site.received()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.site.folder.join(name)
    }
}

/// The rung that carried, and what was seen of it.
#[track_caller]
fn carried(offered: Offered) -> (String, Carrier, Option<String>) {
    match offered {
        Offered::HandedOver { rung, carrier, evidence, .. } => (rung, carrier, evidence),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn not_now(offered: Offered) -> (Doing, bool) {
    match offered {
        Offered::NotNow { doing, has_draft } => (doing, has_draft),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_dialog_gets_no_key() {
    if !can_run("a notice for a dialog") {
        return;
    }
    let dialog = ["Do you trust this folder?", "> 1. Yes", "  2. No"];
    let here = Offering::start(json!({"dialog": dialog, "footer": ""}), "").await;
    let look = here.seen("a dialog", |look| matches!(look.observation.doing, Doing::Dialog(_))).await;
    assert_eq!(look.observation.doing, Doing::Dialog("Do you trust this folder?".into()));
    assert_eq!(not_now(here.offer(&look, "hello", None).await).0, look.observation.doing);
    assert_eq!(here.received(), Vec::<Value>::new());
}

/// It reads nothing for a while, and takes an Enter that comes with other bytes for a part of the text.
#[tokio::test]
async fn a_notice_is_typed_once_and_seen_to_be_taken() {
    if !can_run("a typed notice") {
        return;
    }
    let here = Offering::start(json!({"deaf": 2, "swallow": true}), "").await;
    let look = here.idle().await;
    let (rung, carrier, evidence) = carried(here.offer(&look, "message 17", None).await);
    assert_eq!((rung.as_str(), carrier), ("typed", Carrier::Typed));
    assert!(evidence.is_some_and(|evidence| evidence.contains("received.jsonl")));
    assert_eq!(here.received(), [json!({"submit": "message 17"})]);
}

/// What reaches it during a turn is lost.
#[tokio::test]
async fn a_turn_is_waited_for_and_begins_as_evidence() {
    if !can_run("a notice during a turn") {
        return;
    }
    let here = Offering::start(json!({"turn": 3}), "ladder = ['turn']").await;
    let look = here.idle().await;
    let (_, _, evidence) = carried(here.offer(&look, "message 17", None).await);
    assert_eq!(evidence.as_deref(), Some("a turn began"));
    let busy = here.seen("a turn", |look| look.observation.doing == Doing::Busy).await;
    assert_eq!(not_now(here.offer(&look, "message 18", None).await), (Doing::Busy, false));
    assert_eq!(not_now(here.offer(&busy, "message 18", None).await), (Doing::Busy, false));
    let look = here.idle().await;
    carried(here.offer(&look, "message 18", None).await);
    assert_eq!(here.received(), [json!({"submit": "message 17"}), json!({"submit": "message 18"})]);
}

#[tokio::test]
async fn what_somebody_types_is_left_alone() {
    if !can_run("a notice for a draft") {
        return;
    }
    let here = Offering::start(json!({}), "ladder = ['queue', 'typed']").await;
    let look = here.idle().await;
    here.site.press(&["d", "r", "a", "f", "t"]);
    here.seen("a draft", |look| look.observation.has_draft).await;
    assert_eq!(not_now(here.offer(&look, "message 17", None).await), (Doing::Idle, true));
    here.site.press(&["Enter"]);
    let look = here.seen("no draft", |look| !look.observation.has_draft).await;
    carried(here.offer(&look, "message 17", None).await);
    assert_eq!(here.received(), [json!({"submit": "draft"})], "the queue needs no key");
}

#[tokio::test]
async fn a_queue_goes_first_and_what_it_does_not_take_is_typed() {
    if !can_run("a queue") {
        return;
    }
    let here = Offering::start(json!({}), "ladder = ['queue', 'shown']").await;
    let look = here.idle().await;
    let (rung, carrier, evidence) = carried(here.offer(&look, "message 17", None).await);
    assert_eq!((rung.as_str(), carrier), ("queue", Carrier::Queue));
    assert!(evidence.is_some_and(|evidence| evidence.ends_with("/ran")));
    let ran = fs::read_to_string(here.path("ran")).expect("it ran where the program works");
    assert_eq!(ran, format!("{ATTEMPT} docs\n"), "in the environment of the session");
    assert_eq!(here.received(), Vec::<Value>::new(), "no key was pressed");

    fs::write(here.path("broken"), "").expect("a sign");
    let (rung, carrier, evidence) = carried(here.offer(&look, "message 18", None).await);
    assert_eq!((rung.as_str(), carrier, evidence.as_deref()), ("typed", Carrier::Typed, Some("it is on the screen")));
    // The one that was tried before is not tried again.
    fs::remove_file(here.path("broken")).expect("gone");
    assert_eq!(carried(here.offer(&look, "message 19", Some("queue")).await).0, "typed");
    let Offered::No { reason } = here.offer(&look, "message 20", Some("typed")).await else {
        panic!("no rung is left")
    };
    assert_eq!(reason, "there is no other way into its session");
    assert_eq!(here.received(), [json!({"submit": "message 18"}), json!({"submit": "message 19"})]);
}

#[tokio::test]
async fn a_queue_that_fails_says_why() {
    if !can_run("a queue that fails") {
        return;
    }
    let here = Offering::start(json!({}), "ladder = ['queue']").await;
    fs::write(here.path("broken"), "").expect("a sign");
    let look = here.idle().await;
    let Offered::No { reason } = here.offer(&look, "message 17", None).await else { panic!("it fails") };
    assert!(reason.contains("ended with exit status: 3: no such thread"), "{reason}");
    assert!(!here.path("ran").exists());
}

#[tokio::test]
async fn what_was_handed_over_may_be_seen_later() {
    if !can_run("late evidence") {
        return;
    }
    let here = Offering::start(json!({}), "ladder = ['inbox']\nconfirm_ms = 0").await;
    let listener = UnixListener::bind(here.path("inbox.sock")).expect("a socket");
    let look = here.idle().await;
    let Offered::HandedOver { evidence, pending, carrier, .. } = here.offer(&look, "message 17", None).await else {
        panic!("the inbox takes it")
    };
    assert_eq!((evidence, carrier), (None, Carrier::Hook));
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let mut lines = String::new();
    stream.read_to_string(&mut lines).await.expect("lines");
    assert_eq!(lines, format!("{ATTEMPT}\nmessage 17\n"));
    let set = here.plugins.current();
    assert_eq!(here.site.launcher.evidence(&set, &pending).await, None);
    fs::write(here.path("inbox"), format!("took {ATTEMPT}\n")).expect("a record");
    let evidence = here.site.launcher.evidence(&set, &pending).await;
    assert!(evidence.is_some_and(|evidence| evidence.ends_with("/inbox")));
}

#[tokio::test]
async fn a_socket_that_is_not_the_one_is_not_written_to() {
    if !can_run("a socket behind a link") {
        return;
    }
    let here = Offering::start(json!({}), "ladder = ['inbox']").await;
    let outside = here.path("../outside.sock");
    let listener = UnixListener::bind(&outside).expect("a socket");
    symlink(&outside, here.path("inbox.sock")).expect("a link");
    let look = here.idle().await;
    let Offered::No { reason } = here.offer(&look, "message 17", None).await else { panic!("it leads elsewhere") };
    assert!(reason.starts_with("inbox: there is no socket of ours at "), "{reason}");
    let accepted = tokio::time::timeout(std::time::Duration::ZERO, listener.accept()).await;
    assert!(accepted.is_err(), "nobody connected");
}

/// What the courier names is beyond its grants: the notice is typed all the same, and nothing else is done.
#[tokio::test]
async fn a_courier_that_fails_is_done_without() {
    if !can_run("a hostile courier") {
        return;
    }
    let here = Offering::start(json!({}), "").await;
    let look = here.idle().await;
    let (rung, _, evidence) = carried(here.offer(&look, "!ungranted", None).await);
    assert_eq!((rung.as_str(), evidence.as_deref()), ("typed", Some("it is on the screen")));
    assert_eq!(here.received(), [json!({"submit": "!ungranted"})]);
    assert!(!here.path("ran").exists());
}

#[tokio::test]
async fn a_provider_that_does_not_observe_is_read_by_its_screen() {
    if !can_run("a provider without an observer") {
        return;
    }
    let bench = Bench::new(TmuxChoice::Auto).await;
    let home = Home::new();
    home.put("misplan", &provider("misplan", ""), &guest("misplan"));
    let here = Offering::run(bench, home, json!({}), "misplan").await;
    let look = here.idle().await;
    assert!(!look.is_observed);
    here.site.press(&["x"]);
    here.seen("a draft", |look| look.observation.has_draft).await;
    here.site.press(&["C-u"]);
    let look = here.seen("no draft", |look| !look.observation.has_draft).await;
    let (rung, _, evidence) = carried(here.offer(&look, "message 17", None).await);
    assert_eq!((rung.as_str(), evidence.as_deref()), ("typed", Some("it is on the screen")));
}

#[tokio::test]
async fn a_mark_changes_with_the_screen_and_rests_with_it() {
    if !can_run("marks") {
        return;
    }
    let here = Offering::start(json!({}), "").await;
    here.idle().await;
    let mark = async || here.site.launcher.activity().await.get(&here.site.name).copied();
    let rests = async || {
        let (first, second) = (mark().await, mark().await);
        first.filter(|_| first == second)
    };
    let rested = eventually("nothing happens", rests).await;
    let text = Presentation { keys_before: Vec::new(), text: "hello".into(), submit: true };
    here.site.bench.sessions.type_text(&here.site.name, &text).await.expect("typed");
    assert_ne!(mark().await, Some(rested));
    let again = eventually("nothing happens again", rests).await;
    assert_ne!(again, rested);
}
