//! What follows from an attempt: when there is another, if there is one.

use std::time::UNIX_EPOCH;

use crate::domain::time::Timestamp;

/// How long after each failed attempt the next one comes, in milliseconds. After the last there is none.
pub const BACKOFF_MS: [i64; 6] = [5_000, 30_000, 120_000, 600_000, 3_600_000, 21_600_000];
/// The longest that anything waits for its next attempt, whatever its receiver asks for.
pub const WAIT_MS_MAX: i64 = 6 * 60 * 60 * 1000;
/// What has waited longest comes by so much later, so that what failed together is not tried together.
const JITTER_SHARE: f64 = 0.2;

/// What follows from an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: it was taken.
    Delivered,
    /// Another one, so much later.
    Again {
        /// In milliseconds.
        after_ms: i64,
    },
    /// Nothing: it is given up.
    Dead,
}

/// What follows from an attempt that was answered with this status or not at all, after so many `tries` before it.
/// `jitter` is between 0 and 1. A receiver that asks for more time than that, gets it; one that is gone is asked no
/// more.
pub fn next(status: Option<u16>, tries: i64, backoff_ms: &[i64], retry_after_ms: Option<i64>, jitter: f64) -> Next {
    match status {
        Some(200..=299) => return Next::Delivered,
        Some(410) => return Next::Dead,
        _ => {}
    }
    let Some(backoff) = usize::try_from(tries).ok().and_then(|tries| backoff_ms.get(tries)) else { return Next::Dead };
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "at most some hours")]
    let later = (*backoff as f64 * JITTER_SHARE * jitter.clamp(0.0, 1.0)) as i64;
    let after_ms = (backoff + later).max(retry_after_ms.unwrap_or(0)).min(WAIT_MS_MAX);
    Next::Again { after_ms }
}

/// What a `Retry-After` asks for, in milliseconds from now: seconds, or a date. One that is neither asks for nothing.
pub fn retry_after(text: &str, now: Timestamp) -> Option<i64> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(text.parse::<i64>().unwrap_or(i64::MAX).saturating_mul(1_000));
    }
    let date = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let at = Timestamp::from_ms(i64::try_from(date.as_millis()).unwrap_or(i64::MAX));
    Some((at - now).max(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn again(status: Option<u16>, tries: i64, retry_after_ms: Option<i64>, jitter: f64) -> Option<i64> {
        match next(status, tries, &BACKOFF_MS, retry_after_ms, jitter) {
            Next::Again { after_ms } => Some(after_ms),
            Next::Delivered | Next::Dead => None,
        }
    }

    #[test]
    fn seven_attempts_further_and_further_apart_and_then_no_more() {
        for (tries, backoff) in (0..).zip(BACKOFF_MS) {
            for status in [None, Some(301), Some(400), Some(404), Some(429), Some(500)] {
                assert_eq!(again(status, tries, None, 0.0), Some(backoff));
            }
            let latest = again(None, tries, None, 1.0).unwrap();
            assert_eq!(latest, (backoff + backoff / 5).min(WAIT_MS_MAX));
        }
        assert_eq!(next(Some(500), 6, &BACKOFF_MS, None, 0.0), Next::Dead);
        assert_eq!(next(None, 6, &BACKOFF_MS, Some(1), 0.0), Next::Dead);
    }

    #[test]
    fn a_receiver_that_took_it_or_is_gone_is_asked_no_more() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(next(Some(status), 0, &BACKOFF_MS, Some(5), 0.0), Next::Delivered);
        }
        assert_eq!(next(Some(410), 0, &BACKOFF_MS, Some(5), 0.0), Next::Dead);
    }

    #[test]
    fn who_asks_for_more_time_gets_it_within_bounds() {
        assert_eq!(again(Some(429), 0, Some(1_000), 0.0), Some(5_000), "never earlier than otherwise");
        assert_eq!(again(Some(503), 0, Some(60_000), 1.0), Some(60_000));
        assert_eq!(again(Some(503), 0, Some(i64::MAX), 0.0), Some(6 * HOUR));
    }

    #[test]
    fn more_time_is_asked_for_in_seconds_or_by_a_date() {
        let now = Timestamp::from_ms(784_111_777_000);
        assert_eq!(retry_after(" 120 ", now), Some(120_000));
        assert_eq!(retry_after("0", now), Some(0));
        assert_eq!(retry_after("99999999999999999999", now), Some(i64::MAX));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:47 GMT", now), Some(10_000));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:27 GMT", now), Some(0), "it is over");
        for nothing in ["", "-5", "soon", "1.5", "0x10"] {
            assert_eq!(retry_after(nothing, now), None, "{nothing}");
        }
    }
}
