//! Attention, whatever happens in whatever order: the list has what follows from the causes, and what was told of its
//! items is how it came about.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use agent_relay::domain::agent::{AgentPatch, ConditionKind, ConditionSource, NewCondition, SessionGuard};
use agent_relay::domain::attention::{Attention, AttentionFilter, AttentionKind, PluginTrouble, of_plugin};
use agent_relay::domain::control::ControlKind;
use agent_relay::domain::control::command::CommandStatus;
use agent_relay::domain::control::order::ControlOrder;
use agent_relay::domain::event::{EventName, EventTypes};
use agent_relay::domain::id::{AgentId, AttentionId, CommandId, EventSeq, TaskId};
use agent_relay::domain::message::Sender;
use agent_relay::domain::page::Limit;
use agent_relay::domain::retention::Retention;
use agent_relay::domain::task::{Answer, NewTask, Report, Task, TaskKind, TaskStatus};
use agent_relay::domain::time::Timestamp;
use agent_relay::store::{NewCommand, PluginsAttention, Recorded};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Bench, ENGINES, sqlite_file};

const AGENTS: [&str; 3] = ["a", "b", "c"];
const PLUGINS: [&str; 2] = ["guard", "other"];

/// What somebody does.
#[derive(Clone, Debug)]
enum Act {
    Condition { agent: usize, kind: usize, detail: bool, ends: bool },
    NoCondition { agent: usize },
    Reap,
    Leave { agent: usize },
    Ask { kind: usize, of_user: bool, after_latest: bool },
    Answer { task: usize },
    Cancel { task: usize },
    Command { agent: usize, kind: usize, fails: bool },
    Plugins { troubles: [usize; 2] },
    Dismiss { place: usize },
    Reopen,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let (agent, task, any) = (0..AGENTS.len(), 0..6_usize, any::<bool>());
    let act = prop_oneof![
        8 => (agent.clone(), 0..7_usize, any, any).prop_map(|(agent, kind, detail, ends)| {
            Act::Condition { agent, kind, detail, ends }
        }),
        2 => agent.clone().prop_map(|agent| Act::NoCondition { agent }),
        1 => Just(Act::Reap),
        1 => agent.clone().prop_map(|agent| Act::Leave { agent }),
        5 => (0..3_usize, prop::bool::weighted(0.8), any).prop_map(|(kind, of_user, after_latest)| {
            Act::Ask { kind, of_user, after_latest }
        }),
        3 => task.clone().prop_map(|task| Act::Answer { task }),
        2 => task.prop_map(|task| Act::Cancel { task }),
        5 => (agent, 0..3_usize, prop::bool::weighted(0.7)).prop_map(|(agent, kind, fails)| {
            Act::Command { agent, kind, fails }
        }),
        3 => prop::array::uniform2(0..4_usize).prop_map(|troubles| Act::Plugins { troubles }),
        5 => (0..5_usize).prop_map(|place| Act::Dismiss { place }),
        1 => Just(Act::Reopen),
    ];
    prop::collection::vec(act, 1..50)
}

struct Asked {
    id: TaskId,
    kind: TaskKind,
    of_user: bool,
    after: Option<usize>,
    status: TaskStatus,
}

/// What should wait: causes, each with what tells its items apart.
#[derive(Default)]
struct Model {
    conditions: BTreeMap<usize, (ConditionKind, bool, bool)>,
    /// How many conditions an agent has been in.
    episodes: BTreeMap<usize, usize>,
    tasks: Vec<Asked>,
    failed: BTreeMap<String, CommandId>,
    plugins: BTreeMap<usize, usize>,
    plugin_episodes: BTreeMap<usize, usize>,
    dismissed: BTreeSet<(String, String)>,
    /// The item of each of them, once it was seen.
    items: BTreeMap<(String, String), AttentionId>,
}

impl Model {
    fn wanted(&self) -> BTreeSet<(String, String)> {
        let conditions =
            self.conditions.iter().filter(|(_, (kind, detail, _))| *kind != ConditionKind::Starting || *detail);
        let conditions =
            conditions.map(|(agent, _)| (format!("condition {}", AGENTS[*agent]), self.episodes[agent].to_string()));
        let tasks = self
            .tasks
            .iter()
            .filter(|task| task.of_user && task.kind != TaskKind::Work && task.status == TaskStatus::Open);
        let tasks = tasks.map(|task| (format!("task {}", task.id), String::new()));
        let failed = self.failed.iter().map(|(cause, id)| (cause.clone(), id.to_string()));
        let plugins =
            self.plugins.keys().map(|id| (format!("plugin {}", PLUGINS[*id]), self.plugin_episodes[id].to_string()));
        conditions.chain(tasks).chain(failed).chain(plugins).filter(|one| !self.dismissed.contains(one)).collect()
    }

    /// Which of what is wanted this item is.
    fn which(&self, item: &Attention) -> (String, String) {
        if let Some(plugin) = &item.plugin_id {
            let id = PLUGINS.iter().position(|id| id == plugin).expect("a plugin");
            return (format!("plugin {plugin}"), self.plugin_episodes[&id].to_string());
        }
        if let Some(task) = item.task_id {
            return (format!("task {task}"), String::new());
        }
        let agent = item.agent_id.as_deref().expect("an agent");
        if let Some(command) = item.command_id {
            let cause = self.failed.iter().find(|(_, id)| **id == command).expect("the latest that failed").0;
            return (cause.clone(), command.to_string());
        }
        let number = AGENTS.iter().position(|id| *id == agent).expect("an agent");
        assert_eq!(item.kind.as_str(), self.conditions[&number].0.as_str());
        (format!("condition {agent}"), self.episodes[&number].to_string())
    }

    /// A task ended, and those that waited for it go on or end as well.
    fn ended(&mut self, index: usize, status: TaskStatus) {
        self.tasks[index].status = status;
        let waiting: Vec<_> = (0..self.tasks.len())
            .filter(|other| self.tasks[*other].after == Some(index) && self.tasks[*other].status == TaskStatus::Blocked)
            .collect();
        for other in waiting {
            match status {
                TaskStatus::Done => self.tasks[other].status = TaskStatus::Open,
                _ => self.ended(other, TaskStatus::Canceled),
            }
        }
    }
}

async fn all(bench: &Bench) -> Vec<Attention> {
    let (mut filter, mut items) =
        (AttentionFilter { limit: Limit::parse(Some(3)).expect("a limit"), ..Default::default() }, Vec::new());
    loop {
        let page = bench.store.attention(filter).await.expect("a page");
        items.extend(page.entries);
        match page.next {
            Some(next) => filter.after = next,
            None => return items,
        }
    }
}

/// The list is what it should be, in its order, and what was told leads to it.
async fn hold(bench: &Bench, model: &mut Model) {
    let items = all(bench).await;
    assert!(items.is_sorted_by_key(|item| (item.kind.urgency(), item.since, item.id)));
    let found: BTreeMap<_, _> = items.iter().map(|item| (model.which(item), item.id)).collect();
    assert_eq!(found.keys().cloned().collect::<BTreeSet<_>>(), model.wanted());
    assert_eq!(found.len(), items.len(), "a cause has one");
    for (which, id) in found {
        assert_eq!(*model.items.entry(which).or_insert(id), id, "it is the same as long as it lasts");
    }
    let types = EventTypes::NONE.with(EventName::AttentionAdded).with(EventName::AttentionRemoved);
    let told = bench.store.events_after(EventSeq::default(), None, types, 10_000, usize::MAX).await.expect("events");
    let (mut present, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for event in told.events {
        let data: Value = serde_json::from_str(event.data()).expect("JSON");
        let id = data["id"].as_i64().expect("an id");
        if event.name == EventName::AttentionAdded {
            assert!(present.insert(id) && seen.insert(id), "{id} is added once");
        } else {
            assert!(present.remove(&id), "{id} is removed once, after it was added");
        }
    }
    assert_eq!(present, items.iter().map(|item| item.id.get()).collect());
}

async fn new_command(bench: &Bench, agent: &str, kind: ControlKind) -> CommandId {
    let new = NewCommand {
        kind,
        target: agent.into(),
        request: json!({}),
        decision: Vec::new(),
        question: None,
        status: CommandStatus::Accepted,
        error: None,
        requested_by: "x".to_owned(),
        caller_agent: None,
        lifetime_ms: 600_000,
        message: None,
    };
    let order = ControlOrder::Agent { kind: ControlKind::Restart, agent_id: agent.into() };
    match bench.store.record_command(new, order, None).await.expect("recorded") {
        Recorded::First { command, .. } => command.id,
        Recorded::Again(_) => panic!("without a key"),
    }
}

fn plugins_attention(troubles: &BTreeMap<usize, usize>) -> PluginsAttention {
    let items = troubles.iter().map(|(plugin, trouble)| {
        let id = PLUGINS[*plugin];
        let trouble = match trouble {
            1 => PluginTrouble::Quarantined,
            2 => PluginTrouble::Lost,
            _ => PluginTrouble::Rejected { stage: "manifest", digest: None },
        };
        (id.to_owned(), of_plugin(id, &trouble, "because"))
    });
    PluginsAttention { items: items.collect(), unknown: Vec::new() }
}

async fn act(mut bench: Bench, model: &mut Model, act: Act) -> Bench {
    let store = &bench.store;
    match act {
        Act::Condition { agent, kind, detail, ends } => {
            bench.register(AGENTS[agent], &[]).await;
            let kind = ConditionKind::ALL[kind];
            let condition = NewCondition {
                kind,
                until: ends.then(|| Timestamp::from_ms(1)),
                detail: detail.then(|| "what it shows".to_owned()),
                source: ConditionSource::Agent,
            };
            let patch = AgentPatch::Condition(Some(condition));
            store.patch_agent(AGENTS[agent].into(), SessionGuard::default(), patch).await.expect("a card");
            let before = model.conditions.insert(agent, (kind, detail, ends));
            let waits = |kind: ConditionKind, detail: bool| kind != ConditionKind::Starting || detail;
            // One that nobody had to see has nothing to go on from.
            if before.is_none_or(|(before, detail, _)| before != kind || !waits(before, detail)) {
                *model.episodes.entry(agent).or_default() += 1;
            }
        }
        Act::NoCondition { agent } => {
            bench.register(AGENTS[agent], &[]).await;
            let patch = AgentPatch::Condition(None);
            store.patch_agent(AGENTS[agent].into(), SessionGuard::default(), patch).await.expect("a card");
            model.conditions.remove(&agent);
        }
        Act::Reap => {
            store.reap(Vec::new(), i64::MAX, i64::MAX, false).await.expect("reaped");
            model.conditions.retain(|_, (_, _, ends)| !*ends);
        }
        Act::Leave { agent } => {
            bench.register(AGENTS[agent], &[]).await;
            store.remove_agent(AGENTS[agent].into(), SessionGuard::default()).await.expect("gone");
            model.conditions.remove(&agent);
        }
        Act::Ask { kind, of_user, after_latest } => {
            let after = model.tasks.len().checked_sub(1).filter(|_| after_latest);
            let kind = TaskKind::ALL[kind];
            let new = NewTask {
                source: "s".to_owned(),
                title: "t".to_owned(),
                kind,
                target: Some(if of_user { "user" } else { "a" }.to_owned()),
                from: Some("asker".into()),
                depends_on: after.iter().map(|after| model.tasks[*after].id).collect(),
                ..NewTask::default()
            };
            let task: Task = store.create_task(new, None).await.expect("made").json.value().expect("a task");
            let status = match after.map(|after| model.tasks[after].status) {
                None | Some(TaskStatus::Done) => TaskStatus::Open,
                Some(TaskStatus::Canceled) => TaskStatus::Canceled,
                Some(_) => TaskStatus::Blocked,
            };
            model.tasks.push(Asked { id: task.id, kind, of_user, after, status });
        }
        Act::Answer { task } | Act::Cancel { task } if task >= model.tasks.len() => {}
        Act::Answer { task } => {
            let asked = &model.tasks[task];
            let answer = Answer {
                agent: "user".into(),
                sender: Sender::default(),
                is_administrator: true,
                answer: "yes".to_owned(),
                note: None,
            };
            let answered = store.answer_task(asked.id, answer).await.is_ok();
            assert_eq!(answered, asked.kind != TaskKind::Work && asked.status == TaskStatus::Open);
            if answered {
                model.ended(task, TaskStatus::Done);
            }
        }
        Act::Cancel { task } => {
            let report = Report {
                agent: "asker".into(),
                is_administrator: false,
                status: TaskStatus::Canceled,
                generation: None,
                note: None,
                result: None,
            };
            if store.report_task(model.tasks[task].id, report, SessionGuard::default()).await.is_ok() {
                model.ended(task, TaskStatus::Canceled);
            }
        }
        Act::Command { agent, kind, fails } => {
            let kind = ControlKind::ALL[kind];
            let id = new_command(&bench, AGENTS[agent], kind).await;
            let status = if fails { CommandStatus::Failed } else { CommandStatus::Succeeded };
            store.report_command(id, status, None, None).await.expect("reported");
            let cause = match kind {
                ControlKind::Spawn => format!("command {id}"),
                kind => format!("{kind} {}", AGENTS[agent]),
            };
            if fails {
                model.failed.insert(cause, id);
            } else {
                model.failed.remove(&cause);
            }
        }
        Act::Plugins { troubles } => {
            for (plugin, trouble) in troubles.into_iter().enumerate() {
                let before = model.plugins.remove(&plugin);
                if trouble > 0 {
                    model.plugins.insert(plugin, trouble);
                    if before != Some(trouble) {
                        *model.plugin_episodes.entry(plugin).or_default() += 1;
                    }
                }
            }
            store.set_plugins_attention(plugins_attention(&model.plugins)).await.expect("set");
        }
        Act::Dismiss { place } => {
            if let Some(item) = all(&bench).await.get(place) {
                let which = model.which(item);
                store.dismiss_attention(item.id, "x".to_owned()).await.expect("dismissed");
                store.dismiss_attention(item.id, "x".to_owned()).await.expect_err("it is gone");
                model.dismissed.insert(which);
            }
        }
        Act::Reopen => bench = bench.reopened().await,
    }
    bench
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn the_list_follows_from_its_causes_and_what_was_told_leads_to_it(acts in acts()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            for engine in &ENGINES {
                let (mut bench, mut model) = (Bench::new(engine), Model::default());
                for one in acts.clone() {
                    bench = act(bench, &mut model, one).await;
                    hold(&bench, &mut model).await;
                }
                bench.store.close().await;
            }
        });
    }
}

#[tokio::test]
async fn what_is_known_of_a_plugin_stays_while_it_is_loaded() {
    for engine in &ENGINES {
        let bench = Bench::new(engine);
        let one = BTreeMap::from([(0, 1)]);
        bench.store.set_plugins_attention(plugins_attention(&one)).await.expect("set");
        let items = all(&bench).await;
        let loading = PluginsAttention { unknown: vec!["guard".to_owned()], ..PluginsAttention::default() };
        bench.store.set_plugins_attention(loading).await.expect("set");
        assert_eq!(all(&bench).await, items);
        assert_eq!(bench.store.lost_policies().await.expect("policies"), [""; 0]);
        bench.store.set_plugins_attention(plugins_attention(&BTreeMap::from([(1, 2)]))).await.expect("set");
        assert_eq!(bench.store.lost_policies().await.expect("policies"), ["other"]);
        bench.store.close().await;
    }
}

#[tokio::test]
async fn what_is_deleted_waits_for_nobody() {
    for engine in &ENGINES {
        let bench = Bench::new(engine);
        let id = new_command(&bench, "a", ControlKind::Spawn).await;
        bench.store.report_command(id, CommandStatus::Failed, None, None).await.expect("reported");
        let first = bench.send("a", "b", "1").await;
        let reply = || agent_relay::domain::message::NewMessage {
            reply_to: Some(first.id),
            ..agent_relay::domain::message::NewMessage::plain("b".into(), "a", "2")
        };
        let posting = agent_relay::store::Posting { strict: false, thread_replies: 1 };
        bench.store.post(reply(), posting, None).await.expect("one is allowed");
        bench.store.post(reply(), posting, None).await.expect_err("another is not");
        let kinds: Vec<_> = all(&bench).await.iter().map(|item| item.kind).collect();
        assert_eq!(kinds, [AttentionKind::Command, AttentionKind::Loop]);
        let forever = i64::MAX;
        let keep = Retention {
            events_count: forever,
            events_ms: forever,
            messages_count: forever,
            messages_ms: 1_000_000,
            records_ms: 1_000_000,
        };
        bench.store.retain_step(keep, 500).await.expect("a step");
        assert_eq!(all(&bench).await.len(), 2);
        bench.store.retain_step(Retention { records_ms: -1_000, ..keep }, 500).await.expect("a step");
        let kinds: Vec<_> = all(&bench).await.iter().map(|item| item.kind).collect();
        assert_eq!(kinds, [AttentionKind::Loop]);
        bench.store.retain_step(Retention { messages_ms: -1_000, ..keep }, 500).await.expect("a step");
        assert_eq!(all(&bench).await, []);
        bench.store.close().await;
    }
}

/// What the list costs when every one of so many agents waits: printed, and counted in steps of the engine.
#[tokio::test]
async fn the_list_of_very_many_costs_no_more_than_its_page() {
    let mut costs = Vec::new();
    for agents in [500, 5_000] {
        let bench = Bench::new(&ENGINES[0]);
        let database = rusqlite::Connection::open(sqlite_file(bench.folder.path())).expect("the database");
        let fill = format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {agents})
             INSERT INTO attention (cause, occasion, urgency, kind, title, since, agent_id, hint, lasts)
                 SELECT 'condition z' || i, 'stalled', i % 4, 'stalled', 'z is busy without any sign of progress', i, 'z' || i,
                     'look at its session, or restart it', 1 FROM n"
        );
        database.execute_batch(&fill).expect("items");
        drop(database);
        let (before, begun) = (bench.store.steps_taken(), Instant::now());
        let page = bench.store.attention(AttentionFilter::default()).await.expect("a page");
        let took = begun.elapsed();
        assert_eq!(page.entries.len(), 100);
        let steps = bench.store.steps_taken() - before;
        println!("a page of {agents} items took {took:?} and {steps} steps");
        costs.push(steps);
        let id: AgentId = "z1".into();
        assert!(page.entries.iter().all(|item| item.agent_id.as_ref() != Some(&id)), "the most urgent come first");
        bench.store.close().await;
    }
    assert!(costs[1] <= costs[0] + costs[0] / 10 + 50, "{costs:?}");
}
