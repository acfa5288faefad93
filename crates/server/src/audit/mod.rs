//! The audit on the server's side: seals the log (`seal.rs`), holds each head against those before it and keeps
//! checkpoints off the machine (`kept.rs`, `folder.rs`), proves
//! (`proofs.rs`), exports (`export.rs`, `csv.rs`, `turns.rs`) and says what may be missing from that (`forgotten.rs`),
//! compares the live database with its log (`live.rs`), and notices that an older database was put back
//! (`restored.rs`).
//!
//! Whatever is read of the tree is believed only as far as a checkpoint leads that this server has signed. Two
//! checkpoints of which neither continues the other are never signed knowingly: whoever finds the database behind what
//! it has seen stops sealing. To add a format of export: a renderer beside `csv.rs`.

mod csv;
pub mod export;
mod folder;
mod forgotten;
mod kept;
pub mod live;
mod proofs;
pub mod restored;
mod seal;
pub mod turns;

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use countersign_core::ports::{Store, StoreError, audit::AuditHead, events::EventRecord};
use countersign_proto::{
    api::events::{Event, EventActor},
    audit::{
        Checkpoint, Hash, LogKey, NoteError, TileId, Tiles, VerifierKey, export::header_text, origin_of_note, sign_note,
    },
    ids::TenantId,
};

pub use self::{
    proofs::{ConsistencyProof, InclusionProof},
    seal::Sealed,
};
use crate::{alarm, config, signing::ServerKeys};

/// Why nothing was sealed or shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// The database does not answer.
    #[error("the database does not answer: {0}")]
    Store(#[from] StoreError),
    /// What is there does not lead to what was signed: a word, for the alarm.
    #[error("the log is not what was signed: {0}")]
    Distrusted(&'static str),
    /// The database is older than what this process, or the folder of checkpoints, has seen.
    #[error("the database is behind a checkpoint that was signed")]
    RolledBack,
    /// There is no such part of the log.
    #[error("beyond the end of the log")]
    BeyondEnd,
    /// Evidence was deleted that the export's first line says is kept: the retention has been made shorter meanwhile.
    #[error("what is kept has become less meanwhile: begin again")]
    Overtaken,
}

/// A head that is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// What is signed.
    pub checkpoint: Checkpoint,
    /// The signed note.
    pub note: String,
}

/// The audit of all organisations.
pub struct Audit {
    store: Arc<dyn Store>,
    keys: Arc<ServerKeys>,
    key: LogKey,
    /// The issuer without its scheme.
    host: String,
    folder: Option<PathBuf>,
    /// The newest head of each organisation that this process has seen.
    seen: Mutex<BTreeMap<TenantId, (u64, Hash)>>,
    /// Whether the whole folder was read into `seen`.
    has_read_folder: AtomicBool,
    /// Whose newest checkpoint may not be in the folder.
    unwritten: Mutex<HashSet<TenantId>>,
    /// Held by whoever writes to the folder.
    writing: tokio::sync::Mutex<()>,
    /// Whose log could not be sealed.
    stuck: Mutex<HashSet<TenantId>>,
    /// About whom the alarm was raised already.
    alarmed: Mutex<HashSet<TenantId>>,
    is_halted: AtomicBool,
    /// The last one that was looked at for having been put back.
    looked_at: Mutex<Option<TenantId>>,
    exports: turns::UnderWay,
}

impl Audit {
    /// Over this database, with the log key of the key file.
    ///
    /// # Errors
    /// The library refuses the key: never with a key file of ours.
    pub fn new(store: Arc<dyn Store>, keys: Arc<ServerKeys>, settings: &config::Audit) -> Result<Self, NoteError> {
        let key = LogKey::from_seed(&keys.seals().derive("audit log key"))?;
        let host = keys.issuer().split_once("://").map_or(keys.issuer(), |(_, host)| host).to_owned();
        let folder = Some(settings.checkpoint_folder.clone()).filter(|folder| !folder.as_os_str().is_empty());
        Ok(Self {
            store,
            keys,
            key,
            host,
            folder,
            seen: Mutex::default(),
            has_read_folder: AtomicBool::new(false),
            unwritten: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            stuck: Mutex::default(),
            alarmed: Mutex::default(),
            is_halted: AtomicBool::new(false),
            looked_at: Mutex::default(),
            exports: turns::UnderWay::default(),
        })
    }

    /// The name of an organisation's log.
    pub fn origin(&self, tenant_id: TenantId) -> String {
        format!("{}/audit/{tenant_id}", self.host)
    }

    /// The key that verifies its checkpoints.
    pub fn verifier(&self, tenant_id: TenantId) -> VerifierKey {
        self.key.verifier(&self.origin(tenant_id))
    }

    /// Whether sealing has stopped, because the database is behind what was signed. Stays so until the process ends.
    pub fn is_halted(&self) -> bool {
        self.is_halted.load(Ordering::SeqCst)
    }

    /// A note of ours about an organisation's log. Also one from when the server had another public URL: the log went on.
    fn open(&self, tenant_id: TenantId, note: &str) -> Result<Checkpoint, NoteError> {
        let name = origin_of_note(note).ok_or(NoteError::Malformed)?;
        if !name.ends_with(&format!("/audit/{tenant_id}")) {
            return Err(NoteError::Signature);
        }
        Checkpoint::open(note, &self.key.verifier(name))
    }

    /// What the log key says about an export's header.
    fn header_note(&self, origin: &str, header: &serde_json::Value) -> Option<String> {
        header_text(origin, header).map(|text| sign_note(&text, origin, &self.key))
    }

    /// The head as it is stored, if it is signed and is what its row says. `None`: nothing is sealed yet.
    fn believe(&self, tenant_id: TenantId, stored: &AuditHead) -> Result<Option<Head>, AuditError> {
        match (&stored.checkpoint, stored.size) {
            (None, 0) => Ok(None),
            (Some(note), size) => {
                let checkpoint =
                    self.open(tenant_id, note).map_err(|_| self.distrust(tenant_id, "audit_checkpoint_invalid"))?;
                if checkpoint.size != size {
                    return Err(self.distrust(tenant_id, "audit_head_size"));
                }
                Ok(Some(Head { checkpoint, note: note.clone() }))
            }
            (None, _) => Err(self.distrust(tenant_id, "audit_checkpoint_missing")),
        }
    }

    async fn tiles(&self, tenant_id: TenantId, ids: Vec<TileId>) -> Result<Tiles, AuditError> {
        let mut tiles = Tiles::default();
        for stored in self.store.audit_tiles(tenant_id, &ids).await? {
            if !tiles.insert(stored.id, &stored.hashes) {
                return Err(self.distrust(tenant_id, "audit_tile_corrupt"));
            }
        }
        Ok(tiles)
    }

    /// Raises the alarm, once for each organisation.
    fn distrust(&self, tenant_id: TenantId, what: &'static str) -> AuditError {
        if self.alarmed.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant_id) {
            alarm::raise(what, &tenant_id.to_string());
        }
        AuditError::Distrusted(what)
    }
}

/// A row as everybody sees it: in lists, in webhooks, and in the tree.
pub fn shown(record: EventRecord) -> Event {
    Event {
        id: record.id,
        position: record.position.unsigned_abs(),
        kind: record.kind.as_str().to_owned(),
        actor: EventActor { kind: record.actor_kind, id: record.actor_id },
        user_id: record.subjects.user_id,
        device_id: record.subjects.device_id,
        challenge_id: record.subjects.challenge_id,
        enrollment_id: record.subjects.enrollment_id,
        api_client_id: record.subjects.api_client_id,
        request_id: record.request_id,
        created_at: record.at,
        data: serde_json::Value::Object(record.body),
    }
}
