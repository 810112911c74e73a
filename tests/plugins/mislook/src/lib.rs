//! Provider `mislook`: runs a stand-in for an agent's program, reads its screen and its files, and names the ways into it
//! that its settings list. A first row of the screen or a notice that begins with `!` asks for something worse.

use agent_relay_plugin::provider::{
    Abilities, LaunchPlan, LaunchSite, PlanError, PromptDelivery, Provider, Readiness, SpawnRequest, variables,
};
use agent_relay_plugin::session::{
    Attempt, Carrier, Command, Courier, FileText, Notice, Observation, Observer, RunningSession, Screen, Seen, Sign,
    SocketLines, Typing, UsageLimit, Way,
};
use agent_relay_plugin::{ApprovalMode, Extension, settings};
use harm::harm;

struct Mislook;

#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// What is run.
    program: Option<String>,
    /// Whether a prompt is typed; otherwise it is an argument.
    types_prompt: bool,
    /// What to do when asked to observe.
    observe: Option<String>,
    /// The rungs of the ladder.
    ladder: Option<Vec<String>>,
    /// The program of its queue.
    queue: Option<String>,
    /// How long evidence is waited for.
    confirm_ms: Option<u32>,
}

impl Settings {
    fn program(&self) -> String {
        self.program.clone().unwrap_or_else(|| "sleeper".to_owned())
    }
}

impl settings::Settings for Settings {
    fn read(json: &str) -> Result<Self, String> {
        settings::from_json(json)
    }
}

impl Provider for Mislook {
    type Settings = Settings;

    fn abilities(settings: &Settings) -> Abilities {
        Abilities {
            executables: vec![settings.program(), "queue".to_owned()],
            approval_modes: vec![ApprovalMode::Guarded],
            takes_prompt: true,
        }
    }

    fn plan(settings: &Settings, request: &SpawnRequest, site: &LaunchSite) -> Result<LaunchPlan, PlanError> {
        let told = |name: &str| {
            let extension = request.extensions.iter().find(|extension| extension.name == name);
            extension.map(|extension| extension.value.trim_matches('"').to_owned())
        };
        let (resume, conversation) = (told("resume"), told("conversation"));
        let mut args = Vec::new();
        if let Some(resume) = &resume {
            args.extend(["--resume".to_owned(), resume.clone()]);
        } else if let Some(conversation) = conversation {
            args.extend(["--conversation".to_owned(), conversation]);
        }
        if !settings.types_prompt {
            args.extend(request.prompt.clone());
        }
        let resumed = Extension { name: "resumed".to_owned(), value: "true".to_owned() };
        Ok(LaunchPlan {
            program: settings.program(),
            args,
            env: variables(site, &[("MISLOOK_HOME", &site.cwd)], &[], &[]),
            cwd: site.cwd.clone(),
            files: Vec::new(),
            prompt: if settings.types_prompt { PromptDelivery::Typed } else { PromptDelivery::InArguments },
            ready: Readiness { screen_texts: Vec::new(), settle_ms: 1_000 },
            extensions: resume.map(|_| resumed).into_iter().collect(),
        })
    }
}

impl Observer for Mislook {
    fn observe(settings: &Settings, session: &RunningSession, screen: &Screen) -> Observation {
        let asked = screen.rows.first().and_then(|row| row.strip_prefix('!'));
        let wish = settings.observe.as_deref().or(asked).unwrap_or_default();
        harm(wish);
        let mut seen = Observation::of(state(session, screen));
        seen.has_draft = screen.rows.iter().any(|row| row.starts_with("> ") && row.len() > 2);
        let conversation = session.file("/conversation").map(|file| file.contents.trim().to_owned());
        seen.conversation = conversation.filter(|conversation| !conversation.is_empty());
        match wish {
            "huge" => seen.state = Seen::Dialog("x".repeat(10 << 20)),
            "long" => seen.state = Seen::Dialog("x\n".repeat(10_000)),
            "climb" => seen.conversation = Some("../../etc".to_owned()),
            "files" => {
                let paths: Vec<&str> = session.files.iter().map(|file| file.path.as_str()).collect();
                seen.state = Seen::Input(paths.join(" "));
            }
            _ => {}
        }
        seen
    }
}

fn state(session: &RunningSession, screen: &Screen) -> Seen {
    let has = |text: &str| screen.rows.iter().any(|row| row.contains(text));
    if let Some(row) = screen.rows.iter().find(|row| row.contains("limit reached")) {
        return Seen::Limit(UsageLimit { until_ms: Some(session.now_ms + 60_000), text: row.clone() });
    }
    if has("> 1. ") {
        return Seen::Dialog(screen.rows.iter().find(|row| !row.trim().is_empty()).cloned().unwrap_or_default());
    }
    match () {
        () if has("* working") => Seen::Busy,
        () if has("(shift+tab to cycle)") => Seen::Idle,
        () if session.pids.is_empty() => Seen::Starting,
        () => Seen::Unknown,
    }
}

impl Courier for Mislook {
    fn deliver(settings: &Settings, notice: &Notice, session: &RunningSession, _: &Observation) -> Vec<Attempt> {
        let asked = notice.text.strip_prefix('!').map(|wish| vec![wish.to_owned()]);
        let ladder = asked.or_else(|| settings.ladder.clone()).unwrap_or_else(|| vec!["typed".to_owned()]);
        let mut rungs: Vec<Attempt> = ladder.iter().flat_map(|wish| rung(settings, wish, notice, session)).collect();
        for rung in &mut rungs {
            rung.confirm_ms = settings.confirm_ms.unwrap_or(rung.confirm_ms);
        }
        rungs
    }
}

fn rung(settings: &Settings, wish: &str, notice: &Notice, session: &RunningSession) -> Vec<Attempt> {
    harm(wish);
    let file = |path: &str, text: &str| {
        vec![Sign::File(FileText { path: format!("{}/{path}", session.cwd), text: text.to_owned() })]
    };
    let run = |program: &str| {
        let args = vec![notice.attempt_id.clone(), notice.text.clone()];
        let way = Way::Command(Command { program: program.to_owned(), args });
        Attempt {
            rung: "queue".to_owned(),
            carrier: Carrier::Queue,
            way,
            evidence: file("ran", &notice.attempt_id),
            confirm_ms: 5_000,
        }
    };
    let text = notice.text.clone();
    let typing = Typing { keys_before: Vec::new(), text: text.clone(), submit: true };
    let typed = Attempt::typed(typing, file("received.jsonl", "\"submit\""));
    let socket = |path: String| {
        let way = Way::Socket(SocketLines { path, lines: vec![notice.attempt_id.clone(), text.clone()] });
        let (rung, carrier, evidence) = ("inbox".to_owned(), Carrier::Hook, file("inbox", &notice.attempt_id));
        Attempt { rung, carrier, way, evidence, confirm_ms: 5_000 }
    };
    vec![match wish {
        "queue" => run(settings.queue.as_deref().unwrap_or("queue")),
        "turn" => Attempt { evidence: vec![Sign::Turn], ..typed },
        "shown" => Attempt { evidence: vec![Sign::Screen(text)], ..typed },
        "inbox" => socket(format!("{}/inbox.sock", session.cwd)),
        "ungranted" => run("/bin/sh"),
        "climb" => Attempt { evidence: file("../secret", "x"), ..typed },
        "outside" => socket("/run/docker.sock".to_owned()),
        "lie" => Attempt { carrier: Carrier::Queue, ..typed },
        "patient" => Attempt { confirm_ms: 600_000, ..typed },
        "many" => return vec![typed; 9],
        "none" => return Vec::new(),
        _ => typed,
    }]
}

agent_relay_plugin::export_delivering_provider!(Mislook);
