//! The times that programs print for people: `6:53pm (UTC)`, `Nov 29th, 2026 6:16 PM`.
//!
//! A plugin has no clock and no table of time zones. The host says what it is now, and how far its own zone is ahead of
//! UTC, which is what a program on that host prints in unless it says `UTC`.

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// The moment that a text names at its beginning, in milliseconds since the epoch: a time of day, with a day of a month
/// before it or without. What it leaves out is the next that comes after `since_ms`, when the program said it.
pub fn moment(text: &str, since_ms: u64, utc_offset_minutes: i32) -> Option<u64> {
    let (day, clock, rest) = words(text)?;
    let offset = if in_utc(rest) { 0 } else { i64::from(utc_offset_minutes) * MINUTE_MS };
    let since = i64::try_from(since_ms).ok()?.checked_add(offset)?;
    let today = since.div_euclid(DAY_MS);
    let moment = match day {
        None => {
            let at = today * DAY_MS + clock;
            // Seconds are not printed, so the minute that runs may be meant.
            if at + MINUTE_MS <= since { at + DAY_MS } else { at }
        }
        Some((month, day, Some(year))) => days(year, month, day) * DAY_MS + clock,
        Some((month, day, None)) => {
            let year = year_of(today);
            let at = days(year, month, day) * DAY_MS + clock;
            if at + DAY_MS <= since { days(year + 1, month, day) * DAY_MS + clock } else { at }
        }
    };
    u64::try_from(moment.checked_sub(offset)?).ok()
}

/// The moment that a time stamp as `2026-11-26T17:23:46.407Z` names, in milliseconds since the epoch.
pub fn time_stamp(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let mut time = time.splitn(3, ':');
    let (hour, minute) = (time.next()?.parse::<i64>().ok()?, time.next()?.parse::<i64>().ok()?);
    let seconds: f64 = time.next()?.parse().ok()?;
    let plain = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !plain || !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0.0..61.0).contains(&seconds) {
        return None;
    }
    let ms = days(year, month, day) * DAY_MS + (hour * 60 + minute) * MINUTE_MS + (seconds * 1_000.0) as i64;
    u64::try_from(ms).ok()
}

/// A day of a month, as month, day and year.
type Day = (i64, i64, Option<i64>);

/// A day, where there is one, the time of that day in milliseconds, and what follows.
fn words(text: &str) -> Option<(Option<Day>, i64, &str)> {
    let text = text.trim_start();
    let Some((month, rest)) = month(text) else {
        let (clock, rest) = time_of_day(text)?;
        return Some((None, clock, rest));
    };
    let (day, rest) = number(rest)?;
    let ordinal = rest.get(..2).filter(|ending| ["st", "nd", "rd", "th"].contains(ending));
    let rest = separated(&rest[ordinal.map_or(0, str::len)..]);
    let (year, rest) = match number(rest) {
        Some((year @ 1970..=9999, rest)) => (Some(year), separated(rest)),
        _ => (None, rest),
    };
    let (clock, rest) = time_of_day(rest)?;
    (1..=31).contains(&day).then_some((Some((month, day, year)), clock, rest))
}

/// The month whose English name a text begins with, in short or in full, and what follows.
fn month(text: &str) -> Option<(i64, &str)> {
    const NAMES: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let short = text.get(..3)?.to_ascii_lowercase();
    let number = NAMES.iter().position(|name| *name == short)?;
    let rest = text.trim_start_matches(|letter: char| letter.is_ascii_alphabetic());
    Some((i64::try_from(number).ok()? + 1, separated(rest)))
}

/// `6pm`, `6:53pm`, `6:53 PM`, `18:53`, in milliseconds of the day, and what follows.
fn time_of_day(text: &str) -> Option<(i64, &str)> {
    let (hour, rest) = number(text)?;
    let minute = rest.strip_prefix(':').and_then(number);
    let (minute, rest) = minute.map_or((None, rest), |(minute, rest)| (Some(minute), rest));
    let half = rest.trim_start();
    let (hour, rest) = match half.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("am") => ((1..=12).contains(&hour).then_some(hour % 12)?, &half[2..]),
        Some("pm") => ((1..=12).contains(&hour).then_some(hour % 12 + 12)?, &half[2..]),
        // A number alone is no time.
        _ => (minute.and(Some(hour))?, rest),
    };
    let minute = minute.unwrap_or(0);
    let fits = (0..24).contains(&hour) && (0..60).contains(&minute);
    fits.then_some(((hour * 60 + minute) * MINUTE_MS, rest))
}

/// The number that a text begins with, of at most four digits, and what follows.
fn number(text: &str) -> Option<(i64, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    if end > 4 {
        return None;
    }
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// A text without what stands between the parts of a date.
fn separated(text: &str) -> &str {
    let text = text.trim_start_matches([' ', ',']);
    text.strip_prefix("at ").unwrap_or(text)
}

fn in_utc(rest: &str) -> bool {
    rest.trim_start().trim_start_matches('(').starts_with("UTC")
}

/// How many days a day of the calendar lies after the epoch.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Counted from March, so that a leap day is the last of its year.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The year in which a day lies, counted from the epoch.
fn year_of(day: i64) -> i64 {
    let guess = 1970 + day.div_euclid(366);
    // A day counts for at most 366, so the guess is never late, and early by one for each 1,464 days.
    (guess..).find(|year| days(year + 1, 1, 1) > day).unwrap_or(guess)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-26 17:23:46 UTC.
    const SINCE: u64 = 1_795_713_826_407;

    #[track_caller]
    fn check(text: &str, offset: i32, expected: &str) {
        assert_eq!(moment(text, SINCE, offset), Some(time_stamp(expected).expect("a time stamp")), "{text}");
    }

    #[test]
    fn what_programs_print() {
        check("6:53pm (UTC)", 60, "2026-11-26T18:53:00Z");
        check("6:53pm", 60, "2026-11-26T17:53:00Z");
        check("6:56 PM.", 0, "2026-11-26T18:56:00Z");
        check("3pm", 0, "2026-11-27T15:00:00Z");
        check("12am", 0, "2026-11-27T00:00:00Z");
        check("18:05, then", 0, "2026-11-26T18:05:00Z");
        check("Nov 29, 1:14pm (America/New_York)", -300, "2026-11-29T18:14:00Z");
        check("Nov 29th, 2026 6:16 PM.", 0, "2026-11-29T18:16:00Z");
        check("January 2 at 3am", 0, "2027-01-02T03:00:00Z");
        check("Feb 29, 2028 11:59pm", 0, "2028-02-29T23:59:00Z");
    }

    #[test]
    fn the_minute_that_runs_is_not_tomorrow() {
        check("5:23pm", 0, "2026-11-26T17:23:00Z");
        check("5:22pm", 0, "2026-11-27T17:22:00Z");
    }

    #[test]
    fn what_names_no_moment() {
        for text in ["", "later", "3", "25:00", "13pm", "Nov", "Nov 29", "Nov 99, 3pm", "in 5 minutes", "20261126", "ä"]
        {
            assert_eq!(moment(text, SINCE, 0), None, "{text}");
        }
        for text in ["", "2026-11-26", "2026-13-26T17:23:46Z", "2026-11-26T17:23:46", "2026-11-26T25:23:46Z"] {
            assert_eq!(time_stamp(text), None, "{text}");
        }
        assert_eq!(time_stamp("2026-11-26T17:23:46.407Z"), Some(SINCE));
    }
}
