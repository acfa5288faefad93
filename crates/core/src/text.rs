//! Texts from outside: NFC, length, and what may not be in them.
//!
//! Every text that a person reads is checked here, so that nobody can hide or reverse what a phone shows.
//! To add a rule for one member: call [`Checker::text`] with its bounds.

use countersign_proto::problem::FieldError;
use unicode_normalization::UnicodeNormalization as _;

/// Collects what is wrong with a request, so that the caller learns of all of it at once.
#[derive(Debug, Default)]
pub struct Checker {
    errors: Vec<FieldError>,
}

impl Checker {
    /// Notes that the member at `pointer` (RFC 6901) breaks a rule.
    pub fn refuse(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.errors.push(FieldError { pointer: pointer.into(), detail: detail.into() });
    }

    /// A text that a person reads: NFC, `min..=max` Unicode scalar values, nothing invisible or reordering.
    pub fn text(&mut self, pointer: &str, value: &str, min: usize, max: usize) -> String {
        let text: String = value.nfc().collect();
        let length = text.chars().count();
        if length < min || length > max {
            self.refuse(pointer, format!("must have {min} to {max} characters"));
        } else if text.chars().any(is_forbidden) {
            self.refuse(pointer, "must not contain control, invisible or direction-changing characters");
        }
        text
    }

    /// [`Self::text`] for a member that may be absent.
    pub fn optional_text(&mut self, pointer: &str, value: Option<&str>, min: usize, max: usize) -> Option<String> {
        value.map(|value| self.text(pointer, value, min, max))
    }

    /// A number within bounds.
    pub fn range(&mut self, pointer: &str, value: i64, min: i64, max: i64) -> i64 {
        if value < min || value > max {
            self.refuse(pointer, format!("must be between {min} and {max}"));
        }
        value
    }

    /// A user's external id: 1–255 characters, NFC, no white space at either end.
    ///
    /// Case is kept and significant; blanks at the ends are refused rather than trimmed, because the same
    /// person under two spellings would have two lock counters.
    pub fn external_id(&mut self, pointer: &str, value: &str) -> String {
        if value.trim() != value {
            self.refuse(pointer, "must not begin or end with white space");
        }
        self.text(pointer, value, 1, 255)
    }

    /// All that was refused; `Ok` if nothing was.
    ///
    /// # Errors
    /// The members at fault.
    pub fn finish(self) -> Result<(), Vec<FieldError>> {
        if self.errors.is_empty() { Ok(()) } else { Err(self.errors) }
    }
}

/// Characters that a person cannot see or that change how the rest is read (protocol, notation).
fn is_forbidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{061C}'
                | '\u{200B}'
                | '\u{200E}'..='\u{200F}'
                | '\u{2028}'..='\u{202E}'
                | '\u{2060}'..='\u{2069}'
                | '\u{FEFF}'
                | '\u{E0000}'..='\u{E007F}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(value: &str) -> bool {
        let mut checker = Checker::default();
        checker.external_id("/x", value);
        checker.finish().is_err()
    }

    #[test]
    fn composed_and_decomposed_forms_are_one_identity() {
        let mut checker = Checker::default();
        assert_eq!(checker.external_id("/x", "jose\u{301}"), checker.external_id("/x", "jos\u{e9}"));
        assert!(checker.finish().is_ok());
    }

    #[test]
    fn what_a_person_cannot_see_is_refused() {
        for hidden in ["a\u{202E}b", "a\u{200B}", "a\nb", "a\u{85}b", "a\u{2066}b", "a\u{E0041}", "\u{FEFF}a", "a\u{0}"]
        {
            assert!(refused(hidden), "{hidden:?}");
        }
        assert!(!refused("Zoë 🦀 日本"));
    }

    #[test]
    fn length_counts_characters_after_normalisation() {
        assert!(!refused(&"e\u{301}".repeat(255)));
        assert!(refused(&"é".repeat(256)));
        assert!(refused(""));
        assert!(refused(" a"));
        assert!(refused("a\u{3000}"));
    }
}
