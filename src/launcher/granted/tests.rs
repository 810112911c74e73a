//! Which files of a session are read, and what no pattern reaches.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use rustix::fs::{Timespec, Timestamps};

use super::*;
use crate::domain::control::ApprovalMode;
use crate::domain::control::observation::RunningSession;
use crate::plugins::Grants;

struct Home {
    directory: tempfile::TempDir,
    files: GrantedFiles,
}

impl Home {
    fn new() -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        fs::create_dir_all(directory.path().join("home/logs/2026"))?;
        fs::create_dir_all(directory.path().join("secret"))?;
        Ok(Self { directory, files: GrantedFiles::default() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("home").join(name)
    }

    fn put(&self, name: &str, text: &str, second: i64) -> io::Result<()> {
        fs::write(self.path(name), text)?;
        let at = Timespec { tv_sec: second, tv_nsec: 0 };
        let times = Timestamps { last_access: at, last_modification: at };
        Ok(rustix::fs::utimensat(CWD, self.path(name), &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn globs(&self, patterns: &[&str]) -> Vec<Glob> {
        let session = RunningSession {
            agent_id: "a1".into(),
            label: None,
            approval_mode: ApprovalMode::Guarded,
            cwd: "/".into(),
            home: self.path("").to_str().expect("a plain path").trim_end_matches('/').into(),
            session_dir: "/".into(),
            pids: Vec::new(),
            conversation: None,
            now_ms: 0,
            utc_offset_minutes: 0,
            files: Vec::new(),
            variables: Default::default(),
        };
        let reads = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        Grants { reads, ..Grants::default() }.readable(&session)
    }

    fn read(&self, patterns: &[&str]) -> Vec<GrantedFile> {
        let name = SessionName::parse("ar-x").expect("a name");
        self.files.read(&name, &self.globs(patterns))
    }

    /// The names of what is read, in order.
    fn names(&self, patterns: &[&str]) -> Vec<String> {
        let name = |file: GrantedFile| file.path.rsplit('/').next().unwrap_or_default().to_owned();
        self.read(patterns).into_iter().map(name).collect()
    }
}

#[test]
fn the_newest_of_what_is_granted_is_read() -> io::Result<()> {
    let home = Home::new()?;
    for number in 0..20 {
        home.put(&format!("logs/2026/{number}.log"), "x", 1_000 + number)?;
    }
    home.put("logs/2026/new.txt", "not granted", 9_000)?;
    home.put("status", "idle", 5_000)?;
    let names = home.names(&["{home}/logs/*/*.log", "{home}/status", "{home}/st*", "{home}/nowhere/*", "/nowhere/x"]);
    assert_eq!(names.len(), FILES_MAX);
    assert_eq!(&names[..3], ["status", "19.log", "18.log"]);
    let status = home.read(&["{home}/status"]).remove(0);
    assert_eq!((status.contents.as_str(), status.cut, status.modified_ms), ("idle", false, 5_000_000));
    Ok(())
}

#[test]
fn nothing_but_regular_files_of_our_own_is_read_and_no_link_is_followed() -> io::Result<()> {
    let home = Home::new()?;
    let outside = home.directory.path().join("secret/key.log");
    fs::write(&outside, "secret")?;
    symlink(&outside, home.path("logs/2026/link.log"))?;
    symlink(home.directory.path().join("secret"), home.path("logs/2027"))?;
    fs::create_dir(home.path("logs/2026/folder.log"))?;
    rustix::fs::mknodat(CWD, home.path("logs/2026/pipe.log"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    assert_eq!(home.names(&["{home}/logs/*/*.log"]), Vec::<String>::new());
    let globs = home.globs(&["{home}/logs/*/*.log"]);
    for name in ["2026/link.log", "2027/key.log", "2026/folder.log", "2026/pipe.log", "2026/../../../secret/key.log"] {
        let path = home.path("logs").join(name);
        assert!(open_file(&globs, path.to_str().expect("plain")).is_none(), "{name}");
    }
    if rustix::process::geteuid().is_root() {
        home.put("logs/2026/foreign.log", "x", 1)?;
        std::os::unix::fs::chown(home.path("logs/2026/foreign.log"), Some(12_345), None)?;
        assert_eq!(home.names(&["{home}/logs/*/*.log"]), Vec::<String>::new());
    }
    home.put("logs/2026/own.log", "x", 1)?;
    assert_eq!(home.names(&["{home}/logs/*/*.log"]), ["own.log"]);
    Ok(())
}

/// The directory that a pattern begins with is the session's, wherever its path leads.
#[test]
fn a_home_may_be_a_link() -> io::Result<()> {
    let home = Home::new()?;
    home.put("status", "idle", 1)?;
    fs::rename(home.path(""), home.directory.path().join("moved"))?;
    symlink("moved", home.directory.path().join("home"))?;
    assert_eq!(home.names(&["{home}/status"]), ["status"]);
    Ok(())
}

#[test]
fn of_a_long_file_the_last_whole_lines_are_read() -> io::Result<()> {
    let home = Home::new()?;
    let line = |number| format!("line {number}\n");
    home.put("long", &(0..20_000).map(line).collect::<String>(), 1)?;
    let long = home.read(&["{home}/long"]).remove(0);
    assert!(long.cut && long.contents.len() <= FILE_BYTES_MAX && long.contents.starts_with("line "));
    assert!(long.contents.ends_with("line 19999\n"));
    home.put("binary", &"\u{0}\u{1}".repeat(FILE_BYTES_MAX), 2)?;
    for number in 0..20 {
        home.put(&format!("x{number}"), &"\"".repeat(FILE_BYTES_MAX), 3)?;
    }
    let bytes: usize =
        home.read(&["{home}/*"]).iter().map(|file| serde_json::to_string(file).expect("JSON").len()).sum();
    assert!(bytes <= TOTAL_BYTES_MAX, "{bytes}");
    Ok(())
}

#[test]
fn a_file_that_changed_is_read_again() -> io::Result<()> {
    let home = Home::new()?;
    for (text, second) in [("idle", 1), ("busy", 2), ("busy!", 2), ("idle", 3)] {
        home.put("status", text, second)?;
        assert_eq!(home.read(&["{home}/status"])[0].contents, text);
        assert_eq!(home.read(&["{home}/status"])[0].contents, text);
    }
    fs::remove_file(home.path("status"))?;
    assert_eq!(home.read(&["{home}/status"]), []);
    Ok(())
}

#[test]
fn a_socket_is_reached_where_it_was_granted_and_not_where_a_link_leads() -> io::Result<()> {
    let home = Home::new()?;
    let _listener = std::os::unix::net::UnixListener::bind(home.path("own.sock"))?;
    symlink("own.sock", home.path("link.sock"))?;
    fs::write(home.path("file.sock"), "")?;
    let globs = home.globs(&["{home}/*.sock"]);
    let open = |name: &str| open_socket(&globs, home.path(name).to_str().expect("plain"));
    let socket = open("own.sock").expect("it is ours");
    std::os::unix::net::UnixStream::connect(&socket.path)?;
    for name in ["link.sock", "file.sock", "nowhere.sock", "logs"] {
        assert!(open(name).is_none(), "{name}");
    }
    Ok(())
}
