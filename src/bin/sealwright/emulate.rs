//! `sealwright emulate`: secure elements in software, for anyone's tests.

use crate::{Failure, Verdict};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use sealwright::device::emulator::{Emulator, Timing};
use sealwright::device::transport::{EmulatedTransport, kit};
use std::fs::File;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

/// Be a secure element for tests.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    part: Part,
}

#[derive(clap::Subcommand)]
enum Part {
    /// A Microchip ATECC608B that speaks the vendor's kit protocol.
    Atecc608(Atecc608),
}

#[derive(clap::Args)]
struct Atecc608 {
    /// Serve on this TCP address, e.g. 127.0.0.1:8608 (port 0: any free port); the first line of output names it.
    #[arg(long, required_unless_present = "pty", conflicts_with = "pty")]
    listen: Option<SocketAddr>,
    /// Serve on a new pseudo-terminal; the first line of output names it.
    #[arg(long)]
    pty: bool,
    /// File that holds the chip, private keys included (mode 0600); created as a blank chip when absent.
    #[arg(long)]
    state: PathBuf,
    /// Execution times: 'real', 'instant', or a speed-up factor.
    #[arg(long, default_value = "real")]
    timing: String,
    /// A fault, as NAME or NAME=NUMBER; may be given several times: power-loss=BYTE, brownout-after, nak=N,
    /// damage-answers=N, damage-commands=N, stuck, slow=FACTOR, lying-signature.
    #[arg(long)]
    fault: Vec<String>,
}

/// Runs the command; it ends with a signal or an error.
pub fn run(args: Args) -> Result<Verdict, Failure> {
    let Part::Atecc608(args) = args.part;
    let mut chip = Emulator::open(&args.state, Timing::parse(&args.timing)?)?;
    for fault in &args.fault {
        chip.faults().add(fault)?;
    }
    let bus = EmulatedTransport::new(chip);
    match args.listen {
        Some(address) => serve_tcp(address, bus),
        None => serve_pty(bus),
    }
}

/// One host at a time: two hosts on one bus would tear each other's transactions apart.
fn serve_tcp(address: SocketAddr, mut bus: EmulatedTransport) -> Result<Verdict, Failure> {
    let listener = TcpListener::bind(address).map_err(|e| format!("cannot listen on {address}: {e}"))?;
    announce(&listener.local_addr()?.to_string())?;
    loop {
        let (mut stream, peer) = listener.accept()?;
        stream.set_nodelay(true)?;
        if let Err(e) = kit::serve(&mut stream, &mut bus) {
            eprintln!("sealwright: connection from {peer} ended: {e}");
        }
    }
}

fn serve_pty(mut bus: EmulatedTransport) -> Result<Verdict, Failure> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?.into_string()?;
    // Held open, so that a host that closes the terminal does not end the emulation; raw, so that nothing is echoed.
    let terminal = File::options().read(true).write(true).open(&name)?;
    let mut settings = tcgetattr(&terminal)?;
    settings.make_raw();
    tcsetattr(&terminal, OptionalActions::Now, &settings)?;
    announce(&name)?;
    kit::serve(&mut File::from(master), &mut bus)?;
    Ok(Verdict::Good)
}

/// Scripts wait for this line before they connect.
fn announce(place: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{place}")?;
    out.flush()
}
