//! The signer's side: one socket in, signatures out, until the socket ends.

use super::guard_file::GuardFile;
use super::wire::{self, Hello};
use crate::token::pool::Reply;
use crate::token::{Module, Pin, SignerPool, TokenError, TokenUri};
use crossbeam_channel::{Sender, unbounded};
use std::io::{self, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

/// Replies written by one system call.
const BATCH: usize = 64;

/// Serves one daemon on `socket`. What goes wrong at the start is told over the socket too. Ends
/// when the other side closes, or after a device failure, from which only a new C_Initialize is
/// known to recover every module; everything accepted by then is answered.
pub fn serve(
    socket: UnixStream,
    module: &Path,
    token: &TokenUri,
    pin_file: &Path,
    guard: &Path,
    sessions: usize,
) -> Result<(), TokenError> {
    let broken = |e: io::Error| TokenError::Environment(format!("the daemon's socket: {e}"));
    let mut writer = socket.try_clone().map_err(broken)?;
    let started = GuardFile::load(guard).and_then(|guards| {
        let pin = Pin::from_file(pin_file)?;
        let pool = SignerPool::start(&Module::load(module)?, token, &pin, &guards.fingerprints(), sessions)?;
        Ok((guards, pool))
    });
    let (mut guards, pool) = match started {
        Ok(parts) => parts,
        Err(error) => {
            writer.write_all(&wire::reply(0, Err(&error))).map_err(broken)?;
            return Err(error);
        }
    };
    let hello = serde_json::to_vec(&hello(&pool)).map_err(|e| TokenError::Environment(e.to_string()))?;
    writer.write_all(&wire::reply(0, Ok(&hello))).map_err(broken)?;
    let (replies, outgoing) = unbounded::<Vec<u8>>();
    let writing = std::thread::spawn(move || {
        while let Ok(mut frames) = outgoing.recv() {
            outgoing.try_iter().take(BATCH).for_each(|frame| frames.extend(frame));
            if writer.write_all(&frames).is_err() {
                return;
            }
        }
    });
    let ending = Arc::new(socket.try_clone().map_err(broken)?);
    let result = answer(BufReader::new(socket), &mut guards, &pool, &Replies { frames: replies, ending }).map_err(broken);
    // Joins the signers, which drop the last senders of replies.
    drop(pool);
    let _ = writing.join();
    result
}

fn answer(mut reader: impl io::Read, guards: &mut GuardFile, pool: &SignerPool, replies: &Replies) -> io::Result<()> {
    while let Some(body) = wire::read_frame(&mut reader)? {
        let request = wire::parse_request(&body).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "short request"))?;
        let reply = Frame { id: request.id, replies: replies.clone() };
        if let Err(error) = accept(request, guards, pool, &reply) {
            Box::new(reply).give(Err(error));
        }
    }
    Ok(())
}

fn accept(request: wire::Request, guards: &mut GuardFile, pool: &SignerPool, reply: &Frame) -> Result<(), TokenError> {
    let unknown = |what: &str| TokenError::GuardRefused(format!("{what}; no guard allows it"));
    let kind = request.kind.ok_or_else(|| unknown("an unknown kind of message"))?;
    let fingerprint = request.fingerprint.ok_or_else(|| unknown("an unknown key"))?;
    guards.guard(&fingerprint).ok_or_else(|| unknown("an unknown key"))?.admit(kind, &request.message)?;
    pool.submit(&fingerprint, request.message, Box::new(reply.clone()))
}

/// Where the answer to one request goes.
#[derive(Clone)]
struct Frame {
    id: u64,
    replies: Replies,
}

/// The writer's queue, and the socket whose reading end is closed after a device failure.
#[derive(Clone)]
struct Replies {
    frames: Sender<Vec<u8>>,
    ending: Arc<UnixStream>,
}

impl Reply for Frame {
    fn gone(&self) -> bool {
        false
    }

    fn give(self: Box<Self>, signed: Result<Vec<u8>, TokenError>) {
        let _ = self.replies.frames.send(wire::reply(self.id, signed.as_deref()));
        if matches!(signed, Err(TokenError::DeviceFailed { .. })) {
            let _ = self.replies.ending.shutdown(Shutdown::Read);
        }
    }
}

fn hello(pool: &SignerPool) -> Hello {
    let info = pool.info();
    Hello {
        version: 1,
        manufacturer: info.manufacturer.clone(),
        model: info.model.clone(),
        serial: info.serial.clone(),
        label: info.label.clone(),
        firmware: info.firmware.clone(),
        soft: info.soft,
        keys: pool.keys().iter().map(|key| hex::encode(key.spki_der())).collect(),
    }
}
