//! The leases that this master gave out itself, as long as they must still hold: of these it knows without asking.
//!
//! Others may be reported, lost or cancelled by way of another master, so what is known here ends with the lease's term
//! unless the lease was renewed here.

use std::collections::HashMap;

use model::JobId;
use tokio::time::Instant;

use crate::store::Token;

/// So many are kept before it is looked which of them have run out.
const FEW: usize = 1024;

#[derive(Debug, Default)]
pub struct Given {
    leases: HashMap<JobId, Lease>,
    /// How many there may be before the next such look.
    enough: usize,
}

#[derive(Debug)]
struct Lease {
    token: String,
    until: Instant,
}

impl Given {
    pub fn insert(&mut self, job: JobId, token: String, now: Instant, until: Instant) {
        if self.leases.len() >= self.enough.max(FEW) {
            self.leases.retain(|_, lease| lease.until > now);
            self.enough = self.leases.len() * 2;
        }
        self.leases.insert(job, Lease { token, until });
    }

    /// Whether this is the token of such a lease.
    pub fn holds(&self, text: &str, now: Instant) -> bool {
        let Ok(Token { job, .. }) = text.parse() else { return false };
        self.leases.get(&job).is_some_and(|lease| lease.token == text && lease.until > now)
    }

    /// A lease was renewed; one that another master gave out stays unknown.
    pub fn prolong(&mut self, text: &str, until: Instant) {
        let Ok(Token { job, .. }) = text.parse() else { return };
        if let Some(lease) = self.leases.get_mut(&job).filter(|lease| lease.token == text) {
            lease.until = until;
        }
    }

    pub fn forget(&mut self, job: JobId) {
        self.leases.remove(&job);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn token(n: usize) -> (JobId, String) {
        let job = JobId::of(&n.to_string(), "t", "i", "x", "noarch");
        (job, Token { job, attempt: 1, secret: [7; 16] }.to_string())
    }

    #[test]
    fn a_lease_is_known_for_its_term_and_no_longer() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut given = Given::default();
        let (job, text) = token(1);
        given.insert(job, text.clone(), at(0), at(60));
        assert!(given.holds(&text, at(59)) && !given.holds(&text, at(60)));
        given.prolong(&text, at(100));
        given.prolong(&token(2).1, at(100));
        assert!(given.holds(&text, at(99)) && !given.holds(&token(2).1, at(1)));
        given.forget(job);
        assert!(!given.holds(&text, at(1)));
    }

    #[test]
    fn what_others_have_ended_does_not_pile_up() {
        let begin = Instant::now();
        let mut given = Given::default();
        for n in 0..20_000 {
            let now = begin + Duration::from_millis(n as u64);
            let (job, text) = token(n);
            given.insert(job, text, now, now + Duration::from_secs(1));
        }
        assert!(given.leases.len() < 4 * FEW, "{} of 20000", given.leases.len());
    }
}
