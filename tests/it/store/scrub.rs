//! The whole database is read in small steps, and what is wrong with it is found.

use super::{Bench, ENGINES, sqlite_file};

/// A store with some of everything that is written most.
async fn filled() -> Bench {
    let bench = Bench::new(&ENGINES[0]);
    bench.register("a", &["t", "u"]).await;
    for n in 0..2_500 {
        bench.send("x", "tag:t", &format!("{n}")).await;
    }
    for n in 0..20 {
        bench.send("x", "a", &format!("{n} {}", "x".repeat(200_000))).await;
    }
    bench
}

/// Reads all of it; the first pass begins anywhere.
async fn scrub(bench: &Bench, passes: u64) {
    for _ in 0..1_000 {
        if bench.store.scrubbed().passes >= passes {
            return;
        }
        // What cannot be read is found, and the next step goes on after it.
        let _ = bench.store.scrub_step().await;
    }
    panic!("it never ends: {:?}", bench.store.scrub_step().await);
}

/// Changes what no program should.
fn tamper(bench: &Bench, sql: &str) {
    let database = rusqlite::Connection::open(sqlite_file(bench.folder.path())).expect("the database");
    database.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false).expect("a setting");
    database.execute_batch(sql).expect("done");
}

#[tokio::test]
async fn a_whole_database_is_read_in_many_steps_and_nothing_is_wrong() {
    let bench = filled().await;
    scrub(&bench, 1).await;
    let before = bench.store.scrubbed().rows;
    let mut steps = 0;
    while bench.store.scrubbed().passes < 2 {
        let pause = bench.store.scrub_step().await.expect("a step");
        assert!(pause.as_millis() >= 500, "others have their turn");
        steps += 1;
    }
    assert!(steps > 10, "{steps} are not small ones");
    let scrubbed = bench.store.scrubbed();
    assert_eq!(scrubbed.finding, None);
    assert!(scrubbed.rows - before >= 2_520, "{scrubbed:?}");
    assert!(bench.store.examine(0).await.read.is_ok());
    bench.store.close().await;
}

#[tokio::test]
async fn a_row_that_its_index_does_not_have_is_found() {
    let bench = filled().await;
    bench.store.close().await;
    tamper(
        &bench,
        "PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = 'CREATE INDEX messages_by_target ON messages (sender, id)'
             WHERE name = 'messages_by_target';",
    );
    let bench = Bench::in_folder(bench.engine, bench.folder);
    scrub(&bench, 2).await;
    let read = bench.store.examine(0).await.read.expect_err("found");
    assert!(read.contains("messages_by_target"), "{read}");
    bench.store.close().await;
}

#[tokio::test]
async fn a_damaged_page_that_nobody_asked_for_is_found() {
    let bench = filled().await;
    bench.store.close().await;
    let path = sqlite_file(bench.folder.path());
    let mut bytes = std::fs::read(&path).expect("the database");
    let page = bytes.windows(11).position(|window| window == b"10 xxxxxxxx").expect("a message") / 4_096;
    bytes[page * 4_096..(page + 1) * 4_096].fill(0xff);
    std::fs::write(&path, bytes).expect("damaged");
    let bench = Bench::in_folder(bench.engine, bench.folder);
    scrub(&bench, 2).await;
    let read = bench.store.examine(0).await.read.expect_err("found");
    assert!(read.contains("malformed"), "{read}");
    bench.store.close().await;
}
