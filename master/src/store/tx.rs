pub(super) const PG_CLOCK: &str = "";
