//! What only the writer counts: the number of the last event, and how much there is of what is counted too often
//! to be counted anew.

use crate::domain::id::EventSeq;
use crate::store::engine::{Connection, EngineError};
use crate::store::tx::Snapshot;
use crate::store::tx::remembered::Remembered;
use crate::store::{Fault, StoreError, events};

/// How many rows there are. Kept with each insert and delete; never counted, but for the newest at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct Counts {
    /// Messages.
    pub(in crate::store) messages: i64,
    /// Those that can be replayed: whose event is above the floor.
    pub(in crate::store) told: i64,
    /// Events beside messages.
    pub(in crate::store) events: i64,
}

/// The last number given to an event, and the counts. Only the writer counts, so they live here, and a number that
/// was ever given is never given again.
pub(in crate::store) struct Numbers {
    pub(in crate::store) last: EventSeq,
    pub(in crate::store) counts: Counts,
    pub(in crate::store) remembered: Remembered,
    /// Up to which number the rows are in the counts that the database has.
    kept_to: EventSeq,
}

/// So many numbers later, the counts are written down again: what a start after a crash counts at most, beside
/// what one transaction adds.
const KEEP_EVERY: i64 = 10_000;

impl Numbers {
    /// Reads what was written down, and counts what came since.
    pub(in crate::store) fn load(connection: &Connection) -> Result<Self, StoreError> {
        let snapshot = Snapshot::new(connection);
        let last = events::range(&snapshot)?.latest;
        let kept: Option<String> = snapshot.value("SELECT value FROM meta WHERE key = 'counts'", &[])?;
        let text = kept.unwrap_or_default();
        let mut words = text.split(' ').map(str::parse);
        let (Some(Ok(messages)), Some(Ok(told)), Some(Ok(events)), Some(Ok(kept_to))) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(StoreError::Fault(Fault {
                table: "meta",
                column: "value",
                row: "\"counts\"".to_owned(),
                problem: format!("{text:?} is not four numbers"),
            }));
        };
        let kept_to = EventSeq::new(kept_to);
        let newer = snapshot.count("SELECT count(*) FROM messages WHERE id > $1", &[&kept_to])?;
        let newer_events = snapshot.count("SELECT count(*) FROM events WHERE seq > $1", &[&kept_to])?;
        // The floor is moved in a transaction that writes the counts down, so all that is newer is above it.
        let counts = Counts { messages: messages + newer, told: told + newer, events: events + newer_events };
        Ok(Self { last, counts, remembered: Remembered::default(), kept_to })
    }

    /// Whether it is time to write the counts down.
    pub(in crate::store) fn are_due(&self) -> bool {
        self.last.get() - self.kept_to.get() >= KEEP_EVERY
    }

    /// Writes the counts down, within the transaction that is open.
    pub(in crate::store) fn keep(&mut self, connection: &Connection) -> Result<(), EngineError> {
        let Counts { messages, told, events } = self.counts;
        let text = format!("{messages} {told} {events} {}", self.last);
        connection.execute(
            "INSERT INTO meta (key, value) VALUES ('counts', $1) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            &[&text],
        )?;
        self.kept_to = self.last;
        Ok(())
    }
}
