//! Many elements on many stations at once; one station's trouble is its own.

use super::{Certify, ProvisionError, Provisioner, Shipped, Statistics};
use crate::device::{DeviceError, ElementInfo, SecureElement};
use crate::types::DeviceIdentity;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Opens one element, when a station is free for it.
pub type Socket = Box<dyn FnOnce() -> Result<Box<dyn SecureElement>, DeviceError> + Send>;
/// Names the device for an element.
pub type Naming<'a> = dyn Fn(&ElementInfo) -> Result<DeviceIdentity, String> + Sync + 'a;

/// What a line is told.
pub struct Line<'a> {
    /// Journals, one file an element.
    pub journals: &'a Path,
    /// Finished devices, one directory each.
    pub devices: &'a Path,
    /// DER root that the quality check trusts.
    pub root: &'a [u8],
    /// Names the devices.
    pub naming: &'a Naming<'a>,
    /// Set to let stations finish the element in hand and take no other.
    pub stop: &'a AtomicBool,
}

/// One element has left its station.
pub struct Left<'a> {
    /// Position in the order given.
    pub index: usize,
    /// Station, counted from 0.
    pub station: usize,
    /// How it ended.
    pub result: &'a Result<Shipped, ProvisionError>,
}

impl Line<'_> {
    /// Works through `sockets`, one thread for each authority connection. `left` is told of each
    /// element, from any thread. Gives the merged figures; elements not begun because of
    /// `stop` are in none of them.
    pub fn run<A: Certify>(&self, sockets: Vec<Socket>, stations: &[A], left: &(dyn Fn(Left<'_>) + Sync)) -> Statistics {
        let waiting: Mutex<VecDeque<(usize, Socket)>> = Mutex::new(sockets.into_iter().enumerate().collect());
        std::thread::scope(|scope| {
            let threads: Vec<_> = stations
                .iter()
                .enumerate()
                .map(|(station, authority)| {
                    let waiting = &waiting;
                    scope.spawn(move || self.station(station, authority, waiting, left))
                })
                .collect();
            let mut all = Statistics::default();
            threads.into_iter().filter_map(|t| t.join().ok()).for_each(|s| all.merge(s));
            all
        })
    }

    fn station(
        &self,
        station: usize,
        authority: &dyn Certify,
        waiting: &Mutex<VecDeque<(usize, Socket)>>,
        left: &(dyn Fn(Left<'_>) + Sync),
    ) -> Statistics {
        let provisioner = Provisioner { authority, journals: self.journals, devices: self.devices, root: self.root };
        let mut statistics = Statistics::default();
        while !self.stop.load(Ordering::Relaxed) {
            let Some((index, socket)) = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front() else { break };
            let result = match socket() {
                Ok(mut element) => provisioner.provision(&mut *element, &|info| (self.naming)(info), &mut statistics),
                Err(source) => {
                    let error = ProvisionError::Element { step: super::Step::PowerOn, source };
                    statistics.fail(&error);
                    Err(error)
                }
            };
            left(Left { index, station, result: &result });
        }
        statistics
    }
}
