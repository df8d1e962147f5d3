//! What the rules make of one event: the jobs, and for each rule why or why not.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use model::operator::VerdictView;
use model::{Event, NOARCH, NewJob, Supersede, Time};

use crate::configuration::Configuration;
use crate::kind::wrong_topic;
use crate::make::{Maker, Same, Wish, same};
use crate::rule::{Rule, Source};
use crate::seen::Seen;
use crate::when::Document;

/// Jobs that a verdict names before it only counts them.
const NAMED: usize = 8;

/// What a configuration makes of one event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// The rules that matched, in the order of the configuration.
    pub matched: Vec<String>,
    /// The jobs that they ask for, each once.
    pub jobs: Vec<NewJob>,
    /// What matching rules could not do, one sentence each: "rule push: cannot render item: …".
    pub unrendered: Vec<String>,
}

/// What one rule says of one event.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The rule's name.
    pub rule: String,
    /// Whether its condition held; it may still make no job.
    pub matched: bool,
    /// Matched: what it asks for and what it could not. Not matched: the first clause that failed and what it saw.
    pub why: String,
    /// The jobs that are made because of this rule and of no rule before it.
    pub jobs: Vec<NewJob>,
}

impl From<Verdict> for VerdictView {
    fn from(verdict: Verdict) -> VerdictView {
        VerdictView { rule: verdict.rule, matched: verdict.matched, why: verdict.why }
    }
}

impl Configuration {
    /// The jobs that an event calls for; they expire from `now` on.
    pub fn decide(&self, event: &Event, now: Time) -> Decision {
        let seen = Seen::new(event, self.kinds().len());
        let mut decision = Decision::default();
        let mut asked = HashSet::new();
        for rule in self.rules() {
            let Some(wish) = self.wish(rule, &seen, now) else { continue };
            decision.matched.push(rule.name.clone());
            decision.unrendered.extend(wish.unrendered.iter().map(|what| format!("rule {}: {what}", rule.name)));
            for job in wish.jobs {
                if asked.insert(same(&job)) {
                    decision.jobs.push(job);
                }
            }
        }
        decision
    }

    /// What every rule says of an event, in the order of the configuration.
    pub fn verdicts(&self, event: &Event, now: Time) -> Vec<Verdict> {
        let seen = Seen::new(event, self.kinds().len());
        let mut asked: HashMap<Same, &str> = HashMap::new();
        self.rules().iter().map(|rule| self.verdict(rule, &seen, now, &mut asked)).collect()
    }

    fn verdict<'a>(&self, rule: &'a Rule, seen: &Seen<'_>, now: Time, asked: &mut HashMap<Same, &'a str>) -> Verdict {
        let Some(wish) = self.wish(rule, seen, now) else {
            let why = self.complaint(rule, seen);
            return Verdict { rule: rule.name.clone(), matched: false, why, jobs: Vec::new() };
        };
        let (mut jobs, mut why) = (Vec::new(), wish.unrendered);
        for job in wish.jobs {
            match asked.entry(same(&job)) {
                Entry::Occupied(first) => {
                    why.push(format!("{} is already asked for by rule {}", named(&job), first.get()));
                }
                Entry::Vacant(place) => {
                    place.insert(&rule.name);
                    jobs.push(job);
                }
            }
        }
        let mut searched = HashSet::new();
        for job in jobs.iter().filter(|job| searched.insert(&job.task)) {
            if let Some(discover) = self.task(&job.task).and_then(|task| task.searches(&job.params)) {
                why.push(format!("{} is looked for: one job a folder with {}", job.task, discover.patterns()));
            }
        }
        why.insert(0, asks_for(&jobs));
        Verdict { rule: rule.name.clone(), matched: true, why: why.join("; "), jobs }
    }

    /// What a rule asks for; None where its condition does not hold.
    pub(crate) fn wish(&self, rule: &Rule, seen: &Seen<'_>, now: Time) -> Option<Wish> {
        let applied = match &rule.source {
            Source::Topics(topics) if topics.iter().any(|pattern| pattern.matches_words(seen.topic())) => None,
            Source::Topics(_) => return None,
            Source::Kind { number, .. } => {
                let number = (*number)?;
                Some(seen.kind(number, &self.kinds()[number]).as_ref().ok()?)
            }
        };
        let fields = applied.map(|applied| applied.fields.as_ref());
        let document = Document { event: seen.document(), fields };
        rule.when.holds(document).then(|| Maker::new(self, rule, seen, applied, now).wish())
    }

    /// Why a rule does not match.
    fn complaint(&self, rule: &Rule, seen: &Seen<'_>) -> String {
        let fields = match &rule.source {
            Source::Topics(topics) if topics.iter().any(|pattern| pattern.matches_words(seen.topic())) => None,
            Source::Topics(topics) => return wrong_topic(&seen.event.topic, topics),
            Source::Kind { name, number: None, .. } => return format!("unknown kind {name}"),
            Source::Kind { number: Some(number), .. } => {
                let kind = &self.kinds()[*number];
                match seen.kind(*number, kind) {
                    Ok(applied) => Some(applied.fields.as_ref()),
                    Err(why) => return kind.complaint(seen, why),
                }
            }
        };
        let document = Document { event: seen.document(), fields };
        rule.when.complaint(document).unwrap_or_default()
    }
}

/// A job in few words: "rpmlint on foo-1-1 (x86_64), serial on foo".
pub(crate) fn named(job: &NewJob) -> String {
    let arch = if job.arch == NOARCH { String::new() } else { format!(" ({})", job.arch) };
    let quiet = |s: &Supersede| s.quiet.map(|span| format!(" after {span} of quiet")).unwrap_or_default();
    let key = job.supersede.as_ref().map(|s| format!(", {} on {}{}", s.policy.name(), s.key, quiet(s)));
    let key = key.unwrap_or_default();
    format!("{} on {}{arch}{key}", job.task, job.item)
}

fn asks_for(jobs: &[NewJob]) -> String {
    if jobs.is_empty() {
        return "matches and makes no job".into();
    }
    let first: Vec<String> = jobs.iter().take(NAMED).map(named).collect();
    let more = jobs.len().saturating_sub(NAMED);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("asks for {}{rest}", first.join(", "))
}
