//! What is taken away while the store is closed is noticed when it is opened, and told.

use std::fs;
use std::path::Path;

use agent_relay::domain::activity::ActivityFilter;
use agent_relay::domain::agent::SessionGuard;
use agent_relay::domain::retention::Retention;

use super::{Bench, ENGINES, sqlite_file};

/// What lies in a folder now, in a new one, but for the files that end so.
fn copy(folder: &Path, without: &[&str]) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a temporary folder");
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let name = entry.file_name().into_string().expect("a name");
        if !without.iter().any(|end| name.ends_with(end)) {
            fs::copy(entry.path(), copy.path().join(&name)).expect("a copy");
        }
    }
    copy
}

/// It goes on, says what happened, gives no number again, and is well after the next start.
async fn noticed(folder: tempfile::TempDir, newest: i64, epoch: &str, says: &str) {
    let bench = Bench::in_folder(&ENGINES[0], folder);
    let loss = bench.store.loss().expect("it is noticed").detail.clone();
    assert!(loss.contains(says) && loss.contains(&newest.to_string()), "{loss}");
    assert_ne!(bench.store.epoch(), epoch, "who follows the events begins anew");
    let entries = bench.store.activity(ActivityFilter::default()).await.expect("entries").entries;
    assert_eq!(entries[0].body.as_deref(), Some(loss.as_str()), "{entries:?}");
    assert!(bench.send("x", "a", "new").await.id.get() > newest, "no number is given twice");
    let bench = bench.reopened().await;
    assert!(bench.store.loss().is_none(), "it was told");
    assert!(bench.send("x", "a", "newer").await.id.get() > newest + 1);
    bench.store.close().await;
}

/// A store with some messages in its file, and some more in its log alone; and the newest of each.
async fn with_a_log() -> (Bench, i64, i64) {
    let bench = Bench::new(&ENGINES[0]);
    let first = bench.send("x", "a", "in the file").await.id.get();
    let bench = bench.reopened().await;
    let mut last = 0;
    for _ in 0..20 {
        last = bench.send("x", "a", "in the log").await.id.get();
    }
    (bench, first, last)
}

#[tokio::test]
async fn a_log_that_was_removed_is_missed() {
    let (bench, _, last) = with_a_log().await;
    let folder = copy(bench.folder.path(), &["-wal", "-shm"]);
    noticed(folder, last, bench.store.epoch(), "is gone").await;
    // With its log it has lost nothing.
    let whole = Bench::in_folder(&ENGINES[0], copy(bench.folder.path(), &["-shm"]));
    assert!(whole.store.loss().is_none());
    assert_eq!(whole.inbox("a").await.len(), 21);
    whole.store.close().await;
}

#[tokio::test]
async fn an_older_copy_is_told_from_what_was_there() {
    let (bench, _, last) = with_a_log().await;
    let older = copy(bench.folder.path(), &["-shm"]);
    // The copy as a whole is what it was.
    let older = Bench::in_folder(&ENGINES[0], older).reopened().await;
    assert!(older.store.loss().is_none());
    older.store.close().await;
    let newest = bench.send("x", "a", "after the copy").await.id.get();
    assert!(newest > last);
    let epoch = bench.store.epoch().to_owned();
    bench.store.close().await;
    fs::copy(sqlite_file(older.folder.path()), sqlite_file(bench.folder.path())).expect("the older copy");
    noticed(bench.folder, newest, &epoch, "older copy").await;
}

#[tokio::test]
async fn a_database_that_is_gone_is_missed_and_its_log_is_kept() {
    for gone in ["removed", "emptied"] {
        let (bench, _, last) = with_a_log().await;
        let folder = copy(bench.folder.path(), &["relay.db"]);
        if gone == "emptied" {
            fs::write(sqlite_file(folder.path()), "").expect("an empty file");
        }
        let log = fs::read(sqlite_file(folder.path()).with_extension("db-wal")).expect("the log");
        let path = folder.path().to_owned();
        let bench_of_new = Bench::in_folder(&ENGINES[0], folder);
        let loss = bench_of_new.store.loss().expect("it is noticed").detail.clone();
        assert!(loss.contains("another database") && loss.contains("lost-database"), "{loss}");
        let kept = fs::read_dir(&path).expect("a folder").flatten();
        let kept = kept.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("lost-database"));
        assert_eq!(fs::read(kept.expect("the log is kept")).expect("it"), log);
        assert!(bench_of_new.send("x", "a", "new").await.id.get() > last);
        bench_of_new.store.close().await;
    }
}

#[tokio::test]
async fn a_database_that_was_cut_off_is_refused_with_what_to_do() {
    let (bench, ..) = with_a_log().await;
    bench.store.close().await;
    let path = sqlite_file(bench.folder.path());
    let file = fs::File::options().write(true).open(&path).expect("the database");
    file.set_len(file.metadata().expect("a length").len() / 2).expect("cut off");
    let refused = super::open_sqlite(bench.folder.path(), Box::new(drop)).err().expect("refused");
    assert!(refused.to_string().contains("backup"), "{refused}");
}

/// Numbers that were taken and not used, deletions and retention: none of it is a loss.
#[tokio::test]
async fn nothing_is_missed_where_nothing_is_lost() {
    let bench = Bench::new(&ENGINES[0]);
    bench.register("a", &[]).await;
    let first = bench.send("x", "a", "1").await;
    let last = bench.send("x", "a", "2").await;
    bench.store.mark_read(first.id, "a".into(), SessionGuard::default()).await.expect("read");
    bench.store.delete_message(last.id).await.expect("deleted");
    let bench = bench.reopened().await;
    assert!(bench.store.loss().is_none());
    let all = Retention { events_count: 1, events_ms: -1, messages_count: 1, messages_ms: -1, records_ms: -1 };
    while bench.store.retain_step(all, 10).await.expect("a step").done > 0 {}
    let bench = bench.reopened().await;
    assert!(bench.store.loss().is_none());
    fs::remove_file(sqlite_file(bench.folder.path()).with_extension("db-newest")).expect("the witness");
    let bench = bench.reopened().await;
    assert!(bench.store.loss().is_none(), "without a witness there is nothing to compare");
    bench.store.close().await;
}
