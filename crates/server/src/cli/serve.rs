//! `countersign serve`.

use std::{process::ExitCode, sync::Arc};

use tokio::signal::unix::{SignalKind, signal};

use super::{CliError, Context};
use crate::{
    app,
    clock::{Clock as _, SystemClock},
    entropy::SystemEntropy,
    telemetry, worker,
};

/// Runs the server until SIGTERM or SIGINT; SIGHUP reads the push credentials again.
///
/// # Errors
/// It does not start.
pub async fn run(context: &Context) -> Result<ExitCode, CliError> {
    let failed = |error: &dyn std::fmt::Display| CliError::Failed(format!("cannot start: {error}"));
    let metrics = telemetry::init_metrics().map_err(|error| failed(&error))?;
    // Before the port opens, so that no stop is missed.
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| failed(&error))?;
    let mut hangup = signal(SignalKind::hangup()).map_err(|error| failed(&error))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| failed(&error))?;
    let upkeep = metrics.clone();
    let clock = SystemClock;
    let running =
        app::start(&context.settings, Arc::new(SystemClock), Arc::new(SystemEntropy::default()), Some(metrics)).await?;
    tracing::info!(
        address = %running.address,
        issuer = running.app.issuer(),
        metrics = running.metrics_address.map(tracing::field::display),
        "ready"
    );
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            // Said in the log, either way.
            _ = hangup.recv() => drop(worker::reload::round(&running.app).await),
            // Bounds what unread histograms hold.
            () = clock.sleep_until(clock.now().plus_seconds(5)) => upkeep.run_upkeep(),
        }
    }
    tracing::info!("stopping");
    running.stop().await;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}
