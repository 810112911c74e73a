//! Asking a courier for the ways into a session, and holding each to what was granted.

use std::time::Instant;

use wasmtime::Store;

use super::super::super::super::package::{Glob, Grants};
use super::super::super::super::runtime::{CallError, Host, Measured, clean};
use super::super::super::plugin::Plugin;
use super::super::plan_check::check_program;
use super::super::presentation::accept_presentation;
use super::bindings::courier_wit;
use super::loaded::Beside;
use super::observe::{account, asked_at};
use crate::domain::control::courier::{ATTEMPTS_MAX, Attempt, CONFIRM_MS_MAX, Carrier, Notice, Sign, Way};
use crate::domain::control::observation::{Observation, RunningSession};

/// Characters of a rung's name.
const RUNG_MAX: usize = 40;
/// Arguments of a program, lines for a socket, and signs of one rung.
const ARGS_MAX: usize = 64;
const LINES_MAX: usize = 16;
const SIGNS_MAX: usize = 8;
/// Bytes of the arguments, or the lines, together.
const BYTES_MAX: usize = 64 * 1024;
/// Characters of a text that is looked for.
const SIGN_MAX: usize = 1_000;

/// The ways to show this notice in a session, if the provider knows any; each within what was granted.
pub(in super::super) async fn deliver(
    plugin: &Plugin,
    (beside, executables): (&Beside, &[String]),
    notice: &Notice,
    session: &RunningSession,
    seen: &Observation,
) -> Result<Option<Vec<Attempt>>, CallError> {
    let Some(delivers) = &beside.delivers else { return Ok(None) };
    delivers.recess.admit(Instant::now())?;
    let inquiry = asked_at(session, Measured::of(&(notice, session, seen)));
    let guest = async |store: &mut Store<Host>| {
        let (notice, session, seen) = (notice.into(), session.into(), seen.into());
        let guest = delivers.pre.instantiate_async(&mut *store).await?;
        store.data_mut().has_instance();
        guest.agent_relay_plugin_courier().call_deliver(store, &notice, &session, &seen).await
    };
    let bounds = Bounds::new(executables, &plugin.terms.grants, session);
    let check = |attempts: Vec<courier_wit::Attempt>| {
        let attempts = attempts.into_iter().map(Into::into).collect();
        bounds.accept(attempts).map_err(|problem| CallError::Output(clean(&problem)))
    };
    let answer = plugin.sandbox.call("deliver", &inquiry, guest, check).await;
    account(&plugin.sandbox, &delivers.recess, "deliver", &answer, &plugin.terms.id);
    answer.map(Some)
}

/// What a courier may name for one session.
struct Bounds<'a> {
    executables: &'a [String],
    grants: &'a Grants,
    readable: Vec<Glob>,
    writable: Vec<Glob>,
}

impl<'a> Bounds<'a> {
    fn new(executables: &'a [String], grants: &'a Grants, session: &RunningSession) -> Self {
        Self { executables, grants, readable: grants.readable(session), writable: grants.writable(session) }
    }

    /// Checks a ladder. The error says which field of which rung is not acceptable, and why.
    fn accept(&self, attempts: Vec<Attempt>) -> Result<Vec<Attempt>, String> {
        if attempts.len() > ATTEMPTS_MAX {
            return Err(format!("{} attempts are more than {ATTEMPTS_MAX}", attempts.len()));
        }
        let mut accepted: Vec<Attempt> = Vec::with_capacity(attempts.len());
        for (index, attempt) in attempts.into_iter().enumerate() {
            if accepted.iter().any(|earlier| earlier.rung == attempt.rung) {
                return Err(format!("attempts[{index}].rung: {:?} is there twice", attempt.rung));
            }
            accepted.push(self.rung(attempt).map_err(|problem| format!("attempts[{index}].{problem}"))?);
        }
        Ok(accepted)
    }

    fn rung(&self, attempt: Attempt) -> Result<Attempt, String> {
        let named = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=RUNG_MAX).contains(&attempt.rung.len()) || !attempt.rung.bytes().all(named) {
            return Err(format!("rung: must be 1 to {RUNG_MAX} of a-z, 0-9 and `-`"));
        }
        // What people are told of a delivery is how it really went.
        if (attempt.carrier == Carrier::Typed) != matches!(attempt.way, Way::Type(_)) {
            return Err("carrier: `typed` is what is typed, and nothing else is".into());
        }
        if attempt.confirm_ms > CONFIRM_MS_MAX {
            return Err(format!("confirm-ms: {} is more than {CONFIRM_MS_MAX}", attempt.confirm_ms));
        }
        if attempt.evidence.len() > SIGNS_MAX {
            return Err(format!("evidence: {} signs are more than {SIGNS_MAX}", attempt.evidence.len()));
        }
        for (index, sign) in attempt.evidence.iter().enumerate() {
            self.sign(sign).map_err(|problem| format!("evidence[{index}]: {problem}"))?;
        }
        Ok(Attempt { way: self.way(attempt.way)?, ..attempt })
    }

    fn way(&self, way: Way) -> Result<Way, String> {
        match way {
            Way::Run { program, args } => {
                check_program(&program, self.executables, self.grants)?;
                texts("args", &args, ARGS_MAX, &['\0'])?;
                Ok(Way::Run { program, args })
            }
            Way::Write { path, lines } => {
                covered(&self.writable, &path).map_err(|problem| format!("path: {path:?} {problem} `sockets`"))?;
                texts("lines", &lines, LINES_MAX, &['\n', '\r', '\0'])?;
                Ok(Way::Write { path, lines })
            }
            Way::Type(presentation) => accept_presentation(presentation).map(Way::Type),
        }
    }

    fn sign(&self, sign: &Sign) -> Result<(), String> {
        let text = match sign {
            Sign::File { path, text } => {
                covered(&self.readable, path).map_err(|problem| format!("path: {path:?} {problem} `reads`"))?;
                text
            }
            Sign::Screen(text) => text,
            Sign::Turn => return Ok(()),
        };
        let length = text.chars().count();
        if (1..=SIGN_MAX).contains(&length) && !text.trim().is_empty() && !text.contains(['\n', '\r']) {
            Ok(())
        } else {
            Err(format!("text: must be one line of 1 to {SIGN_MAX} characters"))
        }
    }
}

fn covered(granted: &[Glob], path: &str) -> Result<(), &'static str> {
    if granted.iter().any(|glob| glob.below(path).is_some()) { Ok(()) } else { Err("is not granted by any pattern of") }
}

fn texts(field: &str, texts: &[String], max: usize, without: &[char]) -> Result<(), String> {
    if texts.len() > max {
        return Err(format!("{field}: {} are more than {max}", texts.len()));
    }
    let bytes: usize = texts.iter().map(String::len).sum();
    if bytes > BYTES_MAX {
        return Err(format!("{field}: {bytes} bytes are more than {BYTES_MAX}"));
    }
    match texts.iter().position(|text| text.contains(without)) {
        Some(index) => Err(format!("{field}[{index}]: has a character that may not be in it")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
