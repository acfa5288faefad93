//! Whoever is of another organisation learns nothing, not even that something is there.

use super::Facts;
use crate::history::{Call, End, Op};

pub(super) fn check(history: &[Call], _facts: &Facts) -> Vec<String> {
    let trespasses = history.iter().filter(|call| call.op == Op::Trespass);
    let is_told = |call: &&Call| match &call.end {
        End::Refused { status, slug, .. } => (*status, slug.as_str()) != (404, "not-found"),
        End::NotAsked | End::Unknown { .. } => false,
        _ => true,
    };
    trespasses.filter(is_told).map(|call| format!("{} was shown to a stranger: {:?}", call.subject, call.end)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{C, call, facts, ok, refused};

    #[test]
    fn a_stranger_is_told_that_there_is_nothing() {
        let of = |end| check(&[call(Op::Trespass, C, 1, end)], &facts(&[], &[])).len();
        assert_eq!((of(refused("not-found")), of(refused("forbidden")), of(ok("approved"))), (0, 1, 1));
    }
}
