//! The reserve's file, and what tries at it come to.

use super::*;

async fn beside(folder: &tempfile::TempDir, bytes: u64) -> Reserve {
    Reserve::beside(&folder.path().join("countersign.db"), bytes).await
}

#[tokio::test]
async fn it_is_made_given_up_piece_by_piece_and_made_whole_again() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = 8 * PIECE + 5_000;
    let mut reserve = beside(&folder, bytes).await;
    assert!(reserve.is_whole().await);
    let path = folder.path().join("countersign.db-reserve");
    assert_eq!(length(&path), bytes);
    assert!(!reserve.give_up_a_piece(Room::Free).await);
    let mut left = Vec::new();
    while reserve.give_up_a_piece(Room::Reserved).await {
        left.push(length(&path));
    }
    // The last quarter is the operator's.
    assert_eq!(left.len(), 7);
    assert_eq!((left[0], left[6]), (7 * PIECE + 5_000, bytes / LAST));
    while reserve.give_up_a_piece(Room::Last).await {}
    assert_eq!(length(&path), 0);
    assert!(!reserve.is_whole().await, "what was just given up is not asked back at once");
    // Another process's view is the same: the length is what counts.
    assert!(beside(&folder, bytes).await.is_whole().await);
    assert!(reserve.is_whole().await);
    assert_eq!(length(&path), bytes);
}

#[tokio::test]
async fn a_file_of_other_settings_is_cut_to_size_and_none_is_left_empty() {
    let folder = tempfile::tempdir().unwrap();
    assert!(beside(&folder, 3 * PIECE).await.is_whole().await);
    let path = folder.path().join("countersign.db-reserve");
    assert!(beside(&folder, PIECE).await.is_whole().await);
    assert_eq!(length(&path), PIECE);
    assert!(beside(&folder, 0).await.is_whole().await);
    assert_eq!(length(&path), 0);
}

#[cfg(unix)]
#[tokio::test]
async fn it_lies_beside_the_file_that_a_link_names() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("large")).unwrap();
    fs::write(folder.path().join("large/file.db"), []).unwrap();
    std::os::unix::fs::symlink(folder.path().join("large/file.db"), folder.path().join("countersign.db")).unwrap();
    assert!(beside(&folder, 10).await.is_whole().await);
    assert_eq!(length(&folder.path().join("large/file.db-reserve")), 10);
}

#[tokio::test]
async fn what_cannot_be_made_whole_is_tried_again_after_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let mut reserve = beside(&folder, PIECE).await;
    let path = folder.path().join("countersign.db-reserve");
    fs::create_dir(&path).unwrap();
    assert!(!reserve.is_whole().await);
    assert!(!reserve.give_up_a_piece(Room::Last).await);
    fs::remove_dir(&path).unwrap();
    // However slow this machine is, the second is not over; and then it is.
    reserve.last_try = Some(LastTry { rest: tokio::spawn(future::pending()), may_write: false });
    assert!(!reserve.is_whole().await, "before that nothing is tried");
    let rest = tokio::spawn(future::ready(()));
    while !rest.is_finished() {
        tokio::task::yield_now().await;
    }
    reserve.last_try = Some(LastTry { rest, may_write: false });
    assert!(reserve.is_whole().await);
}

#[tokio::test]
async fn what_does_not_fit_leaves_the_file_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("countersign.db-reserve");
    // A file that may not be written stands for a disk without room.
    fs::write(&path, [7; 100]).unwrap();
    let closed = File::open(&path).unwrap();
    assert!(append(&closed, 1).is_err());
    assert_eq!(length(&path), 100);
    make_whole(&path, 5_000).unwrap();
    let bytes = fs::read(&path).unwrap();
    assert_eq!(bytes.len(), 5_000);
    assert!(bytes.windows(64).skip(100).all(|run| run.iter().any(|byte| *byte != 0)), "a hole keeps no room");
}

#[tokio::test]
async fn a_file_that_was_never_made_and_one_of_somebody_else_stop_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let mut reserve = beside(&folder, 10).await;
    assert!(reserve.tell(Ok(()), true));
    assert!(reserve.tell(Err(io::ErrorKind::PermissionDenied.into()), true));
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::Other] {
        assert!(!reserve.tell(Err(kind.into()), true), "{kind}");
        assert!(reserve.tell(Err(kind.into()), false), "{kind}");
    }
}

#[tokio::test]
async fn none_is_always_whole_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    assert!(beside(&folder, 0).await.is_whole().await);
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
}

#[cfg(unix)]
#[tokio::test]
async fn it_is_closed_to_other_users() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    assert!(beside(&folder, 10).await.is_whole().await);
    let mode = fs::metadata(folder.path().join("countersign.db-reserve")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
