//! What the host's time zone is ahead of UTC: programs tell the end of a limit by the clock on the wall.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Command;
use tokio::sync::Mutex;

/// How long an answer holds: the clocks are changed at full quarters of an hour.
const FRESH: Duration = Duration::from_mins(15);
/// How long the answer may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// The zone, asked for now and then.
#[derive(Default)]
pub(super) struct Zone(Mutex<Option<(Instant, i32)>>);

impl Zone {
    /// Minutes ahead of UTC; none where nobody says.
    pub(super) async fn offset_minutes(&self) -> i32 {
        let mut known = self.0.lock().await;
        if let Some((at, minutes)) = *known
            && at.elapsed() < FRESH
        {
            return minutes;
        }
        let minutes = ask().await.unwrap_or(0);
        *known = Some((Instant::now(), minutes));
        minutes
    }
}

/// What `date` says, which knows the zone's rules.
async fn ask() -> Option<i32> {
    let mut date = Command::new("date");
    date.arg("+%z").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(DEADLINE, date.output()).await.ok()?.ok()?;
    minutes(std::str::from_utf8(&output.stdout).ok()?.trim())
}

/// `+hhmm` as minutes.
fn minutes(text: &str) -> Option<i32> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = digits.split_at_checked(2)?;
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    ((0..24).contains(&hours) && (0..60).contains(&minutes)).then_some(sign * (60 * hours + minutes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_read_with_its_sign() {
        assert_eq!(minutes("+0000"), Some(0));
        assert_eq!(minutes("+0545"), Some(345));
        assert_eq!(minutes("-0330"), Some(-210));
        for text in ["", "+", "0100", "+01", "+0160", "UTC", "+aa00"] {
            assert_eq!(minutes(text), None, "{text:?}");
        }
    }
}
