//! Telling the bus of results: `resultsdb.result.new` for each, and for whoever still reads it `taskotron.result.new`.
//!
//! The store notes with each result that it is to be told; here the note becomes a message and goes to the broker,
//! confirmed, as often as it takes. The same note always has the same id.

mod body;
mod settings;
mod teller;

pub use settings::Messages;
pub use teller::{Teller, tell};
