//! Whether an attempt that ended is followed by another, and when.
//!
//! Ends that the system is to blame for are retried from a budget of their own; the author's budget is for the ends
//! that the author names.

use std::fmt;

use model::{End, Span};
use serde::{Deserialize, Serialize};

/// How long to wait before each retry after an end that the system is to blame for; then its budget is spent.
const INFRASTRUCTURE: [Span; 10] = [
    Span::seconds(0),
    Span::seconds(1),
    Span::seconds(2),
    Span::seconds(5),
    Span::seconds(10),
    Span::seconds(20),
    Span::seconds(30),
    Span::seconds(60),
    Span::seconds(60),
    Span::seconds(60),
];

/// When a task's job is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryPolicy {
    /// Not even after a lost worker: a person settles it.
    Never,
    /// After these ends, beside those that the system is to blame for.
    On {
        /// Words of [`End::word`]: `exit:75`, `signal:9`, `timed_out`. Empty: the author asks for nothing.
        words: Vec<String>,
        /// How many attempts there may be that end by their own doing.
        attempts: u32,
        /// Between one attempt and the next.
        delay: Span,
    },
}

/// What follows an attempt that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Another attempt, this long after the end.
    Again {
        /// Zero for at once.
        after: Span,
    },
    /// No further attempt.
    Spent,
    /// Whether there is one, a person says.
    Person,
}

impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        RetryPolicy::On { words: Vec::new(), attempts: 3, delay: Span::seconds(30) }
    }
}

impl fmt::Display for RetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RetryPolicy::Never => f.write_str("never"),
            RetryPolicy::On { words, attempts, delay } => {
                write!(f, "on [{}], {attempts} attempts, delay {delay}", words.join(", "))
            }
        }
    }
}

impl RetryPolicy {
    /// What follows, given how all attempts of the job ended so far, the latest last.
    pub fn next(&self, ends: &[End]) -> Retry {
        let Some(last) = ends.last() else { return Retry::Again { after: Span::default() } };
        let (words, attempts, delay) = match self {
            RetryPolicy::On { words, attempts, delay } => (words, attempts, delay),
            // What such an attempt has done nobody can tell from here.
            RetryPolicy::Never if last.is_infrastructure() => return Retry::Person,
            RetryPolicy::Never => return Retry::Spent,
        };
        match last {
            End::HandedBack => Retry::Again { after: Span::default() },
            End::Lost | End::NotStarted { .. } => {
                let before = ends.iter().filter(|end| spends_the_systems_budget(end)).count() - 1;
                INFRASTRUCTURE.get(before).map_or(Retry::Spent, |after| Retry::Again { after: *after })
            }
            End::Exited { .. }
            | End::Signalled { .. }
            | End::TimedOut { .. }
            | End::OverLimit { .. }
            | End::Cancelled => {
                let made = ends.iter().filter(|end| !end.is_infrastructure()).count();
                let left = u32::try_from(made).is_ok_and(|made| made < *attempts);
                match left && words.contains(&last.word()) {
                    true => Retry::Again { after: *delay },
                    false => Retry::Spent,
                }
            }
        }
    }
}

fn spends_the_systems_budget(end: &End) -> bool {
    match end {
        End::Lost | End::NotStarted { .. } => true,
        End::Exited { .. }
        | End::Signalled { .. }
        | End::TimedOut { .. }
        | End::OverLimit { .. }
        | End::Cancelled
        | End::HandedBack => false,
    }
}

/// Checks a word of `retry: { on: […] }`; the error says what to write.
pub(crate) fn check_word(word: &str) -> Result<(), String> {
    let code = |text: &str| text.parse::<i32>().ok();
    match word {
        "lost" | "not_started" | "timed_out" => return Ok(()),
        "limit:memory" | "limit:processes" | "limit:disk" => return Ok(()),
        "cancelled" => return Err("a cancelled job is not tried again: order it anew".into()),
        "exit:0" => return Err("exit:0 is a success and not tried again".into()),
        _ => {}
    }
    match word.split_once(':') {
        Some(("exit", n)) if code(n).is_some_and(|n| (1..=255).contains(&n)) => Ok(()),
        Some(("signal", n)) if code(n).is_some_and(|n| (1..=64).contains(&n)) => Ok(()),
        _ => Err(format!(
            "unknown end '{word}': the ends are lost, not_started, timed_out, limit:memory, limit:processes, limit:disk, \
             exit:N and signal:N"
        )),
    }
}

#[cfg(test)]
mod tests {
    use model::Quota;

    use super::*;

    fn author(words: &[&str], attempts: u32) -> RetryPolicy {
        let words = words.iter().map(|w| (*w).to_owned()).collect();
        RetryPolicy::On { words, attempts, delay: Span::seconds(30) }
    }

    const AGAIN: Retry = Retry::Again { after: Span::seconds(30) };
    const AT_ONCE: Retry = Retry::Again { after: Span::seconds(0) };

    #[test]
    fn an_author_gets_the_attempts_that_were_asked_for() {
        let policy = author(&["exit:75"], 3);
        let failed = End::Exited { code: 75 };
        assert_eq!(policy.next(std::slice::from_ref(&failed)), AGAIN);
        assert_eq!(policy.next(&[failed.clone(), failed.clone()]), AGAIN);
        assert_eq!(policy.next(&[failed.clone(), failed.clone(), failed.clone()]), Retry::Spent);
        assert_eq!(policy.next(&[failed.clone(), End::Exited { code: 1 }]), Retry::Spent);
        assert_eq!(policy.next(&[End::Lost, failed.clone(), End::HandedBack, failed]), AGAIN);
    }

    #[test]
    fn nothing_of_its_own_is_retried_unless_it_is_named() {
        let timed_out = End::TimedOut { quota: Quota::Total };
        let ends = [End::Exited { code: 1 }, End::Signalled { signal: 11 }, timed_out.clone(), End::Cancelled];
        for end in ends {
            assert_eq!(RetryPolicy::default().next(&[end]), Retry::Spent);
        }
        assert_eq!(author(&["timed_out"], 2).next(&[timed_out]), AGAIN);
        assert_eq!(author(&["signal:11"], 2).next(&[End::Signalled { signal: 11 }]), AGAIN);
    }

    #[test]
    fn the_systems_own_faults_have_a_budget_of_ten() {
        let policy = author(&["lost"], 1);
        let mut ends = vec![End::Exited { code: 75 }];
        for after in INFRASTRUCTURE {
            ends.push(if ends.len() % 2 == 0 { End::Lost } else { End::NotStarted { reason: "no disk".into() } });
            assert_eq!(policy.next(&ends), Retry::Again { after });
        }
        ends.push(End::Lost);
        assert_eq!(policy.next(&ends), Retry::Spent);
        ends.push(End::HandedBack);
        assert_eq!(policy.next(&ends), AT_ONCE);
    }

    #[test]
    fn never_is_left_to_a_person_where_the_system_is_to_blame() {
        for end in [End::Lost, End::HandedBack, End::NotStarted { reason: String::new() }] {
            assert_eq!(RetryPolicy::Never.next(&[end]), Retry::Person);
        }
        for end in [End::Exited { code: 75 }, End::Signalled { signal: 9 }, End::TimedOut { quota: Quota::Total }] {
            assert_eq!(RetryPolicy::Never.next(&[end]), Retry::Spent);
        }
    }

    #[test]
    fn the_author_and_the_system_never_spend_each_others_budget() {
        let failed = || End::Exited { code: 75 };
        let not_started = || End::NotStarted { reason: "no disk".into() };
        let policy = author(&["exit:75"], 2);
        // (what came before the author's own failure, how many of those there were)
        let table: [(Vec<End>, usize); 6] = [
            (vec![], 0),
            (vec![End::Lost; 10], 0),
            (vec![End::HandedBack; 30], 0),
            (vec![not_started(), End::Lost, End::HandedBack, not_started()], 0),
            (vec![failed()], 1),
            ([vec![End::Lost; 5], vec![failed()], vec![not_started(); 5]].concat(), 1),
        ];
        for (before, own) in table {
            let ends = [before.clone(), vec![failed()]].concat();
            let left = if own == 0 { AGAIN } else { Retry::Spent };
            assert_eq!(policy.next(&ends), left, "{own} of the author's 2 attempts were made: {ends:?}");
            // And the other way round: the system has all of its own left.
            let faults = before.iter().filter(|end| spends_the_systems_budget(end)).count();
            let lost = [before, vec![failed(); 9], vec![End::Lost]].concat();
            let after = INFRASTRUCTURE.get(faults).map_or(Retry::Spent, |after| Retry::Again { after: *after });
            assert_eq!(policy.next(&lost), after, "{faults} faults of the system before: {lost:?}");
        }
        // Naming such an end gives it no more than its own budget, and takes nothing from the author's.
        let named = author(&["lost", "exit:75"], 2);
        assert_eq!(named.next(&[End::Lost, End::Lost, End::Lost, failed()]), AGAIN);
        assert_eq!(named.next(&vec![End::Lost; 11]), Retry::Spent);
    }

    #[test]
    fn words_are_checked() {
        for word in ["lost", "not_started", "timed_out", "exit:75", "signal:9"] {
            assert_eq!(check_word(word), Ok(()));
        }
        for word in ["exit:0", "exit:x", "exit:256", "cancelled", "timeout", "signal:"] {
            assert!(check_word(word).is_err(), "{word}");
        }
    }
}
