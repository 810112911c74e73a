//! Every operation against every scope: what the document says opens it does, and nothing else.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use agent_relay::config::Secret;
use agent_relay::domain::caller::Scope;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::server::{Answer, Client, Server, database};

const TOKEN: &str = "ar_the-administrator";

/// One operation of the document.
struct Operation {
    id: String,
    method: Method,
    /// With something in the place of each parameter.
    path: String,
    /// The scopes that open it; none when it is public.
    scopes: BTreeSet<String>,
}

fn operations(document: &Value) -> Vec<Operation> {
    let paths = document["paths"].as_object().expect("paths");
    let mut operations = Vec::new();
    for (path, methods) in paths {
        for (method, said) in methods.as_object().expect("methods") {
            let id = said["operationId"].as_str().expect("an operation id").to_owned();
            let security = said["security"].as_array();
            let security = security.unwrap_or_else(|| panic!("{id} does not say who may call it"));
            let scopes = security.iter().map(|alternative| {
                let scopes = alternative["token"].as_array().unwrap_or_else(|| panic!("{id}: {alternative}"));
                assert_eq!((alternative.as_object().map(|it| it.len()), scopes.len()), (Some(1), 1), "{id}");
                scopes[0].as_str().expect("a scope").to_owned()
            });
            operations.push(Operation {
                scopes: scopes.collect(),
                method: method.to_uppercase().parse().expect("a method"),
                path: path
                    .split('/')
                    .map(|part| if part.starts_with('{') { "999" } else { part })
                    .collect::<Vec<_>>()
                    .join("/"),
                id,
            });
        }
    }
    operations
}

async fn call(client: &Client, operation: &Operation) -> Answer {
    let stream = operation.path == "/api/events";
    // An agent follows itself; following everybody takes more.
    let path = match operation.id.as_str() {
        "stream_events" | "list_events" => format!("{}?agent=999", operation.path),
        _ => operation.path.clone(),
    };
    // A stream that opens does not end; HEAD asks for the same and has no body.
    let method = if stream { Method::HEAD } else { operation.method.clone() };
    let request = client.request(method.clone(), &path);
    let bodiless = method == Method::GET || method == Method::HEAD;
    let answer = client.call(if bodiless { request } else { request.json(&json!({})) }).await;
    if stream && answer.status >= 400 {
        return client.get(&path).await;
    }
    answer
}

/// A relay with one unbound token for each scope.
async fn with_a_token_for_each_scope() -> (Server, Vec<(Scope, Client)>) {
    let home = Server::start_with_token(TOKEN).await.stop();
    let connection = rusqlite::Connection::open(database(&home)).expect("the database");
    for scope in Scope::ALL {
        let hash = Sha256::digest(format!("token-{}", scope.as_str()));
        connection
            .execute(
                "INSERT INTO tokens (name, hash, scopes, created_at) VALUES (?1, ?2, ?1, 0)",
                rusqlite::params![scope.as_str(), &hash[..]],
            )
            .expect("a token");
    }
    drop(connection);
    let secret = Secret::parse("test", TOKEN).expect("a token");
    let server = Server::start_in(home, |config| config.token = Some(secret)).await;
    let client = |scope: Scope| server.client.with_token(Some(&format!("token-{}", scope.as_str())));
    let clients = Scope::ALL.into_iter().map(|scope| (scope, client(scope))).collect();
    (server, clients)
}

#[tokio::test]
async fn each_operation_is_opened_by_its_scopes_and_by_no_other() {
    let (server, clients) = with_a_token_for_each_scope().await;
    let document: Value = server.client.get("/api/spec").await.expect(200);
    let operations = operations(&document);
    assert!(operations.len() > 50, "only {} operations", operations.len());
    let stranger = server.client.with_token(None);
    for operation in &operations {
        let name = &operation.id;
        if operation.scopes.is_empty() {
            assert!(call(&stranger, operation).await.status < 400, "{name} is public");
            continue;
        }
        assert!(operation.scopes.contains("admin"), "{name}: admin opens everything");
        call(&stranger, operation).await.problem(401, "unauthorized");
        for (scope, client) in &clients {
            let answer = call(client, operation).await;
            if operation.scopes.contains(scope.as_str()) {
                let text = format!("{name} with {}: {answer:?}", scope.as_str());
                assert!(answer.status < 500 && answer.status != 401, "{text}");
                assert!(!answer.text.contains("this needs a credential with scope"), "{text}");
            } else {
                let problem = answer.problem(403, "not_allowed");
                let detail = problem["detail"].as_str().expect("a detail");
                let named = operation.scopes.iter().filter(|opener| *opener != "admin");
                let named = named.fold(0, |count, opener| count + usize::from(detail.contains(opener.as_str())));
                assert_eq!(named, operation.scopes.len() - 1, "{name}: {detail} names what is missing");
            }
        }
    }
}

/// The table under review: a changed line is a changed promise.
#[tokio::test]
async fn the_table_of_scopes_is_what_was_reviewed() {
    let server = Server::start().await;
    let document: Value = server.client.get("/api/spec").await.expect(200);
    let mut table = String::new();
    for Operation { id, method, scopes, .. } in operations(&document) {
        let scopes: Vec<_> = scopes.iter().map(String::as_str).filter(|scope| *scope != "admin").collect();
        let public = document["paths"].as_object().expect("paths").values().any(|item| {
            let said = &item[method.as_str().to_lowercase()];
            said["operationId"] == id.as_str() && said["security"] == json!([])
        });
        let shown = if public { "public".to_owned() } else { format!("admin {}", scopes.join(" ")) };
        writeln!(table, "{id:<28} {}", shown.trim()).expect("a string");
    }
    insta::assert_snapshot!("scopes", table);
}
