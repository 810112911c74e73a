//! What was measured: figures, the rounds they were measured in, and their goals.

use std::fmt::Write as _;

use serde_json::json;

/// What the project wants of a figure.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    /// It is shown for comparison.
    None,
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
}

/// Everything measured, in the order in which it was first measured.
#[derive(Default)]
pub(crate) struct Report {
    command: &'static str,
    rows: Vec<Row>,
}

struct Row {
    command: &'static str,
    name: String,
    unit: &'static str,
    goal: Goal,
    rounds: Vec<f64>,
}

impl Report {
    /// What follows belongs to this command.
    pub(crate) fn begin(&mut self, command: &'static str) {
        self.command = command;
    }

    /// Adds a figure to the round.
    pub(crate) fn add(&mut self, name: impl Into<String>, value: f64, unit: &'static str, goal: Goal) {
        let (command, name) = (self.command, name.into());
        let row = self.rows.iter_mut().find(|row| row.command == command && row.name == name);
        match row {
            Some(row) => row.rounds.push(value),
            None => self.rows.push(Row { command, name, unit, goal, rounds: vec![value] }),
        }
    }

    /// Adds the median and the 99th percentile of these times in nanoseconds, as milliseconds.
    pub(crate) fn add_times(&mut self, name: &str, times: &mut [u64], median: Goal, p99: Goal) {
        times.sort_unstable();
        self.add(format!("{name}: median"), millis(percentile(times, 50.0)), "ms", median);
        self.add(format!("{name}: p99"), millis(percentile(times, 99.0)), "ms", p99);
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let width = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        let mut command = "";
        for row in &self.rows {
            if row.command != command {
                command = row.command;
                // Writing to a string cannot fail, here and below.
                let _ = writeln!(text, "\n{command}");
            }
            let (low, high) = row.range();
            let range = if row.rounds.len() > 1 { format!("{} to {}", show(low), show(high)) } else { String::new() };
            let verdict = match row.goal {
                Goal::None => String::new(),
                Goal::AtMost(most) => format!("at most {}: {}", show(most), row.verdict()),
                Goal::AtLeast(least) => format!("at least {}: {}", show(least), row.verdict()),
            };
            let line =
                format!("  {:width$}  {:>10} {:<12} {range:<22} {verdict}", row.name, show(row.median()), row.unit);
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text
    }

    /// For programs.
    pub(crate) fn json(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            let goal = match row.goal {
                Goal::None => json!(null),
                Goal::AtMost(most) => json!({"atMost": most, "met": row.is_met()}),
                Goal::AtLeast(least) => json!({"atLeast": least, "met": row.is_met()}),
            };
            json!({
                "command": row.command, "figure": row.name, "unit": row.unit,
                "median": row.median(), "rounds": row.rounds, "goal": goal,
            })
        });
        format!("{:#}\n", json!(rows.collect::<Vec<_>>()))
    }
}

impl Row {
    fn median(&self) -> f64 {
        let mut rounds = self.rounds.clone();
        rounds.sort_unstable_by(f64::total_cmp);
        let middle = rounds.len() / 2;
        if rounds.len() % 2 == 1 { rounds[middle] } else { f64::midpoint(rounds[middle - 1], rounds[middle]) }
    }

    fn range(&self) -> (f64, f64) {
        self.rounds
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &value| (low.min(value), high.max(value)))
    }

    fn is_met(&self) -> bool {
        match self.goal {
            Goal::None => true,
            Goal::AtMost(most) => self.median() <= most,
            Goal::AtLeast(least) => self.median() >= least,
        }
    }

    fn verdict(&self) -> &'static str {
        if self.is_met() { "met" } else { "MISSED" }
    }
}

/// The value that this share of the sorted values does not exceed.
pub(crate) fn percentile(sorted: &[u64], share: f64) -> u64 {
    let rank = (sorted.len() as f64 * share / 100.0).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// Nanoseconds as milliseconds.
pub(crate) fn millis(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

/// As many digits as mean something, thousands apart.
fn show(value: f64) -> String {
    if value.abs() < 10.0 {
        return format!("{value:.3}");
    }
    if value.abs() < 1_000.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value < 0.0 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
