//! The figures, as text and as JSON.

use super::baseline::Baseline;
use super::load::Run;
use serde::Serialize;
use std::time::Duration;

/// A distribution of times, in microseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Times {
    /// How many.
    pub count: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// Percentiles 50, 95, 99 and 99.9.
    pub p50: f64,
    /// See `p50`.
    pub p95: f64,
    /// See `p50`.
    pub p99: f64,
    /// See `p50`.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Times {
    /// Of measured durations, in any order.
    pub fn new(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        let micros = |d: Duration| d.as_secs_f64() * 1e6;
        let at = |per_mille: usize| all.get((all.len() * per_mille / 1000).min(all.len().saturating_sub(1))).copied().map_or(0.0, micros);
        let sum: Duration = all.iter().sum();
        let mean = micros(sum) / all.len().max(1) as f64;
        Self { count: all.len(), mean, p50: at(500), p95: at(950), p99: at(990), p999: at(999), max: at(1000) }
    }
}

#[derive(Serialize)]
struct BaselineReport {
    cores: usize,
    raw_sign_us: Times,
    raw_sign_per_second: f64,
    possession_us: Times,
    self_verification_us: Times,
    durable_append_us: Times,
    /// Cores over the processor time of one signature, one proof and one self-verification.
    processor_limit_per_second: f64,
    /// The lesser of token and processor limit.
    limit_per_second: f64,
}

#[derive(Serialize)]
struct RunReport {
    callers: usize,
    certificates: usize,
    seconds: f64,
    per_second: f64,
    /// Part of the limit that was reached.
    ratio_to_limit: f64,
    latency_us: Times,
    /// Latency p50 over (raw signature + one durable append), all p50.
    p50_ratio_to_floor: f64,
    /// Latency p99 over (raw signature + one durable append), all p99.
    p99_ratio_to_floor: f64,
    daemon_cpu_us_per_certificate: f64,
    callers_cpu_us_per_certificate: f64,
    daemon_resident_bytes: u64,
    daemon_peak_bytes: u64,
}

/// Everything that was measured.
#[derive(Serialize)]
pub struct Report {
    version: u32,
    baseline: BaselineReport,
    runs: Vec<RunReport>,
    chain_verification_us: Times,
    disk_bytes_per_certificate: f64,
}

impl Report {
    /// Puts the figures in relation.
    pub fn new(baseline: Baseline, chains: Times, runs: &[Run], disk: u64) -> Self {
        let work = baseline.sign.mean + baseline.possession.mean + baseline.self_verification.mean;
        let processor = baseline.cores as f64 * 1e6 / work;
        let limit = processor.min(baseline.sign_rate);
        let total: usize = runs.iter().map(|r| r.count).sum();
        let runs = runs.iter().map(|run| RunReport::new(run, &baseline, limit)).collect();
        let baseline = BaselineReport {
            cores: baseline.cores,
            raw_sign_us: baseline.sign,
            raw_sign_per_second: baseline.sign_rate,
            possession_us: baseline.possession,
            self_verification_us: baseline.self_verification,
            durable_append_us: baseline.sync,
            processor_limit_per_second: processor,
            limit_per_second: limit,
        };
        let disk_bytes_per_certificate = disk as f64 / total.max(1) as f64;
        Self { version: 1, baseline, runs, chain_verification_us: chains, disk_bytes_per_certificate }
    }

    /// Whether chains were verified at all; a bad one has ended the run before.
    pub fn is_good(&self) -> bool {
        self.chain_verification_us.count > 0
    }

    /// Text for people.
    pub fn print(&self) {
        let line = |name: &str, t: &Times| {
            println!("{name:<34}{:>9.1}{:>9.1}{:>9.1}{:>10.1}{:>10.1}", t.p50, t.p95, t.p99, t.p999, t.max);
        };
        println!("{:<34}{:>9}{:>9}{:>9}{:>10}{:>10}", "microseconds", "p50", "p95", "p99", "p99.9", "max");
        let b = &self.baseline;
        line("raw signature in the token", &b.raw_sign_us);
        line("proof of possession", &b.possession_us);
        line("self-verification", &b.self_verification_us);
        line("durable append of 700 bytes", &b.durable_append_us);
        line("chain verified offline", &self.chain_verification_us);
        for run in &self.runs {
            line(&format!("issuance, {} caller(s)", run.callers), &run.latency_us);
        }
        println!();
        println!("token        {:>8.0} signatures/s over the daemon's number of sessions", b.raw_sign_per_second);
        println!(
            "processor    {:>8.0} certificates/s on {} cores (sign + proof + self-verification)",
            b.processor_limit_per_second, b.cores
        );
        for run in &self.runs {
            println!(
                "{:>4} callers {:>8.0} certificates/s = {:.2} of the limit; p50 {:.2} and p99 {:.2} of raw signature + durable append",
                run.callers, run.per_second, run.ratio_to_limit, run.p50_ratio_to_floor, run.p99_ratio_to_floor
            );
            println!(
                "             daemon {:.0} µs CPU a certificate, {:.1} MiB resident (peak {:.1}); callers {:.0} µs CPU",
                run.daemon_cpu_us_per_certificate,
                mebibytes(run.daemon_resident_bytes),
                mebibytes(run.daemon_peak_bytes),
                run.callers_cpu_us_per_certificate
            );
        }
        println!("disk         {:>8.0} bytes a certificate (store and log)", self.disk_bytes_per_certificate);
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl RunReport {
    fn new(run: &Run, baseline: &Baseline, limit: f64) -> Self {
        let latency = Times::new(run.latencies.clone());
        let per_second = run.count as f64 / run.elapsed.as_secs_f64();
        let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / run.count.max(1) as f64;
        let (before, after) = run.daemon;
        Self {
            callers: run.callers,
            certificates: run.count,
            seconds: run.elapsed.as_secs_f64(),
            per_second,
            ratio_to_limit: per_second / limit,
            p50_ratio_to_floor: latency.p50 / (baseline.sign.p50 + baseline.sync.p50),
            p99_ratio_to_floor: latency.p99 / (baseline.sign.p99 + baseline.sync.p99),
            latency_us: latency,
            daemon_cpu_us_per_certificate: each(after.cpu.saturating_sub(before.cpu)),
            callers_cpu_us_per_certificate: each(run.callers_cpu),
            daemon_resident_bytes: after.resident,
            daemon_peak_bytes: after.peak,
        }
    }
}
