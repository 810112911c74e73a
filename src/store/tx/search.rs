//! Searches: what a filter leaves of an ordered list, found without looking at all of the list.
//!
//! A list is a range of an index, in the order of its numbers. A search walks one list and looks at each row.
//! Where the other lists that a row must be in (those of its sender, its thread) go on further up, it leaps
//! there, and so it does over what is known to be of no interest. It looks at so much and no more: where that
//! does not fill a page, the page says how far it got, and the next one goes on there.

use serde::Serialize;

use crate::domain::page::{Filling, Limit, Page};
use crate::domain::refusal::Refusal;
use crate::store::StoreError;
use crate::store::engine::{Conditions, Read, ToSql};
use crate::store::tx::Snapshot;

/// How many rows one request looks at, and how many leaps it takes: a few milliseconds.
const LOOKS_MAX: usize = 5_000;
/// What each of very many lists may look at all the same.
const LOOKS_MIN: usize = 50;
/// Rows walked at a time, before it is asked again where to leap. The first walk is as long as what is wanted.
const WALK_MIN: usize = 32;
const WALK_MAX: usize = 256;

/// How a search goes on after a place.
pub(in crate::store) enum Step {
    /// There is nothing more.
    End,
    /// What comes next may be directly after this place, and not before.
    Leap(i64),
    /// Walk the list, up to and without this place if there is one.
    Walk(Option<i64>),
}

/// A row that was looked at: its number, and what was found if it matches.
pub(in crate::store) type Looked<T> = (i64, Option<T>);

/// What was found in one list.
pub(in crate::store) struct Found<T> {
    /// What matches, in the order of the list.
    pub(in crate::store) matches: Vec<(i64, T)>,
    /// Up to where the list was looked at; `None` when it was looked at to its end.
    pub(in crate::store) looked_to: Option<i64>,
}

/// How much of a list to look for.
#[derive(Clone, Copy)]
pub(in crate::store) struct Search {
    /// After this place.
    after: i64,
    /// Enough.
    limit: usize,
    looks: usize,
}

impl Search {
    /// For this many matches after a place, in as many `lists`, which share what may be looked at.
    pub(in crate::store) fn new(after: i64, limit: usize, lists: usize) -> Self {
        Self { after, limit, looks: (LOOKS_MAX / lists.max(1)).max(LOOKS_MIN) }
    }

    /// Searches one list. `step` says how to go on after a place; `walk` looks at so many rows after a place, up
    /// to and without another.
    pub(in crate::store) fn run<T>(
        mut self,
        mut step: impl FnMut(i64) -> Result<Step, StoreError>,
        mut walk: impl FnMut(i64, Option<i64>, usize) -> Result<Vec<Looked<T>>, StoreError>,
    ) -> Result<Found<T>, StoreError> {
        let (mut matches, mut at) = (Vec::new(), self.after);
        // Where every row matches, none is looked at in vain.
        let mut width_min = 1;
        while matches.len() < self.limit && self.looks > 0 {
            self.looks -= 1;
            let before = match step(at)? {
                Step::End => return Ok(Found { matches, looked_to: None }),
                Step::Leap(place) => {
                    at = place.max(at);
                    continue;
                }
                Step::Walk(before) => before,
            };
            let count = (self.limit - matches.len()).clamp(width_min, WALK_MAX).min(self.looks.max(1));
            let rows = walk(at, before, count)?;
            self.looks = self.looks.saturating_sub(rows.len());
            let is_whole = rows.len() < count;
            width_min = (width_min * 2).clamp(WALK_MIN, WALK_MAX);
            for (number, found) in rows {
                at = number;
                matches.extend(found.map(|found| (number, found)));
                if matches.len() == self.limit {
                    return Ok(Found { matches, looked_to: Some(at) });
                }
            }
            match before {
                Some(before) if is_whole => at = before - 1,
                None if is_whole => return Ok(Found { matches, looked_to: None }),
                _ => {}
            }
        }
        Ok(Found { matches, looked_to: Some(at) })
    }
}

/// The first `limit` matches of several lists, each once, and up to where all of them were looked at; `None` when
/// that is to the end of each.
pub(in crate::store) fn merge<T>(lists: Vec<Found<T>>, limit: usize) -> (Vec<T>, Option<i64>) {
    let mut looked_to = lists.iter().filter_map(|list| list.looked_to).min();
    let mut matches: Vec<_> = lists.into_iter().flat_map(|list| list.matches).collect();
    // Beyond it, what another list has may be missing.
    matches.retain(|(number, _)| looked_to.is_none_or(|to| *number <= to));
    matches.sort_unstable_by_key(|(number, _)| *number);
    matches.dedup_by_key(|(number, _)| *number);
    if matches.len() >= limit {
        matches.truncate(limit);
        looked_to = matches.last().map(|(number, _)| *number).or(looked_to);
    }
    (matches.into_iter().map(|(_, found)| found).collect(), looked_to)
}

/// A row from a statement that answers the number of one that matches, and below zero that of one that does not:
/// `SELECT CASE WHEN ... THEN id ELSE -id END`.
pub(in crate::store) fn looked(number: i64) -> Looked<()> {
    (number.abs(), (number > 0).then_some(()))
}

/// The rows of a table whose newest are wanted first, by what they must have in some columns. Each of these has an
/// index on it and the id.
pub(in crate::store) struct NewestFirst<'l> {
    pub(in crate::store) table: &'static str,
    /// The columns, with what is wanted there; the shortest list first, as far as one can tell.
    pub(in crate::store) lists: &'l [(&'static str, Option<&'l dyn ToSql>)],
    /// Lists in one of which a row must be besides; each of these columns has such an index too. None: any row.
    pub(in crate::store) any: &'l [AnyOf<'l>],
    /// Only rows with a greater id.
    pub(in crate::store) since: i64,
}

/// One of several lists.
#[derive(Clone, Copy)]
pub(in crate::store) enum AnyOf<'l> {
    /// The rows that have this in the column.
    With(&'static str, &'l dyn ToSql),
    /// The rows that have nothing there.
    Without(&'static str),
}

/// The page of these rows, whose list was looked at up to a place, or to its end.
pub(in crate::store) fn page_of<I, T: Serialize>(
    (ids, looked_to): (Vec<I>, Option<I>),
    limit: Limit,
    mut load: impl FnMut(I) -> Result<T, StoreError>,
    id_of: impl FnOnce(&T) -> I,
) -> Result<Page<T, I>, StoreError> {
    let mut page = Filling::new(limit);
    for id in ids {
        if page.take(load(id)?).is_break() {
            break;
        }
    }
    Ok(page.finish_at(looked_to, id_of))
}

impl NewestFirst<'_> {
    /// A page of the rows with an id below `before`.
    pub(in crate::store) fn page<I: From<i64> + Into<i64>, T: Read + Serialize>(
        &self,
        snapshot: &Snapshot<'_>,
        before: Option<I>,
        limit: Limit,
        id_of: impl FnOnce(&T) -> I,
    ) -> Result<Page<T, I>, StoreError> {
        let (ids, looked_to) = self.find(snapshot, before.map(Into::into), limit.get())?;
        // All of it is read as of one moment, so what was found is there.
        let load = |id| Ok(snapshot.row("WHERE id = $1", &[&id])?.ok_or(Refusal::NotFound("row"))?);
        let page = page_of((ids, looked_to), limit, load, |last| id_of(last).into())?;
        Ok(Page { entries: page.entries, next: page.next.map(I::from) })
    }

    /// The ids of a page of those below `before`, and the id below which the next page begins, if there may be one.
    fn find(
        &self,
        snapshot: &Snapshot<'_>,
        before: Option<i64>,
        limit: usize,
    ) -> Result<(Vec<i64>, Option<i64>), StoreError> {
        if self.any.is_empty() {
            let mut named = self.lists.iter().filter_map(|(column, value)| Some((*column, (*value)?)));
            let walked = named.next().map(|(column, value)| AnyOf::With(column, value));
            let others: Vec<_> = named.collect();
            let found = self.find_in(snapshot, walked, &others, Search::new(first(before), limit, 1))?;
            return Ok(newest(vec![found], limit));
        }
        let others: Vec<_> = self.lists.iter().filter_map(|(column, value)| Some((*column, (*value)?))).collect();
        let search = Search::new(first(before), limit, self.any.len());
        let found: Result<_, StoreError> =
            self.any.iter().map(|list| self.find_in(snapshot, Some(*list), &others, search)).collect();
        Ok(newest(found?, limit))
    }

    /// What is found in one list.
    fn find_in(
        &self,
        snapshot: &Snapshot<'_>,
        walked: Option<AnyOf<'_>>,
        others: &[(&'static str, &dyn ToSql)],
        search: Search,
    ) -> Result<Found<i64>, StoreError> {
        let step = |at: i64| {
            let mut furthest = at;
            for (column, value) in others {
                let sql =
                    format!("SELECT id FROM {} WHERE {column} = $1 AND id < $2 ORDER BY id DESC LIMIT 1", self.table);
                let Some(next) = snapshot.value::<i64>(&sql, &[*value, &below(at)])? else { return Ok(Step::End) };
                furthest = furthest.max(-next - 1);
            }
            Ok(if furthest > at { Step::Leap(furthest) } else { Step::Walk(None) })
        };
        let walk = |at: i64, _, count: usize| {
            let (below, count) = (below(at), i64::try_from(count).unwrap_or(i64::MAX));
            let mut query = Conditions::after("SELECT CASE");
            query.begin(" WHEN ");
            query.add("id < ?", &[&below]);
            for (column, value) in others {
                query.add(&format!("{column} = ?"), &[*value]);
            }
            query.push(&format!(" THEN id ELSE -id END FROM {}", self.table), &[]);
            query.begin(" WHERE ");
            match walked {
                Some(AnyOf::With(column, value)) => query.add(&format!("{column} = ?"), &[value]),
                Some(AnyOf::Without(column)) => query.add(&format!("{column} IS NULL"), &[]),
                None => {}
            }
            query.add("id < ?", &[&below]);
            query.add("id > ?", &[&self.since]);
            query.push(" ORDER BY id DESC LIMIT ?", &[&count]);
            let (sql, values) = query.parts();
            let rows: Vec<i64> = snapshot.values(sql, values)?;
            Ok(rows.into_iter().map(looked).map(|(id, found)| (-id, found.map(|()| id))).collect())
        };
        search.run(step, walk)
    }
}

/// The place where the rows below this id begin. A search goes up, so the places are the ids below zero. Ids begin at
/// one: below that is nothing, however far below.
fn first(before: Option<i64>) -> i64 {
    before.map_or(i64::MIN, |before| -before.max(0))
}

/// The page of these lists, and the id below which the next one begins.
fn newest(found: Vec<Found<i64>>, limit: usize) -> (Vec<i64>, Option<i64>) {
    let (ids, looked_to) = merge(found, limit);
    (ids, looked_to.map(|place| -place))
}

/// The id below which rows come after this place.
fn below(place: i64) -> i64 {
    place.checked_neg().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A list, another that its rows must be in, and which rows match besides.
    fn find(list: &[i64], other: &[i64], odd: bool, after: i64, limit: usize) -> Found<i64> {
        let step = |at| {
            Ok(match other.iter().find(|number| **number > at) {
                None => Step::End,
                Some(next) if *next > at + 1 => Step::Leap(next - 1),
                Some(_) => Step::Walk(None),
            })
        };
        let walk = |after, before: Option<i64>, count| {
            let rows = list.iter().filter(|number| **number > after && before.is_none_or(|before| **number < before));
            let matches = |number: &i64| other.contains(number) && (!odd || number % 2 == 1);
            Ok(rows.take(count).map(|number| (*number, matches(number).then_some(*number))).collect())
        };
        Search::new(after, limit, 1).run(step, walk).unwrap()
    }

    proptest! {
        #[test]
        fn pages_together_hold_what_matches_once_and_in_order(
            list in prop::collection::btree_set(1..400_i64, 0..200),
            other in prop::collection::btree_set(1..400_i64, 0..200),
            odd: bool,
            limit in 1..9_usize,
        ) {
            let (list, other): (Vec<_>, Vec<_>) = (list.into_iter().collect(), other.into_iter().collect());
            let (mut pages, mut after) = (Vec::new(), 0);
            loop {
                let (page, looked_to) = merge(vec![find(&list, &other, odd, after, limit)], limit);
                prop_assert!(page.len() <= limit);
                pages.extend(page);
                match looked_to {
                    None => break,
                    Some(to) => { prop_assert!(to > after); after = to; }
                }
            }
            let wanted: Vec<_> =
                list.into_iter().filter(|number| other.contains(number) && (!odd || number % 2 == 1)).collect();
            prop_assert_eq!(pages, wanted);
        }
    }

    #[test]
    fn below_the_first_id_is_nothing() {
        for before in [i64::MIN, -1, 0] {
            assert_eq!(below(first(Some(before))), 0, "{before}");
        }
        assert_eq!(below(first(Some(i64::MAX))), i64::MAX);
        assert_eq!(below(first(None)), i64::MAX);
    }

    #[test]
    fn so_much_is_looked_at_and_no_more() {
        let rows: Vec<i64> = (1..=100_000).collect();
        let mut looked_at = 0;
        let found: Found<i64> = Search::new(0, 10, 1)
            .run(
                |_| Ok(Step::Walk(None)),
                |after, _, count| {
                    looked_at += count;
                    let first = usize::try_from(after).unwrap();
                    Ok(rows[first..].iter().take(count).map(|number| (*number, None)).collect())
                },
            )
            .unwrap();
        assert!(looked_at <= LOOKS_MAX, "{looked_at}");
        assert!(found.matches.is_empty() && found.looked_to.is_some_and(|to| to > 4_000), "it says how far it got");
    }

    #[test]
    fn what_one_list_may_lack_is_left_to_the_next_page() {
        let whole = Found { matches: vec![(1, 1), (5, 5), (9, 9)], looked_to: None };
        let partly = Found { matches: vec![(2, 2), (5, 5)], looked_to: Some(6) };
        assert_eq!(merge(vec![whole, partly], 10), (vec![1, 2, 5], Some(6)));
    }
}
