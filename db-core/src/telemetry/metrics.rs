//! Which numbers go to those who collect metrics? Without the feature `metrics`, none.

#[cfg(not(feature = "metrics"))]
pub(crate) use off::{Meters, PoolMeters};
#[cfg(feature = "metrics")]
pub(crate) use on::{Meters, PoolMeters};

pub(super) const ATTEMPTS: &str = "db_core.attempts";
pub(super) const RECONNECTS: &str = "db_core.reconnects";
pub(super) const LOCK_WAIT: &str = "db_core.lock_wait";
pub(super) const TRANSACTION_DURATION: &str = "db_core.transaction.duration";
pub(super) const RECOVERY_DURATION: &str = "db_core.recovery.duration";

#[cfg(feature = "metrics")]
mod on {
    use std::sync::Arc;
    use std::time::Duration;

    use metrics::{Label, SharedString, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
    use parking_lot::Mutex;

    use super::{ATTEMPTS, LOCK_WAIT, RECONNECTS, RECOVERY_DURATION, TRANSACTION_DURATION};
    use crate::config::Settings;
    use crate::config::hosts::Hosts;
    use crate::telemetry::event;
    use crate::telemetry::outcome::Cause;
    use crate::telemetry::outcome::Outcome;

    const TRANSACTIONS: &str = "db_core.transactions";

    /// The instruments of one database.
    pub(crate) struct Meters {
        hosts: Arc<Hosts>,
        database: Option<String>,
    }

    impl Meters {
        pub fn new(settings: &Settings) -> Self {
            describe_counter!(TRANSACTIONS, "Transactions, by how they ended");
            describe_counter!(ATTEMPTS, "Runs of a transaction's body");
            describe_counter!(RECONNECTS, "Connections opened in place of an earlier one");
            describe_histogram!(LOCK_WAIT, Unit::Seconds, "How long a thread waited for a database's lock");
            describe_histogram!(TRANSACTION_DURATION, Unit::Seconds, "How long a transaction was open, attempt by attempt");
            describe_histogram!(RECOVERY_DURATION, Unit::Seconds, "From the first fault of a call to its success");
            let database = settings.options.get_db_name().map(str::to_owned);
            Self { hosts: Arc::clone(&settings.hosts), database }
        }

        /// Which database, and on which host it is now.
        fn labels(&self) -> Vec<Label> {
            let options = self.hosts.in_use();
            let mut labels = vec![Label::new("server.address", event::address(options).into_owned())];
            labels.extend(event::port(options).map(|port| Label::new("server.port", port.to_string())));
            labels.extend(self.database.clone().map(|name| Label::new("db.namespace", name)));
            labels
        }

        pub fn count(&self, name: &'static str) {
            counter!(name, self.labels()).increment(1);
        }

        pub fn time(&self, name: &'static str, time: Duration) {
            histogram!(name, self.labels()).record(time.as_secs_f64());
        }

        pub fn transaction(&self, outcome: Outcome, cause: Option<Cause>) {
            let mut labels = self.labels();
            labels.push(Label::from_static_parts("db_core.outcome", outcome.name()));
            labels.extend(cause.map(|cause| Label::new("error.type", cause.to_string())));
            counter!(TRANSACTIONS, labels).increment(1);
        }
    }

    const COUNT: &str = "db.client.connection.count";
    const IDLE_MAX: &str = "db.client.connection.idle.max";
    const MAX: &str = "db.client.connection.max";
    const PENDING: &str = "db.client.connection.pending_requests";
    const TIMEOUTS: &str = "db.client.connection.timeouts";
    const CREATE_TIME: &str = "db.client.connection.create_time";
    const WAIT_TIME: &str = "db.client.connection.wait_time";
    const USE_TIME: &str = "db.client.connection.use_time";

    /// The instruments of one pool, named as OpenTelemetry's semantic conventions have them.
    pub(crate) struct PoolMeters {
        pool: Label,
        max: f64,
        /// Held while the gauges are set, so that the last who sets them has seen the latest numbers.
        order: Mutex<()>,
    }

    impl PoolMeters {
        pub fn new(settings: &Settings, max: u32) -> Self {
            describe_gauge!(COUNT, "Connections of a pool, by their state");
            describe_gauge!(IDLE_MAX, "The most connections of a pool that may be idle");
            describe_gauge!(MAX, "The most connections that a pool may have open");
            describe_gauge!(PENDING, "Calls that wait for a connection of a pool");
            describe_counter!(TIMEOUTS, "Calls that waited for a connection of a pool for too long");
            describe_histogram!(CREATE_TIME, Unit::Seconds, "How long it took to open a connection of a pool");
            describe_histogram!(WAIT_TIME, Unit::Seconds, "How long a call waited for a connection of a pool");
            describe_histogram!(USE_TIME, Unit::Seconds, "How long a call had a connection of a pool");
            let options = &settings.options;
            let port = event::port(options).map_or_else(String::new, |port| format!(":{port}"));
            let name = format!("{}{port}/{}", event::address(options), options.get_db_name().unwrap_or_default());
            // Shared, so that copies of the label cost no allocation.
            let pool = Label::new("db.client.connection.pool.name", SharedString::from_shared(Arc::from(name)));
            Self { pool, max: f64::from(max), order: Mutex::new(()) }
        }

        fn labels(&self) -> Vec<Label> {
            vec![self.pool.clone()]
        }

        pub fn taken(&self, waited: Duration) {
            histogram!(WAIT_TIME, self.labels()).record(waited.as_secs_f64());
        }

        pub fn given_back(&self, used: Duration) {
            histogram!(USE_TIME, self.labels()).record(used.as_secs_f64());
        }

        pub fn created(&self, time: Duration) {
            histogram!(CREATE_TIME, self.labels()).record(time.as_secs_f64());
        }

        pub fn timed_out(&self) {
            counter!(TIMEOUTS, self.labels()).increment(1);
        }

        /// `numbers`: of idle connections, of those in use, and of callers that wait.
        pub fn publish(&self, numbers: impl FnOnce() -> [usize; 3]) {
            let _in_order = self.order.lock();
            let [idle, used, waiting] = numbers();
            for (state, count) in [("idle", idle), ("used", used)] {
                let labels = vec![self.pool.clone(), Label::from_static_parts("db.client.connection.state", state)];
                gauge!(COUNT, labels).set(count as f64);
            }
            gauge!(PENDING, self.labels()).set(waiting as f64);
            gauge!(MAX, self.labels()).set(self.max);
            gauge!(IDLE_MAX, self.labels()).set(self.max);
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod off {
    use std::time::Duration;

    use crate::config::Settings;
    use crate::telemetry::outcome::Cause;
    use crate::telemetry::outcome::Outcome;

    pub(crate) struct Meters;

    impl Meters {
        pub fn new(_: &Settings) -> Self {
            Self
        }

        pub fn count(&self, _: &'static str) {}

        pub fn time(&self, _: &'static str, _: Duration) {}

        pub fn transaction(&self, _: Outcome, _: Option<Cause>) {}
    }

    pub(crate) struct PoolMeters;

    impl PoolMeters {
        pub fn new(_: &Settings, _: u32) -> Self {
            Self
        }

        pub fn taken(&self, _: Duration) {}

        pub fn given_back(&self, _: Duration) {}

        pub fn created(&self, _: Duration) {}

        pub fn timed_out(&self) {}

        pub fn publish(&self, _: impl FnOnce() -> [usize; 3]) {}
    }
}
