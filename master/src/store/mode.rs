use model::operator::{Backlog, IdleRequest};
use super::{Result, Store};
use super::types::*;

impl Store {
    pub async fn mode(&self) -> Result<ModeRow> {
        unimplemented!()
    }
    /// Stops giving out work. While idle nothing changes.
    pub async fn drain(&self, request: &IdleRequest, act: &Act) -> Result<ModeRow> {
        unimplemented!()
    }
    /// Draining becomes idle when nothing runs, nothing is unsent, and the triggers have nothing left; `also` is what else the caller knows of that stands against it, one sentence each.
    pub async fn observe_idle(&self, also: &[String]) -> Result<Observed> {
        unimplemented!()
    }
    pub async fn resume(&self, act: &Act) -> Result<ModeRow> {
        unimplemented!()
    }
    /// What waits for a resume, by rule and task, most first.
    pub async fn backlog(&self) -> Result<Vec<Backlog>> {
        unimplemented!()
    }
    /// Newest first.
    pub async fn windows(&self, limit: u32) -> Result<Vec<Window>> {
        unimplemented!()
    }
}

pub(super) fn parse(text: &str) -> Option<model::operator::Mode> {
    use model::operator::Mode;
    [Mode::Active, Mode::Draining, Mode::Idle].into_iter().find(|mode| mode.name() == text)
}
