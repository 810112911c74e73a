//! Running a program once beside the program of a session: with the same environment, in the same directory.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use super::activity::Facts;
use super::environment::find_program;
use super::{Place, Sessions, log, off_the_reactor};

/// How long it may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long its last words are waited for once it has ended.
const LAST_WORDS_DEADLINE: Duration = Duration::from_millis(200);
/// The most of its output that is read, in bytes.
const OUTPUT_BYTES_MAX: u64 = 64 * 1024;
/// Bytes of its last words that are told.
const LAST_WORDS_MAX: usize = 300;

impl Sessions {
    /// Runs a program, without a shell, to its end, and answers whether it succeeded: a plain name is looked for on the PATH
    /// of the session. It gets no input, and is ended when it takes longer than 10 s. The error says what went wrong.
    ///
    /// # Errors
    ///
    /// When it is not there, cannot be run, ends with another status than 0, or is ended.
    pub async fn run_beside(&self, facts: &Facts, program: &str, args: &[String]) -> Result<(), String> {
        let pid = facts.pids.first().copied().ok_or("its program has ended")?;
        let env = self.environment_of(pid).await.ok_or("the environment of its program cannot be read")?;
        let (cwd, wanted) = (facts.identity.cwd.clone(), program.to_owned());
        let path = env.get("PATH").cloned().unwrap_or_default();
        let found = off_the_reactor(move || (find_program(&wanted, &path), Place::open(Path::new(&cwd)))).await;
        let (Some(executable), Ok(place)) = found else {
            return Err(match found.0 {
                None => format!("there is no executable {program:?} on the PATH of its session"),
                Some(_) => "its directory is not there any more".to_owned(),
            });
        };
        let mut command = Command::new(executable);
        command.args(args).env_clear().envs(env).current_dir(place.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // What it starts ends with it.
        command.process_group(0);
        let mut child = command.spawn().map_err(|error| format!("{program:?} cannot be run: {error}"))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let output = async { tokio::join!(output_of(stdout), output_of(stderr)).1 };
        let running = async {
            tokio::pin!(output);
            let (mut last_words, ending) = (None, child.wait());
            tokio::pin!(ending);
            let status = loop {
                tokio::select! {
                    status = &mut ending => break status,
                    words = &mut output, if last_words.is_none() => last_words = Some(words),
                }
            };
            // What it left running may hold its output open.
            if last_words.is_none() {
                last_words = timeout(LAST_WORDS_DEADLINE, output).await.ok();
            }
            (status, last_words.unwrap_or_default())
        };
        let Ok((status, last_words)) = timeout(DEADLINE, running).await else {
            let group = child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
            if let Some(group) = group {
                _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            return Err(format!("{program:?} took longer than {} s and was ended", DEADLINE.as_secs()));
        };
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("{program:?} ended with {status}: {}", log::last(&last_words, LAST_WORDS_MAX))),
            Err(error) => Err(format!("{program:?} was lost: {error}")),
        }
    }
}

/// What it says, as plain text. What is beyond the limit is not waited for.
async fn output_of(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        _ = pipe.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes).await;
    }
    log::plain(&String::from_utf8_lossy(&bytes)).replace('\n', " ")
}
