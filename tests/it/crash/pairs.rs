//! Pairs through crashes: what was acknowledged is so, and nobody is ever in two.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use agent_relay::domain::pair::{Pair, PairStatus};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{killed_again_and_again, pages};
use crate::server::{Client, database};

const ROUNDS: usize = 6;
const AGENTS: [&str; 6] = ["p0", "p1", "p2", "p3", "p4", "p5"];

/// The latest that was acknowledged of each pair.
type Promises = Arc<Mutex<BTreeMap<i64, PairStatus>>>;

/// How far a status is from the beginning: a pair that is further than was acknowledged is not one that was lost.
fn rank(status: PairStatus) -> u8 {
    match status {
        PairStatus::Pending => 0,
        PairStatus::Active => 1,
        PairStatus::Ended | PairStatus::Rejected | PairStatus::Expired => 2,
    }
}

fn note(promises: &Promises, pair: &Pair) {
    let mut promises = promises.lock().unwrap_or_else(PoisonError::into_inner);
    let known = promises.entry(pair.id.get()).or_insert(pair.status);
    if rank(pair.status) > rank(*known) {
        *known = pair.status;
    }
}

/// Asks for pairs with everybody in turn, and answers, talks in and ends what there is, until the relay is gone.
async fn live(client: Client, me: usize, promises: Promises, made: watch::Sender<usize>) {
    let ask = async |method: Method, path: String, body: Value| {
        let answer = client.try_call(client.request(method, &path).json(&body)).await.ok()?;
        // Others are quicker, and what they did stands.
        assert!(matches!(answer.status, 200 | 201 | 403 | 409), "{answer:?}");
        Some(answer)
    };
    for turn in 0.. {
        let other = AGENTS[(me + 1 + turn % (AGENTS.len() - 1)) % AGENTS.len()];
        let wanted = json!({"requesterId": AGENTS[me], "targetId": other});
        let Some(answer) = ask(Method::POST, "/api/pairs".to_owned(), wanted).await else { return };
        let mine = match answer.status {
            201 => answer.parse::<Pair>(),
            _ => {
                let path = format!("/api/pairs?agent={}&limit=1", AGENTS[me]);
                let Ok(answer) = client.try_call(client.request(Method::GET, &path)).await else { return };
                match answer.expect::<Vec<Pair>>(200).pop() {
                    Some(pair) => pair,
                    None => continue,
                }
            }
        };
        note(&promises, &mine);
        let steps = [["accept", "messages", "end"], ["reject", "end", "accept"]][turn % 2];
        for step in steps {
            let body = json!({"agentId": AGENTS[me], "from": AGENTS[me], "body": "words"});
            let Some(answer) = ask(Method::POST, format!("/api/pairs/{}/{step}", mine.id), body).await else { return };
            if answer.status == 200 {
                note(&promises, &answer.parse());
                made.send_modify(|made| *made += 1);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_in_two_pairs_however_often_the_relay_is_killed() {
    let promises = Promises::default();
    let promised = async |client: &Client| {
        let promised = promises.lock().unwrap_or_else(PoisonError::into_inner).clone();
        account(client, &promised).await;
    };
    let live = async |client: Client, _, made: watch::Sender<usize>| {
        client.register_all(&AGENTS).await;
        let mut clients = JoinSet::new();
        for me in 0..AGENTS.len() {
            clients.spawn(live(client.clone(), me, promises.clone(), made.clone()));
        }
        clients
    };
    let home = killed_again_and_again(ROUNDS, 64, promised, live).await;
    let database = rusqlite::Connection::open(database(&home)).expect("the database");
    let count = |sql: &str| database.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("a count");
    let live = count("SELECT count(*) FROM pairs WHERE status IN ('pending', 'active')");
    assert_eq!(count("SELECT count(*) FROM pair_members"), 2 * live);
    let astray = "SELECT count(*) FROM pair_members LEFT JOIN pairs ON pairs.id = pair_id
        WHERE agent_id NOT IN (requester_id, target_id) OR status NOT IN ('pending', 'active') OR status IS NULL";
    assert_eq!(count(astray), 0);
}

/// What was acknowledged is there, or what followed it, and each agent is in one live pair at most.
async fn account(client: &Client, promises: &BTreeMap<i64, PairStatus>) {
    let stored: Vec<Pair> = pages(client, "/api/pairs?limit=1000").await;
    let by_id: BTreeMap<i64, &Pair> = stored.iter().map(|pair| (pair.id.get(), pair)).collect();
    assert_eq!(by_id.len(), stored.len(), "each once");
    for (id, promised) in promises {
        let pair = by_id.get(id).unwrap_or_else(|| panic!("pair {id} was acknowledged"));
        let same = pair.status == *promised;
        assert!(same || promised.may_become(pair.status), "pair {id} was {promised:?} and is {:?}", pair.status);
    }
    let mut busy = BTreeMap::new();
    for pair in stored.iter().filter(|pair| pair.status.is_live()) {
        for agent in [&pair.requester_id, &pair.target_id] {
            assert_eq!(busy.insert(agent.clone(), pair.id), None, "{agent} is in two pairs");
        }
    }
}
