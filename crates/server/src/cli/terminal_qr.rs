//! QR codes in the terminal: two modules per character, so that a code stays square and small.

use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};

/// Black on white whatever the terminal's colours are, and back to them.
const BLACK_ON_WHITE: &str = "\x1b[38;5;16;48;5;231m";
const RESET: &str = "\x1b[0m";

/// The lines of the code for `text`, quiet zone included; `None` if it is too long for any code.
///
/// With `coloured` they are black on white by escape sequences. Without, a full block is a dark module, which
/// reads well where text is dark on light.
pub(super) fn lines(text: &str, coloured: bool) -> Option<Vec<String>> {
    // Level L: a screen has no scratches, and fewer modules are easier to scan.
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let image = code.render::<Dense1x2>().quiet_zone(true).build();
    let paint = |line: &str| if coloured { format!("{BLACK_ON_WHITE}{line}{RESET}") } else { line.to_owned() };
    Some(image.lines().map(paint).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enrollment_uri_fits_a_terminal_with_its_quiet_zone() {
        let uri = format!("https://approve.example.org:8443/enroll#t={}", "A".repeat(43));
        let lines = lines(&uri, false).unwrap();
        let width = lines[0].chars().count();
        assert!(width <= 60 && lines.len() <= 24, "{width} x {}", lines.len());
        assert!(lines.iter().all(|line| line.chars().count() == width));
        assert!(lines[0].trim().is_empty() && lines[1].trim().is_empty(), "four light modules above");
        assert!(lines.iter().all(|line| line.starts_with("    ")), "four light modules on the left");
    }

    #[test]
    fn what_fits_no_code_gives_none() {
        assert!(lines(&"x".repeat(3_000), true).is_none());
    }

    #[test]
    fn the_corner_is_a_finder_pattern() {
        let lines = lines("countersign", false).unwrap();
        assert!(lines[2].starts_with("    █▀▀▀▀▀█ "), "{}", lines[2]);
    }
}
