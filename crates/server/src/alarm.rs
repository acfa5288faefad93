//! Alarms: the database holds what this server never wrote. Somebody else did, or the disk is failing.
//!
//! An alarm is a log line at level error and a counter; what was found is refused by whoever found it.
//! Never put anything but ids and fixed words into one.

/// Raises an alarm about the thing with this id. `what` is one of a few fixed words, also the metric's label.
pub fn raise(what: &'static str, id: &str) {
    metrics::counter!("countersign_alarms_total", "what" => what).increment(1);
    tracing::error!(alarm = what, id, "the database holds what this server never wrote");
}
