//! The writer thread: drain, one transaction, answer.

use super::sqlite::{Applied, Writer};
use super::{BATCH, Operation, StoreError};
use std::sync::mpsc::Receiver;

/// Runs until every [`super::Store`] handle is gone.
pub(super) fn run(mut backend: Writer, waiting: &Receiver<Operation>) {
    let mut batch = Vec::with_capacity(BATCH);
    while let Ok(first) = waiting.recv() {
        batch.push(first);
        // No timer: while one batch syncs the next one gathers, so waiting would only add delay.
        batch.extend(waiting.try_iter().take(BATCH - 1));
        match backend.apply(&batch) {
            Ok(results) => batch.drain(..).zip(results).for_each(|(operation, result)| answer(operation, result)),
            Err(error) => {
                tracing::error!(%error, operations = batch.len(), "store transaction failed; reopening from disk");
                batch.drain(..).for_each(|operation| refuse(operation, &error));
                backend.discard();
            }
        }
    }
}

fn answer(operation: Operation, result: Applied) {
    // A caller that went away does not need its answer; the record stands.
    match (operation, result) {
        (Operation::Begin(_, _, reply), Applied::Begun(begun)) => drop(reply.send(begun)),
        (Operation::End { reply, .. } | Operation::Note { reply, .. } | Operation::Prune { reply, .. }, Applied::Index(index)) => {
            drop(reply.send(index))
        }
        (operation, _) => refuse(operation, &StoreError::Failed("answer of another kind".into())),
    }
}

fn refuse(operation: Operation, error: &StoreError) {
    let error = error.clone();
    match operation {
        Operation::Begin(_, _, reply) => drop(reply.send(Err(error))),
        Operation::End { reply, .. } | Operation::Note { reply, .. } | Operation::Prune { reply, .. } => drop(reply.send(Err(error))),
    }
}
