//! What the store's operations take and give, beside the words of `model`.

mod jobs;
mod leases;
mod seen;

pub use jobs::*;
pub use leases::*;
pub use seen::*;
