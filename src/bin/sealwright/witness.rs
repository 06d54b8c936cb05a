//! `sealwright witness`: cosign the checkpoints of other people's logs, by file or over HTTP.

use crate::log::{open_checkpoint, verifier_key};
use crate::{Failure, Verdict};
use axum::extract::{DefaultBodyLimit, Path as UrlPath, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use clap::Subcommand;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use sealwright::durable;
use sealwright::log::checkpoint::SignedCheckpoint;
use sealwright::log::note::{MAX_NOTE, NoteSignature};
use sealwright::log::reader::TileReader;
use sealwright::log::vkey::VerifierKey;
use sealwright::log::witness::{AddCheckpoint, MAX_REQUEST, Refusal, Witness, origin_hash};
use sealwright::types::unix_now;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for a witness.
const PATIENCE: Duration = Duration::from_secs(20);

/// Witness the checkpoints of logs, and ask witnesses for cosignatures.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Create a witness with a key of its own and print its verifier key.
    Init {
        /// Directory to create.
        dir: PathBuf,
        /// Name in cosignatures, e.g. witness.example/w1.
        #[arg(long)]
        name: String,
    },
    /// Add a log whose checkpoints shall be cosigned.
    Trust {
        /// The witness's directory.
        dir: PathBuf,
        /// The log's verifier key, or a file that holds it.
        log_key: String,
    },
    /// Answer a hand-carried request: print the cosignature line, or say why not.
    Cosign {
        /// The witness's directory.
        dir: PathBuf,
        /// Request file.
        request: PathBuf,
        /// File to create for the answer.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Answer requests over HTTP (C2SP tlog-witness).
    Serve {
        /// The witness's directory.
        dir: PathBuf,
        /// Address and port.
        #[arg(long, default_value = "127.0.0.1:7380")]
        listen: SocketAddr,
    },
    /// Write a request for a witness, to be carried by hand.
    Request {
        /// Log or mirror directory.
        log: PathBuf,
        /// The log's verifier key, or a file that holds it.
        #[arg(long)]
        log_key: String,
        /// Size that the witness last cosigned.
        #[arg(long, default_value_t = 0)]
        old: u64,
        /// File to create.
        #[arg(long)]
        out: PathBuf,
    },
    /// Ask a witness over HTTP and write the cosigned checkpoint.
    Ask {
        /// Log or mirror directory.
        log: PathBuf,
        /// The log's verifier key, or a file that holds it.
        #[arg(long)]
        log_key: String,
        /// The witness's verifier key, or a file that holds it.
        #[arg(long)]
        witness: String,
        /// Address and port of the witness.
        #[arg(long)]
        address: String,
        /// Checkpoint file to write; it keeps the cosignatures that it has of the same checkpoint.
        #[arg(long)]
        out: PathBuf,
    },
    /// Join a hand-carried answer to the checkpoint.
    Join {
        /// The request that was answered.
        request: PathBuf,
        /// The answer.
        answer: PathBuf,
        /// The log's verifier key, or a file that holds it.
        #[arg(long)]
        log_key: String,
        /// The witness's verifier key, or a file that holds it.
        #[arg(long)]
        witness: String,
        /// Checkpoint file to write; it keeps the cosignatures that it has of the same checkpoint.
        #[arg(long)]
        out: PathBuf,
    },
}

/// Runs the command.
pub fn run(args: Args) -> Result<Verdict, Failure> {
    match args.command {
        Command::Init { dir, name } => println!("{}", Witness::create(&dir, &name)?.public()),
        Command::Trust { dir, log_key } => Witness::load(&dir)?.trust(&verifier_key(&log_key)?)?,
        Command::Cosign { dir, request, out } => return cosign(&dir, &request, out.as_deref()),
        Command::Serve { dir, listen } => runtime()?.block_on(serve(Witness::load(&dir)?, listen))?,
        Command::Request { log, log_key, old, out } => {
            let reader = TileReader::new(&log);
            let request = AddCheckpoint::make(&reader, old, &reader.checkpoint(&verifier_key(&log_key)?)?)?;
            durable::create_new(&out, request.to_string().as_bytes(), 0o644).map_err(|e| format!("{}: {e}", out.display()))?;
        }
        Command::Ask { log, log_key, witness, address, out } => {
            let (log_key, witness) = (verifier_key(&log_key)?, verifier_key(&witness)?);
            let reader = TileReader::new(&log);
            let mut signed = reader.checkpoint(&log_key)?;
            let lines = runtime()?.block_on(ask(&reader, &signed, &address))?;
            for line in lines.lines().map(NoteSignature::parse).collect::<Result<Vec<_>, _>>()?.into_iter().filter(|l| l.is_by(&witness)) {
                signed.add_cosignature(line, &witness)?;
            }
            signed.note().verify(&witness)?;
            return keep(&out, signed, &log_key);
        }
        Command::Join { request, answer, log_key, witness, out } => {
            let (log_key, witness) = (verifier_key(&log_key)?, verifier_key(&witness)?);
            let read = |path: &Path| std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
            let mut signed = AddCheckpoint::parse(&read(&request)?)?.open(&log_key)?;
            let answer = String::from_utf8(read(&answer)?)?;
            for line in answer.lines().map(NoteSignature::parse).collect::<Result<Vec<_>, _>>()? {
                signed.add_cosignature(line, &witness)?;
            }
            return keep(&out, signed, &log_key);
        }
    }
    Ok(Verdict::Good)
}

fn cosign(dir: &Path, request: &Path, out: Option<&Path>) -> Result<Verdict, Failure> {
    let bytes = std::fs::read(request).map_err(|e| format!("{}: {e}", request.display()))?;
    match Witness::load(dir)?.add_checkpoint(&bytes, now()) {
        Ok(line) => match out {
            Some(out) => durable::create_new(out, line.as_bytes(), 0o644).map_err(|e| format!("{}: {e}", out.display()))?,
            None => print!("{line}"),
        },
        Err(Refusal::Broken(e)) => return Err(e.into()),
        Err(refusal) => {
            eprintln!("not cosigned: {refusal}");
            return Ok(Verdict::Bad);
        }
    }
    Ok(Verdict::Good)
}

/// Writes the checkpoint with the cosignatures that a file of the same checkpoint already has.
fn keep(out: &Path, mut signed: SignedCheckpoint, key: &VerifierKey) -> Result<Verdict, Failure> {
    if out.exists() {
        let before = open_checkpoint(out, key)?;
        if before.checkpoint() == signed.checkpoint() {
            signed.join(&before)?;
        }
    }
    durable::replace(out, signed.note().to_string().as_bytes(), 0o644).map_err(|e| format!("{}: {e}", out.display()))?;
    println!("{}: size {}, {} signatures", out.display(), signed.checkpoint().size(), signed.note().signatures().len());
    Ok(Verdict::Good)
}

fn now() -> u64 {
    u64::try_from(unix_now()).unwrap_or(0)
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

async fn serve(witness: Witness, listen: SocketAddr) -> Result<(), Failure> {
    let name = witness.public().to_string();
    let routes = axum::Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .route("/{origin}/checkpoint", get(last_checkpoint))
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
        .with_state(Arc::new(witness));
    let listener = tokio::net::TcpListener::bind(listen).await.map_err(|e| format!("cannot listen on {listen}: {e}"))?;
    println!("{name} on http://{}", listener.local_addr()?);
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    Ok(axum::serve(listener, routes).with_graceful_shutdown(stop).await?)
}

async fn add_checkpoint(State(witness): State<Arc<Witness>>, body: Bytes) -> Response {
    let answer = tokio::task::spawn_blocking(move || witness.add_checkpoint(&body, now())).await;
    match answer {
        Ok(Ok(line)) => ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], line).into_response(),
        Ok(Err(Refusal::Stale { size })) => {
            (StatusCode::CONFLICT, [(header::CONTENT_TYPE, "text/x.tlog.size")], format!("{size}\n")).into_response()
        }
        Ok(Err(refusal)) => {
            let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, format!("{refusal}\n")).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn last_checkpoint(State(witness): State<Arc<Witness>>, UrlPath(origin): UrlPath<String>) -> Response {
    let found = tokio::task::spawn_blocking(move || {
        let logs = witness.logs()?;
        logs.iter().find(|log| origin_hash(log.name()) == origin).map_or(Ok(None), |log| witness.last(log))
    });
    match found.await {
        Ok(Ok(Some(signed))) => ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], signed.note().to_string()).into_response(),
        Ok(Ok(None)) => StatusCode::NOT_FOUND.into_response(),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Asks from size 0 first; a witness that knows the log answers with the size to start from.
async fn ask(reader: &TileReader, signed: &SignedCheckpoint, address: &str) -> Result<String, Failure> {
    let mut old = 0;
    for _ in 0..3 {
        if old > signed.checkpoint().size() {
            return Err(format!(
                "the witness has seen {old} entries and this log only has {}: it is an old copy",
                signed.checkpoint().size()
            )
            .into());
        }
        let request = AddCheckpoint::make(reader, old, signed)?;
        let answer = tokio::time::timeout(PATIENCE, post_request(address, request.to_string()));
        let (status, body) =
            answer.await.map_err(|_| format!("the witness at {address} did not answer within {} s", PATIENCE.as_secs()))??;
        match status {
            StatusCode::OK => return Ok(body),
            StatusCode::CONFLICT => old = body.trim_end().parse().map_err(|_| format!("the witness answered '{body}'"))?,
            other => return Err(format!("the witness does not cosign ({other}): {}", body.trim_end()).into()),
        }
    }
    Err("the witness's state changes while it is asked; try again".into())
}

async fn post_request(address: &str, body: String) -> Result<(StatusCode, String), Failure> {
    let stream = tokio::net::TcpStream::connect(address).await.map_err(|e| format!("cannot reach the witness at {address}: {e}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = hyper::Request::post("/add-checkpoint").header(header::HOST, address).body(Full::new(Bytes::from(body)))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let bytes = Limited::new(response.into_body(), MAX_NOTE)
        .collect()
        .await
        .map_err(|e| format!("the witness's answer is refused: {e}"))?
        .to_bytes();
    Ok((status, String::from_utf8(bytes.to_vec())?))
}
