//! Which numbers go to those who collect metrics? Without the feature `metrics`, none.

#[cfg(not(feature = "metrics"))]
pub(crate) use off::Meters;
#[cfg(feature = "metrics")]
pub(crate) use on::Meters;

pub(crate) const ATTEMPTS: &str = "db_core.attempts";
pub(crate) const RECONNECTS: &str = "db_core.reconnects";
pub(crate) const LOCK_WAIT: &str = "db_core.lock_wait";
pub(crate) const TRANSACTION_DURATION: &str = "db_core.transaction.duration";
pub(crate) const RECOVERY_DURATION: &str = "db_core.recovery.duration";

#[cfg(feature = "metrics")]
mod on {
    use std::time::Duration;

    use metrics::{Label, Unit, counter, describe_counter, describe_histogram, histogram};

    use super::{ATTEMPTS, LOCK_WAIT, RECONNECTS, RECOVERY_DURATION, TRANSACTION_DURATION};
    use crate::config::Settings;
    use crate::telemetry::event;
    use crate::telemetry::outcome::Cause;
    use crate::telemetry::outcome::Outcome;

    const TRANSACTIONS: &str = "db_core.transactions";

    /// The instruments of one database.
    pub(crate) struct Meters {
        /// Which database.
        labels: Vec<Label>,
    }

    impl Meters {
        pub(crate) fn new(settings: &Settings) -> Self {
            describe_counter!(TRANSACTIONS, "Transactions, by how they ended");
            describe_counter!(ATTEMPTS, "Runs of a transaction's body");
            describe_counter!(RECONNECTS, "Connections opened after a database's first");
            describe_histogram!(LOCK_WAIT, Unit::Seconds, "How long a thread waited for a database's lock");
            describe_histogram!(TRANSACTION_DURATION, Unit::Seconds, "How long a transaction was open, attempt by attempt");
            describe_histogram!(RECOVERY_DURATION, Unit::Seconds, "From the first fault of a call to its success");
            let options = &settings.options;
            let mut labels = vec![Label::new("server.address", event::address(options).into_owned())];
            labels.extend(event::port(options).map(|port| Label::new("server.port", port.to_string())));
            labels.extend(options.get_db_name().map(|name| Label::new("db.namespace", name.to_owned())));
            Self { labels }
        }

        pub(crate) fn count(&self, name: &'static str) {
            counter!(name, self.labels.clone()).increment(1);
        }

        pub(crate) fn time(&self, name: &'static str, time: Duration) {
            histogram!(name, self.labels.clone()).record(time.as_secs_f64());
        }

        pub(crate) fn transaction(&self, outcome: Outcome, cause: Option<Cause>) {
            let mut labels = self.labels.clone();
            labels.push(Label::from_static_parts("db_core.outcome", outcome.name()));
            labels.extend(cause.map(|cause| Label::new("error.type", cause.to_string())));
            counter!(TRANSACTIONS, labels).increment(1);
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
        pub(crate) fn new(_: &Settings) -> Self {
            Self
        }

        pub(crate) fn count(&self, _: &'static str) {}

        pub(crate) fn time(&self, _: &'static str, _: Duration) {}

        pub(crate) fn transaction(&self, _: Outcome, _: Option<Cause>) {}
    }
}
