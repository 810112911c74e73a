//! Pages: how much of a list is answered at once, and whether there may be more.

use std::io::Write;
use std::ops::ControlFlow;

use serde::Serialize;

use super::refusal::Refusal;

/// The most bytes of JSON in a page, unless its first entry alone has more: what one reader who takes nothing
/// costs.
pub const BYTES_MAX: usize = 2 << 20;

/// The most entries a page may have: 1 to [`Limit::MAX`], [`Limit::DEFAULT`] unless asked otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(usize);

impl Limit {
    /// The size of a page whose size nobody asked for.
    pub const DEFAULT: Self = Self(100);
    /// The largest page there is.
    pub const MAX: Self = Self(1_000);

    /// The limit that was asked for, or the default.
    pub fn parse(asked: Option<i64>) -> Result<Self, Refusal> {
        let Some(asked) = asked else { return Ok(Self::DEFAULT) };
        usize::try_from(asked)
            .ok()
            .filter(|limit| (1..=Self::MAX.0).contains(limit))
            .map(Self)
            .ok_or_else(|| Refusal::invalid(format!("limit must be between 1 and {}", Self::MAX.0)))
    }

    /// How many entries that are.
    pub const fn get(self) -> usize {
        self.0
    }

    /// The same as the database counts.
    pub const fn as_i64(self) -> i64 {
        // At most 1000.
        self.0 as i64
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T, P> {
    /// What was found, in the order of the list.
    pub entries: Vec<T>,
    /// The place after which the next page begins, if there may be one: that of the last entry, or of the last
    /// row that was looked at where a request found less than it may look at. So a page may be short, and even
    /// empty, and another follow.
    pub next: Option<P>,
}

/// A page that is being filled, in the order of its list.
pub struct Filling<T> {
    entries: Vec<T>,
    limit: Limit,
    bytes: usize,
    /// An entry found no room any more.
    is_cut: bool,
}

impl<T: Serialize> Filling<T> {
    /// An empty page under this limit and [`BYTES_MAX`].
    pub fn new(limit: Limit) -> Self {
        Self { entries: Vec::new(), limit, bytes: 0, is_cut: false }
    }

    /// Takes an entry, unless the page is full without it. Breaks once no other would be taken.
    pub fn take(&mut self, entry: T) -> ControlFlow<()> {
        self.bytes += json_bytes(&entry);
        if self.is_full() || (self.bytes > BYTES_MAX && !self.entries.is_empty()) {
            self.is_cut = true;
            return ControlFlow::Break(());
        }
        self.entries.push(entry);
        if self.is_full() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// How many entries it may still have.
    pub fn room(&self) -> usize {
        self.limit.0 - self.entries.len()
    }

    /// Whether it takes nothing more, for its count or its bytes.
    pub fn is_full(&self) -> bool {
        self.is_cut || self.room() == 0
    }

    /// The page of entries at these places. A full one may have another after it.
    pub fn finish<P>(self, place: impl FnOnce(&T) -> P) -> Page<T, P> {
        let next = self.entries.last().filter(|_| self.is_full()).map(place);
        Page { entries: self.entries, next }
    }

    /// The same for a list that was looked at up to `looked_to`, or to its end, where the page has room for all that
    /// was found there.
    pub fn finish_at<P>(self, looked_to: Option<P>, place: impl FnOnce(&T) -> P) -> Page<T, P> {
        let cut_at = self.entries.last().filter(|_| self.is_cut).map(place);
        Page { entries: self.entries, next: cut_at.or(looked_to) }
    }
}

/// How many bytes the JSON of this value has.
fn json_bytes(value: &impl Serialize) -> usize {
    struct Counted(usize);
    impl Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counted = Counted(0);
    // What cannot be written is found when the page is.
    let _ = serde_json::to_writer(&mut counted, value);
    counted.0
}

/// The parameters of an address that asks for a page, in the order they are written. What was not asked
/// for is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(&'static str, String)>);

impl Query {
    /// The parameters so far and this one, if it has a value.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.0.extend(value.map(|value| (name, value.to_string())));
        self
    }

    /// Names and values, not yet escaped.
    pub fn parameters(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_has_bounds_and_a_default() {
        assert_eq!(Limit::parse(None).unwrap().get(), 100);
        assert_eq!(Limit::parse(Some(1)).unwrap().get(), 1);
        assert_eq!(Limit::parse(Some(1_000)).unwrap(), Limit::MAX);
        for wrong in [0, -1, 1_001, i64::MIN, i64::MAX] {
            let refused = Limit::parse(Some(wrong)).unwrap_err();
            assert_eq!(refused.to_string(), "limit must be between 1 and 1000");
        }
    }

    fn filled<T: Serialize + Clone>(entries: Vec<T>, limit: i64) -> Page<T, T> {
        let mut page = Filling::new(Limit::parse(Some(limit)).unwrap());
        let _ = entries.into_iter().try_for_each(|entry| page.take(entry));
        page.finish(T::clone)
    }

    #[test]
    fn a_full_page_may_have_another_after_it() {
        assert_eq!(filled(vec![1, 2, 3], 2), Page { entries: vec![1, 2], next: Some(2) });
        assert_eq!(filled(vec![1, 2], 2).next, Some(2));
        assert_eq!(filled(vec![1], 2).next, None);
    }

    #[test]
    fn a_page_that_was_looked_for_goes_on_where_it_was_cut_or_where_the_looking_ended() {
        let page = |entries: Vec<String>, looked_to: Option<usize>| {
            let mut page = Filling::new(Limit::parse(Some(2)).unwrap());
            let _ = entries.into_iter().try_for_each(|entry| page.take(entry));
            page.finish_at(looked_to, String::len)
        };
        let large = "x".repeat(BYTES_MAX - 2);
        assert_eq!(page(vec!["x".to_owned()], None).next, None);
        assert_eq!(page(vec!["x".to_owned()], Some(7)).next, Some(7));
        assert_eq!(page(vec!["x".to_owned(), large], Some(7)).next, Some(1));
    }

    #[test]
    fn a_page_ends_before_it_has_too_many_bytes_and_has_at_least_one_entry() {
        let half = "x".repeat(BYTES_MAX / 2 - 2);
        let page = filled(vec![half.clone(), half.clone(), half.clone()], 100);
        assert_eq!((page.entries.len(), page.next.is_some()), (2, true));
        let large = "\u{1}".repeat(BYTES_MAX / 2);
        let page = filled(vec![large.clone(), half], 100);
        assert_eq!((page.entries, page.next.is_some()), (vec![large], true));
    }
}
