//! Unix-socket server: kernel peer credentials, bounded connections, bodies and times.

use super::batch;
use super::problem::Problem;
use super::wire;
use crate::ca::issue::{Issuance, IssueError, Issued, Request};
use crate::config::{Config, Role};
use crate::policy::decide::Caller;
use crate::types::{ProfileName, Serial};
use crate::x509::pem;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path as UrlPath, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Largest request body, in bytes: a request of 16 KiB in base64 and its identity.
pub const MAX_BODY: usize = 64 * 1024;
/// Time for the head of a request, and as much again for its body.
const SLOW: Duration = Duration::from_secs(10);
/// Time that a stop gives to requests in hand.
const GRACE: Duration = Duration::from_secs(20);

/// What every handler needs.
pub struct Service {
    issuance: Arc<Issuance>,
    /// PEM of the issuing certificate and those above it.
    chain: Vec<String>,
    config: Config,
    /// Single requests in hand: three quarters of what the line takes; more get 429.
    in_hand: Arc<Semaphore>,
    /// Lines of batches in hand: the last quarter; more wait.
    pub(super) batched: Arc<Semaphore>,
}

impl Service {
    /// The caller and the profiles of its role.
    pub(super) async fn caller(&self, peer: Peer) -> Result<(Caller, Vec<ProfileName>), Problem> {
        let role = admit(self, peer).await?;
        let caller = Caller::new(&role.name, peer.uid).map_err(|e| Problem::Body(e.to_string()))?;
        Ok((caller, role.profiles.clone()))
    }

    /// Records a body, or a line of a batch, that is no request (I6).
    pub(super) async fn malformed(&self, caller: &Caller) -> Result<(), Problem> {
        self.issuance.record_malformed(caller).await.map_err(Problem::Issue)
    }
}

/// Walks the issuance line, in a task of its own: a caller that hangs up must not leave it half walked.
pub(super) async fn walk(service: &Service, caller: Caller, allowed: Vec<ProfileName>, request: Request) -> Result<Issued, Problem> {
    let issuance = service.issuance.clone();
    let walked = tokio::spawn(async move { issuance.issue(&caller, &allowed, request).await }).await;
    walked.map_err(|e| Problem::Issue(IssueError::Internal(e.to_string())))?.map_err(Problem::Issue)
}

/// Who is at the other end, by SO_PEERCRED.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    uid: u32,
}

/// Binds the socket. Refuses a path whose directory others may write to, or that holds
/// anything but a dead socket of ours.
pub fn bind(config: &Config) -> io::Result<UnixListener> {
    let refuse = |text: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    let path = &config.socket;
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mode = std::fs::metadata(directory).map_err(|e| named(directory, e))?.permissions().mode();
    if mode & 0o002 != 0 {
        return refuse(format!("{}: others may write to this directory; put the socket where only its owner may", directory.display()));
    }
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(named(path, e)),
        Ok(found) if !found.file_type().is_socket() => {
            return refuse(format!("{}: exists and is not a socket; remove it or choose another path", path.display()));
        }
        Ok(found) if found.uid() != rustix::process::geteuid().as_raw() => {
            return refuse(format!("{}: a socket of another user is in the way", path.display()));
        }
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            return refuse(format!("{}: another daemon listens here; stop it first", path.display()));
        }
        Ok(_) => std::fs::remove_file(path).map_err(|e| named(path, e))?,
    }
    let listener = UnixListener::bind(path).map_err(|e| named(path, e))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(config.socket_mode))?;
    Ok(listener)
}

fn named(path: &Path, e: io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}

/// Serves until `stop` turns true, then finishes what is in hand.
pub async fn serve(listener: UnixListener, issuance: Arc<Issuance>, config: Config, mut stop: watch::Receiver<bool>) {
    let connections = Arc::new(Semaphore::new(config.max_connections));
    let all = config.max_connections as u32;
    let path = config.socket.clone();
    let pem_chain = issuance.chain().iter().map(|der| pem::encode(pem::CERTIFICATE, der)).collect();
    let (in_hand, batched) = (issuance.capacity() * 3 / 4, issuance.capacity() / 4);
    let (in_hand, batched) = (Arc::new(Semaphore::new(in_hand)), Arc::new(Semaphore::new(batched)));
    let service = Arc::new(Service { issuance, chain: pem_chain, config, in_hand, batched });
    let router = Router::new()
        .route("/v1/certificates", post(issue))
        .route("/v1/certificates:batch", post(batch::batch))
        .route("/v1/certificates/{serial}", get(certificate))
        .route("/v1/chain", get(chain))
        .route("/v1/health", get(health))
        .fallback(|| async { Problem::NotFound("no such path; see /v1/health, /v1/chain and /v1/certificates".into()) })
        .with_state(service);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &connections) => accepted,
            () = stopping(&mut stop) => break,
        };
        match accepted {
            Ok((stream, permit)) => drop(tokio::spawn(converse(stream, permit, router.clone(), stop.clone()))),
            Err(error) => {
                // EMFILE and the like pass when connections close; spinning would not help them.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    // A socket that nobody listens on would only mislead; one that is gone already is no matter.
    drop(std::fs::remove_file(&path));
    if tokio::time::timeout(GRACE, connections.acquire_many(all)).await.is_err() {
        tracing::warn!("stopped with connections still open");
    }
}

async fn accept(listener: &UnixListener, connections: &Arc<Semaphore>) -> io::Result<(UnixStream, OwnedSemaphorePermit)> {
    let permit = connections.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

/// Returns when the daemon is to stop.
async fn stopping(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stopped| *stopped).await);
}

/// One connection, with the uid that the kernel fixed when it connected.
async fn converse(stream: UnixStream, _permit: OwnedSemaphorePermit, router: Router, mut stop: watch::Receiver<bool>) {
    let Ok(credentials) = stream.peer_cred() else { return };
    let service = TowerToHyperService::new(router.layer(Extension(Peer { uid: credentials.uid() })));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(SLOW)
        .max_buf_size(64 * 1024)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = stopping(&mut stop) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

async fn read_body(body: Body) -> Result<Bytes, Problem> {
    let collected = tokio::time::timeout(SLOW, Limited::new(body, MAX_BODY).collect()).await.map_err(|_| Problem::Slow)?;
    match collected {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(e) if e.is::<LengthLimitError>() => Err(Problem::TooLarge(MAX_BODY)),
        Err(e) => Err(Problem::Body(format!("the body did not arrive whole: {e}"))),
    }
}

/// The caller's role; a stranger is recorded before it is told (I6).
async fn admit(service: &Service, peer: Peer) -> Result<&Role, Problem> {
    match service.config.role(peer.uid) {
        Some(role) => Ok(role),
        None => {
            service.issuance.record_stranger(peer.uid).await.map_err(Problem::Issue)?;
            Err(Problem::Caller(peer.uid))
        }
    }
}

async fn read_request(body: Body) -> Result<Request, Problem> {
    let bytes = read_body(body).await?;
    let raw: wire::CertificateRequest =
        serde_json::from_slice(&bytes).map_err(|e| Problem::Body(format!("the body is not a certificate request: {e}")))?;
    Request::try_from(raw).map_err(|e| Problem::Body(e.to_string()))
}

async fn issue(
    State(service): State<Arc<Service>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (caller, allowed) = service.caller(peer).await?;
    let request = match read_request(body).await {
        Ok(request) => request,
        Err(problem) => {
            service.malformed(&caller).await?;
            return Err(problem);
        }
    };
    // Only now: a slow sender holds a connection, never a place in the line.
    let _turn = service.in_hand.clone().try_acquire_owned().map_err(|_| Problem::Overloaded)?;
    let issued = walk(&service, caller, allowed, request).await?;
    let status = if issued.replayed { StatusCode::OK } else { StatusCode::CREATED };
    Ok(match accepted(&headers) {
        Form::Json => (status, Json(wire::Certificate::new(&issued, &service.chain))).into_response(),
        Form::Pem => {
            (status, typed("application/pem-certificate-chain"), pem_chain(&issued.record.certificate, &service.chain)).into_response()
        }
        Form::Der => (status, typed("application/pkix-cert"), issued.record.certificate).into_response(),
    })
}

async fn certificate(
    State(service): State<Arc<Service>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    UrlPath(serial): UrlPath<String>,
) -> Result<Response, Problem> {
    admit(&service, peer).await?;
    let serial = Serial::parse(&serial).map_err(|e| Problem::Body(e.to_string()))?;
    let issued = service.issuance.find(&serial).map_err(Problem::Issue)?;
    let issued = issued.ok_or_else(|| Problem::NotFound(format!("no certificate with serial {serial}")))?;
    Ok(match accepted(&headers) {
        Form::Json => Json(wire::Certificate::new(&issued, &service.chain)).into_response(),
        Form::Pem => (typed("application/pem-certificate-chain"), pem_chain(&issued.record.certificate, &[])).into_response(),
        Form::Der => (typed("application/pkix-cert"), issued.record.certificate).into_response(),
    })
}

async fn chain(State(service): State<Arc<Service>>, Extension(peer): Extension<Peer>) -> Result<Response, Problem> {
    admit(&service, peer).await?;
    Ok((typed("application/pem-certificate-chain"), service.chain.concat()).into_response())
}

async fn health(State(service): State<Arc<Service>>, Extension(peer): Extension<Peer>) -> Result<Json<wire::Health>, Problem> {
    admit(&service, peer).await?;
    let status = service.issuance.status().map_err(Problem::Issue)?;
    Ok(Json(wire::Health {
        status: if status.problems.is_empty() { "ok" } else { "degraded" }.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        problems: status.problems,
        certificates: status.certificates,
        log_size: status.log_size,
        unresolved: status.unresolved.iter().map(|u| u.serial.to_string()).collect(),
        policy: hex::encode(status.policy),
        test_only: status.soft_token,
        log_key: status.vkey,
    }))
}

enum Form {
    Json,
    Pem,
    Der,
}

fn accepted(headers: &HeaderMap) -> Form {
    match headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()) {
        Some(v) if v.contains("application/pkix-cert") => Form::Der,
        Some(v) if v.contains("application/pem-certificate-chain") || v.contains("application/x-pem-file") => Form::Pem,
        _ => Form::Json,
    }
}

fn typed(kind: &'static str) -> [(header::HeaderName, HeaderValue); 1] {
    [(header::CONTENT_TYPE, HeaderValue::from_static(kind))]
}

fn pem_chain(leaf: &[u8], chain: &[String]) -> String {
    pem::encode(pem::CERTIFICATE, leaf) + &chain.concat()
}
