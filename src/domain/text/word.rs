//! Words: closed sets of names, each parsed once, where it comes in.

/// A closed set of names, as they stand on the wire and in the database.
///
/// [`words`] writes it, together with functions of the same names on the type itself, so that only
/// generic code needs this trait.
pub trait Word: Copy + 'static {
    /// Every one of them, in the order in which they are listed to people.
    const ALL: &'static [Self];

    /// The name.
    fn as_str(self) -> &'static str;

    /// The one of this name, if there is one.
    fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|word| word.as_str() == name)
    }
}

/// Declares an enum whose variants are words.
macro_rules! words {
    (
        $(#[$of_type:meta])*
        pub enum $type:ident {
            $( $(#[$of_variant:meta])* $variant:ident = $word:literal, )+
        }
    ) => {
        $(#[$of_type])*
        pub enum $type {
            $( $(#[$of_variant])* $variant, )+
        }

        impl $type {
            /// Every one of them, in the order in which they are listed to people.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$variant),+];

            /// The name on the wire and in the database.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// The one of this name, if there is one.
            pub fn parse(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|word| word.as_str() == name)
            }

            /// The one of this name, or a refusal that names the field and lists what it may be.
            pub fn named(field: &str, name: &str) -> Result<Self, $crate::domain::refusal::Refusal> {
                Self::parse(name).ok_or_else(|| {
                    let allowed = Self::ALL.map(Self::as_str).join(", ");
                    $crate::domain::refusal::Refusal::invalid(format!("{field} must be one of: {allowed}"))
                })
            }
        }

        impl $crate::domain::text::word::Word for $type {
            const ALL: &'static [Self] = &Self::ALL;

            fn as_str(self) -> &'static str {
                Self::as_str(self)
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(crate) use words;

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::Word;
    use crate::domain::activity::ActivityKind;
    use crate::domain::agent::{AgentStatus, ConditionKind, ConditionSource};
    use crate::domain::caller::Scope;
    use crate::domain::caller::token::TokenKind;
    use crate::domain::control::command::CommandStatus;
    use crate::domain::control::orchestrator::OrchestratorStatus;
    use crate::domain::control::{ApprovalMode, ControlKind, PolicyMode, VerdictKind};
    use crate::domain::event::EventName;
    use crate::domain::integration::signature::{Algorithm, Encoding, SchemeKind};
    use crate::domain::message::{BounceReason, Direction, MessageType, Reached, Receipt, SenderKind};
    use crate::domain::pair::PairStatus;
    use crate::domain::task::{Severity, TaskEventKind, TaskKind, TaskStatus};

    /// Names are told apart, and each is read back as what it was.
    fn round_trip<W: Word + PartialEq + std::fmt::Debug>() {
        for word in W::ALL {
            assert_eq!(W::parse(word.as_str()), Some(*word));
        }
        assert_eq!(W::parse(""), None);
        assert_eq!(W::parse("Online"), None);
    }

    /// JSON has the same name as the database.
    fn same_in_json<W: Word + PartialEq + std::fmt::Debug + Serialize + DeserializeOwned>() {
        round_trip::<W>();
        for word in W::ALL {
            let json = serde_json::to_value(word).unwrap();
            assert_eq!(json, word.as_str());
            assert_eq!(serde_json::from_value::<W>(json).unwrap(), *word);
        }
    }

    #[test]
    fn every_word_is_read_back_and_is_the_same_in_json() {
        same_in_json::<ActivityKind>();
        same_in_json::<AgentStatus>();
        same_in_json::<ApprovalMode>();
        same_in_json::<CommandStatus>();
        same_in_json::<ConditionKind>();
        same_in_json::<ConditionSource>();
        same_in_json::<ControlKind>();
        same_in_json::<Direction>();
        same_in_json::<MessageType>();
        same_in_json::<OrchestratorStatus>();
        same_in_json::<PairStatus>();
        same_in_json::<PolicyMode>();
        same_in_json::<Reached>();
        same_in_json::<Receipt>();
        same_in_json::<SchemeKind>();
        same_in_json::<Scope>();
        same_in_json::<SenderKind>();
        same_in_json::<Severity>();
        same_in_json::<TaskEventKind>();
        same_in_json::<TaskKind>();
        same_in_json::<TaskStatus>();
        same_in_json::<TokenKind>();
        same_in_json::<VerdictKind>();
        round_trip::<Algorithm>();
        round_trip::<BounceReason>();
        round_trip::<Encoding>();
        round_trip::<EventName>();
    }

    #[test]
    fn a_refusal_lists_what_is_allowed() {
        let refused = AgentStatus::named("status", "away").unwrap_err();
        assert_eq!(refused.to_string(), "status must be one of: online, idle, busy, offline");
    }
}
