//! Measured, never passed in: durations by step, outcomes, yield.

use super::{ProvisionError, Step};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a line, or many merged, has done.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    shipped: u64,
    failures: BTreeMap<String, u64>,
    durations: BTreeMap<Step, Vec<Duration>>,
}

impl Statistics {
    /// Adds the measured time of one step.
    pub fn time(&mut self, step: Step, duration: Duration) {
        self.durations.entry(step).or_default().push(duration);
    }

    /// Counts a finished device.
    pub fn ship(&mut self) {
        self.shipped += 1;
    }

    /// Counts a device that was not finished, by where it failed.
    pub fn fail(&mut self, error: &ProvisionError) {
        let place = match error {
            ProvisionError::Element { step, .. } => step.to_string(),
            ProvisionError::Scrap { step, .. } => format!("{step} (scrap)"),
            ProvisionError::NotCertified { .. } => Step::Certify.to_string(),
            ProvisionError::Foreign { .. } => format!("{} (refused)", Step::PowerOn),
            ProvisionError::Journal(_) => "journal".to_owned(),
        };
        *self.failures.entry(place).or_default() += 1;
    }

    /// Adds another line's figures.
    pub fn merge(&mut self, other: Self) {
        self.shipped += other.shipped;
        for (place, count) in other.failures {
            *self.failures.entry(place).or_default() += count;
        }
        for (step, mut times) in other.durations {
            self.durations.entry(step).or_default().append(&mut times);
        }
    }

    /// Finished devices.
    pub fn shipped(&self) -> u64 {
        self.shipped
    }

    /// Devices not finished.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Failures by place.
    pub fn failures(&self) -> &BTreeMap<String, u64> {
        &self.failures
    }

    /// Finished in all, 0 to 1; `None` before the first device.
    pub fn success_rate(&self) -> Option<f64> {
        let all = self.shipped + self.failed();
        (all > 0).then(|| self.shipped as f64 / all as f64)
    }

    /// Nearest-rank percentile of a step's durations, `p` in 0 to 100.
    pub fn percentile(&self, step: Step, p: f64) -> Option<Duration> {
        let mut times = self.durations.get(&step)?.clone();
        times.sort_unstable();
        let rank = (p / 100.0 * times.len() as f64).ceil().max(1.0) as usize;
        times.get(rank - 1).or(times.last()).copied()
    }

    /// Sum of all durations of the steps for which `of` says yes.
    pub fn total(&self, of: impl Fn(Step) -> bool) -> Duration {
        self.durations.iter().filter(|(step, _)| of(**step)).flat_map(|(_, times)| times).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_ranks() {
        let mut s = Statistics::default();
        assert_eq!((s.success_rate(), s.percentile(Step::Certify, 50.0)), (None, None));
        (1..=100).rev().for_each(|ms| s.time(Step::Certify, Duration::from_millis(ms)));
        let ms = |p| s.percentile(Step::Certify, p).unwrap().as_millis();
        assert_eq!((ms(0.0), ms(50.0), ms(95.0), ms(99.0), ms(100.0)), (1, 50, 95, 99, 100));
        s.ship();
        s.fail(&ProvisionError::NotCertified { reason: String::new(), transient: true });
        assert_eq!(s.success_rate(), Some(0.5));
    }
}
