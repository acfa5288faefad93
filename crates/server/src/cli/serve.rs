//! `countersign serve`.

use std::{process::ExitCode, sync::Arc};

use clap::Args;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{CliError, Context};
use crate::{
    app::{self, Running},
    clock::{Clock as _, SystemClock},
    entropy::SystemEntropy,
    telemetry, worker,
};

/// How to start.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// A backup was put back on purpose: cancel all that is pending, write down what was lost, and start. For one start;
    /// it does nothing unless the database is older than a checkpoint in `audit.checkpoint_folder`.
    #[arg(long)]
    accept_restored_database: bool,
}

/// Who asks the server to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// An orchestrator (SIGTERM): there may be other nodes, and a balancer that has to notice.
    ToLeave,
    /// A person at a terminal (SIGINT), who is not kept waiting.
    ToStop,
}

struct Signals {
    terminate: Signal,
    hangup: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Looks after the server until somebody asks it to stop.
    async fn until_asked(&mut self, running: &Running, metrics: &PrometheusHandle) -> Asked {
        let clock = SystemClock;
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Asked::ToLeave,
                _ = self.interrupt.recv() => return Asked::ToStop,
                // Said in the log, either way.
                _ = self.hangup.recv() => {
                    let _keys = worker::reload::keys_round(&running.app);
                    let _pushing = worker::reload::round(&running.app).await;
                }
                // Bounds what unread histograms hold.
                () = clock.sleep_until(clock.now().plus_seconds(5)) => metrics.run_upkeep(),
            }
        }
    }
}

/// Runs the server until SIGTERM or SIGINT; SIGHUP reads the key file and the push credentials again.
///
/// # Errors
/// It does not start.
pub async fn run(context: &Context, arguments: &ServeArgs) -> Result<ExitCode, CliError> {
    let mut settings = context.settings.clone();
    settings.audit.accepts_restored_database = arguments.accept_restored_database;
    let failed = |error: &dyn std::fmt::Display| CliError::Failed(format!("cannot start: {error}"));
    let metrics = telemetry::init_metrics().map_err(|error| failed(&error))?;
    // Before the port opens, so that no stop is missed.
    let mut signals = Signals::listen().map_err(|error| failed(&error))?;
    let upkeep = metrics.clone();
    let running =
        app::start(&settings, Arc::new(SystemClock), Arc::new(SystemEntropy::default()), Some(metrics)).await?;
    tracing::info!(
        address = %running.address,
        issuer = running.app.issuer(),
        metrics = running.metrics_address.map(tracing::field::display),
        "ready"
    );
    if signals.until_asked(&running, &upkeep).await == Asked::ToLeave {
        let asked_again = async {
            signals.until_asked(&running, &upkeep).await;
        };
        running.drain(asked_again).await;
    }
    tracing::info!("stopping");
    running.stop().await;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}
