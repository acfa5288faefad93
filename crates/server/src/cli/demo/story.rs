//! How the demo speaks: numbered steps, facts that were checked, at most 80 columns, no colour unless a
//! person looks at it.

use std::{
    fmt::Display,
    io::{self, Write},
};

use countersign_proto::timestamp::Timestamp;

use super::DemoError;
use crate::clock::{Clock as _, SystemClock};

const WIDTH: usize = 80;
const INDENT: usize = 4;

/// The teller.
pub(super) struct Story {
    out: Box<dyn Write + Send>,
    coloured: bool,
    steps: u32,
    began_at: Timestamp,
}

impl Story {
    pub(super) fn new(out: Box<dyn Write + Send>, coloured: bool) -> Self {
        Self { out, coloured, steps: 0, began_at: SystemClock.now() }
    }

    /// How many steps have begun.
    pub(super) fn steps(&self) -> u32 {
        self.steps
    }

    /// When it began.
    pub(super) fn began_at(&self) -> Timestamp {
        self.began_at
    }

    /// Whether to paint.
    pub(super) fn is_coloured(&self) -> bool {
        self.coloured
    }

    pub(super) fn title(&mut self, title: &str, subtitle: &str) -> io::Result<()> {
        let title = self.paint("1", title);
        writeln!(self.out, "{title}\n{subtitle}\n")
    }

    pub(super) fn chapter(&mut self, title: &str) -> io::Result<()> {
        let title = self.paint("1;36", title);
        writeln!(self.out, "\n{title}")
    }

    /// The last line, if all went well.
    pub(super) fn end(&mut self) -> io::Result<()> {
        let seconds = SystemClock.now().millis_since(self.began_at) as f64 / 1_000.0;
        let text = self.paint("1;32", &format!("Every step happened as told, in {seconds:.1} s."));
        writeln!(self.out, "\n{text}")?;
        self.out.flush()
    }

    /// Begins a step: what happens now, in plain words.
    pub(super) fn step(&mut self, text: &str) -> io::Result<()> {
        self.steps = self.steps.saturating_add(1);
        let number = self.paint("1", &format!("{:>2}. ", self.steps));
        let mut lead = number;
        for line in wrap(text, WIDTH - INDENT) {
            writeln!(self.out, "{lead}{line}")?;
            lead = " ".repeat(INDENT);
        }
        self.out.flush()
    }

    /// A line that belongs to the step, as it is.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{:INDENT$}{text}", "")
    }

    /// Lines in a frame: a screen.
    pub(super) fn screen(&mut self, lines: &[String]) -> io::Result<()> {
        const INNER: usize = WIDTH - INDENT - 6;
        let rule = "─".repeat(INNER + 2);
        writeln!(self.out, "{:INDENT$}┌{rule}┐", "")?;
        for line in lines.iter().flat_map(|line| wrap(line, INNER)) {
            // Padded by characters; wide ones may push the frame's edge, which harms nobody.
            let padding = " ".repeat(INNER.saturating_sub(line.chars().count()));
            writeln!(self.out, "{:INDENT$}│ {line}{padding} │", "")?;
        }
        writeln!(self.out, "{:INDENT$}└{rule}┘", "")
    }

    /// Tells a fact if it `holds`.
    ///
    /// # Errors
    /// [`DemoError::Deviation`] with what was seen instead.
    pub(super) fn check(&mut self, holds: bool, fact: &str, saw: impl Display) -> Result<(), DemoError> {
        if !holds {
            return Err(DemoError::Deviation { expected: fact.to_owned(), saw: saw.to_string() });
        }
        let mut lead = self.paint("32", "✓ ");
        for line in wrap(fact, WIDTH - INDENT - 2) {
            writeln!(self.out, "{:INDENT$}{lead}{line}", "")?;
            lead = "  ".to_owned();
        }
        Ok(self.out.flush()?)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Breaks at spaces; a word longer than `width` stands alone.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let is_full = line.chars().count() + 1 + word.chars().count() > width;
        if is_full && !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn told(coloured: bool) -> String {
        let paper = Paper::default();
        let mut story = Story::new(Box::new(paper.clone()), coloured);
        let long = "a story of many words ".repeat(12);
        story.title("title", "subtitle").unwrap();
        story.step(&long).unwrap();
        story.screen(&[long.clone(), "short".to_owned()]).unwrap();
        story.check(true, &long, "").unwrap();
        story.end().unwrap();
        String::from_utf8(paper.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn nothing_is_wider_than_80_columns_and_colour_is_for_terminals_only() {
        let plain = told(false);
        assert!(plain.lines().all(|line| line.chars().count() <= WIDTH), "{plain}");
        assert!(!plain.contains('\x1b'));
        assert!(told(true).contains('\x1b'));
    }

    #[test]
    fn what_does_not_hold_is_not_told() {
        let paper = Paper::default();
        let mut story = Story::new(Box::new(paper.clone()), false);
        let error = story.check(false, "the sun rises", "rain").unwrap_err();
        assert_eq!(error.to_string(), "expected: the sun rises; saw: rain");
        assert!(paper.0.lock().unwrap().is_empty());
    }
}
