//! `RateLimit-Policy` and `RateLimit` of the replies to `POST /v1/challenges` (protocol 6.1), as
//! draft-ietf-httpapi-ratelimit-headers-10 spells them.
//!
//! Told from what the creating transaction saw, so that no reply promises what another node has given away. A hint:
//! nothing here limits anything. To add a quota: its name here, its member of [`Standing`], its line in the protocol.

use axum::http::{HeaderName, HeaderValue};
use countersign_core::{
    limits::MAX_PENDING_PER_USER,
    policy::EffectivePolicy,
    push::budget::{Standing, WINDOW_SECONDS},
};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT: HeaderName = HeaderName::from_static("ratelimit");

/// Both headers.
pub(super) fn headers(
    standing: &Standing,
    policy: &EffectivePolicy,
) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let per_10_minutes = policy.pushes_per_user.per_10_minutes;
    let quotas = format!("\"pushes-10m\";q={per_10_minutes};w={WINDOW_SECONDS}, \"pending\";q={MAX_PENDING_PER_USER}");
    let until = standing.next_push_in_seconds.map(|seconds| format!(";t={seconds}")).unwrap_or_default();
    let left = format!("\"pushes-10m\";r={}{until}, \"pending\";r={}", standing.pushes_left, standing.pending_left);
    // Digits and fixed words: always a header.
    let header = |(name, value): (HeaderName, String)| Some((name, HeaderValue::from_str(&value).ok()?));
    [(POLICY, quotas), (LEFT, left)].into_iter().filter_map(header)
}

#[cfg(test)]
mod tests {
    use countersign_core::policy::{Policy, PolicyRequest, effective};

    use super::*;

    fn spelled(standing: Standing) -> [(String, String); 2] {
        let policy = effective(&Policy::default(), &PolicyRequest::default()).unwrap();
        let text = |(name, value): (HeaderName, HeaderValue)| (name.to_string(), value.to_str().unwrap().to_owned());
        headers(&standing, &policy).map(text).collect::<Vec<_>>().try_into().unwrap()
    }

    #[test]
    fn quotas_and_what_is_left_of_them_are_structured_fields() {
        let [policy, left] = spelled(Standing { pushes_left: 3, next_push_in_seconds: Some(17), pending_left: 19 });
        assert_eq!(policy.0, "ratelimit-policy");
        assert_eq!(policy.1, "\"pushes-10m\";q=5;w=600, \"pending\";q=20");
        assert_eq!((left.0.as_str(), left.1.as_str()), ("ratelimit", "\"pushes-10m\";r=3;t=17, \"pending\";r=19"));
    }

    #[test]
    fn without_a_time_none_is_named() {
        let [_, left] = spelled(Standing { pushes_left: 0, next_push_in_seconds: None, pending_left: 0 });
        assert_eq!(left.1, "\"pushes-10m\";r=0, \"pending\";r=0");
    }
}
