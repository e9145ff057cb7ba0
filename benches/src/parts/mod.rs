//! The parts of the report.

pub(crate) mod build;
pub(crate) mod compile;
pub(crate) mod delay;
pub(crate) mod memory;
pub(crate) mod overhead;
pub(crate) mod pool;
pub(crate) mod recovery;
pub(crate) mod scaling;
pub(crate) mod shared;
pub(crate) mod throughput;
pub(crate) mod trips;

use std::path::PathBuf;

use clap::ValueEnum;

use crate::error::Result;
use crate::peer::Peer;
use crate::report::Section;
use crate::site::Site;

/// One part of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Round trips, packets and bytes.
    Trips,
    /// One connection on loopback.
    Throughput,
    /// One connection, far away.
    Delay,
    /// 1 to 64 threads, a connection each; 8 threads on one handle.
    Scaling,
    /// Pools of 16 connections under 1 to 64 threads, near and far.
    Pool,
    /// From a fault to the first success.
    Recovery,
    /// Instructions and allocations of our own.
    Overhead,
    /// Bytes per connection and per open transaction.
    Memory,
    /// What a cold build costs.
    Build,
    /// What the attributes cost the compiler.
    Compile,
}

/// What every part is told.
pub(crate) struct Bench {
    pub(crate) quick: bool,
    /// Where reports and what is made on the way go.
    pub(crate) out: PathBuf,
    pub(crate) peers: Vec<Box<dyn Peer>>,
}

impl Bench {
    /// One figure for a quick run, another for a full one.
    pub(crate) fn effort<T>(&self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }
}

impl Part {
    /// The parts that are done on each server.
    pub(crate) const ON_A_SERVER: [Part; 6] = [Part::Trips, Part::Throughput, Part::Delay, Part::Scaling, Part::Pool, Part::Recovery];
    /// The parts that are done once: they are about the client.
    pub(crate) const ONCE: [Part; 4] = [Part::Overhead, Part::Memory, Part::Build, Part::Compile];

    pub(crate) fn run(self, bench: &Bench, site: &Site) -> Result<Vec<Section>> {
        match self {
            Part::Trips => trips::run(bench, site).map(|section| vec![section]),
            Part::Throughput => throughput::run(bench, site).map(|section| vec![section]),
            Part::Delay => delay::run(bench, site),
            Part::Scaling => Ok(vec![scaling::run(bench, site)?, shared::run(bench, site)?]),
            Part::Pool => pool::run(bench, site),
            Part::Recovery => recovery::run(bench, site),
            Part::Overhead => overhead::run(bench, site).map(|section| vec![section]),
            Part::Memory => memory::run(bench, site).map(|section| vec![section]),
            Part::Build => build::run(bench).map(|section| vec![section]),
            Part::Compile => compile::run(bench).map(|section| vec![section]),
        }
    }
}
