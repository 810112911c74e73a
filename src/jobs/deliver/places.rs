//! Places: how much is on its way at once, in all and to one receiver, so that nobody who does not answer keeps others
//! waiting.
//!
//! A receiver whose latest attempt failed has one place, of those that all such have together. So it takes a great many
//! receivers that stop to answer at the same moment to keep others waiting, once, for as long as an attempt may take.

use std::collections::{HashMap, HashSet};

use tokio::task::JoinError;

use crate::domain::task::callback::Outgoing;

/// On their way at once to receivers of whom nothing bad is known.
pub const SENT_AT_ONCE: usize = 192;
/// The same to those whose latest attempt failed.
pub const FAILING_AT_ONCE: usize = 64;
/// To one receiver at once; one, while it fails.
pub const OF_RECEIVER_AT_ONCE: usize = 4;

/// A place that something on its way has.
#[derive(Debug)]
pub(super) struct Place {
    line: String,
    receiver: String,
    /// Whether it is one of those for receivers that fail.
    is_of_failing: bool,
}

/// What is on its way, and who fails.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    lines: HashSet<String>,
    receivers: HashMap<String, usize>,
    of_good: usize,
    of_failing: usize,
}

impl Places {
    /// Whether nothing more can be begun, whoever it is for.
    pub(super) fn are_taken(&self) -> bool {
        self.of_good >= SENT_AT_ONCE && self.of_failing >= FAILING_AT_ONCE
    }

    /// At how many receivers that are good and that are failing to look for something that is due: at all that may
    /// have something on its way, and at as many as there are places.
    pub(super) fn receivers_to_look_at(&self) -> (i64, i64) {
        let count = |places: usize| i64::try_from(self.receivers.len() + places).unwrap_or(i64::MAX);
        (count(SENT_AT_ONCE), count(FAILING_AT_ONCE))
    }

    /// Says of a receiver how many of its rows to look at: those that are on their way are among them, so that there
    /// is another one if there may be.
    pub(super) fn room(&self) -> impl FnMut(&str, bool) -> usize + Send + 'static {
        let places = self.clone();
        move |receiver, is_failing| if places.has_room(receiver, is_failing) { OF_RECEIVER_AT_ONCE } else { 0 }
    }

    /// Takes a place for this, if there is one and nothing of its line is on its way.
    pub(super) fn take(&mut self, outgoing: &Outgoing) -> Option<Place> {
        let Outgoing { line, receiver, is_failing, .. } = outgoing;
        let is_of_failing = *is_failing;
        if self.lines.contains(line) || !self.has_room(receiver, is_of_failing) {
            return None;
        }
        *(if is_of_failing { &mut self.of_failing } else { &mut self.of_good }) += 1;
        self.lines.insert(line.clone());
        *self.receivers.entry(receiver.clone()).or_default() += 1;
        Some(Place { line: line.clone(), receiver: receiver.clone(), is_of_failing })
    }

    /// Gives a place back.
    pub(super) fn end(&mut self, ended: Result<Place, JoinError>) {
        let place = match ended {
            Ok(ended) => ended,
            Err(error) => {
                // Its line stays where it is until the next start.
                tracing::error!(%error, "sending a callback failed");
                return;
            }
        };
        self.lines.remove(&place.line);
        *(if place.is_of_failing { &mut self.of_failing } else { &mut self.of_good }) -= 1;
        if let Some(count) = self.receivers.get_mut(&place.receiver) {
            *count -= 1;
            if *count == 0 {
                self.receivers.remove(&place.receiver);
            }
        }
    }

    fn has_room(&self, receiver: &str, is_failing: bool) -> bool {
        let on_their_way = self.receivers.get(receiver).copied().unwrap_or(0);
        if is_failing {
            on_their_way == 0 && self.of_failing < FAILING_AT_ONCE
        } else {
            on_their_way < OF_RECEIVER_AT_ONCE && self.of_good < SENT_AT_ONCE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(line: usize, receiver: &str, is_failing: bool) -> Outgoing {
        Outgoing {
            id: 1.into(),
            line: line.to_string(),
            receiver: receiver.to_owned(),
            url: String::new(),
            webhook_id: String::new(),
            body: String::new(),
            tries: 0,
            is_failing,
        }
    }

    #[test]
    fn a_receiver_has_a_few_places_and_a_line_has_one() {
        let mut places = Places::default();
        let mut first: Vec<_> = (0..100).filter_map(|line| places.take(&outgoing(line, "a", false))).collect();
        assert_eq!(first.len(), OF_RECEIVER_AT_ONCE);
        assert_eq!(places.room()("a", false), 0);
        assert!(places.take(&outgoing(0, "b", false)).is_none(), "its line is on its way to another");
        assert!(places.take(&outgoing(200, "b", false)).is_some());
        places.end(Ok(first.remove(0)));
        assert!(places.take(&outgoing(0, "a", true)).is_none(), "one that begins to fail has one place");
        assert!(places.take(&outgoing(0, "a", false)).is_some());
    }

    #[test]
    fn who_does_not_answer_leaves_places_for_those_who_do() {
        let mut places = Places::default();
        let mut line = 0;
        let mut take = |places: &mut Places, is_failing| {
            let mut begun = Vec::new();
            for receiver in 0..500 {
                for _ in 0..10 {
                    line += 1;
                    begun.extend(places.take(&outgoing(line, &format!("{receiver}-{is_failing}"), is_failing)));
                }
            }
            begun
        };
        let mut failing = take(&mut places, true);
        assert_eq!(failing.len(), FAILING_AT_ONCE, "one each, and so many together");
        assert_eq!(take(&mut places, false).len(), SENT_AT_ONCE);
        assert!(places.are_taken());
        places.end(Ok(failing.remove(0)));
        assert!(!places.are_taken());
        assert_eq!(take(&mut places, true).len(), 1);
    }
}
