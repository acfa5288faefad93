//! `Retry-After` (RFC 9110 section 10.2.3), in seconds or as a date; never read early.
//!
//! A date is measured against the answer's own `Date` where it has one, so that a clock of ours that runs fast or slow
//! moves nothing (unless the two are a day apart: then one of them is not a clock, and ours is what all else goes by). Only the one date format that RFC 9110 lets a sender write is read: another is as good as none.

use countersign_proto::timestamp::Timestamp;
use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};

/// What the provider asks for, in milliseconds from `now`.
pub(crate) fn retry_after_millis(headers: &HeaderMap, now: Timestamp) -> Option<i64> {
    let text = text(headers, &RETRY_AFTER)?;
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are as long as can be.
        return Some(text.parse::<i64>().unwrap_or(i64::MAX).saturating_mul(1_000));
    }
    let until = parse(text)?;
    // `Date` is cut to the second before the answer: measured from it, the pause is never too short.
    let is_near = |date: &Timestamp| date.as_seconds().abs_diff(now.as_seconds()) < 86_400;
    let from = http_date(headers).filter(is_near).unwrap_or(now);
    Some(until.as_millis().saturating_sub(from.as_millis()).max(0))
}

/// The time that an answer bears (`Date`).
pub(crate) fn http_date(headers: &HeaderMap) -> Option<Timestamp> {
    parse(text(headers, &DATE)?)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    Some(headers.get(name)?.to_str().ok()?.trim())
}

/// IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn parse(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.split(' ');
    let day: i64 = digits(words.next()?, 2)?;
    let month = words.next()?;
    let month = i64::try_from(MONTHS.iter().position(|name| *name == month)?).ok()? + 1;
    let year: i64 = digits(words.next()?, 4)?;
    let mut clock = words.next()?.split(':');
    let (hours, minutes, seconds) = (digits(clock.next()?, 2)?, digits(clock.next()?, 2)?, digits(clock.next()?, 2)?);
    let is_whole = clock.next().is_none() && words.next() == Some("GMT") && words.next().is_none();
    if !is_whole || !(1..=31).contains(&day) || hours > 23 || minutes > 59 || seconds > 60 {
        return None;
    }
    Some(Timestamp::from_seconds(days(year, month, day) * 86_400 + hours * 3_600 + minutes * 60 + seconds))
}

fn digits(text: &str, count: usize) -> Option<i64> {
    let fits = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    if fits { text.parse().ok() } else { None }
}

/// Days from 1970-01-01 to a day of the Gregorian calendar. Counts years from March, so that the leap day is the last
/// of its year.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_year = (153 * month + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(784_111_777_250);

    fn asked(retry_after: &str, date: Option<&'static str>) -> Option<i64> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(retry_after).unwrap());
        if let Some(date) = date {
            headers.insert(DATE, HeaderValue::from_static(date));
        }
        retry_after_millis(&headers, NOW)
    }

    #[test]
    fn seconds_are_seconds_however_many() {
        assert_eq!(asked("0", None), Some(0));
        assert_eq!(asked(" 120 ", None), Some(120_000));
        assert_eq!(asked("99999999999999999999999", None), Some(i64::MAX));
    }

    #[test]
    fn a_date_is_reached_and_never_early() {
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:40 GMT", None), Some(2_750));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:00 GMT", None), Some(0), "the past is now");
        // Our clock is an hour fast or slow: the answer's own date counts.
        assert_eq!(asked("Sun, 06 Nov 1994 09:50:00 GMT", Some("Sun, 06 Nov 1994 09:49:30 GMT")), Some(30_000));
        // The answer's date is none.
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:40 GMT", Some("Tue, 08 Nov 1994 08:49:30 GMT")), Some(2_750));
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Tue, 29 Feb 2000 23:59:59 GMT", 951_868_799),
            ("Wed, 01 Mar 2000 00:00:00 GMT", 951_868_800),
            ("Thu, 31 Dec 2026 23:59:59 GMT", 1_798_761_599),
            ("Mon, 01 Mar 2100 00:00:00 GMT", 4_107_542_400),
        ] {
            assert_eq!(parse(text), Some(Timestamp::from_seconds(seconds)), "{text}");
        }
    }

    #[test]
    fn what_is_neither_is_nothing() {
        for text in [
            "",
            "soon",
            "-5",
            "1.5",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Now 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT x",
        ] {
            assert_eq!(asked(text, None), None, "{text}");
        }
    }
}
