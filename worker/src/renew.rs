//! Keeps the leases alive, all of them in one request, and passes on what the master says of them.

use std::sync::Arc;
use std::time::Duration;

use model::lease::Hold;
use net::{Backoff, ClientError};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::halt::Halt;
use crate::leases::{Asked, Leases};
use crate::master::Master;

/// How often a lease is renewed within its term.
const TIMES: u32 = 4;

/// Renews for ever. `term` is what the last claim or renewal was told; `alone` is how long jobs go on without a master.
pub async fn run(leases: Arc<Leases>, master: Master, term: watch::Sender<Duration>, alone: Duration) {
    // Those that an earlier worker held may end soon.
    keep_trying(&leases, &master, &term, alone).await;
    loop {
        leases.some().await;
        // A fresh lease has at least half of its term before it.
        let length = *term.borrow();
        sleep(interval(length)).await;
        keep_trying(&leases, &master, &term, alone).await;
    }
}

fn interval(term: Duration) -> Duration {
    (term / TIMES).max(Duration::from_millis(20))
}

/// Renews once, however long that takes; jobs are stopped when it takes too long.
async fn keep_trying(leases: &Leases, master: &Master, term: &watch::Sender<Duration>, alone: Duration) {
    let begun = Instant::now();
    let step = interval(*term.borrow());
    let mut backoff = Backoff::new(step / 16, step / 2);
    let mut silent = false;
    loop {
        net::life::beat();
        match once(leases, master, step).await {
            Ok(length) => {
                if let Some(length) = length {
                    term.send_replace(length);
                }
                if silent {
                    tracing::info!(worker = %master.worker().name, "the master answers again");
                }
                return;
            }
            Err(why) => {
                if !std::mem::replace(&mut silent, true) {
                    tracing::warn!(worker = %master.worker().name, "cannot renew leases, jobs go on: {why}");
                }
            }
        }
        let since = begun.elapsed();
        if since >= alone {
            leases.halt_all(&Halt::MasterSilent { since });
        }
        // The next step is short when the time alone ends sooner.
        let left = alone.saturating_sub(since);
        sleep(if left.is_zero() { step } else { backoff.step().min(left) }).await;
    }
}

/// How long the leases hold then, where there are any.
async fn once(leases: &Leases, master: &Master, within: Duration) -> Result<Option<Duration>, String> {
    let tokens = leases.tokens();
    if tokens.is_empty() {
        return Ok(None);
    }
    let asked = Asked::now();
    let within = within.clamp(Duration::from_millis(500), Duration::from_secs(10));
    let renewed = master.renew(tokens.clone(), within).await.map_err(|e| match e {
        ClientError::Unavailable(why) => why,
        ClientError::Refused { status, detail } => format!("the master refused it ({status}): {detail}"),
    })?;
    if renewed.leases.len() != tokens.len() {
        return Err(format!("the master answered for {} of {} leases", renewed.leases.len(), tokens.len()));
    }
    let term = asked.granted(renewed.term.0);
    for (token, hold) in tokens.iter().zip(renewed.leases) {
        match hold {
            Hold::Held => leases.renewed(token, term),
            Hold::Cancel { reason } => {
                leases.renewed(token, term);
                leases.halt(token, Halt::Cancelled { reason });
            }
            Hold::Gone => {
                leases.halt(token, Halt::LeaseLost);
                leases.release(token);
            }
        }
    }
    Ok(Some(term.length))
}
