//! What an attack has come to: figures, and each promise that it broke.
//!
//! Never says that something holds which was not attacked: the counts of what was done are part of it.

use std::io::{self, Write as _};

use serde_json::{Map, Value, json};

/// The most violations that are spelled out; the rest is counted.
const MAX_TOLD: usize = 50;

/// The result of one attack.
#[derive(Debug)]
pub(crate) struct Report {
    attack: &'static str,
    figures: Map<String, Value>,
    violations: Vec<String>,
}

impl Report {
    pub(crate) fn new(attack: &'static str) -> Self {
        Self { attack, figures: Map::new(), violations: Vec::new() }
    }

    /// Keeps a figure under this name.
    pub(crate) fn figure(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.insert(name.to_owned(), value.into());
    }

    /// Adds to a count.
    pub(crate) fn count(&mut self, name: &str, more: u64) {
        let before = self.figures.get(name).and_then(Value::as_u64).unwrap_or(0);
        self.figure(name, before.saturating_add(more));
    }

    /// The largest of what was seen.
    pub(crate) fn highest(&mut self, name: &str, seen: u64) {
        let before = self.figures.get(name).and_then(Value::as_u64).unwrap_or(0);
        self.figure(name, before.max(seen));
    }

    /// A promise was broken: which one, and where it can be seen.
    pub(crate) fn violated(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    /// Takes over what a part of the attack has found.
    pub(crate) fn absorb(&mut self, violations: impl IntoIterator<Item = String>) {
        self.violations.extend(violations);
    }

    /// What was violated, told one by one.
    pub(crate) fn into_violations(self) -> Vec<String> {
        self.violations
    }

    pub(crate) fn holds(&self) -> bool {
        self.violations.is_empty()
    }

    /// Says it on stdout: a line for a person, or one JSON object.
    pub(crate) fn say(&self, as_json: bool) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let told: Vec<_> = self.violations.iter().take(MAX_TOLD).collect();
        if as_json {
            let report = json!({"attack": self.attack, "holds": self.holds(), "figures": self.figures,
                "violations": self.violations.len(), "told": told});
            writeln!(out, "{report}")?;
        } else {
            let figures: Vec<_> = self.figures.iter().map(|(name, value)| format!("{name} {value}")).collect();
            writeln!(out, "proof: {}: {}; violations {}", self.attack, figures.join(", "), self.violations.len())?;
            for violation in told {
                writeln!(out, "proof: {}: VIOLATION {violation}", self.attack)?;
            }
        }
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_violation_is_enough() {
        let mut report = Report::new("test");
        report.count("rounds", 2);
        report.count("rounds", 3);
        report.highest("peak", 9);
        report.highest("peak", 4);
        assert_eq!((&report.figures["rounds"], &report.figures["peak"]), (&json!(5), &json!(9)));
        assert!(report.holds());
        report.violated("an approval was lost");
        assert!(!report.holds());
    }
}
