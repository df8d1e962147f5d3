//! What must hold between the tables, whatever happened.

use db::on_read;

use super::{Result, Store};

/// (what is wrong, how to count it)
const CHECKS: &[(&str, &str)] = &[
    (
        "artifacts are kept whose bytes are not",
        "SELECT count(*) FROM artifacts a
         WHERE a.removed_at IS NULL AND NOT EXISTS (SELECT 1 FROM blobs b WHERE b.sha256 = a.sha256)",
    ),
    (
        "jobs are not in exactly one of waiting, queued, leases and ended",
        "SELECT count(*) FROM jobs j
         WHERE (SELECT count(*) FROM waiting w WHERE w.job = j.seq) + (SELECT count(*) FROM queued q WHERE q.job = j.seq)
             + (SELECT count(*) FROM leases l WHERE l.job = j.seq) + (SELECT count(*) FROM ended x WHERE x.job = j.seq)
             <> 1",
    ),
    (
        "rows of a state belong to no job",
        "SELECT count(*) FROM (SELECT job FROM waiting UNION ALL SELECT job FROM queued UNION ALL SELECT job FROM leases
             UNION ALL SELECT job FROM ended UNION ALL SELECT job FROM attempts UNION ALL SELECT job FROM outbox
             UNION ALL SELECT job FROM announced UNION ALL SELECT job FROM messages) s
         WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.seq = s.job)",
    ),
    (
        "jobs have a gap in the numbers of their attempts",
        "SELECT count(*) FROM (SELECT job FROM attempts GROUP BY job HAVING min(attempt) <> 1 OR max(attempt) <> count(*)) s",
    ),
    (
        "jobs are at another attempt than the one after their last",
        "SELECT count(*) FROM (SELECT job, attempt FROM waiting UNION ALL SELECT job, attempt FROM queued
             UNION ALL SELECT job, attempt FROM leases UNION ALL SELECT job, attempts + 1 FROM ended) s
         WHERE s.attempt <> 1 + (SELECT count(*) FROM attempts a WHERE a.job = s.job)",
    ),
    (
        "queued jobs stand in the queue under other needs than their own, or before their turn",
        "SELECT count(*) FROM queued q JOIN jobs j ON j.seq = q.job WHERE q.needs <> j.needs OR q.rank < j.rank",
    ),
    (
        "jobs need a label set that there is not",
        "SELECT count(*) FROM jobs j WHERE NOT EXISTS (SELECT 1 FROM label_sets s WHERE s.id = j.needs)",
    ),
    (
        "jobs run a version of a task that there is not",
        "SELECT count(*) FROM jobs j WHERE NOT EXISTS (SELECT 1 FROM tasks t WHERE t.id = j.task_version)",
    ),
    (
        "jobs wait for a commit that they have, or have none and do not wait for one",
        "SELECT count(*) FROM jobs j LEFT JOIN waiting w ON w.job = j.seq
         WHERE ((j.source_ref IS NOT NULL AND j.source_commit IS NULL) <> COALESCE(w.key = 'source', FALSE))
             AND NOT EXISTS (SELECT 1 FROM ended x WHERE x.job = j.seq)",
    ),
    (
        "searches are in the queue or run",
        "SELECT count(*) FROM jobs j WHERE j.search = j.id AND (EXISTS (SELECT 1 FROM queued q WHERE q.job = j.seq)
             OR EXISTS (SELECT 1 FROM leases l WHERE l.job = j.seq))",
    ),
    (
        "jobs were found by a search that has not ended, or that there is not",
        "SELECT count(*) FROM jobs j WHERE j.search <> j.id AND NOT EXISTS (
             SELECT 1 FROM jobs s JOIN ended x ON x.job = s.seq WHERE s.id = j.search)",
    ),
    (
        "leases belong to workers that there are not",
        "SELECT count(*) FROM leases l WHERE NOT EXISTS (SELECT 1 FROM workers w WHERE w.name = l.worker)",
    ),
    (
        "totals of states differ from the jobs that ended so",
        "SELECT count(*) FROM (SELECT name, sum(n) AS n FROM (
             SELECT name, delta AS n FROM tally WHERE name LIKE 'state:%'
             UNION ALL SELECT 'state:' || state, -1 FROM ended) s GROUP BY name HAVING sum(n) <> 0) d",
    ),
    (
        "totals of outcomes differ from the jobs that ended so",
        "SELECT count(*) FROM (SELECT name, sum(n) AS n FROM (
             SELECT name, delta AS n FROM tally WHERE name LIKE 'outcome:%'
             UNION ALL SELECT 'outcome:' || outcome, -1 FROM ended WHERE outcome IS NOT NULL) s
             GROUP BY name HAVING sum(n) <> 0) d",
    ),
    (
        "jobs finished although their last attempt has no end",
        "SELECT count(*) FROM ended x WHERE x.state = 'finished'
         AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.job = x.job AND a.attempt = x.attempts)
         AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.seq = x.job AND j.search = j.id)",
    ),
    (
        "things run or are unsent although the mode is idle",
        "SELECT count(*) FROM mode WHERE mode = 'idle'
         AND (EXISTS (SELECT 1 FROM leases) OR EXISTS (SELECT 1 FROM outbox WHERE NOT announces)
             OR EXISTS (SELECT 1 FROM messages))",
    ),
    (
        "windows of idle are open although the mode is another, or none is",
        "SELECT count(*) FROM mode
         WHERE (mode = 'idle') <> EXISTS (SELECT 1 FROM windows WHERE resumed_at IS NULL)",
    ),
    (
        "jobs may run without having all their keys",
        "SELECT count(*) FROM (SELECT job FROM queued UNION ALL SELECT job FROM leases) s JOIN jobs j ON j.seq = s.job
         WHERE (SELECT count(*) FROM keys k WHERE k.job = s.job AND k.step > 0 AND k.held)
             <> CASE WHEN j.supersede_policy = 'serial' THEN 1 ELSE 0 END
              + CASE WHEN j.limit_most IS NOT NULL THEN 1 ELSE 0 END",
    ),
    (
        "keys are had by jobs that have ended, or that there are not",
        "SELECT count(*) FROM keys k WHERE NOT EXISTS (SELECT 1 FROM waiting w WHERE w.job = k.job)
         AND NOT EXISTS (SELECT 1 FROM queued q WHERE q.job = k.job)
         AND NOT EXISTS (SELECT 1 FROM leases l WHERE l.job = k.job)",
    ),
    (
        "keys are held by more jobs at once than their limits allow",
        "SELECT count(*) FROM (SELECT key FROM keys WHERE held AND step > 0 GROUP BY key
             HAVING count(*) > max(most)) s",
    ),
    (
        "jobs stand first in line for a key that is free",
        "SELECT count(*) FROM mode m, keys l WHERE m.mode = 'active' AND NOT l.held
         AND NOT EXISTS (SELECT 1 FROM keys b WHERE b.key = l.key AND NOT b.held AND (b.rank, b.job) < (l.rank, l.job))
         AND (SELECT count(*) FROM keys h WHERE h.key = l.key AND h.held) < l.most",
    ),
    (
        "jobs are to run although a newer one of their key has come",
        "SELECT count(*) FROM (SELECT job FROM waiting WHERE NOT unsettled UNION ALL SELECT job FROM queued) s
         JOIN jobs j ON j.seq = s.job
         JOIN jobs n ON n.seq = (SELECT r.seq FROM jobs r WHERE r.scope = j.scope
             ORDER BY r.ordered_at DESC, r.recorded_at DESC, r.seq DESC LIMIT 1)
         WHERE n.seq <> j.seq AND (n.search IS NULL OR j.search IS NULL OR n.search <> j.search)
         AND NOT ((n.event IS NOT NULL OR n.event_id IS NOT NULL)
             AND COALESCE(n.event, 0) = COALESCE(j.event, 0) AND COALESCE(n.event_id, '') = COALESCE(j.event_id, ''))",
    ),
    (
        "jobs that have not ended are not known under their key",
        "SELECT count(*) FROM jobs j WHERE j.scope IS NOT NULL
         AND NOT EXISTS (SELECT 1 FROM ended x WHERE x.job = j.seq)
         AND NOT EXISTS (SELECT 1 FROM keys k WHERE k.job = j.seq AND k.step = 0 AND k.key = j.scope)",
    ),
    (
        "superseded jobs have no successor, or one that is not newer: their chain would not end",
        "SELECT count(*) FROM ended x JOIN jobs j ON j.seq = x.job LEFT JOIN jobs n ON n.seq = x.successor
         WHERE x.state = 'superseded' AND x.state <> 'finished'
         AND (n.seq IS NULL OR n.scope <> j.scope
              OR (n.ordered_at, n.recorded_at, n.seq) <= (j.ordered_at, j.recorded_at, j.seq))",
    ),
    (
        "jobs wait for a key and do not stand in line for it, or the other way round",
        "SELECT count(*) FROM waiting w
         WHERE (w.key IS NOT NULL AND w.key <> 'source') <> EXISTS (SELECT 1 FROM keys k WHERE k.job = w.job AND NOT k.held)",
    ),
];

impl Store {
    /// What does not add up, one sentence each; empty in a sound database. Reads everything: not for a busy system,
    /// where what moves between two statements may seem wrong.
    pub async fn invariants(&self) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        for (what, sql) in CHECKS {
            let n: i64 = on_read!(self.db(), |pool| sqlx::query_scalar(*sql).fetch_one(pool).await?);
            if n > 0 {
                wrong.push(format!("{n} {what}"));
            }
        }
        Ok(wrong)
    }
}
