//! Pairs of triggers, as people are told of them.

use std::collections::{BTreeMap, BTreeSet};

use model::Time;
use model::operator::{DivergenceCounts, Warning};

use crate::store::{GIVEN_UP, PairTrouble, TriggerView};

/// What is known of a pair's troubles, and each pair of which only one trigger is left.
pub fn warnings(troubles: &[PairTrouble], triggers: &[TriggerView], now: Time) -> Vec<Warning> {
    let differing = troubles.iter().map(|trouble| {
        let PairTrouble { pair, first, second, events, .. } = trouble;
        let events = if *events == 1 { "1 event".to_owned() } else { format!("{events} events") };
        let what = match trouble.unseen {
            true => format!("pair {pair}: {second} has not seen {events} that {first} has sent"),
            false => format!("pair {pair}: {second} decided {events} differently than {first}"),
        };
        Warning { what, since: Some(trouble.since), look: Some("taskotron event divergences".into()) }
    });
    differing.chain(alone(triggers, now)).collect()
}

/// With one trigger nothing is compared, which must not look like two that agree.
fn alone(triggers: &[TriggerView], now: Time) -> Vec<Warning> {
    let mut members: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for trigger in triggers.iter().filter(|trigger| now.since(trigger.last_heard) < GIVEN_UP) {
        if let Some(pair) = &trigger.pair {
            members.entry(&pair.name).or_default().insert(&pair.member);
        }
    }
    let single = members.into_iter().filter(|(_, members)| members.len() == 1);
    single
        .flat_map(|(pair, members)| members.into_iter().map(move |member| (pair, member)))
        .map(|(pair, member)| Warning {
            what: format!("pair {pair} has one trigger only, {member}: nothing is compared"),
            since: None,
            look: None,
        })
        .collect()
}

pub fn counts(troubles: &[PairTrouble]) -> DivergenceCounts {
    let sum = |unseen| troubles.iter().filter(|t| t.unseen == unseen).map(|t| t.events).sum();
    DivergenceCounts { decided: sum(false), unseen: sum(true) }
}

#[cfg(test)]
mod tests {
    use model::Span;
    use model::intake::{Pair, TriggerCounts};

    use super::*;

    #[test]
    fn a_pair_of_one_is_not_taken_for_two_that_agree() {
        let now = Time(0).plus(Span::days(100));
        let trigger = |recorder: &str, member: &str, age: Span| TriggerView {
            recorder: recorder.into(),
            next: 1,
            last_heard: now.minus(age),
            generation: 1,
            counts: TriggerCounts::default(),
            repeated: 0,
            last_event: None,
            troubles: Vec::new(),
            pair: Some(Pair { name: "fedora".into(), member: member.into() }),
        };
        let (here, gone) = (Span::seconds(1), Span::days(2));
        let says = |triggers: &[TriggerView]| warnings(&[], triggers, now).pop().map(|warning| warning.what);
        assert_eq!(says(&[trigger("a-1", "a", here), trigger("b-1", "b", here)]), None);
        let alone = Some("pair fedora has one trigger only, a: nothing is compared".to_owned());
        assert_eq!(says(&[trigger("a-1", "a", here), trigger("b-1", "b", gone)]), alone);
        // Two of one name are no pair.
        assert_eq!(says(&[trigger("a-1", "a", here), trigger("a-2", "a", here)]), alone);
    }
}
