//! One event while rules look at it: what is costly is made at most once, and only when a rule gets that far.

use std::cell::OnceCell;
use std::sync::Arc;

use model::Event;
use serde_json::{Map, Value};

use crate::kind::{Applied, Kind, NotOfIt};
use crate::lazy::Names;
use crate::template::Context;

/// One event, with what was found out about it so far.
pub(crate) struct Seen<'a> {
    pub event: &'a Event,
    topic: Vec<&'a str>,
    document: OnceCell<Arc<Map<String, Value>>>,
    kinds: Vec<OnceCell<Result<Applied, NotOfIt>>>,
}

impl<'a> Seen<'a> {
    pub fn new(event: &'a Event, kinds: usize) -> Seen<'a> {
        Seen {
            event,
            topic: event.topic.split('.').collect(),
            document: OnceCell::new(),
            kinds: std::iter::repeat_with(OnceCell::new).take(kinds).collect(),
        }
    }

    /// The topic's words.
    pub fn topic(&self) -> &[&'a str] {
        &self.topic
    }

    pub fn document(&self) -> &Map<String, Value> {
        self.shared()
    }

    fn shared(&self) -> &Arc<Map<String, Value>> {
        self.document.get_or_init(|| Arc::new(self.event.document()))
    }

    /// What a kind says of the event.
    pub fn kind(&self, number: usize, kind: &Kind) -> &Result<Applied, NotOfIt> {
        self.kinds[number].get_or_init(|| kind.apply(self))
    }

    /// The names that templates see: the event's own, before them a kind's fields, and before those one element.
    pub fn context(&self, fields: Option<&Arc<Map<String, Value>>>, each: Option<&Value>) -> Context {
        let each = each.map(Context::value);
        Context::lazy(Names { event: self.shared().clone(), fields: fields.cloned(), each })
    }
}
