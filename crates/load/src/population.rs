//! Users with a device each, enrolled before the load, or as the load (`countersign-load enroll`).
//!
//! The confirmation that needs the fewest calls is `none`: the invitation, and the device's registration.
//! No push is registered: a device here pulls.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use countersign_proto::jose::SigningKey;
use tokio::task::JoinSet;

use crate::{
    LoadError,
    device::{Device, register},
    reply::{Failure, Invited, Registered, Standing, expect},
    target::Target,
    wire::Connection,
};

/// How many users are enrolled at once.
const FLOWS: usize = 64;
/// No step of an enrollment takes this long.
const DEADLINE: Duration = Duration::from_secs(60);

/// Whether a code is typed back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Confirmation {
    /// Two calls.
    None,
    /// Three calls.
    Code,
}

/// When the steps of an enrollment were done, from its beginning; `confirmed` only with a code.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steps {
    pub(crate) begun: Duration,
    pub(crate) invited: Duration,
    pub(crate) registered: Duration,
    pub(crate) confirmed: Option<Duration>,
}

/// Enrolls so many users.
pub(crate) async fn enroll(target: &Arc<Target>, users: usize) -> Result<Vec<Device>, LoadError> {
    let enrolled = enroll_in_flows(target, users, FLOWS, Confirmation::None).await?;
    Ok(enrolled.into_iter().map(|(device, _)| device).collect())
}

/// Enrolls so many users, so many at a time, and says how long each took.
pub(crate) async fn enroll_in_flows(
    target: &Arc<Target>,
    users: usize,
    flows: usize,
    confirmation: Confirmation,
) -> Result<Vec<(Device, Steps)>, LoadError> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut running = JoinSet::new();
    for _ in 0..flows.min(users) {
        let (target, next) = (Arc::clone(target), Arc::clone(&next));
        running.spawn(async move {
            let mut flow = Flow::open(&target).await?;
            let mut enrolled = Vec::new();
            while next.fetch_add(1, Ordering::Relaxed) < users {
                let one = tokio::time::timeout(DEADLINE, flow.enroll(&target, confirmation)).await;
                enrolled.push(one.unwrap_or_else(|_| Err(Failure::Wrong("enroll: no reply in time".to_owned())))?);
            }
            Ok::<_, Failure>(enrolled)
        });
    }
    let mut all = Vec::with_capacity(users);
    while let Some(flow) = running.join_next().await {
        let flow = flow.map_err(|error| LoadError::Failed(error.to_string()))?;
        all.extend(flow.map_err(|failure| LoadError::Failed(failure.to_string()))?);
    }
    Ok(all)
}

struct Flow {
    caller: Connection,
    device: Connection,
    request: String,
}

impl Flow {
    async fn open(target: &Target) -> Result<Self, Failure> {
        let open = |address| async move {
            Connection::open(address).await.map_err(|error| Failure::Wrong(format!("connect: {error}")))
        };
        let (caller, device) = (open(target.callers).await?, open(target.devices).await?);
        Ok(Self { caller, device, request: String::new() })
    }

    async fn enroll(&mut self, target: &Target, confirmation: Confirmation) -> Result<(Device, Steps), Failure> {
        let Self { caller, device, request } = self;
        // The key is the phone's own affair: made before the clock runs.
        let key = SigningKey::generate()?;
        let external_id = format!("load-{}", target.fresh());
        let word = if confirmation == Confirmation::Code { "code" } else { "none" };
        let begun = target.began.elapsed();

        target.create_enrollment(request, &external_id, word);
        let invited: Invited<'_> = expect("invite", 201, caller.exchange(request.as_bytes()).await)?;
        let (enrollment_id, ticket) = (invited.id.to_owned(), invited.ticket.to_owned());
        let invited = target.began.elapsed();

        register(target, request, &key, &ticket)?;
        let reply: Registered<'_> = expect("register", 201, device.exchange(request.as_bytes()).await)?;
        let (id, code) = (reply.device_id.to_owned(), reply.confirmation_code.map(str::to_owned));
        let registered = target.began.elapsed();

        let mut confirmed = None;
        if let Some(code) = code {
            target.confirm_enrollment(request, &enrollment_id, &code);
            let Standing { status } = expect("confirm", 200, caller.exchange(request.as_bytes()).await)?;
            if status != "completed" {
                return Err(Failure::Wrong(format!("confirm: {status}")));
            }
            confirmed = Some(target.began.elapsed());
        }
        Ok((Device { id, external_id, key }, Steps { begun, invited, registered, confirmed }))
    }
}
