//! Pages: how much of a list is answered at once, and whether there may be more.

use super::refusal::Refusal;

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

impl<T, P> Page<T, P> {
    /// The page that these entries are under this limit, which lie at these places. A full one may have another
    /// after it.
    pub fn new(entries: Vec<T>, limit: Limit, place: impl FnOnce(&T) -> P) -> Self {
        Self { next: entries.last().filter(|_| entries.len() == limit.0).map(place), entries }
    }
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

    #[test]
    fn a_full_page_may_have_another_after_it() {
        let limit = Limit::parse(Some(2)).unwrap();
        assert_eq!(Page::new(vec![1, 2], limit, |last| last * 10).next, Some(20));
        assert_eq!(Page::new(vec![1], limit, |last| last * 10).next, None);
    }
}
