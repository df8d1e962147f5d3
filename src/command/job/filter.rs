//! Which jobs: the same filters for a listing and for what is done to many at a time.

use clap::Args;
use model::{JobState, Outcome, Time};

#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Which jobs")]
pub struct Filter {
    /// Only jobs in this state; may be given several times
    #[arg(long, value_name = "STATE")]
    state: Vec<JobState>,
    /// Only jobs of this task
    #[arg(long)]
    task: Option<String>,
    /// Only jobs on this item
    #[arg(long)]
    item: Option<String>,
    /// Only jobs that this rule asked for
    #[arg(long)]
    rule: Option<String>,
    /// Only jobs of this event
    #[arg(long, value_name = "ID")]
    event: Option<String>,
    /// Only jobs for this arch
    #[arg(long)]
    arch: Option<String>,
    /// Only jobs of which an attempt ran on this worker
    #[arg(long, value_name = "NAME")]
    worker: Option<String>,
    /// Only jobs with this outcome: PASSED, FAILED …
    #[arg(long, value_parser = outcome)]
    outcome: Option<Outcome>,
    /// Only jobs made at or after this time (UTC where it names no zone)
    #[arg(long, value_name = "TIME")]
    since: Option<Time>,
    /// Only jobs made before this time
    #[arg(long, value_name = "TIME")]
    until: Option<Time>,
    /// Only jobs that wait for a person to settle them
    #[arg(long)]
    unsettled: bool,
}

fn outcome(text: &str) -> Result<Outcome, String> {
    Outcome::parse(text).ok_or_else(|| format!("it is one of {}", Outcome::ALL.map(Outcome::name).join(", ")))
}

impl Filter {
    /// As the master's API names its parameters.
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let states: Vec<_> = self.state.iter().map(JobState::to_string).collect();
        let all = [
            ("state", (!states.is_empty()).then(|| states.join(","))),
            ("task", self.task.clone()),
            ("item", self.item.clone()),
            ("rule", self.rule.clone()),
            ("event", self.event.clone()),
            ("arch", self.arch.clone()),
            ("worker", self.worker.clone()),
            ("outcome", self.outcome.map(|outcome| outcome.to_string())),
            ("since", self.since.map(|at| at.to_string())),
            ("until", self.until.map(|at| at.to_string())),
            ("unsettled", self.unsettled.then(|| "true".to_owned())),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}
