//! What is evidence of a notice, and what was there before.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};

use super::*;
use crate::domain::control::ApprovalMode;
use crate::domain::control::observation::RunningSession;
use crate::plugins::Grants;

struct Log {
    directory: tempfile::TempDir,
}

impl Log {
    fn with(text: Option<&str>) -> io::Result<Self> {
        let log = Self { directory: tempfile::tempdir()? };
        text.map_or(Ok(()), |text| fs::write(log.path(), text))?;
        Ok(log)
    }

    fn path(&self) -> String {
        self.directory.path().join("log").to_str().expect("a plain path").to_owned()
    }

    fn append(&self, text: &str) -> io::Result<()> {
        OpenOptions::new().append(true).create(true).open(self.path())?.write_all(text.as_bytes())
    }

    fn awaited(&self) -> Awaited {
        let session = RunningSession {
            agent_id: "a1".into(),
            label: None,
            approval_mode: ApprovalMode::Guarded,
            cwd: self.directory.path().to_str().expect("a plain path").into(),
            home: "/".into(),
            session_dir: "/".into(),
            pids: Vec::new(),
            conversation: None,
            now_ms: 0,
            utc_offset_minutes: 0,
            files: Vec::new(),
            variables: Default::default(),
        };
        let globs = Grants { reads: vec!["{cwd}/*".into()], ..Grants::default() }.readable(&session);
        let before = open_file(&globs, &self.path()).and_then(|file| Before::of(&file, "17"));
        Awaited::File { globs, path: self.path(), text: "17".to_owned(), before }
    }
}

#[test]
fn what_a_file_held_before_is_no_evidence() -> io::Result<()> {
    let log = Log::with(Some("message 17\n"))?;
    let awaited = log.awaited();
    assert_eq!(in_file(&awaited), None);
    log.append("something else\n")?;
    assert_eq!(in_file(&awaited), None);
    log.append("message 17\n")?;
    assert_eq!(in_file(&awaited), Some(format!("it is in {}", log.path())));
    Ok(())
}

#[test]
fn a_text_that_was_half_there_is_not_new() -> io::Result<()> {
    let log = Log::with(Some("message 1"))?;
    let awaited = log.awaited();
    log.append("7\n")?;
    assert_eq!(in_file(&awaited), None);
    Ok(())
}

#[test]
fn a_file_may_appear_later() -> io::Result<()> {
    let log = Log::with(None)?;
    let awaited = log.awaited();
    assert_eq!(in_file(&awaited), None);
    log.append("message 17\n")?;
    assert!(in_file(&awaited).is_some());
    Ok(())
}

/// A program that writes its whole file anew leaves what was there before in it.
#[test]
fn a_file_that_is_written_anew_has_to_hold_it_once_more() -> io::Result<()> {
    let log = Log::with(Some("message 17\nand a long line behind it\n"))?;
    let awaited = log.awaited();
    fs::write(log.path(), "message 17\n")?;
    assert_eq!(in_file(&awaited), None, "shorter");
    fs::write(log.path() + ".new", "message 17\nand a long line behind it, and more\n")?;
    fs::rename(log.path() + ".new", log.path())?;
    assert_eq!(in_file(&awaited), None, "another file");
    fs::write(log.path(), "17, 17\n")?;
    assert!(in_file(&awaited).is_some());
    Ok(())
}

#[test]
fn a_text_counts_once_it_is_on_the_screen_and_not_in_the_input_alone() {
    let screen = |text: &str, cursor| Screen::new(text, Some(cursor));
    let typed = screen("----\n> message 17", (12, 1));
    assert!(!is_shown(&typed, "message 17", 0));
    let taken = screen("you said message\n17\n> ", (2, 2));
    assert!(is_shown(&taken, "message 17", 0));
    assert!(!is_shown(&taken, "message 17", 1), "that was there before");
    assert!(!is_shown(&taken, "message 18", 0));
}
