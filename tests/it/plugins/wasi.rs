//! What a guest finds of WASI: clocks that stand still, randomness that follows from the question, and nothing of the
//! host.

use agent_relay::domain::control::{Context, Outcome};
use agent_relay::plugins::{PluginState, Plugins};
use serde_json::{Value, json};

use super::{Home, context, decide, denial, failure, handmade, policy, put, spawn, status};
use crate::server::Server;

/// The parts of WASI that these guests import, as far as they do.
const PACKAGES: [&str; 6] = [
    "package wasi:io@0.2.6;
     interface poll {
         resource pollable { block: func(); ready: func() -> bool; }
         poll: func(in: list<borrow<pollable>>) -> list<u32>;
     }
     interface error { resource error; }
     interface streams {
         use error.{error};
         variant stream-error { last-operation-failed(error), closed }
         resource output-stream {
             blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>;
         }
     }",
    "package wasi:clocks@0.2.6;
     interface wall-clock { record datetime { seconds: u64, nanoseconds: u32 } now: func() -> datetime; }
     interface monotonic-clock {
         use wasi:io/poll@0.2.6.{pollable};
         now: func() -> u64;
         subscribe-duration: func(nanoseconds: u64) -> pollable;
     }",
    "package wasi:random@0.2.6;
     interface random { get-random-u64: func() -> u64; get-random-bytes: func(len: u64) -> list<u8>; }
     interface insecure { get-insecure-random-u64: func() -> u64; }
     interface insecure-seed { insecure-seed: func() -> tuple<u64, u64>; }",
    "package wasi:cli@0.2.6;
     interface environment {
         get-environment: func() -> list<tuple<string, string>>;
         get-arguments: func() -> list<string>;
         initial-cwd: func() -> option<string>;
     }
     interface exit { exit: func(status: result); }
     interface stderr { use wasi:io/streams@0.2.6.{output-stream}; get-stderr: func() -> output-stream; }
     interface terminal-output { resource terminal-output; }
     interface terminal-stderr {
         use terminal-output.{terminal-output};
         get-terminal-stderr: func() -> option<terminal-output>;
     }",
    "package wasi:filesystem@0.2.6;
     interface types { resource descriptor; }
     interface preopens { use types.{descriptor}; get-directories: func() -> list<tuple<descriptor, string>>; }",
    "package wasi:sockets@0.2.6;
     interface network { resource network; enum error-code { unknown, access-denied } }
     interface instance-network { use network.{network}; instance-network: func() -> network; }",
];

/// A policy that imports this of WASI, as the core module sees it, and decides with this body.
fn component(interfaces: &[&str], imports: &str, decide: &str) -> Vec<u8> {
    let world: String = interfaces.iter().map(|name| format!("\n    import wasi:{name}@0.2.6;")).collect();
    handmade::edited_in(
        |wit| wit.replace("world policy-plugin {", &format!("world policy-plugin {{{world}")),
        &PACKAGES,
        |text| {
            let first = "(import \"agent-relay:plugin/host@0.1.0\"";
            text.replacen(first, &format!("{imports}\n  {first}"), 1).replace("DECIDE", decide)
        },
    )
}

/// Tells in a denial, in hexadecimal: seconds and nanoseconds of the wall clock, the monotonic clock before and after a
/// wait of a day, secure and insecure randomness, and a seed.
fn teller() -> Vec<u8> {
    component(
        &["clocks/wall-clock", "clocks/monotonic-clock", "random/random", "random/insecure", "random/insecure-seed"],
        r#"(import "wasi:clocks/wall-clock@0.2.6" "now" (func $wall (param i32)))
           (import "wasi:clocks/monotonic-clock@0.2.6" "now" (func $monotonic (result i64)))
           (import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-duration" (func $wait (param i64) (result i32)))
           (import "wasi:io/poll@0.2.6" "[method]pollable.block" (func $block (param i32)))
           (import "wasi:random/random@0.2.6" "get-random-u64" (func $random (result i64)))
           (import "wasi:random/insecure@0.2.6" "get-insecure-random-u64" (func $insecure (result i64)))
           (import "wasi:random/insecure-seed@0.2.6" "insecure-seed" (func $seed (param i32)))"#,
        r#"(call $wall (i32.const 1024))
           (i64.store (i32.const 1040) (call $monotonic))
           (call $block (call $wait (i64.const 86400000000000)))
           (i64.store (i32.const 1048) (call $monotonic))
           (i64.store (i32.const 1056) (call $random))
           (i64.store (i32.const 1064) (call $insecure))
           (call $seed (i32.const 1072))
           (return (call $deny (i32.const 1024) (i32.const 64)))"#,
    )
}

/// What it told: the eight numbers.
fn told(text: &str) -> Vec<u64> {
    assert_eq!(text.len(), 128, "{text}");
    let number = |at: usize| u64::from_str_radix(&text[at..at + 16], 16).expect("hexadecimal").swap_bytes();
    (0..8).map(|index| number(16 * index)).collect()
}

async fn ask(plugins: &Plugins, now: i64, label: &str) -> Vec<u64> {
    let decision = plugins.current().decide(spawn(label), &Context { now, ..context() }).await;
    told(denial(&decision).1)
}

#[tokio::test]
async fn the_same_question_is_answered_the_same_at_any_time() {
    let home = Home::new();
    home.put("guard", &policy("guard", ""), &teller());
    let plugins = home.open().await;
    let now = 1_700_000_000_123;
    let first = ask(&plugins, now, "a").await;
    assert_eq!(first[..2], [1_700_000_000, 123_000_000], "the wall clock stands at the question's time");
    assert_eq!(first[2..4], [0, 0], "the monotonic clock stands still, and no wait takes time");
    // Of five numbers that are drawn at random, none is like another.
    for (index, number) in first[4..].iter().enumerate() {
        assert!(*number != 0 && !first[4..][..index].contains(number), "{first:?}");
    }
    drop(plugins);
    let plugins = home.open().await;
    assert_eq!(ask(&plugins, now, "a").await, first, "after a restart too");
    let other = ask(&plugins, now, "b").await;
    let later = ask(&plugins, now + 1, "a").await;
    assert_eq!((later[0], later[1]), (1_700_000_000, 124_000_000));
    for index in 4..8 {
        assert!(other[index] != first[index] && later[index] != first[index], "another question, other randomness");
    }
}

/// A wait in earnest, or for ever, would be cut off by the deadline.
#[tokio::test]
async fn no_wait_takes_time() {
    let home = Home::new();
    let waiter = component(
        &["clocks/monotonic-clock"],
        r#"(import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-duration" (func $wait (param i64) (result i32)))
           (import "wasi:io/poll@0.2.6" "[method]pollable.block" (func $block (param i32)))"#,
        "(call $block (call $wait (i64.const -1)))",
    );
    home.put("guard", &policy("guard", ""), &waiter);
    let plugins = home.open().await;
    let decision = decide(&plugins, "").await;
    assert!(matches!(decision.outcome, Outcome::Allowed(_)), "{decision:?}");
}

/// One that waits for a clock to move waits until its time is up, and no longer.
#[tokio::test]
async fn a_guest_that_waits_for_the_clock_to_move_is_ended() {
    let home = Home::new();
    let stubborn = component(
        &["clocks/monotonic-clock"],
        r#"(import "wasi:clocks/monotonic-clock@0.2.6" "now" (func $monotonic (result i64)))
           (import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-duration" (func $wait (param i64) (result i32)))
           (import "wasi:io/poll@0.2.6" "[method]pollable.block" (func $block (param i32)))
           (import "wasi:io/poll@0.2.6" "[resource-drop]pollable" (func $drop (param i32)))"#,
        r#"(if (i64.eq (i64.load offset=NOW (local.get $parameters)) (i64.const 7)) (then
               (loop $again
                 (i32.store (i32.const 1024) (call $wait (i64.const 1000)))
                 (call $block (i32.load (i32.const 1024)))
                 (call $drop (i32.load (i32.const 1024)))
                 (br_if $again (i64.eqz (call $monotonic))))))"#,
    );
    home.put("guard", &policy("guard", "").replace("5000", "200"), &stubborn);
    let plugins = home.open().await;
    let decision = plugins.current().decide(spawn(""), &Context { now: 7, ..context() }).await;
    assert_eq!(failure(&decision), "policy guard did not answer within 200 ms");
    let decision = decide(&plugins, "").await;
    assert!(matches!(decision.outcome, Outcome::Allowed(_)), "{decision:?}");
}

#[tokio::test]
async fn nothing_of_the_host_shows() {
    let home = Home::new();
    let looker = component(
        &["cli/environment", "cli/terminal-stderr", "filesystem/preopens", "sockets/instance-network"],
        r#"(import "wasi:cli/environment@0.2.6" "get-environment" (func $variables (param i32)))
           (import "wasi:cli/environment@0.2.6" "get-arguments" (func $arguments (param i32)))
           (import "wasi:cli/environment@0.2.6" "initial-cwd" (func $cwd (param i32)))
           (import "wasi:cli/terminal-stderr@0.2.6" "get-terminal-stderr" (func $terminal (param i32)))
           (import "wasi:filesystem/preopens@0.2.6" "get-directories" (func $directories (param i32)))"#,
        r#"(call $variables (i32.const 1024))
           (i32.store (i32.const 1024) (i32.load (i32.const 1028)))
           (call $arguments (i32.const 1032))
           (i32.store (i32.const 1028) (i32.load (i32.const 1036)))
           (call $cwd (i32.const 1040))
           (i32.store (i32.const 1032) (i32.load8_u (i32.const 1040)))
           (call $terminal (i32.const 1056))
           (i32.store (i32.const 1036) (i32.load8_u (i32.const 1056)))
           (call $directories (i32.const 1072))
           (i32.store (i32.const 1040) (i32.load (i32.const 1076)))
           (return (call $deny (i32.const 1024) (i32.const 20)))"#,
    );
    home.put("guard", &policy("guard", ""), &looker);
    let plugins = home.open().await;
    assert_eq!(denial(&decide(&plugins, "").await).1, "0".repeat(40), "counts, and whether there is any");
}

#[tokio::test]
async fn what_was_decided_is_replayed_exactly() {
    let server = Server::start_with(|config| {
        let directory = config.plugins.directory.clone().expect("a directory of plugins");
        put(&directory.join("guard"), &policy("guard", ""), &teller());
    })
    .await;
    let client = &server.client;
    for label in ["a", "a", "b"] {
        let ask = json!({"provider": "claude", "label": label});
        client.post("/api/agents/spawn", ask).await.problem(403, "policy_denied");
    }
    let decisions: Vec<Value> = client.get("/api/plugins/decisions").await.expect(200);
    let verdicts = decisions.iter().filter_map(|it| it["decision"].as_array()?.last());
    let told: Vec<Vec<u64>> = verdicts.filter_map(|verdict| verdict["reason"].as_str()).map(told).collect();
    assert_eq!(told.len(), 3, "{decisions:#?}");
    let times: Vec<&Value> = decisions.iter().map(|it| &it["question"]["context"]["nowMs"]).collect();
    for (told, now) in told.iter().zip(times) {
        let now = now.as_u64().expect("a time");
        assert_eq!(told[..2], [now / 1000, now % 1000 * 1_000_000]);
    }
    let home = tempfile::tempdir().expect("a directory");
    let folder = home.path().join("plugins/guard");
    put(&folder, &policy("guard", ""), &teller());
    let (cache, base) = (home.path().to_owned(), client.base.clone());
    let replayed = tokio::task::spawn_blocking(move || {
        let mut command = crate::program::program(&cache);
        command.args(["plugin", "replay"]).arg(&folder).args(["--url", &base]).output().expect("the program")
    });
    let replayed = replayed.await.expect("no panic");
    let said = String::from_utf8_lossy(&replayed.stdout).into_owned();
    assert_eq!(said, "3 decisions: 0 would change\n", "{}", String::from_utf8_lossy(&replayed.stderr));
}

/// What a guest prints goes to the log as lines, and a call that it ends itself says so.
#[tokio::test]
async fn an_exit_is_named() {
    let home = Home::new();
    let leaver = component(
        &["cli/exit"],
        r#"(import "wasi:cli/exit@0.2.6" "exit" (func $exit (param i32)))"#,
        "(if (i64.eq (i64.load offset=NOW (local.get $parameters)) (i64.const 7)) (then (call $exit (i32.const 1))))",
    );
    home.put("guard", &policy("guard", ""), &leaver);
    let plugins = home.open().await;
    status(&plugins, "guard", PluginState::Active);
    let decision = plugins.current().decide(spawn(""), &Context { now: 7, ..context() }).await;
    assert!(failure(&decision).contains("exit"), "{decision:?}");
}

/// What a guest can ask of WASI without an end has one.
#[tokio::test]
async fn nothing_of_wasi_is_had_without_a_bound() {
    let at_seven =
        |body: &str| format!("(if (i64.eq (i64.load offset=NOW (local.get $parameters)) (i64.const 7)) (then {body}))");
    let cases = [
        (
            component(
                &["random/random"],
                r#"(import "wasi:random/random@0.2.6" "get-random-bytes" (func $random (param i64 i32)))"#,
                &at_seven("(call $random (i64.const 65537) (i32.const 1024))"),
            ),
            "policy guard gave an unusable answer: it wants more than the 64 KiB of randomness",
        ),
        (
            component(
                &["clocks/monotonic-clock"],
                r#"(import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-duration" (func $wait (param i64) (result i32)))"#,
                &at_seven("(loop $more (drop (call $wait (i64.const 1))) (br $more))"),
            ),
            "policy guard gave an unusable answer: it holds more than 64 resources at once",
        ),
    ];
    for (wasm, said) in cases {
        let home = Home::new();
        home.put("guard", &policy("guard", ""), &wasm);
        let plugins = home.open().await;
        let decision = plugins.current().decide(spawn(""), &Context { now: 7, ..context() }).await;
        assert!(failure(&decision).starts_with(said), "{decision:?}");
        assert!(matches!(decide(&plugins, "well").await.outcome, Outcome::Allowed(_)));
    }
}
