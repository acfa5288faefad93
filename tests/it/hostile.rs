//! The corpora of the fuzz targets, replayed by the very functions that are fuzzed (`tests/src/hostile/`).
//!
//! Whatever a target once got wrong stays here for ever: what `scripts/fuzz.sh` finds goes into the corpus with the mend.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use countersign_tests::hostile::{ALL, bodies};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(name)
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = folder("corpus").join(target);
    names(&folder).into_iter().map(|name| (name.clone(), fs::read(folder.join(name)).unwrap())).collect()
}

#[test]
fn every_target_holds_over_its_corpus_and_takes_and_refuses_some_of_it() {
    for (target, run) in ALL {
        let inputs = corpus(target);
        assert!(inputs.len() >= 20, "{target}: {}", inputs.len());
        let mut taken = 0;
        for (name, input) in &inputs {
            let outcome = std::panic::catch_unwind(|| run(input));
            taken += usize::from(outcome.unwrap_or_else(|_| panic!("fuzz/corpus/{target}/{name} breaks the property")));
        }
        // One that takes nothing, or all, asserts nothing.
        assert!(taken >= 5 && inputs.len() - taken >= 5, "{target}: {taken} of {} are taken", inputs.len());
    }
}

#[test]
fn every_target_has_its_corpus_its_program_and_its_words() {
    let all: BTreeSet<String> = ALL.iter().map(|(target, _)| (*target).to_owned()).collect();
    let with_ending = |ending: &str| all.iter().map(|target| format!("{target}.{ending}")).collect::<BTreeSet<_>>();
    assert_eq!(names(&folder("corpus")), all);
    assert_eq!(names(&folder("fuzz_targets")), with_ending("rs"));
    assert_eq!(names(&folder("dictionaries")), with_ending("dict"));
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    for target in all {
        assert!(manifest.contains(&format!("[[bin]]\nname = \"{target}\"\n")), "{target}");
    }
}

#[test]
fn every_operation_with_a_body_of_json_is_in_the_corpus_and_some_body_of_it_is_taken() {
    let inputs = corpus("bodies");
    for operation in bodies::operations() {
        let first_line = format!("{operation}\n");
        let mut of_it = inputs.iter().filter(|(_, input)| input.starts_with(first_line.as_bytes()));
        assert!(of_it.any(|(_, input)| bodies::run(input)), "{operation}");
    }
}
