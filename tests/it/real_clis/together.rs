//! Real agents at work together. Claude Code on one host and Codex on another, each with a scripted model for a mind,
//! started by daemons through a relay; nobody tells them anything but the relay. What arrives from outside becomes
//! their work, they share it, ask their user, and its end is told to whoever wanted it, signed.
//!
//! The same again while the relay is killed, a daemon is killed, and a cable is pulled for a minute.

mod mind;
mod network;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_relay::domain::agent::Agent;
use agent_relay::domain::control::command::CommandStatus;
use agent_relay::domain::time::Timestamp;
use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::mind::{Mind, Reply, Said};
use self::network::Network;
use super::installed;
use super::model::{for_claude, for_codex};
use crate::program::{Running, Serving, program};
use crate::server::{Client, DEADLINE_MS, SHIPPED, eventually_within, until};
use crate::sessions::{has_tmux, processes_with};
use crate::spawn::card;

const TOKEN: &str = "an-administrator-of-all-of-this";
const SECRET: &str = "whsec_c2lnbmVkIGJ5IHRoZSByZWxheSBvZiB0aGlzIHRlc3Q=";
/// Real programs take their time, and the machine may be busy.
const PATIENCE: Duration = Duration::from_mins(4);
/// Who does what.
const CLAUDE: usize = 0;
const CODEX: usize = 1;

/// What happens to them in the middle.
#[derive(Clone, Copy, PartialEq)]
enum Trouble {
    None,
    RelayKilled,
    DaemonKilled,
    Cut,
}

#[tokio::test]
async fn they_share_work_ask_their_user_and_tell_its_end() {
    work_together(Trouble::None).await;
}

#[tokio::test]
async fn the_same_while_the_relay_is_killed() {
    work_together(Trouble::RelayKilled).await;
}

#[tokio::test]
async fn the_same_while_a_daemon_is_killed() {
    work_together(Trouble::DaemonKilled).await;
}

#[tokio::test]
async fn the_same_while_a_cable_is_pulled_for_a_minute() {
    work_together(Trouble::Cut).await;
}

async fn work_together(trouble: Trouble) {
    let (Some(claude), Some(codex), true) = (installed("claude"), installed("codex"), has_tmux("agents together"))
    else {
        return;
    };
    let Some(network) = Network::make() else { return };
    let mut site = Site::start(network, &[&claude, &codex]).await;

    // Somebody outside wants something done, and to be told.
    let claude = site.spawn("claude", CLAUDE).await;
    let codex = site.spawn("codex", CODEX).await;
    site.may_review(&codex).await;
    let wish = json!({
        "title": "Ship the change", "target": claude, "source": "outside", "callbackUrl": site.receiver.url,
    });
    let wish: Value = site.client.post("/api/tasks", wish).await.expect(201);
    let wish = wish["id"].as_i64().expect("a task");

    // Claude takes it, and wants a review from whoever can; Codex was idle, is woken, and asks its user.
    site.minds[CLAUDE].heard("Created task").await;
    site.minds[CODEX].heard("Review the change").await;
    let question = site.question().await;
    match trouble {
        Trouble::None => {}
        Trouble::RelayKilled => site.kill_relay(),
        Trouble::DaemonKilled => site.kill_daemon(CODEX).await,
        Trouble::Cut => site.network.cut(CODEX),
    }
    if trouble == Trouble::RelayKilled {
        site.start_relay();
    }
    site.answers(question, "blue");
    if trouble == Trouble::Cut {
        // What is tested is that minute, in which nothing may be lost and nothing be done twice.
        until(Timestamp::now() + 60_000).await;
        site.network.mend(CODEX);
    }

    // Claude is busy when the review comes, and learns of it when it is done.
    site.minds[CODEX].heard("blue").await;
    let told = site.delivery(&claude, "Reviewed").await;
    let waits = site.reaches(told, &claude, &["waiting"]).await;
    assert_eq!(waits["reason"], "busy", "{waits}");
    assert_eq!(site.minds[CLAUDE].times(&format!("message {told} from")), 0, "it is busy");
    site.minds[CLAUDE].release();
    site.minds[CLAUDE].heard(&format!("message {told} from")).await;
    let shown = eventually_within(PATIENCE, "how it was shown", async || {
        let shown = site.reaches(told, &claude, &["presented", "read"]).await;
        shown["evidence"].is_string().then_some(shown)
    })
    .await;
    assert_eq!(shown["how"], "queue", "{shown}");
    assert_eq!(shown["attempts"], 1, "{shown}");

    // Whoever wanted it is told, in order and signed.
    let told = site.receiver.until("done").await;
    let events: Vec<&str> =
        told.iter().map(|payload| payload["data"]["event"]["type"].as_str().expect("a type")).collect();
    assert_eq!(events.first(), Some(&"created"), "{events:?}");
    let done = told.last().expect("the end");
    assert_eq!(done["data"]["task"]["id"], wish);
    assert_eq!(done["data"]["task"]["status"], "done");

    site.assert_each_was_shown_once(&[&claude, &codex]).await;
    let reviews = site.client.messages(&format!("for={claude}")).await;
    let reviews = reviews.iter().filter(|message| message.subject.as_deref() == Some("Reviewed")).count();
    assert_eq!(reviews, 1, "it was reviewed once");
    site.shut_down(&claude, CLAUDE).await;
    site.shut_down(&codex, CODEX).await;
}

/// What Claude's mind makes of what it hears.
fn of_claude() -> impl Fn(&Said) -> Reply + Send + Sync {
    let task = Mutex::new(0);
    move |said| {
        let text = &said.text;
        let mut task = task.lock().expect("no test has failed");
        if text.contains("You hold it") {
            *task = number_after(text, "It is task ");
            let review = json!({"action": "create", "title": "Review the change", "to": "cap:review"});
            Reply::Uses("task", review)
        } else if text.contains("Created task") {
            Reply::SaysLater("I wait for the review.")
        } else if text.contains("is done") {
            Reply::Says("It is shipped.")
        } else if text.contains("It looks good") {
            Reply::Uses("task", json!({"action": "finish", "id": *task, "body": "shipped"}))
        } else if text.contains("Reviewed") && text.contains("[agent-relay]") {
            Reply::Uses("read", json!({"id": number_after(text, "message ")}))
        } else if text.contains("[agent-relay]") && text.contains("Ship the change") {
            Reply::Uses("claim", json!({"id": number_after(text, "message ")}))
        } else {
            Reply::Says("I am here.")
        }
    }
}

/// What Codex's mind makes of what it hears.
fn of_codex(author: Arc<Mutex<String>>) -> impl Fn(&Said) -> Reply + Send + Sync {
    let (task, question, is_answered) = (AtomicI64::new(0), AtomicI64::new(0), AtomicBool::new(false));
    move |said| {
        let text = &said.text;
        if text.contains("You hold it") {
            task.store(number_after(text, "It is task "), Relaxed);
            Reply::Uses("ask", json!({"question": "Which colour?"}))
        } else if text.contains("Sent message") {
            Reply::Says("I told it.")
        } else if text.contains("is done") {
            let to = author.lock().expect("no test has failed").clone();
            Reply::Uses("send", json!({"to": to, "subject": "Reviewed", "body": "It looks good."}))
        } else if text.contains("blue") {
            if is_answered.swap(true, Relaxed) {
                return Reply::Says("I know.");
            }
            Reply::Uses("task", json!({"action": "finish", "id": task.load(Relaxed), "body": "reviewed"}))
        } else if text.contains("[agent-relay]") && text.contains("Answer: ") {
            Reply::Uses("read", json!({"id": number_after(text, "message ")}))
        } else if text.contains("nothing yet") || text.contains("answered yet") {
            question.fetch_max(number_after(text, "uestion "), Relaxed);
            Reply::Uses("ask", json!({"id": question.load(Relaxed)}))
        } else if text.contains("[agent-relay]") && text.contains("Review the change") {
            Reply::Uses("claim", json!({"id": number_after(text, "message ")}))
        } else {
            Reply::Says("I am here.")
        }
    }
}

/// The number behind these words; 0 where there is none.
fn number_after(text: &str, words: &str) -> i64 {
    let numbers = text.match_indices(words).filter_map(|(at, _)| {
        let rest = &text[at + words.len()..];
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    });
    numbers.last().unwrap_or(0)
}

/// A relay, two hosts with a daemon each, the minds of their agents, and somebody outside.
struct Site {
    daemons: Vec<Option<Running>>,
    serving: Option<Serving>,
    minds: Vec<Mind>,
    author: Arc<Mutex<String>>,
    receiver: Receiver,
    /// Asks the relay as an administrator.
    client: Client,
    address: String,
    /// What the programs of a host find in their environment.
    variables: Vec<Vec<(String, String)>>,
    network: Network,
    home: TempDir,
}

impl Site {
    async fn start(network: Network, programs: &[&Path]) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().canonicalize().expect("the directory");
        let receiver = Receiver::start(&network.address()).await;
        let shipped: String =
            SHIPPED.iter().map(|id| format!("[plugin.{id}]\nlimits.deadline_ms = {DEADLINE_MS}\n")).collect();
        let callbacks = format!("[callbacks]\nallow = [\"{}/32\"]\nsecret = \"{SECRET}\"\n", network.address());
        fs::write(path.join("relay.toml"), format!("{callbacks}{shipped}")).expect("settings");
        fs::write(path.join("daemon.toml"), shipped).expect("settings");
        let author = Arc::new(Mutex::new(String::new()));
        let minds = vec![
            Mind::start(&network.address(), of_claude()).await,
            Mind::start(&network.address(), of_codex(author.clone())).await,
        ];
        let mut folders: Vec<PathBuf> = Vec::new();
        for program in programs {
            let folder = program.parent().expect("a folder").to_owned();
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        let system = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::env::join_paths(folders.into_iter().chain(std::env::split_paths(&system))).expect("a PATH");
        let mut variables = Vec::new();
        for (number, mind) in minds.iter().enumerate() {
            let (own, project) = (path.join(format!("home-{number}")), path.join(format!("base-{number}/project")));
            fs::create_dir_all(&project).expect("a project");
            let mut environment = match number {
                CLAUDE => for_claude(&mind.url, &own, &project),
                _ => for_codex(&mind.url, &own, &project),
            };
            environment.push(("PATH".to_owned(), paths.to_str().expect("text").to_owned()));
            variables.push(environment);
        }
        let address = format!("{}:0", network.address());
        let serving = serve(&path, &address);
        let (client, address) = (Client::new(&serving.url, Some(TOKEN)), serving.address().to_owned());
        let daemons = vec![None, None];
        let mut site = Self {
            daemons,
            serving: Some(serving),
            minds,
            author,
            receiver,
            client,
            address,
            variables,
            network,
            home,
        };
        for host in [CLAUDE, CODEX] {
            let id = format!("host-{host}");
            let token = json!({"name": id, "scopes": ["orchestrator"], "agentId": format!("orchestrator-{id}")});
            let token: Value = site.client.post("/api/tokens", token).await.expect(201);
            let file = site.path().join(format!("token-{host}"));
            fs::write(&file, token["token"].as_str().expect("a token")).expect("a file");
            site.start_daemon(host).await;
        }
        site
    }

    fn path(&self) -> PathBuf {
        self.home.path().canonicalize().expect("the directory")
    }

    async fn start_daemon(&mut self, host: usize) {
        let path = self.path();
        let mut command = program(&path);
        command.args(["orchestrator", "--id", &format!("host-{host}"), "--relay-url"]);
        command.arg(format!("http://{}", self.address));
        command.arg("--base-dir").arg(path.join(format!("base-{host}")));
        command.arg("--data-dir").arg(path.join(format!("daemon-{host}")));
        command.arg("--token-file").arg(path.join(format!("token-{host}")));
        command.arg("--config").arg(path.join("daemon.toml"));
        command.envs(self.variables[host].iter().cloned());
        let daemon = Running::start(&mut self.network.on_host(host, &command));
        daemon.said(&format!("registered as host-{host}"));
        self.daemons[host] = Some(daemon);
    }

    async fn kill_daemon(&mut self, host: usize) {
        let daemon = self.daemons[host].take().expect("a daemon");
        daemon.signal(Signal::KILL);
        daemon.ended();
        self.start_daemon(host).await;
    }

    fn kill_relay(&mut self) {
        let serving = self.serving.take().expect("a relay");
        serving.signal(Signal::KILL);
        serving.ended();
    }

    fn start_relay(&mut self) {
        self.serving = Some(serve(&self.path(), &self.address));
    }

    /// An agent that is up, on this host.
    async fn spawn(&self, provider: &str, host: usize) -> String {
        let ask =
            json!({"provider": provider, "cwd": "project", "prompt": "Say that you are here.", "label": provider});
        let answer: Value = self.client.post(&format!("/api/orchestrators/host-{host}/spawn"), ask).await.expect(202);
        let command = answer["command"]["id"].as_i64().expect("a command");
        let command = self.client.outcome_within(PATIENCE, command).await;
        assert_eq!(command.status, CommandStatus::Succeeded, "{command:?}");
        let agent = answer["command"]["request"]["agentId"].as_str().expect("an id").to_owned();
        let card: Agent = card(&self.client, &agent).await;
        assert!(card.ready, "{card:?}");
        if host == CLAUDE {
            agent.clone_into(&mut self.author.lock().expect("no test has failed"));
        }
        agent
    }

    /// Gives an agent what reviews are looked for by.
    async fn may_review(&self, agent: &str) {
        self.client.register(json!({"id": agent, "capabilities": ["review"]})).await;
    }

    /// The question that waits for a person.
    async fn question(&self) -> i64 {
        eventually_within(PATIENCE, "a question", async || {
            let waits: Vec<Value> = self.client.get("/api/attention").await.expect(200);
            waits.iter().find(|item| item["kind"] == "question").and_then(|item| item["taskId"].as_i64())
        })
        .await
    }

    /// What a person types.
    fn answers(&self, question: i64, answer: &str) {
        let mut command = program(&self.path());
        command.env("AGENT_RELAY_URL", format!("http://{}", self.address)).env("AGENT_RELAY_TOKEN", TOKEN);
        let said = command.args(["tasks", "answer", &question.to_string(), answer]).output().expect("the program");
        assert!(said.status.success(), "{said:?}");
    }

    /// The message of this subject for an agent.
    async fn delivery(&self, agent: &str, subject: &str) -> i64 {
        eventually_within(PATIENCE, subject, async || {
            let messages = self.client.messages(&format!("for={agent}")).await;
            let found = messages.iter().find(|message| message.subject.as_deref() == Some(subject));
            found.map(|message| message.id.get())
        })
        .await
    }

    /// What became of a message, once its delivery has come so far.
    async fn reaches(&self, message: i64, agent: &str, states: &[&str]) -> Value {
        let path = format!("/api/messages/{message}/deliveries");
        eventually_within(PATIENCE, &format!("message {message} is one of {states:?}"), async || {
            let rows: Vec<Value> = self.client.get(&path).await.expect(200);
            let row = rows.into_iter().find(|row| row["agentId"] == agent)?;
            states.contains(&row["state"].as_str()?).then_some(row)
        })
        .await
    }

    /// Every message for these agents came to an end that is told, and no line was shown twice.
    async fn assert_each_was_shown_once(&self, agents: &[&str]) {
        for (agent, mind) in agents.iter().zip(&self.minds) {
            for message in self.client.messages(&format!("for={agent}")).await {
                let id = message.id.get();
                let rows: Vec<Value> = self.client.get(&format!("/api/messages/{id}/deliveries")).await.expect(200);
                if rows.iter().any(|row| row["agentId"] == **agent) {
                    self.reaches(id, agent, &["presented", "read", "dropped"]).await;
                }
                let shown =
                    mind.times(&format!("[agent-relay] message {id} from")) + mind.times(&format!("newest {id} from"));
                assert!(shown <= 1, "message {id} was shown {shown} times to {agent}");
            }
        }
    }

    /// Ends an agent, with everything it started.
    async fn shut_down(&self, agent: &str, host: usize) {
        let home = self.path().join(format!("home-{host}"));
        let home = format!("HOME={}", home.display());
        assert!(!processes_with("environ", &home).is_empty(), "{agent} runs");
        let answer: Value =
            self.client.post(&format!("/api/agents/{agent}/actions"), json!({"action": "shutdown"})).await.expect(202);
        let command = answer["command"]["id"].as_i64().expect("a command");
        let command = self.client.outcome_within(PATIENCE, command).await;
        assert_eq!(command.status, CommandStatus::Succeeded, "{command:?}");
        let daemon = self.daemons[host].as_ref().map(Running::id);
        let tmux =
            |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("tmux"));
        let mut left = processes_with("environ", &home);
        left.retain(|pid| Some(*pid) != daemon && !tmux(pid));
        assert_eq!(left, Vec::<u32>::new(), "nothing of {agent} is left");
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // First, so that nothing is started again.
        self.daemons.clear();
        for host in [CLAUDE, CODEX] {
            let home = format!("HOME={}", self.path().join(format!("home-{host}")).display());
            for pid in processes_with("environ", &home) {
                crate::sessions::kill_group(pid);
            }
        }
    }
}

fn serve(home: &Path, address: &str) -> Serving {
    Serving::start_at(
        program(home)
            .env("AGENT_RELAY_TOKEN", TOKEN)
            .env("AGENT_RELAY_DATA_DIR", home.join("relay"))
            .env("AGENT_RELAY_BASE_DIR", home)
            .env("AGENT_RELAY_CONFIG", home.join("relay.toml")),
        address,
    )
}

/// Somebody outside, who wants to be told, and believes what is signed.
struct Receiver {
    url: String,
    told: watch::Receiver<Vec<Value>>,
    server: JoinHandle<()>,
}

impl Receiver {
    async fn start(address: &str) -> Self {
        let listener = TcpListener::bind((address, 0)).await.expect("a port of ours");
        let url = format!("http://{}/told", listener.local_addr().expect("its address"));
        let (tell, told) = watch::channel(Vec::new());
        let seen = Arc::new(Mutex::new(HashSet::new()));
        let take = move |headers: HeaderMap, body: Bytes| async move {
            let webhook = standardwebhooks::Webhook::new(SECRET).expect("a secret");
            if let Err(error) = webhook.verify(&body, &headers) {
                panic!("not signed by the relay: {error}");
            }
            let payload: Value = serde_json::from_slice(&body).expect("JSON");
            let id = headers["webhook-id"].to_str().expect("text").to_owned();
            // At least once: what was told before is known by its id.
            if seen.lock().expect("no test has failed").insert(id) {
                tell.send_modify(|told| told.push(payload));
            }
            StatusCode::NO_CONTENT
        };
        let app = Router::new().route("/told", post(take));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
        Self { url, told, server }
    }

    /// What was told, up to the task being in this state; each once.
    async fn until(&self, status: &str) -> Vec<Value> {
        let mut receiver = self.told.clone();
        let reached = |told: &Vec<Value>| told.last().is_some_and(|last| last["data"]["task"]["status"] == status);
        let told = tokio::time::timeout(PATIENCE, receiver.wait_for(reached)).await;
        let Ok(told) = told else { panic!("it was never told of {status}: {:#?}", self.told.borrow()) };
        told.expect("it serves").clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}
