//! Whole runs, against a stand-in in this process. No figure is judged: a machine may be busy.

use std::collections::HashSet;

use countersign_simulator::{apns::Push, stand_in::Behaviour};
use tempfile::TempDir;

use super::*;
use crate::testing::{DESCRIPTION, stand_in};

fn arguments(place: &TempDir) -> Args {
    Args { stand_in: place.path().join(DESCRIPTION), pushes: 50, in_flight: 8, devices: 5 }
}

#[tokio::test]
async fn a_run_sends_so_many_challenges_over_one_connection_with_one_provider_token() {
    let (handle, place) = stand_in().await;
    run(arguments(&place), true).await.unwrap();
    assert_eq!((handle.accepted_count(), handle.attempted_count()), (50, 50));
    assert_eq!((handle.connections(), handle.provider_tokens_seen()), (1, 1));
    let received = handle.received();
    let different =
        |read: fn(&Push) -> String| received.iter().map(|attempt| read(&attempt.push)).collect::<HashSet<_>>().len();
    assert_eq!((different(|push| push.apns_id.clone()), different(|push| format!("{:?}", push.collapse_id))), (50, 50));
    assert!(received.iter().all(|attempt| attempt.push.push_type.as_deref() == Some("alert")));
}

#[tokio::test]
async fn a_single_failure_fails_the_run() {
    let (handle, place) = stand_in().await;
    handle.script(&format!("{:064x}", 1), [Behaviour::Gone { timestamp_millis: None }]);
    let error = run(arguments(&place), true).await.unwrap_err();
    assert_eq!(error.to_string(), r#"not accepted: {"unregistered 410": 1}"#);
}

#[test]
fn a_push_that_only_one_side_has_counted_fails_the_run() {
    let figures = |there: u64| {
        let mut tally = Tally::default();
        tally.succeeded(Duration::from_millis(1));
        let counts = |accepted| Counts { connections: 1, accepted };
        Figures { tally, took: Duration::from_secs(1), before: counts(7), after: counts(7 + there) }
    };
    assert!(figures(1).judge(1).is_ok());
    for (there, pushes) in [(0, 1), (2, 1), (1, 2)] {
        assert!(figures(there).judge(pushes).is_err(), "{there} there, {pushes} to send");
    }
}
