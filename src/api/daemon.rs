//! The daemon's parts, put together from its configuration and taken apart in order.

use crate::ca::issue::{Issuance, IssueError};
use crate::ca::publish::{PublishError, Publisher, Publishing};
use crate::config::{Config, PinSource};
use crate::log::entry::Event;
use crate::log::tiles::TileLog;
use crate::policy::set::PolicySet;
use crate::store::{Opened, Store, StoreError};
use crate::token::signer::{RemoteSigner, SignerOptions};
use crate::token::{Module, Pin, Signer, SignerPool, TokenError, TokenUri};
use crate::types::Fingerprint;
use crate::x509::pem;
use crate::x509::tbs::Issuer;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How often to look for intents that a disk failure left without a certificate.
const RECOVERIES: Duration = Duration::from_secs(1);

/// Why the daemon does not start or does not stop cleanly.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// A file or directory.
    #[error("{path}: {reason}")]
    File {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The policy files.
    #[error("the policy is refused: {0}")]
    Policy(String),
    /// The log.
    #[error(transparent)]
    Log(#[from] PublishError),
    /// The issuance line.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

fn file(path: &Path, reason: impl ToString) -> DaemonError {
    DaemonError::File { path: path.display().to_string(), reason: reason.to_string() }
}

/// Makes the empty store and the empty log; refuses to overwrite either (K4).
pub fn create(config: &Config) -> Result<(), DaemonError> {
    for directory in [&config.store, &config.log_directory] {
        std::fs::create_dir_all(directory).map_err(|e| file(directory, e))?;
    }
    Store::create(&config.store)?;
    TileLog::create(&config.log_directory, &config.log_origin).map_err(|e| file(&config.log_directory, e))?;
    Ok(())
}

/// A started daemon, before and after it serves.
pub struct Running {
    issuance: Arc<Issuance>,
    publishing: Publishing,
    writer: JoinHandle<()>,
    watch: tokio::task::JoinHandle<()>,
}

/// Loads policy, opens the store (alone), opens the token once, checks its keys, and starts
/// the log's publisher.
pub async fn start(config: &Config) -> Result<Running, DaemonError> {
    let policy = PolicySet::load(&config.policy).map_err(|e| DaemonError::Policy(e.to_string()))?;
    let chain = std::fs::read(&config.chain).map_err(|e| file(&config.chain, e))?;
    let chain = pem::certificates(&chain).map_err(|e| file(&config.chain, e))?;
    let own = chain.first().ok_or_else(|| file(&config.chain, "holds no certificate"))?;
    let issuer = Issuer::from_certificate(own).map_err(|e| file(&config.chain, e))?;
    let key = Fingerprint::of_spki(issuer.spki_der());

    let Opened { store, writer } = Store::open(&config.store)?;
    let signer = Arc::new(open_signer(config, key)?);

    let publishing = Publisher::start(config.log_directory.clone(), store.clone(), Arc::clone(&signer), config.log_key).await?;
    let issuance = Arc::new(Issuance::new(policy, chain, signer, store, &publishing)?);
    let version = env!("CARGO_PKG_VERSION");
    issuance.note(format!("pid={}", std::process::id()), Event::Started(format!("sealwrightd {version}"))).await?;
    issuance.record_recovered().await?;
    let watch = tokio::spawn(watch_recoveries(Arc::clone(&issuance)));
    Ok(Running { issuance, publishing, writer, watch })
}

/// Logs what the store finds when it has to open from disk again.
async fn watch_recoveries(issuance: Arc<Issuance>) {
    let mut every = tokio::time::interval(RECOVERIES);
    loop {
        every.tick().await;
        if let Err(error) = issuance.record_recovered().await {
            tracing::error!(%error, "a recovery is not in the log");
        }
    }
}

/// Longest wait for one signature of a signer process, shorter than the issuance line's own.
const SIGNER_DEADLINE: Duration = Duration::from_secs(10);

/// The token: in a process of its own when the configuration names a guard, else in this one.
fn open_signer(config: &Config, key: Fingerprint) -> Result<Signer, DaemonError> {
    let uri = TokenUri::parse(&config.token_uri)?;
    if let (Some(guard), PinSource::File(pin)) = (&config.guard, &config.pin) {
        let program = std::env::current_exe().map_err(|e| file(Path::new("/proc/self/exe"), e))?;
        let text = |path: &Path| path.display().to_string();
        let (module, token, sessions) = (text(&config.module), config.token_uri.clone(), config.sessions.to_string());
        let named =
            [("--module", module), ("--token", token), ("--pin-file", text(pin)), ("--guard", text(guard)), ("--sessions", sessions)];
        let arguments = std::iter::once("signer".to_owned()).chain(named.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
        let options = SignerOptions { program, arguments: arguments.collect(), deadline: SIGNER_DEADLINE };
        let signer = RemoteSigner::start(options)?;
        // The guard must know both keys, or the first request would be the first to notice.
        [key, config.log_key].iter().try_for_each(|f| signer.spki_der(f).map(|_| ()))?;
        return Ok(Signer::Process(signer));
    }
    let pin = match &config.pin {
        PinSource::File(path) => Pin::from_file(path)?,
        PinSource::Descriptor(fd) => Pin::from_descriptor(*fd)?,
    };
    let module = Module::load(&config.module)?;
    let pool = SignerPool::start(&module, &uri, &pin, &[key, config.log_key], config.sessions)?;
    Ok(Signer::Here(Box::new(pool)))
}

impl Running {
    /// The issuance line.
    pub fn issuance(&self) -> &Arc<Issuance> {
        &self.issuance
    }

    /// Records the stop, publishes the last entries, closes store and token.
    pub async fn finish(self) -> Result<(), DaemonError> {
        self.issuance.note(String::new(), Event::Stopped("asked to stop".into())).await?;
        let published = tokio::task::spawn_blocking(|| self.publishing.finish()).await;
        published.map_err(|e| PublishError::Stopped(e.to_string()))??;
        // The last handle on the store ends its writer.
        self.watch.abort();
        let _ = self.watch.await;
        drop(self.issuance);
        let ended = tokio::task::spawn_blocking(|| self.writer.join()).await;
        if !matches!(ended, Ok(Ok(()))) {
            return Err(StoreError::Failed("the writer ended badly".into()).into());
        }
        Ok(())
    }
}
