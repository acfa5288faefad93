//! What `countersign doctor` asks of the senders: does each credential work, and if not, why.
//!
//! Rings nobody: APNs is asked about a device that cannot exist, Google for an access token that is thrown away, and
//! whether it would take a push to a device that cannot exist. The texts are ours and name no key, token or answer of
//! a provider.
//!
//! To add a check: a line in the credential's function below.

use countersign_proto::timestamp::Timestamp;

use crate::{
    apns::Apns,
    fcm::{self, Fcm},
    report::Diagnosis,
    senders::Senders,
    transport,
};

/// From here on a provider refuses our tokens.
const SKEW_FAILS_SECONDS: i64 = 300;
/// From here on it is worth a word.
const SKEW_WARNS_SECONDS: i64 = 60;

/// Every check of every credential.
pub(crate) async fn diagnose(senders: &Senders) -> Vec<Diagnosis> {
    let mut found = Vec::new();
    for apns in &senders.apns {
        found.extend(diagnose_apns(senders, apns).await);
    }
    for fcm in &senders.fcm {
        found.extend(diagnose_fcm(senders, fcm).await);
    }
    found.push(diagnosis("webpush", "VAPID key", Ok("parses".to_owned())));
    found.push(diagnosis(
        "webpush",
        "CA certificates",
        match senders.webpush.has_certificates() {
            true => Ok("found".to_owned()),
            false => Err("none found: install the system's package of CA certificates".to_owned()),
        },
    ));
    found
}

fn diagnosis(name: &str, check: &'static str, outcome: Result<String, String>) -> Diagnosis {
    Diagnosis { name: name.to_owned(), check, outcome }
}

async fn diagnose_apns(senders: &Senders, apns: &Apns) -> Vec<Diagnosis> {
    let name = apns.gate.destination().to_string();
    let shape = |id: &str| match id.len() == 10 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        true => Ok("10 letters and digits".to_owned()),
        false => Err("must be 10 letters and digits".to_owned()),
    };
    let mut found = vec![
        diagnosis(&name, "key", Ok("parses".to_owned())),
        diagnosis(&name, "key_id", shape(&apns.key_id)),
        diagnosis(&name, "team_id", shape(&apns.team_id)),
    ];
    match transport::within(transport::WHOLE, apns.probe()).await {
        Ok(answer) => {
            found.push(diagnosis(&name, "connection", Ok("HTTP/2 over TLS works".to_owned())));
            found.push(diagnosis(&name, "credentials", Apns::read_probe(&answer)));
            found.push(skew(&name, senders.clock.now(), transport::http_date(&answer.headers)));
        }
        Err(fault) => found.push(diagnosis(&name, "connection", Err(format!("failed: {}", fault.reason)))),
    }
    found
}

async fn diagnose_fcm(senders: &Senders, fcm: &Fcm) -> Vec<Diagnosis> {
    let name = fcm.gate.destination().to_string();
    let mut found = vec![diagnosis(&name, "key", Ok("parses".to_owned()))];
    found.push(diagnosis(
        &name,
        "project_id",
        match fcm::is_project_id(&fcm.project_id) {
            true => Ok("has the form of a project id".to_owned()),
            false => Err("does not have the form of a project id".to_owned()),
        },
    ));
    match fcm.try_credentials().await {
        Ok((access, date)) => {
            found.push(diagnosis(&name, "credentials", Ok("Google gives an access token".to_owned())));
            found.push(skew(&name, senders.clock.now(), date));
            let permission = match transport::within(transport::WHOLE, fcm.probe(&access)).await {
                Ok(answer) => Fcm::read_probe(&answer),
                Err(fault) => Err(format!("could not be tried: {}", fault.reason)),
            };
            found.push(diagnosis(&name, "permission", permission));
        }
        Err(refusal) if refusal.is_final => found.push(diagnosis(
            &name,
            "credentials",
            Err(format!("Google refuses the service account (or this machine's clock is wrong): {}", refusal.reason)),
        )),
        Err(refusal) => found.push(diagnosis(
            &name,
            "credentials",
            Err(format!("the token endpoint could not be asked: {}", refusal.reason)),
        )),
    }
    found
}

/// How far our clock is from the one that answered, if it said the time.
fn skew(name: &str, now: Timestamp, theirs: Option<Timestamp>) -> Diagnosis {
    let seconds = theirs.map(|theirs| now.as_seconds() - theirs.as_seconds());
    let outcome = match seconds.map(|seconds| (seconds, seconds.abs())) {
        None => Ok("could not be compared: the provider's answer says no time".to_owned()),
        Some((seconds, SKEW_FAILS_SECONDS..)) => {
            Err(format!("this machine's clock is {seconds} s ahead of the provider's: set it"))
        }
        Some((seconds, SKEW_WARNS_SECONDS..)) => {
            Ok(format!("this machine's clock is {seconds} s ahead of the provider's: watch it"))
        }
        Some(_) => Ok("within a minute of the provider's".to_owned()),
    };
    diagnosis(name, "clock", outcome)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::NOW;

    #[test]
    fn a_clock_that_is_off_is_told_and_one_that_is_far_off_fails() {
        let judge = |seconds| skew("fcm:main", NOW.plus_seconds(seconds), Some(NOW)).outcome;
        for seconds in [0, 59, -59] {
            assert_eq!(judge(seconds), Ok("within a minute of the provider's".to_owned()));
        }
        assert!(judge(60).is_ok_and(|text| text.contains("60 s ahead")));
        assert!(judge(-299).is_ok_and(|text| text.contains("-299 s ahead")));
        assert!(judge(300).is_err() && judge(-300).is_err());
        let untold = skew("fcm:main", NOW, None).outcome;
        assert!(untold.is_ok_and(|text| text.starts_with("could not be compared")));
    }
}
