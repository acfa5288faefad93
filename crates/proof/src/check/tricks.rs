//! What must be refused is refused, whatever it comes with; and what was taken once is told again, however late.

use super::Facts;
use crate::history::{Call, End, Op};

pub(super) fn check(history: &[Call], _facts: &Facts) -> Vec<String> {
    let violation = |call: &Call| match (call.op, &call.end) {
        (Op::Trick, End::Ok { .. }) => {
            Some(format!("an answer {} was taken for {}", call.note.as_deref().unwrap_or_default(), call.subject))
        }
        (Op::Repeat, End::Refused { slug, .. }) => {
            Some(format!("the answer that decided {} was told {slug} when it came again", call.subject))
        }
        _ => None,
    };
    history.iter().filter_map(violation).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{C, call, facts, ok, refused, unknown};

    #[test]
    fn a_trick_is_refused_and_a_repeat_is_not() {
        let of = |op, end| check(&[call(op, C, 1, end)], &facts(&[], &[])).len();
        assert_eq!((of(Op::Trick, refused("not-found")), of(Op::Trick, ok("approved"))), (0, 1));
        assert_eq!((of(Op::Repeat, ok("approved")), of(Op::Repeat, refused("clock-skew"))), (0, 1));
        assert_eq!((of(Op::Trick, unknown()), of(Op::Repeat, unknown())), (0, 0));
    }
}
