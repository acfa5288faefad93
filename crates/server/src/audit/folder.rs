//! Checkpoints in files, for another machine to take: `<tenant id>.checkpoint`, each whole at any moment.

use std::{
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use countersign_proto::ids::TenantId;

/// Bytes of a checkpoint that are read.
const MAX_BYTES: u64 = 64 * 1024;
const EXTENSION: &str = "checkpoint";

fn path(folder: &Path, tenant_id: TenantId) -> PathBuf {
    folder.join(format!("{tenant_id}.{EXTENSION}"))
}

/// Puts a checkpoint in the place of the one before: durable, and never half.
pub(super) async fn write(folder: &Path, tenant_id: TenantId, note: &str) -> io::Result<()> {
    let (path, folder, note) = (path(folder, tenant_id), folder.to_owned(), note.to_owned());
    blocking(move || {
        // In the same folder: a rename between two file systems is a copy.
        let mut file = new_file(&folder)?;
        file.write_all(note.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|error| error.error)?;
        std::fs::File::open(&folder)?.sync_all()
    })
    .await
}

/// The checkpoint of an organisation; `None` if there is none.
pub(super) async fn read(folder: &Path, tenant_id: TenantId) -> io::Result<Option<String>> {
    let path = path(folder, tenant_id);
    blocking(move || match read_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    })
    .await
}

/// All checkpoints, with whose they are.
pub(super) async fn read_all(folder: &Path) -> io::Result<Vec<(TenantId, String)>> {
    let folder = folder.to_owned();
    blocking(move || {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let is_checkpoint = path.extension().is_some_and(|extension| extension == EXTENSION);
            let tenant_id = path.file_stem().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            if let (true, Some(tenant_id)) = (is_checkpoint, tenant_id) {
                all.push((tenant_id, read_file(&path)?));
            }
        }
        Ok(all)
    })
    .await
}

/// Moves a checkpoint out of the way of the next one, under a name that says what it is; it stays as evidence.
pub(super) async fn put_aside(folder: &Path, tenant_id: TenantId, size: u64, at_seconds: i64) -> io::Result<PathBuf> {
    let from = path(folder, tenant_id);
    let to = folder.join(format!("{tenant_id}.lost-{size}-{at_seconds}"));
    blocking(move || std::fs::rename(&from, &to).map(|()| to)).await
}

/// Anybody may read a checkpoint: whoever takes it elsewhere is seldom the server's own account.
#[cfg(unix)]
fn new_file(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt as _;
    tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o644)).tempfile_in(folder)
}

#[cfg(not(unix))]
fn new_file(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    tempfile::NamedTempFile::new_in(folder)
}

fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
