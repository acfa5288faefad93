//! `countersign demo`: what a newcomer sees, as a process.

use std::fs;

use countersign_tests::Db;

use crate::process::{Program, run};

#[tokio::test]
async fn the_demo_ends_well_tells_every_step_and_leaves_nothing_behind() {
    let program = Program::on(Db::Sqlite).await;
    let folder = program.database.file("demo");
    fs::create_dir(&folder).unwrap();
    let mut command = program.command(&["demo"]);
    let finished = run({
        command.env("TMPDIR", &folder).current_dir(&folder);
        command
    })
    .await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(finished.stderr, "");
    let told = &finished.stdout;
    for promised in ["confirmation code", "number", "approved", "offline", "not me", "wrong number", "revoked"] {
        assert!(told.to_lowercase().contains(promised), "{promised:?} is not told:\n{told}");
    }
    // Steps are numbered from 1 without a gap.
    let steps = told.lines().filter_map(|line| line.get(..4)?.trim().strip_suffix('.')?.parse::<usize>().ok());
    let steps: Vec<_> = steps.collect();
    assert!(steps.len() >= 10, "{steps:?}");
    assert!(steps.iter().copied().eq(1..=steps.len()), "{steps:?}");
    // An API key is a secret even in a demo: what people copy from a terminal they paste elsewhere.
    assert!(!told.contains("csk_"), "{told}");
    assert!(!told.contains('\x1b'), "no colour without a terminal:\n{told}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "files stay behind");
}

#[tokio::test]
async fn a_demo_that_cannot_happen_says_so_in_one_line() {
    let program = Program::on(Db::Sqlite).await;
    let mut command = program.command(&["demo"]);
    command.env("TMPDIR", program.database.file("missing"));
    let finished = run(command).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");
}
