//! `POST /v1/certificates:batch`: requests stream in and answers stream out, one JSON object a
//! line each way. Answers come as they are ready and carry the number of their line; a bad line,
//! or a slow one, harms no other. What was answered before is answered with the same bytes, so a
//! batch that was cut off is simply sent again.

use super::problem::Problem;
use super::server::{Peer, Service, walk};
use super::wire::{BatchAnswer, Certificate, CertificateRequest};
use crate::ca::issue::Request;
use crate::policy::decide::Caller;
use crate::types::ProfileName;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};

/// Lines of one batch in hand at a time: enough to fill a group commit, far below what all may have.
pub const IN_HAND: usize = 64;
/// Longest line, in bytes, as a body of `POST /v1/certificates`.
const MAX_LINE: usize = super::server::MAX_BODY;
/// Longest pause of the sender.
const PAUSE: Duration = Duration::from_secs(60);
/// Longest time that the caller may leave an answer unread.
const UNREAD: Duration = Duration::from_secs(60);

/// Answers the batch; the response begins at once.
pub(super) async fn batch(State(service): State<Arc<Service>>, Extension(peer): Extension<Peer>, body: Body) -> Result<Response, Problem> {
    let (caller, allowed) = service.caller(peer).await?;
    let (answers, ready) = mpsc::channel(IN_HAND);
    let (out, stream) = Channel::<Bytes, Infallible>::new(4);
    tokio::spawn(forward(ready, out));
    tokio::spawn(take(service, Arc::new(caller), allowed.into(), Lines::new(body), answers));
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"))];
    Ok((kind, Body::new(stream)).into_response())
}

/// Starts each line as it comes, at most [`IN_HAND`] at a time.
async fn take(
    service: Arc<Service>,
    caller: Arc<Caller>,
    allowed: Arc<[ProfileName]>,
    mut lines: Lines,
    answers: mpsc::Sender<BatchAnswer>,
) {
    let slots = Arc::new(Semaphore::new(IN_HAND));
    let mut line = 0;
    while let Some(next) = lines.next().await {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        if answers.is_closed() {
            return;
        }
        line += 1;
        let (service, caller, allowed, answers) = (service.clone(), caller.clone(), allowed.clone(), answers.clone());
        tokio::spawn(async move {
            let answer = answer(&service, &caller, &allowed, line, next).await;
            // The record stands, whether or not the caller is there to hear of it.
            let _ = answers.send(answer).await;
            drop(slot);
        });
    }
}

async fn answer(service: &Service, caller: &Caller, allowed: &[ProfileName], line: u64, next: Result<Vec<u8>, Problem>) -> BatchAnswer {
    let mut request_id = None;
    let (certificate, problem) = match read(next, &mut request_id) {
        Err(problem) => (None, Some(service.malformed(caller).await.err().unwrap_or(problem))),
        // A batch waits for its turn; it is the single requests that are told to come back.
        Ok(request) => match service.batched.clone().acquire_owned().await {
            Err(_) => (None, Some(Problem::Overloaded)),
            Ok(_turn) => match walk(service, caller.clone(), allowed.to_vec(), request).await {
                Ok(issued) => (Some(Certificate::new(&issued, &[])), None),
                Err(problem) => (None, Some(problem)),
            },
        },
    };
    BatchAnswer { line, request_id, certificate, problem: problem.map(|p| p.details()) }
}

/// Reads one line; its request id is told even when the rest is refused.
fn read(line: Result<Vec<u8>, Problem>, request_id: &mut Option<String>) -> Result<Request, Problem> {
    let raw: CertificateRequest =
        serde_json::from_slice(&line?).map_err(|e| Problem::Body(format!("the line is not a certificate request: {e}")))?;
    *request_id = Some(raw.request_id.clone());
    Request::try_from(raw).map_err(|e| Problem::Body(e.to_string()))
}

/// Writes what is ready, several answers at a time when they are. A caller that reads nothing for
/// a minute is given up.
async fn forward(mut ready: mpsc::Receiver<BatchAnswer>, mut out: http_body_util::channel::Sender<Bytes, Infallible>) {
    let mut waiting = Vec::with_capacity(IN_HAND);
    while ready.recv_many(&mut waiting, IN_HAND).await > 0 {
        let mut text = Vec::new();
        for answer in waiting.drain(..) {
            if serde_json::to_writer(&mut text, &answer).is_ok() {
                text.push(b'\n');
            }
        }
        match tokio::time::timeout(UNREAD, out.send_data(Bytes::from(text))).await {
            Ok(Ok(())) => {}
            _ => return,
        }
    }
}

/// Lines of a body. Blank ones are passed over; one that is too long is refused and skipped; the
/// last may lack its newline.
struct Lines {
    body: Option<Body>,
    partial: Vec<u8>,
    skipping: bool,
    whole: VecDeque<Result<Vec<u8>, Problem>>,
}

impl Lines {
    fn new(body: Body) -> Self {
        Self { body: Some(body), partial: Vec::new(), skipping: false, whole: VecDeque::new() }
    }

    async fn next(&mut self) -> Option<Result<Vec<u8>, Problem>> {
        loop {
            if let Some(line) = self.whole.pop_front() {
                return Some(line);
            }
            let body = self.body.as_mut()?;
            match tokio::time::timeout(PAUSE, body.frame()).await {
                Err(_) => self.end(Some(Problem::Slow)),
                Ok(None) => self.end(None),
                Ok(Some(Err(e))) => self.end(Some(Problem::Body(format!("the body did not arrive whole: {e}")))),
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.push(&data);
                    }
                }
            }
        }
    }

    fn push(&mut self, data: &[u8]) {
        let mut parts = data.split(|b| *b == b'\n').peekable();
        while let Some(part) = parts.next() {
            let last = parts.peek().is_none();
            if !self.skipping && self.partial.len() + part.len() > MAX_LINE {
                self.whole.push_back(Err(Problem::TooLarge(MAX_LINE)));
                self.partial.clear();
                self.skipping = true;
            }
            if !self.skipping {
                self.partial.extend_from_slice(part);
            }
            if !last {
                self.finish_line();
            }
        }
    }

    fn finish_line(&mut self) {
        let line = std::mem::take(&mut self.partial);
        if !std::mem::take(&mut self.skipping) && !line.trim_ascii().is_empty() {
            self.whole.push_back(Ok(line));
        }
    }

    fn end(&mut self, problem: Option<Problem>) {
        self.body = None;
        match problem {
            // What is cut is not guessed at.
            Some(problem) => self.whole.push_back(Err(problem)),
            None => self.finish_line(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_cut_bounded_and_blank_ones_passed_over() {
        let long = "x".repeat(MAX_LINE + 1);
        let text = format!("one\n\n  \ntwo\n{long}\nthree");
        let body = Body::from(text);
        let mut lines = Lines::new(body);
        let mut seen = Vec::new();
        while let Some(line) = lines.next().await {
            seen.push(match line {
                Ok(bytes) => String::from_utf8(bytes).unwrap(),
                Err(problem) => problem.details().title,
            });
        }
        assert_eq!(seen, ["one", "two", &format!("the body has more than {MAX_LINE} bytes"), "three"]);
    }
}
