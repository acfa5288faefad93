//! One complete sign-in on two connections: the caller's and the device's.
//!
//! The caller creates the challenge and at once sends the read that waits for its end; while that is held the device
//! pulls what waits for it (with a signed proof), signs its approval of it with the number that the person typed, and
//! sends it. All four calls are made anew each time, and nothing is signed or formatted before its turn.

use std::time::Duration;

use crate::{
    device::Device,
    reply::{Created, Failure, Pending, Standing, expect},
    target::Target,
    wire::Connection,
};

/// No sign-in takes this long: a challenge lives for 120 s.
const DEADLINE: Duration = Duration::from_secs(130);

/// The two connections of a flow, and room for what is sent.
#[derive(Debug)]
pub(crate) struct Flow {
    caller: Connection,
    device: Connection,
    caller_request: String,
    device_request: String,
}

/// How long everything took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// From when it should have begun to when it began; zero in a closed loop.
    pub(crate) late: Duration,
    /// `POST /v1/challenges`.
    pub(crate) create: Duration,
    /// `GET /v1/device/challenges`.
    pub(crate) pull: Duration,
    /// `POST …/response`.
    pub(crate) respond: Duration,
    /// `GET /v1/challenges/{id}?wait=50`, held.
    pub(crate) wait: Duration,
    /// From the first byte of the response to the caller's read returned: more than decision to caller, for the
    /// decision falls in between.
    pub(crate) response_to_caller: Duration,
    /// From the device's reply, which says that the decision is durable, to the caller's read returned; zero if that
    /// was first.
    pub(crate) reply_to_caller: Duration,
    /// From when it should have begun to the caller's read returned.
    pub(crate) whole: Duration,
}

/// A sign-in that was approved, as far as its status says.
#[derive(Debug)]
pub(crate) struct SignedIn {
    pub(crate) sample: Sample,
    /// When the caller's read returned, from the run's beginning.
    pub(crate) finished: Duration,
    /// The challenge's id.
    pub(crate) id: String,
    /// The caller's last reply: evidence and result token are in it, to be verified.
    pub(crate) body: Vec<u8>,
}

impl Flow {
    /// Opens both connections.
    pub(crate) async fn open(target: &Target) -> Result<Self, Failure> {
        let open = |address| async move {
            Connection::open(address).await.map_err(|error| Failure::Wrong(format!("connect: {error}")))
        };
        let (caller, device) = (open(target.callers).await?, open(target.devices).await?);
        Ok(Self { caller, device, caller_request: String::new(), device_request: String::new() })
    }

    /// Signs in; `intended` is when that should have begun.
    pub(crate) async fn sign_in(
        &mut self,
        target: &Target,
        device: &Device,
        intended: Duration,
    ) -> Result<SignedIn, Failure> {
        let signed_in = tokio::time::timeout(DEADLINE, self.sign_in_unbounded(target, device, intended)).await;
        signed_in.unwrap_or_else(|_| Err(Failure::Wrong("no end in time".to_owned())))
    }

    async fn sign_in_unbounded(
        &mut self,
        target: &Target,
        device: &Device,
        intended: Duration,
    ) -> Result<SignedIn, Failure> {
        let Self { caller, device: device_connection, caller_request, device_request } = self;
        let clock = target.began;
        target.create_challenge(caller_request, &device.external_id);
        let begun = clock.elapsed();
        let created: Created<'_> = expect("create", 201, caller.exchange(caller_request.as_bytes()).await)?;
        let create = clock.elapsed().saturating_sub(begun);
        let (id, number) = (created.id.to_owned(), created.number.map(str::to_owned));

        target.await_challenge(caller_request, &id);
        let wait_begun = clock.elapsed();
        let waiting = async {
            let reply = caller.exchange(caller_request.as_bytes()).await;
            let returned = clock.elapsed();
            let body = reply.as_ref().map(|reply| reply.body.to_vec()).unwrap_or_default();
            let Standing { status } = expect("wait", 200, reply)?;
            if status != "approved" {
                return Err(Failure::Wrong(format!("wait: the challenge is {status}")));
            }
            Ok((returned, body))
        };
        let answering = answer(target, device, device_connection, device_request, (&id, number.as_deref()));
        // The caller's request is written first; a device that fails ends the caller's wait.
        let ((returned, body), answered) = tokio::try_join!(waiting, answering)?;
        let sample = Sample {
            late: begun.saturating_sub(intended),
            create,
            pull: answered.pull,
            respond: answered.replied.saturating_sub(answered.responded),
            wait: returned.saturating_sub(wait_begun),
            response_to_caller: returned.saturating_sub(answered.responded),
            reply_to_caller: returned.saturating_sub(answered.replied),
            whole: returned.saturating_sub(intended),
        };
        Ok(SignedIn { sample, finished: returned, id, body })
    }
}

/// The device's half; times are counted from the run's beginning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered {
    pull: Duration,
    /// When the response was sent.
    pub(crate) responded: Duration,
    /// When its reply was there.
    pub(crate) replied: Duration,
}

/// The device pulls the challenge of this id, and approves it with this number.
pub(crate) async fn answer(
    target: &Target,
    device: &Device,
    connection: &mut Connection,
    request: &mut String,
    (id, number): (&str, Option<&str>),
) -> Result<Answered, Failure> {
    let clock = target.began;
    device.pull(target, request, 0)?;
    let begun = clock.elapsed();
    let pending: Pending<'_> = expect("pull", 200, connection.exchange(request.as_bytes()).await)?;
    let pull = clock.elapsed().saturating_sub(begun);
    let challenge = pending.challenges.iter().find(|challenge| challenge.id == id);
    let challenge = challenge.ok_or_else(|| Failure::Wrong("pull: the challenge is not there".to_owned()))?;
    device.approve(target, request, id, challenge.challenge, number)?;
    let responded = clock.elapsed();
    let Standing { status } = expect("respond", 200, connection.exchange(request.as_bytes()).await)?;
    if status != "approved" {
        return Err(Failure::Wrong(format!("respond: the challenge is {status}")));
    }
    Ok(Answered { pull, responded, replied: clock.elapsed() })
}
