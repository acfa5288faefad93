//! Changes of rows that are sealed as a whole: read, made anew, and written if nobody has changed them meanwhile.
//!
//! Whoever is overtaken begins again from what is there then, so that what others have changed stays. Never for ever: one
//! that is overtaken each time is told to come back. To change one more kind of row so: an attempt, passed to
//! [`unless_overtaken`].

use std::future::Future;

use countersign_proto::problem::ProblemType;

use super::problem::{ApiError, ApiResult};

/// How often to begin again because somebody else has changed the same row meanwhile.
const TRIES: usize = 5;

/// Does what `attempt` does; `None` of it: somebody else was faster.
///
/// # Errors
/// As the attempt; 503 if somebody else was faster each time.
pub async fn unless_overtaken<T, F>(attempt: impl Fn() -> F) -> ApiResult<T>
where
    F: Future<Output = ApiResult<Option<T>>>,
{
    for _ in 0..TRIES {
        if let Some(done) = attempt().await? {
            return Ok(done);
        }
    }
    Err(ApiError::new(ProblemType::Unavailable).retry_after(1))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// How often it was tried, and what came of it, if somebody else is faster so often.
    async fn tried(overtaken: usize) -> (usize, Option<&'static str>) {
        let tries = Cell::new(0);
        let attempt = || async {
            tries.set(tries.get() + 1);
            Ok((tries.get() > overtaken).then_some("done"))
        };
        let done = unless_overtaken(attempt).await.ok();
        (tries.get(), done)
    }

    #[tokio::test]
    async fn who_is_overtaken_begins_again_and_not_for_ever() {
        assert_eq!(tried(0).await, (1, Some("done")));
        assert_eq!(tried(4).await, (5, Some("done")));
        assert_eq!(tried(5).await, (5, None));
    }
}
