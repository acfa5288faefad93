//! A batch: set-based commands that share one transaction.
//!
//! First the actors are checked and the rows locked that the commands will meet on, in the order that everybody
//! keeps (API client, user, device, challenge); then the commands run in rounds (see `guards`).
//! To add a set-based command: a variant of [`SetCommand`] here, its guards, its statements in its noun's file.

use async_trait::async_trait;
use countersign_core::{
    actor::Stamp,
    ports::{
        StoreError,
        api_clients::SpendProof,
        challenges::{
            Close, CloseChallenge, CloseOutcome, CreateChallenge, CreateOutcome, DecideChallenge, DecideOutcome,
        },
        notifications::{ClaimNotifications, FinishNotification, FinishOutcome, LeasedNotification},
    },
};
use tokio::sync::oneshot;

use super::{Room, Tx, notifications::changes_device, writer::Work};
use crate::{
    failure::Failure,
    guards::{self, Guard, Rounds},
};

/// A command, its caller, and what the caller will be told.
pub(super) struct Ask<C, R> {
    pub(super) command: C,
    reply: oneshot::Sender<Result<R, StoreError>>,
    outcome: Option<Result<R, StoreError>>,
}

impl<C, R> Ask<C, R> {
    pub(super) fn new(command: C, reply: oneshot::Sender<Result<R, StoreError>>) -> Self {
        Self { command, reply, outcome: None }
    }

    fn answer(self, trouble: Option<&StoreError>) {
        let result = match (trouble, self.outcome) {
            (Some(error), _) => Err(error.clone()),
            (None, Some(outcome)) => outcome,
            (None, None) => Err(StoreError::Unavailable("the command did not run".to_owned())),
        };
        // The caller may have gone meanwhile; what is committed stays.
        let _ = self.reply.send(result);
    }
}

/// A set-based command.
pub(super) enum SetCommand {
    /// Spends an API client's proof.
    Spend(Box<Ask<SpendProof, bool>>),
    /// Makes a challenge.
    Create(Box<Ask<CreateChallenge, CreateOutcome>>),
    /// Records a response.
    Decide(Box<Ask<DecideChallenge, DecideOutcome>>),
    /// Cancels or expires.
    Close(Box<Ask<CloseChallenge, CloseOutcome>>),
    /// Leases notifications.
    Claim(Box<Ask<ClaimNotifications, Vec<LeasedNotification>>>),
    /// Stores a verdict.
    Finish(Box<Ask<FinishNotification, FinishOutcome>>),
}

impl SetCommand {
    /// Whether the caller has given up.
    pub(super) fn is_abandoned(&self) -> bool {
        match self {
            Self::Spend(ask) => ask.reply.is_closed(),
            Self::Create(ask) => ask.reply.is_closed(),
            Self::Decide(ask) => ask.reply.is_closed(),
            Self::Close(ask) => ask.reply.is_closed(),
            Self::Claim(ask) => ask.reply.is_closed(),
            Self::Finish(ask) => ask.reply.is_closed(),
        }
    }

    fn guards(&self) -> Vec<Guard<'_>> {
        match self {
            Self::Spend(ask) => guards::of_spend(&ask.command),
            Self::Create(ask) => guards::of_create(&ask.command),
            Self::Decide(ask) => guards::of_decide(&ask.command),
            Self::Close(ask) => guards::of_close(&ask.command),
            Self::Claim(_) => vec![Guard::Due],
            Self::Finish(ask) => guards::of_finish(&ask.command),
        }
    }

    /// In which room it may run. Part of taking access away are the proof of whoever asks for that, and the end of what
    /// waits in an organisation that was disabled.
    fn room(&self) -> Room {
        match self {
            Self::Spend(ask) if ask.command.takes_access_away => Room::Reserved,
            Self::Close(ask) if ask.command.how == Close::TenantDisabled => Room::Last,
            Self::Spend(_) | Self::Create(_) | Self::Decide(_) | Self::Close(_) | Self::Claim(_) | Self::Finish(_) => {
                Room::Free
            }
        }
    }

    /// On whose behalf, if the command says.
    fn stamp(&self) -> Option<&Stamp> {
        match self {
            Self::Create(ask) => Some(&ask.command.stamp),
            Self::Decide(ask) => Some(&ask.command.stamp),
            Self::Close(ask) => Some(&ask.command.stamp),
            // Whoever presents a proof is known by it; what it may still do is asked with what it does.
            Self::Spend(_) | Self::Claim(_) | Self::Finish(_) => None,
        }
    }

    /// Decides the command without running it.
    fn refuse(&mut self, error: StoreError) {
        match self {
            Self::Spend(ask) => ask.outcome = Some(Err(error)),
            Self::Create(ask) => ask.outcome = Some(Err(error)),
            Self::Decide(ask) => ask.outcome = Some(Err(error)),
            Self::Close(ask) => ask.outcome = Some(Err(error)),
            Self::Claim(ask) => ask.outcome = Some(Err(error)),
            Self::Finish(ask) => ask.outcome = Some(Err(error)),
        }
    }

    fn answer(self, trouble: Option<&StoreError>) {
        match self {
            Self::Spend(ask) => ask.answer(trouble),
            Self::Create(ask) => ask.answer(trouble),
            Self::Decide(ask) => ask.answer(trouble),
            Self::Close(ask) => ask.answer(trouble),
            Self::Claim(ask) => ask.answer(trouble),
            Self::Finish(ask) => ask.answer(trouble),
        }
    }
}

/// Commands that share one transaction.
pub(super) struct Batch(Vec<SetCommand>);

impl Batch {
    pub(super) fn new(commands: Vec<SetCommand>) -> Self {
        Self(commands)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Each command as a batch of its own.
    pub(super) fn split(self) -> impl Iterator<Item = Self> {
        self.0.into_iter().map(|command| Self(vec![command]))
    }

    /// What may run on a full disk, and the rest.
    pub(super) fn part(self) -> (Self, Self) {
        let (urgent, others) = self.0.into_iter().partition(|command| command.room() != Room::Free);
        (Self(urgent), Self(others))
    }

    /// Tells every caller its outcome, or the trouble that all of them share.
    pub(super) fn answer(self, trouble: Option<StoreError>) {
        for command in self.0 {
            command.answer(trouble.as_ref());
        }
    }

    /// The commands in rounds.
    fn rounds(&mut self, is_refused: &[bool]) -> Vec<Round<'_>> {
        let mut numbers = Rounds::default();
        let numbers: Vec<_> = self.0.iter().map(|command| numbers.next(command.guards())).collect();
        let mut rounds: Vec<Round<'_>> = Vec::new();
        for ((command, number), is_refused) in self.0.iter_mut().zip(numbers).zip(is_refused) {
            if rounds.len() <= number {
                rounds.resize_with(number + 1, Round::default);
            }
            if let Some(round) = rounds.get_mut(number).filter(|_| !is_refused) {
                round.push(command);
            }
        }
        rounds
    }
}

#[async_trait]
impl Work for Batch {
    async fn run(&mut self, tx: &mut Tx<'_>) -> Result<bool, Failure> {
        let stamps: Vec<_> = self.0.iter().map(SetCommand::stamp).collect();
        let is_gone = tx.gone_actors(&stamps).await?;
        for (command, _) in self.0.iter_mut().zip(&is_gone).filter(|(_, is_gone)| **is_gone) {
            command.refuse(StoreError::ActorGone);
        }
        self.lock(tx).await?;
        for mut round in self.rounds(&is_gone) {
            round.run(tx).await?;
        }
        Ok(true)
    }

    fn finds_itself(&self) -> bool {
        true
    }

    fn room(&self) -> Room {
        self.0.iter().map(SetCommand::room).min().unwrap_or(Room::Free)
    }
}

impl Batch {
    /// Locks the users whose counters will move, the devices whose standing decides, and those that change.
    async fn lock(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let mut users = Vec::new();
        let mut devices = Vec::new();
        let mut changes_devices = false;
        let mut keys = Vec::new();
        for command in &self.0 {
            match command {
                SetCommand::Create(ask) => {
                    users.push((ask.command.stamp.tenant_id, ask.command.facts.user.id));
                    let key = ask.command.idempotency.as_ref();
                    keys.extend(key.map(|idempotency| (ask.command.facts.client_id, idempotency.key.as_str())));
                }
                SetCommand::Decide(ask) => {
                    users.push((ask.command.stamp.tenant_id, ask.command.user_id));
                    devices.push((ask.command.stamp.tenant_id, ask.command.device_id));
                }
                SetCommand::Close(ask) => users.push((ask.command.stamp.tenant_id, ask.command.user_id)),
                SetCommand::Finish(ask) if changes_device(&ask.command) => {
                    devices.push((ask.command.leased.tenant_id, ask.command.leased.device_id));
                    changes_devices = true;
                }
                SetCommand::Spend(_) | SetCommand::Claim(_) | SetCommand::Finish(_) => {}
            }
        }
        tx.lock_users(&users).await?;
        // All in one statement, and so in one order: sharing some and then holding others alone could meet another
        // batch that does the same the other way round.
        match changes_devices {
            true => tx.lock_devices(&devices).await?,
            false => tx.share_devices(&devices).await?,
        }
        tx.lock_keys(&keys).await
    }
}

/// Commands of which no two change the same row, by kind.
#[derive(Default)]
struct Round<'a> {
    spends: Vec<&'a mut Ask<SpendProof, bool>>,
    creates: Vec<&'a mut Ask<CreateChallenge, CreateOutcome>>,
    decides: Vec<&'a mut Ask<DecideChallenge, DecideOutcome>>,
    closes: Vec<&'a mut Ask<CloseChallenge, CloseOutcome>>,
    claims: Vec<&'a mut Ask<ClaimNotifications, Vec<LeasedNotification>>>,
    finishes: Vec<&'a mut Ask<FinishNotification, FinishOutcome>>,
}

impl<'a> Round<'a> {
    fn push(&mut self, command: &'a mut SetCommand) {
        match command {
            SetCommand::Spend(ask) => self.spends.push(ask),
            SetCommand::Create(ask) => self.creates.push(ask),
            SetCommand::Decide(ask) => self.decides.push(ask),
            SetCommand::Close(ask) => self.closes.push(ask),
            SetCommand::Claim(ask) => self.claims.push(ask),
            SetCommand::Finish(ask) => self.finishes.push(ask),
        }
    }

    async fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        if !self.spends.is_empty() {
            let outcomes = tx.spend_proofs(&commands(&self.spends)).await?;
            settle(&mut self.spends, outcomes);
        }
        if !self.creates.is_empty() {
            let outcomes = tx.create_challenges(&commands(&self.creates)).await?;
            settle(&mut self.creates, outcomes);
        }
        if !self.decides.is_empty() {
            let outcomes = tx.decide_challenges(&commands(&self.decides)).await?;
            settle(&mut self.decides, outcomes);
        }
        if !self.closes.is_empty() {
            let outcomes = tx.close_challenges(&commands(&self.closes)).await?;
            settle(&mut self.closes, outcomes);
        }
        for ask in &mut self.claims {
            ask.outcome = Some(Ok(tx.claim_notifications(&ask.command).await?));
        }
        if !self.finishes.is_empty() {
            let outcomes = tx.finish_notifications(&commands(&self.finishes)).await?;
            settle(&mut self.finishes, outcomes);
        }
        Ok(())
    }
}

fn commands<'c, C, R>(asks: &'c [&mut Ask<C, R>]) -> Vec<&'c C> {
    asks.iter().map(|ask| &ask.command).collect()
}

/// One outcome per command, in the same order.
fn settle<C, R>(asks: &mut [&mut Ask<C, R>], outcomes: Vec<R>) {
    debug_assert_eq!(asks.len(), outcomes.len());
    for (ask, outcome) in asks.iter_mut().zip(outcomes) {
        ask.outcome = Some(Ok(outcome));
    }
}
