//! Texts as databases hold them. What came over a bus may be any text, and must not stop what comes after it.

use std::borrow::Cow;

use model::Event;
use uuid::Uuid;

/// The longest text that goes into an index, in bytes: PostgreSQL takes about 2,700 for a whole entry.
const LONGEST: usize = 1000;

/// The same text with U+FFFD in place of NUL, which PostgreSQL's TEXT does not hold.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// Whether an index takes this text.
pub(super) fn fits(text: &str) -> bool {
    text.len() <= LONGEST
}

/// As much of a text as an index takes.
pub(super) fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST)]
}

/// The name under which an event is stored: its id, where an index takes that.
pub(super) fn event_name(id: &str) -> String {
    if fits(id) {
        return clean(id).into_owned();
    }
    let whole = Uuid::new_v5(&Uuid::NAMESPACE_OID, id.as_bytes());
    format!("{}~{whole}", clean(&id[..id.floor_char_boundary(LONGEST - 40)]))
}

/// The name of an event whose own another event has.
pub(super) fn event_name_beside(event: &Event) -> String {
    event_name(&event.id_beside_another())
}
