//! A client library for a cloud, as such libraries are: its manual says "not thread-safe", and no type says so.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use db_core::SharedLock;
use parking_lot::Mutex;

/// The library. Its calls must not overlap, whatever the compiler thinks; it counts those that did.
#[derive(Default)]
pub(crate) struct Sdk {
    in_a_call: AtomicBool,
    overlaps: AtomicU32,
    resources: Mutex<BTreeMap<String, u64>>,
}

/// The cloud has no room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

impl Sdk {
    /// Makes what has this name, unless it is there, and returns its number: to call it again does no harm.
    pub(crate) fn create(&self, name: &str) -> Result<u64, Refused> {
        self.call(|resources| {
            if name.ends_with("13") {
                return Err(Refused);
            }
            let next = 1000 + resources.len() as u64;
            Ok(*resources.entry(name.to_owned()).or_insert(next))
        })
    }

    /// Everything there is, by name.
    pub(crate) fn list(&self) -> BTreeMap<String, u64> {
        self.call(|resources| resources.clone())
    }

    fn call<R>(&self, work: impl FnOnce(&mut BTreeMap<String, u64>) -> R) -> R {
        if self.in_a_call.swap(true, Ordering::AcqRel) {
            self.overlaps.fetch_add(1, Ordering::Relaxed);
        }
        thread::sleep(Duration::from_millis(1)); // the way to the cloud and back
        let result = work(&mut self.resources.lock());
        self.in_a_call.store(false, Ordering::Release);
        result
    }
}

/// The library, behind the lock of the control thread's database: whoever calls it excludes all others who do, and the control thread.
pub(crate) struct Cloud {
    sdk: Sdk,
    lock: SharedLock,
}

impl Cloud {
    pub(crate) fn guarded_by(lock: SharedLock) -> Self {
        Self { sdk: Sdk::default(), lock }
    }

    pub(crate) fn call<R>(&self, call: impl FnOnce(&Sdk) -> R) -> R {
        let _turn = self.lock.lock();
        call(&self.sdk)
    }

    /// Calls that met another one. There must be none.
    pub(crate) fn overlaps(&self) -> u32 {
        self.sdk.overlaps.load(Ordering::Relaxed)
    }
}
