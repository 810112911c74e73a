//! What an author asks a plugin, and which questions and answers a function of a plugin has.

use std::any::Any;
use std::sync::Arc;

/// What is asked of a plugin, as its kind reads it from a case.
#[derive(Clone, Debug)]
pub struct Question(Arc<dyn Any + Send + Sync>);

impl Question {
    pub(crate) fn new(question: impl Any + Send + Sync) -> Self {
        Self(Arc::new(question))
    }

    /// The question, if it is of this kind.
    pub(crate) fn get<Q: Any>(&self) -> Option<&Q> {
        self.0.downcast_ref()
    }
}

/// A function of a plugin's interface that a case can ask, in the words of a case.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    /// The keys of a case that hold what it is asked with.
    pub(crate) arguments: &'static [&'static str],
    /// An answer that is a bare word.
    pub(crate) word: Option<&'static str>,
    /// The other answers that can be expected beside an error, with the fields of each; one without fields is a list.
    pub(crate) answers: &'static [(&'static str, &'static [&'static str])],
}
