//! Versions of apps and operating systems, as devices write them.
//!
//! What cannot be read is unknown: never a panic, never a reason to refuse anything by itself.

/// Dotted numbers, at most six, such as `2.4.1`. Missing ones count as 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version([u32; 6]);

impl Version {
    /// Reads a version; `None` for anything but dotted decimal numbers.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = [0; 6];
        let mut places = parts.iter_mut();
        for part in text.split('.') {
            let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            *places.next()? = if is_number { part.parse().ok()? } else { return None };
        }
        Some(Self(parts))
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn numbers_are_compared_as_numbers() {
        let version = |text| Version::parse(text).unwrap();
        assert!(version("2.10") > version("2.9.9"));
        assert_eq!(version("2"), version("2.0.0"));
        assert!(version("10") > version("9.9.9.9.9.9"));
    }

    #[test]
    fn anything_else_is_unknown() {
        for text in
            ["", ".", "1.", ".1", "1..2", "v1", "1.2-beta", "1,2", " 1", "-1", "+1", "4294967296", "1.1.1.1.1.1.1", "١"]
        {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
