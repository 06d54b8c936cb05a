//! Client of the daemon's socket, for the command line and the provisioning station.

use super::wire::{BatchAnswer, Certificate, CertificateRequest, Health, ProblemDetails};
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::Mutex;

/// Largest answer read, in bytes.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// Longest wait for an answer.
const DEADLINE: Duration = Duration::from_secs(60);

/// Why the daemon gave no certificate.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection.
    #[error("cannot reach the daemon at {path}: {reason}; is sealwrightd running and does this user have access?")]
    Unreachable {
        /// Socket path.
        path: String,
        /// Cause.
        reason: String,
    },
    /// The connection broke or the answer is not HTTP as expected.
    #[error("no answer from the daemon: {0}; repeat the request with the same request id")]
    Broken(String),
    /// The daemon answered with a problem.
    #[error("{}", explain(.0))]
    Problem(ProblemDetails),
}

impl ClientError {
    /// Whether repeating the same request can succeed by itself.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Broken(_) => true,
            Self::Problem(p) => matches!(p.status, 429 | 503),
        }
    }
}

fn explain(problem: &ProblemDetails) -> String {
    let mut text = problem.title.clone();
    for rule in &problem.rules {
        text.push_str(&format!("\n  {}: {}\n    remedy: {}", rule.rule, rule.reason, rule.remedy));
    }
    text
}

/// A connection that is kept open and made anew after a failure.
pub struct Client {
    path: PathBuf,
    connection: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Client {
    /// A client of the socket at `path`; connects on first use.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), connection: Mutex::new(None) }
    }

    /// `POST /v1/certificates`.
    pub async fn enroll(&self, request: &CertificateRequest) -> Result<Certificate, ClientError> {
        let body = serde_json::to_vec(request).map_err(|e| ClientError::Broken(e.to_string()))?;
        let answer = self.call(Method::POST, "/v1/certificates", body).await?;
        serde_json::from_slice(&answer).map_err(|e| ClientError::Broken(e.to_string()))
    }

    /// `POST /v1/certificates:batch` on a connection of its own: sends every request and hands over
    /// every answer as it comes. Answers that came before an error stand; send the rest again.
    pub async fn enroll_batch(
        &self,
        requests: impl Iterator<Item = CertificateRequest> + Send + 'static,
        mut each: impl FnMut(BatchAnswer),
    ) -> Result<(), ClientError> {
        let broken = |e: &dyn std::fmt::Display| ClientError::Broken(e.to_string());
        let mut sender = self.connect::<Channel<Bytes, Infallible>>().await?;
        let (mut up, body) = Channel::new(16);
        // Ends when all is sent or the connection is gone.
        tokio::spawn(async move {
            for request in requests {
                let Ok(mut line) = serde_json::to_vec(&request) else { continue };
                line.push(b'\n');
                if up.send_data(Bytes::from(line)).await.is_err() {
                    return;
                }
            }
        });
        let request = head(Method::POST, "/v1/certificates:batch").body(body).map_err(|e| broken(&e))?;
        let response = tokio::time::timeout(DEADLINE, sender.send_request(request)).await;
        let response = response.map_err(|e| broken(&e))?.map_err(|e| broken(&e))?;
        let status = response.status();
        let mut body = response.into_body();
        let mut partial = Vec::new();
        while let Some(frame) = tokio::time::timeout(DEADLINE, body.frame()).await.map_err(|e| broken(&e))? {
            partial.extend_from_slice(&frame.map_err(|e| broken(&e))?.into_data().unwrap_or_default());
            if partial.len() > MAX_ANSWER {
                return Err(ClientError::Broken(format!("a line of over {MAX_ANSWER} bytes")));
            }
            while status.is_success()
                && let Some(end) = partial.iter().position(|b| *b == b'\n')
            {
                each(serde_json::from_slice(&partial[..end]).map_err(|e| broken(&e))?);
                partial.drain(..=end);
            }
        }
        if status.is_success() { Ok(()) } else { Err(problem(status, &partial)) }
    }

    /// `GET /v1/health`.
    pub async fn health(&self) -> Result<Health, ClientError> {
        let answer = self.call(Method::GET, "/v1/health", Vec::new()).await?;
        serde_json::from_slice(&answer).map_err(|e| ClientError::Broken(e.to_string()))
    }

    /// `GET /v1/chain`, PEM.
    pub async fn chain(&self) -> Result<String, ClientError> {
        let answer = self.call(Method::GET, "/v1/chain", Vec::new()).await?;
        String::from_utf8(answer.to_vec()).map_err(|e| ClientError::Broken(e.to_string()))
    }

    async fn connect<B>(&self) -> Result<SendRequest<B>, ClientError>
    where
        B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
    {
        let unreachable = |reason: String| ClientError::Unreachable { path: self.path.display().to_string(), reason };
        let stream = UnixStream::connect(&self.path).await.map_err(|e| unreachable(e.to_string()))?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|e| unreachable(e.to_string()))?;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn call(&self, method: Method, uri: &str, body: Vec<u8>) -> Result<Bytes, ClientError> {
        let mut kept = self.connection.lock().await;
        let mut sender = match kept.take() {
            Some(open) if !open.is_closed() => open,
            _ => self.connect().await?,
        };
        let request = head(method, uri).body(Full::new(Bytes::from(body))).map_err(|e| ClientError::Broken(e.to_string()))?;
        let exchange = async {
            sender.ready().await.map_err(|e| ClientError::Broken(e.to_string()))?;
            let response = sender.send_request(request).await.map_err(|e| ClientError::Broken(e.to_string()))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            Ok((status, body.map_err(|e| ClientError::Broken(e.to_string()))?.to_bytes()))
        };
        let (status, bytes) = tokio::time::timeout(DEADLINE, exchange)
            .await
            .map_err(|_| ClientError::Broken(format!("none within {} s", DEADLINE.as_secs())))??;
        *kept = Some(sender);
        if status.is_success() { Ok(bytes) } else { Err(problem(status, &bytes)) }
    }
}

fn head(method: Method, uri: &str) -> hyper::http::request::Builder {
    Request::builder().method(method).uri(uri).header("host", "sealwright").header("content-type", "application/json")
}

fn problem(status: StatusCode, bytes: &[u8]) -> ClientError {
    match serde_json::from_slice::<ProblemDetails>(bytes) {
        Ok(details) => ClientError::Problem(details),
        Err(_) => ClientError::Broken(format!("HTTP {status}")),
    }
}
