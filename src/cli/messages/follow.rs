//! What becomes of a message that was sent: how it is brought into sessions, and what is waited for. However this ends, the
//! message is stored, and no more is said of it than the relay told.

use std::future::pending;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use agent_relay::client::{Error, Request};
use agent_relay::domain::agent::USER;
use agent_relay::domain::message::delivery::Delivery;
use agent_relay::domain::message::{Draft, Message, Reached, Receipt, Sent};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use super::brought::{FOLLOWED_MAX, Seen, brought, deliveries};
use super::send::named;
use crate::cli::connection::{Connection, Told};
use crate::cli::show::{DIM, GOOD, WARN, count, is_watched, painted, say, show, visible_line};
use crate::cli::typed::{As, words};
use crate::cli::{Failure, print};

/// How far a message is followed.
#[derive(Debug, clap::Args)]
pub(super) struct Following {
    /// Wait until an agent has read, claimed or completed it
    ///
    /// What is to be claimed or completed is claimable.
    #[arg(long, value_name = "STATE", value_parser = words::<Receipt>())]
    wait_for: Option<Receipt>,
    /// How long to follow it or to wait at most [default: 10m; 5s where standard error is no terminal and nothing is
    /// waited for]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// End as soon as it is stored
    #[arg(long, visible_alias = "detach", conflicts_with_all = ["wait_for", "timeout"])]
    no_wait: bool,
}

/// What is typed beside it.
pub(super) const FOLLOWING: &str = "\
Once it is stored, it is shown how the message is brought into each session that a relay or a daemon runs, until it was \
presented there or is not tried any more. Interrupting this, or --timeout, ends the showing and nothing else.

Exit codes: 0 sent, and what --wait-for names has happened; 1 it has not, and how far the message came is said; 2 wrong \
usage; 130 interrupted, after it was stored.";

/// How long a message is followed by somebody who looks on.
const PATIENCE: Duration = Duration::from_secs(600);
/// And by a script, or an agent in its turn: long enough for a session that is idle.
const SCRIPTS_PATIENCE: Duration = Duration::from_secs(5);
/// The exit code of whoever was interrupted.
const INTERRUPTED: u8 = 130;

/// The most that one request waits, in seconds.
const WAIT_MAX: u64 = 60;
/// How long a relay that was cut off while it answered is asked again, at least.
const CUT: Duration = Duration::from_secs(15);
/// The pause after the relay did not answer.
const RETRY: Duration = Duration::from_secs(1);

impl Following {
    fn patience(&self) -> Duration {
        let is_patient = self.wait_for.is_some() || is_watched();
        self.timeout.unwrap_or(if is_patient { PATIENCE } else { SCRIPTS_PATIENCE })
    }
}

/// How something that is followed came to an end.
enum Ended<T> {
    ByItself(T),
    TimeOver,
    Interrupted,
}

/// Takes interrupts from now on, which would end the program before it could say what they do not undo.
fn interrupts(connection: &Connection) -> Result<Signal, Failure> {
    let interrupts = connection.wait(async { signal(SignalKind::interrupt()) });
    interrupts.map_err(|error| Failure::Other(format!("failed to take interrupts: {error}")))
}

async fn within<T>(time: Duration, interrupts: &mut Signal, work: impl Future<Output = T>) -> Ended<T> {
    tokio::select! {
        biased;
        done = work => Ended::ByItself(done),
        _ = interrupts.recv() => Ended::Interrupted,
        () = sleep(time) => Ended::TimeOver,
    }
}

/// Sends a message, and follows it as far as is wanted.
pub(super) fn post(
    connection: &Connection,
    draft: Draft,
    following: &Following,
    who: &As,
    is_json: bool,
) -> Result<ExitCode, Failure> {
    let draft = Draft { idempotency_key: Some(key()?), ..draft };
    if let Some(receipt) = following.wait_for {
        return wait(connection, draft, receipt, following.patience(), who, is_json);
    }
    let told = first_answer(connection, &draft, who, Instant::now() + CUT)?;
    let mut interrupts = (!following.no_wait).then(|| interrupts(connection)).transpose()?;
    let sent = told.value()?;
    warn_of_nobody(&sent);
    if !is_json {
        show(&format!("{} is stored{}", named(&sent.message), reaches(&sent)))?;
    }
    let mut seen = Seen::default();
    let mut code = ExitCode::SUCCESS;
    if let Some(interrupts) = &mut interrupts {
        let patience = following.patience();
        let (is_told, is_watched) = (!is_json, is_watched());
        let changed = |delivery: &Delivery| match format!("  {}", brought(delivery)) {
            // A reader that has seen enough has not taken the message back.
            line if is_told && delivery.is_settled() => drop(show(&line)),
            line if is_told && is_watched => say(&line),
            _ => {}
        };
        let brought = seen.follow(connection, &sent.message, changed);
        let ended = connection.wait(within(patience, interrupts, brought));
        if matches!(ended, Ended::Interrupted) {
            code = ExitCode::from(INTERRUPTED);
        }
        if is_told {
            show_end(&sent, &seen, ended, patience)?;
        }
    }
    if is_json {
        print(&with_deliveries(told.text()?, &seen)?)?;
    }
    Ok(code)
}

/// What is still to be said once a message is not followed any more.
fn show_end(sent: &Sent, seen: &Seen, ended: Ended<Result<(), Error>>, patience: Duration) -> Result<(), Failure> {
    let how = format!("`agent-relay read {} --peek` shows how far it came", sent.message.id);
    let after = humantime::format_duration(patience);
    match ended {
        Ended::ByItself(Ok(())) => {
            let told = seen.last.as_ref().map_or(0, Vec::len);
            match untold(sent, told) {
                Some(text) => show(&format!("  {}", painted(DIM, text))),
                None => Ok(()),
            }
        }
        // Who may send need not be allowed to see what becomes of it.
        Ended::ByItself(Err(error)) => {
            if is_watched() {
                say(&painted(WARN, format!("  it cannot be followed: {}", visible_line(&error.to_string()))));
            }
            Ok(())
        }
        Ended::Interrupted => {
            say(&painted(WARN, format!("{} stays stored, and is not followed any more; {how}", named(&sent.message))));
            Ok(())
        }
        Ended::TimeOver if seen.last.is_none() => {
            show(&format!("  {}", painted(WARN, format!("it is not known what becomes of it after {after}; {how}"))))
        }
        Ended::TimeOver => {
            let open: String =
                seen.open().map(|delivery| format!("  {}, after {after}\n", brought(delivery))).collect();
            show(&format!("{open}  {}", painted(DIM, format!("it goes on being brought; {how}"))))
        }
    }
}

/// Of those whom a message reaches, who has no session that anybody could tell.
fn untold(sent: &Sent, told: usize) -> Option<String> {
    let reached = usize::try_from(sent.outcome.recipients.unwrap_or_default()).unwrap_or_default();
    if told >= FOLLOWED_MAX {
        return Some(format!("of more sessions than these {FOLLOWED_MAX} it is not shown"));
    }
    let rest = reached.checked_sub(told).filter(|rest| *rest > 0 && sent.message.to != USER)?;
    let whom = match (told, rest) {
        (0, 1) => "the relay does not tell it: no session of it".to_owned(),
        (0, _) => "the relay tells none of them: no session of theirs".to_owned(),
        (_, rest) => format!("the relay does not tell {}: no session of theirs", count(rest, "other agent")),
    };
    Some(format!("{whom} is run by a relay or a daemon, and the message is read when it is fetched"))
}

/// The answer as it came, with how far the message was brought where that was seen.
fn with_deliveries(answer: &str, seen: &Seen) -> Result<String, Failure> {
    let (Some(rows), Some(open)) = (&seen.last, answer.trim_end().strip_suffix('}')) else {
        return Ok(answer.to_owned());
    };
    let rows = serde_json::to_string(rows).map_err(|error| Failure::Other(error.to_string()))?;
    // Its own text is kept to the letter, as everywhere.
    Ok(format!("{open},\"deliveries\":{rows}}}"))
}

/// Sends a message, and waits until what is wanted of it has happened.
fn wait(
    connection: &Connection,
    draft: Draft,
    receipt: Receipt,
    patience: Duration,
    who: &As,
    is_json: bool,
) -> Result<ExitCode, Failure> {
    let claimable = draft.claimable.or(receipt.is_of_work().then_some(true));
    let draft = Draft { claimable, receipt: Some(receipt.to_string()), ..draft };
    let deadline = Instant::now().checked_add(patience);
    let deadline =
        deadline.ok_or_else(|| Failure::Usage("--timeout: that is longer than any clock goes".to_owned()))?;
    // The first answer comes at once: from then on it is on disk, and everything else is waiting.
    let told = first_answer(connection, &draft, who, deadline.max(Instant::now() + CUT))?;
    let mut interrupts = interrupts(connection)?;
    let first = told.value()?;
    warn_of_nobody(&first);
    let is_shown = is_watched() && !is_json;
    if is_shown {
        let waits = format!("waiting up to {} until it is {receipt}", humantime::format_duration(patience));
        say(&format!("{} is stored{}; {}", named(&first.message), reaches(&first), painted(DIM, waits)));
    }
    let draft = Draft { from: Some(first.message.from.to_string()), ..draft };
    let mut seen = Seen::default();
    let steps = async {
        if is_shown {
            // Where these cannot be followed, what is waited for still can.
            let _ = seen.follow(connection, &first.message, |delivery| say(&format!("  {}", brought(delivery)))).await;
        }
        pending().await
    };
    let waiting = async {
        tokio::select! {
            told = await_receipt(connection, &draft, receipt, told, deadline) => told,
            told = steps => told,
        }
    };
    let Ended::ByItself(told) = connection.wait(within(Duration::MAX, &mut interrupts, waiting)) else {
        let how = format!("`agent-relay read {} --peek` shows how far it came", first.message.id);
        say(&painted(WARN, format!("{} stays stored, and is not waited for any more; {how}", named(&first.message))));
        return Ok(ExitCode::from(INTERRUPTED));
    };
    let told = told?;
    let sent = told.value()?;
    let reached = sent.outcome.receipt.unwrap_or(Reached::Stored);
    let is_reached = reached == receipt.into();
    let code = if is_reached { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if is_json {
        print(told.text()?)?;
        return Ok(code);
    }
    let by = by_whom(connection, &sent.message, reached);
    if is_reached {
        show(&format!("{} is {}{by}", named(&sent.message), painted(GOOD, reached)))?;
    } else {
        let (reached, lacks) = (painted(WARN, reached), painted(WARN, format!("not {receipt}")));
        // Why it got no further, for each session that it is for.
        let rows = deliveries(connection, sent.message.id);
        let brought: String = rows.iter().map(|delivery| format!("\n    {}", brought(delivery))).collect();
        show(&format!("{} is {reached}{by}, {lacks}{}{brought}", named(&sent.message), reaches(&first)))?;
    }
    Ok(code)
}

fn request(connection: &Connection, draft: &Draft, wait: u64) -> Request<Sent> {
    connection.client.messages().send(draft).wait(Some(wait).filter(|wait| *wait > 0))
}

/// Sends a message, and again under the same key where the relay was cut off while it answered: nobody can know then
/// whether it is stored, until it is.
fn first_answer(connection: &Connection, draft: &Draft, who: &As, deadline: Instant) -> Result<Told<Sent>, Failure> {
    let mut was_cut = false;
    loop {
        match who.try_ask(connection, |from| request(connection, &Draft { from, ..draft.clone() }, 0)) {
            Ok(told) => return Ok(told),
            Err(error) => {
                was_cut |= matches!(error, Error::Interrupted { .. } | Error::Timeout { .. });
                if !was_cut || !error.is_transient() || Instant::now() >= deadline {
                    return Err(connection.failure(error));
                }
                connection.pause(RETRY);
            }
        }
    }
}

/// Asks for the same message again and again, which sends it once, until its receipt is there or the time is over. A relay
/// that restarts meanwhile is asked on.
async fn await_receipt(
    connection: &Connection,
    draft: &Draft,
    receipt: Receipt,
    mut told: Told<Sent>,
    deadline: Instant,
) -> Result<Told<Sent>, Failure> {
    let mut away = false;
    loop {
        if told.value()?.outcome.receipt == Some(receipt.into()) {
            return Ok(told);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(told);
        }
        // Whole seconds are what can be asked for; the last one may begin late.
        let wait = left.as_secs().clamp(1, WAIT_MAX);
        let pause = left.min(RETRY);
        match Connection::asked(request(connection, draft, wait)).await {
            Ok(again) => {
                // One that answers before its time drains.
                if again.value()?.outcome.receipt != Some(receipt.into()) && deadline > Instant::now() {
                    sleep(pause.min(BRIEF)).await;
                }
                (told, away) = (again, false);
            }
            Err(error) if error.is_transient() => {
                if !away && is_watched() {
                    say(&painted(WARN, "the relay does not answer; the message is stored, and is asked for again"));
                }
                away = true;
                sleep(pause).await;
            }
            Err(error) => return Err(connection.failure(error)),
        }
    }
}

/// The pause after an answer that was none.
const BRIEF: Duration = Duration::from_millis(100);

/// Who did it. What cannot be asked is left out: the receipt itself was told.
fn by_whom(connection: &Connection, sent: &Message, reached: Reached) -> String {
    let Ok(told) = connection.try_ask(connection.client.messages().get(sent.id)) else { return String::new() };
    let Ok(message) = told.value() else { return String::new() };
    let who = match reached {
        Reached::Claimed | Reached::Completed => message.claimed_by,
        Reached::Read => message.read_by.into_iter().next(),
        _ => None,
    };
    who.map(|who| format!(" by {}", visible_line(&who))).unwrap_or_default()
}

fn reaches(sent: &Sent) -> String {
    match sent.outcome.recipients {
        _ if sent.message.to == USER => ", and waits in the inbox of the user".to_owned(),
        Some(0) => format!(", and reaches {}", painted(WARN, "nobody yet")),
        Some(agents) => format!(", and reaches {}", count(usize::try_from(agents).unwrap_or_default(), "agent")),
        None => String::new(),
    }
}

/// A name that was mistyped is a message that lies there for ever.
fn warn_of_nobody(sent: &Sent) {
    if sent.outcome.recipients != Some(0) || sent.message.to == USER {
        return;
    }
    let similar = sent.outcome.similar.as_deref().unwrap_or_default();
    let similar: Vec<_> = similar.iter().map(|name| visible_line(name)).collect();
    let meant = if similar.is_empty() { String::new() } else { format!("; did you mean {}?", similar.join(" or ")) };
    let to = visible_line(&sent.message.to);
    say(&painted(WARN, format!("agent-relay: nobody is {to} now: the message waits for whoever will be{meant}")));
}

/// What makes the repeats of one `send` one message.
fn key() -> Result<String, Failure> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| Failure::Other(format!("no randomness: {error}")))?;
    Ok(format!("cli-{}", agent_relay::domain::text::hex::hex(&bytes)))
}
