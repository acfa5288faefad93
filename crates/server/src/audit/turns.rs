//! Who may export: a few at once, and of these few per organisation, so that nobody shuts the others out.
//!
//! An export reads the database only for somebody who reads it: whoever takes nothing for a while has lost it. To bound
//! one more thing: its constant here.

use std::{
    collections::HashMap,
    future::Future,
    io,
    sync::{Arc, Mutex},
};

use countersign_core::clock::Clock;
use countersign_proto::ids::TenantId;
use tokio::sync::mpsc;

use super::{Audit, export::Export, kept::lock};

/// Exports under way at once.
const MAX_EXPORTS: usize = 8;
/// Of one organisation.
const MAX_EXPORTS_OF_ONE: usize = 2;
/// A portion has to be taken within so long.
const PORTION_SECONDS: i64 = 60;

/// How many exports of each organisation are under way.
pub(super) type UnderWay = Arc<Mutex<HashMap<TenantId, usize>>>;

/// Room for an export, for as long as this lives.
#[derive(Debug)]
pub struct Turn {
    under_way: UnderWay,
    tenant_id: TenantId,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut under_way = lock(&self.under_way);
        if let Some(count) = under_way.get_mut(&self.tenant_id) {
            *count = count.saturating_sub(1);
        }
        under_way.retain(|_, count| *count > 0);
    }
}

impl Audit {
    /// Room for one more export; `None` while there are as many as there may be.
    pub fn begin_export(&self, tenant_id: TenantId) -> Option<Turn> {
        let mut under_way = lock(&self.exports);
        let all: usize = under_way.values().sum();
        let of_one = under_way.get(&tenant_id).copied().unwrap_or_default();
        if all >= MAX_EXPORTS || of_one >= MAX_EXPORTS_OF_ONE {
            return None;
        }
        under_way.insert(tenant_id, of_one + 1);
        Some(Turn { under_way: Arc::clone(&self.exports), tenant_id })
    }
}

/// An export on its way to a reader.
pub struct Told {
    portions: mpsc::Receiver<io::Result<Option<Vec<u8>>>>,
}

impl Told {
    /// Begins to read. Before each portion `may_read` says whether the reader still may.
    pub fn begin<F, A>(mut export: Export, turn: Turn, clock: Arc<dyn Clock>, may_read: F) -> Self
    where
        F: Fn() -> A + Send + 'static,
        A: Future<Output = bool> + Send,
    {
        let (sender, portions) = mpsc::channel(1);
        tokio::spawn(async move {
            let _turn = turn;
            loop {
                let portion = if may_read().await {
                    export.next().await.map_err(|error| {
                        tracing::warn!(%error, "an export has broken off");
                        io::Error::other("the export has broken off")
                    })
                } else {
                    Err(io::Error::other("the reader is no longer allowed to"))
                };
                let is_last = !matches!(portion, Ok(Some(_)));
                tokio::select! {
                    // The reader has gone, or has it all, or has taken nothing for too long.
                    sent = sender.send(portion) => if sent.is_err() || is_last { return },
                    () = clock.sleep_until(clock.now().plus_seconds(PORTION_SECONDS)) => return,
                }
            }
        });
        Self { portions }
    }

    /// The next bytes; `None` after the last ones.
    ///
    /// # Errors
    /// The export has broken off.
    pub async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let broken_off = || Err(io::Error::other("nobody has read the export for too long"));
        self.portions.recv().await.unwrap_or_else(broken_off)
    }
}
