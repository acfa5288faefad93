//! Logs to stderr, metrics to their own listener.
//!
//! Never in either: tokens, keys, push tokens, bodies, numbers, names. To add a metric: a line where it happens and
//! its row in `docs/configuration.md`.

use std::io::IsTerminal as _;

use axum::{Router, routing::get};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::config::{ConfigError, Log, LogFormat};

/// Sends logs to stderr: text for people on a terminal, one JSON object per line otherwise.
///
/// # Errors
/// `log.filter` is none.
pub fn init_logs(log: &Log) -> Result<(), ConfigError> {
    let filter =
        EnvFilter::try_new(&log.filter).map_err(|_| ConfigError::Invalid("`log.filter` is not valid".to_owned()))?;
    let is_text = match log.format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = if is_text { layer.boxed() } else { layer.json().flatten_event(true).boxed() };
    // Fails only if something else in this process already takes the logs, which then do arrive somewhere.
    let _already_set = tracing_subscriber::registry().with(filter).with(layer).try_init();
    Ok(())
}

/// Collects metrics from now on, for the whole process.
///
/// # Errors
/// Something else collects them already.
pub fn init_metrics() -> Result<PrometheusHandle, BuildError> {
    PrometheusBuilder::new().install_recorder()
}

/// `GET /metrics` in Prometheus text form, on a listener of its own that the public never sees.
pub fn metrics_router(handle: PrometheusHandle) -> Router {
    Router::new().route(
        "/metrics",
        get(move || {
            let text = handle.render();
            async move { ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], text) }
        }),
    )
}
