//! What follows from failures, for single cases and for any sequence of them.

use proptest::prelude::*;

use super::*;

fn asker(name: &str, question: u8) -> Asker {
    Asker { name: name.to_owned(), about: [question; 32] }
}

fn trap() -> CallError {
    CallError::Trap("unreachable".to_owned())
}

#[test]
fn one_caller_alone_puts_nothing_back() {
    let (failed, now) = (FailedQuestions::default(), Instant::now());
    for question in 0..200 {
        let follows = failed.failed(now, Some(&asker("mallory", question)), &trap());
        assert_ne!(follows, Follows::PutBack, "{question}");
    }
    // Two of somebody else's beside three of hers are enough.
    assert_ne!(failed.failed(now, Some(&asker("ada", 0)), &trap()), Follows::PutBack);
    assert_eq!(failed.failed(now, Some(&asker("ada", 1)), &trap()), Follows::PutBack);
    assert!(failed.state().is_empty(), "the count begins anew");
}

#[test]
fn five_failures_of_whatever_kind_have_it_probed_now_and_then() {
    let (failed, start) = (FailedQuestions::default(), Instant::now());
    let at = |ms: u64| start + Duration::from_millis(ms);
    let follows = |ms, asker: Option<&Asker>| failed.failed(at(ms), asker, &trap());
    let mallory = asker("mallory", 1);
    assert_eq!(follows(0, Some(&mallory)), Follows::Nothing);
    assert_eq!(failed.again(at(1), &mallory), Some((trap(), Follows::Nothing)));
    assert_eq!(failed.again(at(2), &mallory), Some((trap(), Follows::Nothing)));
    assert_eq!(follows(3, None), Follows::Nothing, "one of the relay's own counts as well");
    assert_eq!(failed.again(at(4), &mallory), Some((trap(), Follows::Probe)));
    for ms in 5..1_000 {
        assert_eq!(failed.again(at(ms), &mallory), Some((trap(), Follows::Nothing)), "{ms}");
    }
    assert_eq!(follows(10_003, None), Follows::Nothing);
    assert_eq!(follows(10_004, None), Follows::Probe);
}

#[test]
fn what_failed_is_remembered_for_a_while_and_what_ran_out_of_time_from_the_second_time_on() {
    let (failed, start) = (FailedQuestions::default(), Instant::now());
    let (ada, bob) = (asker("ada", 1), asker("bob", 1));
    failed.failed(start, Some(&ada), &trap());
    let before_the_end = start + REMEMBERED - Duration::from_millis(1);
    assert!(failed.again(before_the_end, &ada).is_some());
    assert_eq!(failed.again(before_the_end, &bob), None, "of somebody else");
    assert_eq!(failed.again(before_the_end, &asker("ada", 2)), None, "another question");
    assert_eq!(failed.again(start + REMEMBERED, &ada), None, "it is asked again");

    let late = CallError::Deadline(100);
    failed.failed(start, Some(&bob), &late);
    assert_eq!(failed.again(start, &bob), None);
    failed.failed(start, Some(&bob), &late);
    assert_eq!(failed.again(start, &bob).map(|(error, _)| error), Some(late));
    failed.clear();
    assert_eq!(failed.again(start, &ada), None);
}

#[test]
fn whoever_asked_too_much_that_fails_has_one_place() {
    let (failed, start) = (FailedQuestions::default(), Instant::now());
    for question in 0..5 {
        assert!(failed.enter(start, &asker("mallory", 99)).is_ok_and(|place| place.is_none()));
        failed.failed(start, Some(&asker("mallory", question)), &trap());
    }
    let place = failed.enter(start, &asker("mallory", 99)).expect("there is room for one");
    assert!(place.is_some());
    assert_eq!(failed.enter(start, &asker("mallory", 98)).err(), Some(CallError::Limited));
    // More failures do not make more room.
    for question in 100..180 {
        failed.failed(start, Some(&asker("mallory", question)), &trap());
    }
    assert_eq!(failed.enter(start, &asker("mallory", 98)).err(), Some(CallError::Limited));
    assert!(failed.enter(start, &asker("ada", 98)).is_ok_and(|place| place.is_none()), "others are not limited");
    drop(place);
    assert!(failed.enter(start, &asker("mallory", 98)).is_ok());
    assert!(failed.enter(start + WITHIN, &asker("mallory", 97)).is_ok_and(|place| place.is_none()), "a minute later");
}

/// What happens to the failed questions of a plugin.
#[derive(Clone, Debug)]
enum Event {
    Asked { caller: u8, question: u8, fails: bool, late: bool },
    OwnFailed,
    Passes(u16),
    Cleared,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let asked = (0..6_u8, 0..24_u8, any::<bool>(), any::<bool>());
    let event = prop_oneof![
        12 => asked.prop_map(|(caller, question, fails, late)| Event::Asked { caller, question, fails, late }),
        2 => Just(Event::OwnFailed),
        3 => (0..20_000_u16).prop_map(Event::Passes),
        1 => Just(Event::Cleared),
    ];
    proptest::collection::vec(event, 0..200)
}

proptest! {
    /// Against what can be told from everything that happened, kept whole.
    #[test]
    fn for_any_sequence(events in events()) {
        let failed = FailedQuestions::default();
        let mut now = Instant::now();
        // Every failed call since the last time all was forgotten: of whom, about what, when.
        let mut calls: Vec<(u8, u8, Instant)> = Vec::new();
        let mut probed: Option<Instant> = None;
        for event in events {
            let follows = match event {
                Event::Passes(ms) => {
                    now += Duration::from_millis(ms.into());
                    continue;
                }
                Event::Cleared => {
                    failed.clear();
                    calls.clear();
                    probed = None;
                    continue;
                }
                Event::OwnFailed => failed.failed(now, None, &trap()),
                Event::Asked { caller, question, fails, late } => {
                    let asker = asker(&caller.to_string(), question);
                    let before = calls.iter().rev().find(|call| (call.0, call.1) == (caller, question));
                    match failed.again(now, &asker) {
                        Some((_, follows)) => {
                            let before = before.expect("only what failed is remembered");
                            prop_assert!(now.duration_since(before.2) < REMEMBERED);
                            prop_assert_ne!(follows, Follows::PutBack, "nothing was called");
                            follows
                        }
                        None if fails => {
                            calls.push((caller, question, now));
                            let error = if late { CallError::Deadline(1) } else { trap() };
                            failed.failed(now, Some(&asker), &error)
                        }
                        None => continue,
                    }
                }
            };
            let mut recent: Vec<(u8, u8)> = calls
                .iter()
                .filter(|call| now.duration_since(call.2) < WITHIN)
                .map(|call| (call.0, call.1))
                .collect();
            recent.sort_unstable();
            recent.dedup();
            let of = |caller: u8| recent.iter().filter(|call| call.0 == caller).count();
            let counted: usize = (0..6).map(|caller| of(caller).min(COUNTED_OF_ONE)).sum();
            match follows {
                Follows::PutBack => {
                    prop_assert!(counted >= TOO_MANY, "{recent:?}");
                    let callers = (0..6).filter(|caller| of(*caller) > 0).count();
                    prop_assert!(callers > 1, "{recent:?}");
                    calls.clear();
                    probed = None;
                }
                Follows::Probe => {
                    prop_assert!(probed.is_none_or(|at| now.duration_since(at) >= PROBED_EVERY));
                    probed = Some(now);
                }
                Follows::Nothing => {}
            }
            if follows != Follows::PutBack {
                prop_assert!(counted < TOO_MANY, "it should be put back: {recent:?}");
            }
            let state = failed.state();
            prop_assert!(state.questions.len() <= QUESTIONS_MAX && state.recent.len() <= TOO_MANY);
            for caller in 0..6_u8 {
                let name = caller.to_string();
                let known = state.questions.iter().filter(|failed| failed.asker.name == name).count();
                prop_assert!(known <= OF_ONE_MAX);
            }
        }
    }
}
