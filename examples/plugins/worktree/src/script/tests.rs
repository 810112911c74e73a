use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::*;

/// A repository with one commit and a folder `sub`, away from anybody's own configuration of git.
struct Repository(PathBuf);

impl Repository {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("worktree-example-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("sub")).expect("a directory");
        let repository = Self(root.canonicalize().expect("it is there"));
        fs::write(repository.0.join("sub/file"), "one\n").expect("a file");
        repository.git(&["init", "--quiet"]);
        repository.git(&["add", "."]);
        repository.git(&["-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "--message=one"]);
        repository
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.0).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        command
    }

    fn git(&self, args: &[&str]) -> String {
        let output = self.command("git").args(args).output().expect("git is installed");
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    fn output(&self, directory: &Path, script: &str) -> Output {
        let file = self.0.join(".git/start.sh");
        fs::write(&file, script).expect("a file");
        self.command("/bin/sh").arg(&file).current_dir(directory).output().expect("a shell")
    }

    /// Runs the script in `directory`; the answer is what it printed.
    fn run(&self, directory: &Path, script: &str) -> String {
        let output = self.output(directory, script);
        assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn the_program_gets_its_words_as_they_are() {
    let repository = Repository::new("words");
    let hostile = "a'b $(touch pwned) `touch pwned` \\ \"; touch pwned\n'' -- *";
    let printed =
        repository.run(&repository.0, &start(".worktrees", "a1", &words(&["printf", "<%s>", "", hostile, "--help"])));
    assert_eq!(printed, format!("<><{hostile}><--help>"));
    assert!(!repository.0.join("pwned").exists() && !repository.0.join(".worktrees/a1/pwned").exists());
}

#[test]
fn each_agent_has_a_tree_and_a_branch_and_keeps_them() {
    let repository = Repository::new("trees");
    let pwd = |id: &str| repository.run(&repository.0, &start(".worktrees", id, &words(&["pwd"])));
    assert_eq!(pwd("a1"), format!("{}/.worktrees/a1\n", repository.0.display()));
    assert_eq!(pwd("a2"), format!("{}/.worktrees/a2\n", repository.0.display()));
    // Its work is still there after a restart, and when somebody tidied the tree away.
    let file = repository.0.join(".worktrees/a1/sub/file");
    fs::write(&file, "two\n").expect("a file");
    assert_eq!(pwd("a1"), format!("{}/.worktrees/a1\n", repository.0.display()));
    assert_eq!(fs::read_to_string(&file).expect("the file"), "two\n");
    fs::remove_dir_all(repository.0.join(".worktrees/a1")).expect("the tree");
    pwd("a1");
    assert_eq!(fs::read_to_string(&file).expect("the file"), "one\n");
    assert_eq!(repository.git(&["branch", "--list", "--format=%(refname:short)", "agent/*"]), "agent/a1\nagent/a2\n");
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
}

#[test]
fn in_a_folder_of_the_repository_the_agent_is_in_the_same_folder_of_its_tree() {
    let repository = Repository::new("below");
    let below = repository.0.join("sub");
    let printed = repository.run(&below, &start(".worktrees", "a1", &words(&["pwd"])));
    assert_eq!(printed, format!("{}/.worktrees/a1/sub\n", below.display()));
}

#[test]
fn no_hook_of_the_repository_runs() {
    let repository = Repository::new("hooks");
    let hook = repository.0.join(".git/hooks/post-checkout");
    fs::create_dir_all(hook.parent().expect("a folder")).expect("a directory");
    fs::write(&hook, "#!/bin/sh\ntouch ran\n").expect("a file");
    let status = Command::new("chmod").arg("+x").arg(&hook).status().expect("chmod");
    assert!(status.success());
    repository.run(&repository.0, &start(".worktrees", "a1", &words(&["true"])));
    assert!(!repository.0.join(".worktrees/a1/ran").exists() && !repository.0.join("ran").exists());
}

/// Each link is one that an agent with a worktree of its own could have put there.
#[test]
fn no_link_leads_anywhere_else() {
    let repository = Repository::new("links");
    let outside = Repository::new("links-outside");
    let ran = |directory: &Path| repository.output(directory, &start(".worktrees", "a1", &words(&["touch", "ran"])));
    let refused = |directory: &Path| {
        let output = ran(directory);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("look who put a link there"), "{said}");
        assert_eq!(outside.git(&["status", "--porcelain"]), "", "nothing happened there");
    };
    let trees = repository.0.join(".worktrees");
    symlink(&outside.0, &trees).expect("a link in place of the folder");
    refused(&repository.0);
    fs::remove_file(&trees).expect("the link");

    fs::create_dir(&trees).expect("a folder");
    let victim = outside.0.join("sub/file");
    symlink(&victim, trees.join(".gitignore")).expect("a link in place of the list");
    assert!(ran(&repository.0).status.success(), "the link is replaced");
    assert_eq!(fs::read_to_string(&victim).expect("the file"), "one\n");

    let tree = trees.join("a1");
    fs::rename(&tree, trees.join("moved")).expect("the tree");
    symlink(&outside.0, &tree).expect("a link in place of the tree");
    refused(&repository.0);
    fs::remove_file(&tree).expect("the link");
    fs::rename(trees.join("moved"), &tree).expect("the tree");

    let sub = repository.0.join("sub");
    assert!(ran(&sub).status.success());
    let below = sub.join(".worktrees/a1/sub");
    fs::remove_dir_all(&below).expect("the folder in the tree");
    symlink(outside.0.join("sub"), &below).expect("a link in place of it");
    refused(&sub);
}

#[test]
fn names_are_plain_and_nobody_elses() {
    assert_eq!(name_for("reviewer-1"), "reviewer-1");
    for id in ["Reviewer-1", "../../etc", "-rf", "a b", "ä", "", "a.lock", &"x".repeat(300)] {
        let name = name_for(id);
        let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        assert!(plain && !name.starts_with('-') && name.len() <= ID_SHOWN_MAX + 17, "{id:?}: {name}");
    }
    assert_ne!(name_for("a b"), name_for("a-b"));
    assert_ne!(name_for("a b"), name_for("a_b"));
}
