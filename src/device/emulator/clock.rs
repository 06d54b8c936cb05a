//! Time as the emulated chip feels it.

use crate::types::Invalid;
use std::time::{Duration, Instant};

/// How execution times of the chip relate to real time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Timing {
    /// As the data sheet has them.
    Real,
    /// Faster by this factor.
    Scaled(f64),
    /// Commands take no real time; chip time advances by their execution time.
    Instant,
}

impl Timing {
    /// Reads `real`, `instant` or a speed-up factor such as `10` (from 0.01 to 10000).
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text {
            "real" => Ok(Self::Real),
            "instant" => Ok(Self::Instant),
            other => match other.parse::<f64>() {
                Ok(factor) if (0.01..=10_000.0).contains(&factor) => Ok(Self::Scaled(factor)),
                _ => Err(Invalid::new("timing", "must be 'real', 'instant' or a speed-up factor from 0.01 to 10000")),
            },
        }
    }
}

/// A chip's clock.
pub(super) struct Clock {
    timing: Timing,
    start: Instant,
    passed: Duration,
}

impl Clock {
    pub fn new(timing: Timing) -> Self {
        Self { timing, start: Instant::now(), passed: Duration::ZERO }
    }

    /// Chip time.
    pub fn now(&self) -> Duration {
        match self.timing {
            Timing::Real => self.start.elapsed(),
            Timing::Scaled(factor) => self.start.elapsed().mul_f64(factor),
            Timing::Instant => self.passed,
        }
    }

    /// Lets chip time pass; returns how long the caller must sleep for it.
    pub fn pass(&mut self, time: Duration) -> Duration {
        match self.timing {
            Timing::Real => time,
            Timing::Scaled(factor) => time.div_f64(factor),
            Timing::Instant => {
                self.passed += time;
                Duration::ZERO
            }
        }
    }

    /// Executes for `time`; returns the chip time at which the answer is ready.
    pub fn busy(&mut self, time: Duration) -> Duration {
        let ready = self.now() + time;
        if self.timing == Timing::Instant {
            self.passed = ready;
        }
        ready
    }
}
