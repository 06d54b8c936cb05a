//! One caller at a time for each request id.

use crate::types::RequestId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OwnedMutexGuard;

type Turn = Arc<tokio::sync::Mutex<()>>;

/// Callers that race with the same request id wait for the first, then find its answer.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<RequestId, Turn>>);

/// The right to work on one request id; dropping it lets the next in.
pub(super) struct Held<'a> {
    turns: &'a Turns,
    id: RequestId,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits for the turn of `id`.
    pub(super) async fn wait(&self, id: &RequestId) -> Held<'_> {
        let turn = self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(id.clone()).or_default().clone();
        let mut held = Held { turns: self, id: id.clone(), guard: None };
        held.guard = Some(turn.lock_owned().await);
        held
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut turns = self.turns.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.guard = None;
        // Nobody else can take a reference while the map is locked: 1 is the map's own.
        if turns.get(&self.id).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            turns.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn one_at_a_time_and_nothing_left_behind() {
        let turns = Arc::new(Turns::default());
        let inside = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..64)
            .map(|i| {
                let (turns, inside) = (turns.clone(), inside.clone());
                tokio::spawn(async move {
                    let _held = turns.wait(&RequestId::parse("same").unwrap()).await;
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    if i % 2 == 0 {
                        tokio::task::yield_now().await;
                    }
                    inside.fetch_sub(1, Ordering::SeqCst);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert!(turns.0.lock().unwrap().is_empty());
    }
}
