//! Single callers meet in batches: whoever arrives while a batch is being committed is in the next one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

type Caller<I, O> = (I, oneshot::Sender<O>);

/// Turns an operation on a batch into one that many tasks call with one item each.
pub struct Coalesce<I, O> {
    calls: mpsc::Sender<Caller<I, O>>,
}

impl<I, O> Clone for Coalesce<I, O> {
    fn clone(&self) -> Self {
        Coalesce { calls: self.calls.clone() }
    }
}

/// How long a batch may take. A database that has gone away without a word would else hold every later caller up.
const PATIENCE: Duration = Duration::from_secs(30);

/// The batch that a call was in came to no answer.
#[derive(Debug, thiserror::Error)]
#[error("the batch ended without an answer")]
pub struct NoAnswer;

impl<I: Send + 'static, O: Send + 'static> Coalesce<I, O> {
    /// `operation` takes up to `most` items and gives one answer for each, in their order.
    pub fn new<F>(most: usize, operation: impl Fn(Vec<I>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Vec<O>> + Send,
    {
        let (calls, mut waiting) = mpsc::channel::<Caller<I, O>>(most.max(1) * 4);
        let operation = Arc::new(operation);
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while waiting.recv_many(&mut batch, most).await > 0 {
                let (items, callers): (Vec<I>, Vec<_>) = batch.drain(..).unzip();
                let Ok(answers) = tokio::time::timeout(PATIENCE, operation(items)).await else {
                    tracing::error!(callers = callers.len(), "a batch took longer than {PATIENCE:?} and was given up");
                    continue;
                };
                for (caller, answer) in callers.into_iter().zip(answers) {
                    // A caller that has gone away needs no answer.
                    let _ = caller.send(answer);
                }
            }
        });
        Coalesce { calls }
    }

    pub async fn call(&self, item: I) -> std::result::Result<O, NoAnswer> {
        let (answer, receiver) = oneshot::channel();
        self.calls.send((item, answer)).await.map_err(|_| NoAnswer)?;
        receiver.await.map_err(|_| NoAnswer)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn every_caller_gets_its_own_answer_and_late_ones_share_a_batch() {
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let seen = sizes.clone();
        let double = Coalesce::new(64, move |items: Vec<u32>| {
            seen.lock().unwrap().push(items.len());
            async move {
                tokio::task::yield_now().await;
                items.into_iter().map(|i| i * 2).collect()
            }
        });
        let calls = (0..50).map(|i| {
            let double = double.clone();
            tokio::spawn(async move { (i, double.call(i).await.unwrap()) })
        });
        for call in calls.collect::<Vec<_>>() {
            let (i, answer) = call.await.unwrap();
            assert_eq!(answer, i * 2);
        }
        let sizes = sizes.lock().unwrap();
        assert_eq!(sizes.iter().sum::<usize>(), 50);
        assert!(sizes.len() < 50, "nothing was batched: {sizes:?}");
    }
}
