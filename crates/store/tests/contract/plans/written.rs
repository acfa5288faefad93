//! The names of the statements that are written in the sources, `-- name` at the beginning of each.

use std::{collections::BTreeSet, path::Path};

/// Names by where they are issued.
#[derive(Default)]
pub(crate) struct Written {
    /// On both databases, or on PostgreSQL alone if they lock.
    pub(crate) shared: BTreeSet<String>,
    pub(crate) sqlite: BTreeSet<String>,
    pub(crate) postgres: BTreeSet<String>,
}

pub(crate) fn written() -> Written {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut written = Written::default();
    names_below(&source.join("sql"), &mut written.shared);
    names_below(&source.join("sqlite"), &mut written.sqlite);
    names_below(&source.join("postgres"), &mut written.postgres);
    written
}

fn names_below(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names_below(&path, names);
        } else {
            names_in(&std::fs::read_to_string(&path).unwrap(), names);
        }
    }
}

fn names_in(source: &str, names: &mut BTreeSet<String>) {
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let source = &source.lines().filter(is_code).collect::<Vec<_>>().join("\n");
    for (at, _) in source.match_indices("\"-- ") {
        let name = word(&source[at + 4..]);
        if !name.is_empty() {
            names.insert(name.to_owned());
        }
    }
    // Where statements share their columns, a closure takes the name: `select("name", …)`.
    for closure in source.split("let ").filter(|rest| rest.contains("= |name: &str")) {
        let closure = word(closure);
        for (at, call) in source.match_indices(&format!("{closure}(")) {
            let argument = source[at + call.len()..].trim_start();
            if let Some(name) = argument.strip_prefix('"').map(word).filter(|name| !name.is_empty()) {
                names.insert(name.to_owned());
            }
        }
    }
}

fn word(text: &str) -> &str {
    let end = text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(text.len());
    &text[..end]
}

#[test]
fn names_are_found_in_literals_and_in_calls() {
    let mut names = BTreeSet::new();
    let source = r#"//! query("-- comment
        query("-- plain\nSELECT 1"); let select = |name: &str, which: &str| { "-- {name}" };
        select("first", "x"), select(
            "second", "y")"#;
    names_in(source, &mut names);
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["first", "plain", "second"]);
}
