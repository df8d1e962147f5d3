//! Label sets: what jobs need of a worker, each distinct set once.

#[derive(Default)]
pub(super) struct LabelSets {}
