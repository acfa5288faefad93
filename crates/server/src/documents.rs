//! Keeps the documents true where a machine can tell: settings, problem types, operations, events, metrics, links.
//!
//! Tests only. It must never judge wording. To watch over one more thing: a test that compares a list which the code
//! has anyway with the page that repeats it, in both directions.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use countersign_core::event::EventKind;
use countersign_proto::problem::ProblemType;

use crate::{config::DEFAULTS, http::operations};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page(name: &str) -> String {
    let path = root().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files below `folder` with this extension, without what is built or hidden.
fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if name.starts_with('.') || name == "target" || name == "data" {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
}

/// The first two cells of each table row whose first cell is `code` without spaces.
fn rows(text: &str) -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let mut cells = line.trim_matches('|').split(" | ").map(str::trim);
        let first = cells.next().unwrap_or_default();
        if let Some(code) = first.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'))
            && !code.contains([' ', '`'])
        {
            rows.insert(code.to_owned(), cells.next().unwrap_or_default().replace('`', ""));
        }
    }
    rows
}

/// The part under the heading `## name`.
fn section(text: &str, name: &str) -> String {
    let part = text.split("\n## ").find(|part| part.lines().next() == Some(name));
    part.unwrap_or_else(|| panic!("no section {name}")).to_owned()
}

#[test]
fn every_setting_and_its_default_is_documented_and_no_other() {
    let mut settings = BTreeMap::new();
    let mut table = String::new();
    for line in DEFAULTS.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            table = name.to_owned();
        } else if let Some((name, value)) = line.split_once(" = ") {
            let value = if value == "\"\"" { "empty" } else { value.trim_matches('"') };
            settings.insert(format!("{table}.{name}"), value.to_owned());
        }
    }
    assert!(settings.len() > 10);
    assert_eq!(rows(&section(&page("docs/configuration.md"), "Settings")), settings);
}

#[test]
fn every_problem_type_is_documented_with_its_status_and_no_other() {
    let kinds = ProblemType::ALL.iter().map(|kind| kind.spec());
    let kinds: BTreeMap<_, _> = kinds.map(|spec| (spec.slug.to_owned(), spec.status.to_string())).collect();
    assert_eq!(rows(&section(&page("docs/protocol.md"), "11 HTTP and errors")), kinds);
}

#[test]
fn every_operation_stands_in_the_protocol() {
    let protocol = page("docs/protocol.md");
    for operation in operations::ALL {
        let call = format!("{} {}", operation.method, operation.path);
        assert!(protocol.contains(&call), "docs/protocol.md does not name {call}");
    }
}

#[test]
fn every_event_kind_stands_in_the_protocol() {
    let protocol = section(&page("docs/protocol.md"), "10 Users and devices");
    for kind in EventKind::ALL {
        assert!(protocol.contains(&format!("`{}`", kind.as_str())), "docs/protocol.md does not name {}", kind.as_str());
    }
}

#[test]
fn every_metric_is_documented_and_no_other() {
    let mut sources = Vec::new();
    files(&root().join("crates"), "rs", &mut sources);
    let mut metrics = BTreeSet::new();
    for source in sources {
        let text = fs::read_to_string(source).unwrap();
        for kind in ["counter", "gauge", "histogram"] {
            let call = format!("metrics::{kind}!(\"");
            metrics.extend(text.split(&call).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
    }
    assert!(!metrics.is_empty());
    let documented: BTreeSet<_> = rows(&section(&page("docs/configuration.md"), "Metrics")).into_keys().collect();
    assert_eq!(documented, metrics);
}

#[test]
fn every_word_for_a_failed_push_is_explained_and_no_other() {
    let text = section(&page("docs/push.md"), "What went wrong");
    let cells = text.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split(" | ").next());
    let words: BTreeSet<_> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert_eq!(words, countersign_push::CODES.iter().copied().collect());
}

#[test]
fn links_and_paths_in_documents_lead_somewhere() {
    let mut documents = Vec::new();
    files(&root(), "md", &mut documents);
    assert!(documents.len() > 5);
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        let folder = document.parent().unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
        for link in links.filter(|link| !link.contains("://") && !link.starts_with('#')) {
            let path = folder.join(link.split('#').next().unwrap());
            assert!(path.exists(), "{} links to {link}", document.display());
        }
        // Odd parts between backticks are code. Patterns and placeholders are not paths.
        for code in text.split('`').skip(1).step_by(2) {
            let is_path = ["crates/", "docs/", "migrations/", "scripts/", "tests/", ".ci/"]
                .iter()
                .any(|start| code.starts_with(start));
            if is_path && !code.contains(['<', '{', '*', ' ', '…', '\n']) && !code.contains("NNNN") {
                // A test is named with its file: `tests/it/story.rs::what_it_says`.
                let (path, test) = code.split_once("::").unwrap_or((code, ""));
                let path = root().join(path);
                assert!(path.exists(), "{} names {code}", document.display());
                let has_test = || fs::read_to_string(path).unwrap().contains(&format!("fn {test}("));
                assert!(test.is_empty() || has_test(), "{} names {code}", document.display());
            }
        }
    }
}

#[test]
fn json_in_documents_is_json() {
    let protocol = page("docs/protocol.md");
    let blocks: Vec<_> =
        protocol.split("```json\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0)).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        assert!(serde_json::from_str::<serde_json::Value>(block).is_ok(), "{block}");
    }
}
