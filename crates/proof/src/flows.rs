//! What people, phones, identity providers and admins do all day, one flow each: enroll, sign in, and now and then lose
//! the phone. Whatever is not certain is asked again with the same key or the same bytes, as the protocol tells a client
//! to do, until it is: so that the checks know what must be true. And what some people try and must not get through.
//!
//! Never judges: what the server says is recorded, the checks judge ([`crate::check`]). To add something that people do: a
//! method of [`Flow`] in a file here, its variant of [`Deed`] and its lines in `turn` and `perform`.

mod crowd;
mod enroll;
mod repeat;
mod revoke;
mod sign_in;
mod tricks;
mod world;

use std::{sync::Arc, time::Duration};

use countersign_proto::{ids::DeviceId, timestamp::Timestamp};
use countersign_simulator::phone::{Phone, PhoneError, Server, Surroundings};
use futures_util::future::join_all;

pub(crate) use self::{sign_in::Asking, world::World};
use crate::{
    dice::{Dice, SharedDice},
    history::End,
    http::{Caller, Http},
    system::{self, Stopwatch},
};

/// For so long something is asked again until it is certain.
const CERTAINTY: Duration = Duration::from_secs(120);

/// What somebody with a phone does, or has done to him.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    Approve,
    Deny,
    /// The caller gives up meanwhile.
    Cancel,
    /// A wrong number.
    Mistype,
    /// At the end of the time.
    AnswerLate,
    /// The only phone is lost.
    LosePhone,
    /// One of two phones is lost.
    LoseOneOfTwo,
    /// Wrong confirmation codes before the right one.
    MistypeCode,
    /// Answers that must be refused, then a right one.
    Trick,
    /// The same answer again, when it is too old to be taken for the first time.
    Repeat,
    /// More sign-ins at once than may wait.
    Crowd,
    /// Another organisation looks.
    Trespass,
}

/// All of them.
pub(crate) const DEEDS: [Deed; 12] = [
    Deed::Approve,
    Deed::Deny,
    Deed::Cancel,
    Deed::Mistype,
    Deed::AnswerLate,
    Deed::LosePhone,
    Deed::LoseOneOfTwo,
    Deed::MistypeCode,
    Deed::Trick,
    Deed::Repeat,
    Deed::Crowd,
    Deed::Trespass,
];

/// One flow: one person at a time.
pub(crate) struct Flow {
    world: Arc<World>,
    number: u32,
    dice: Dice,
    surroundings: Surroundings,
    /// How many of each it has made: names are never used twice.
    made: u64,
    person: Option<Person>,
    /// Whose phone meddles with what is not asked of it.
    stranger: Option<Person>,
}

/// Somebody with a phone.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) external_id: String,
    pub(crate) phone: Phone,
}

impl Person {
    pub(crate) fn device(&self) -> DeviceId {
        self.phone.id()
    }
}

/// Why a flow's turn came to nothing: none of them is a violation, the checks find those.
#[derive(Debug)]
pub(crate) enum Turn {
    /// It was refused; somebody else begins anew.
    Refused,
    /// It is not certain what became of it, however often it was asked.
    Uncertain,
}

/// Runs so many flows until the world is over; how many turns were never certain.
pub(crate) async fn run(world: &Arc<World>, count: u32, dice: &Dice) -> u64 {
    let flows = (0..count).map(async |number| {
        let mut flow = Flow::new(Arc::clone(world), number, dice.part(u64::from(number)));
        flow.run().await
    });
    join_all(flows).await.into_iter().sum()
}

impl Flow {
    pub(crate) fn new(world: Arc<World>, number: u32, dice: Dice) -> Self {
        Self::with_clock(world, number, dice, system::now)
    }

    /// One whose phones have another clock.
    pub(crate) fn with_clock(
        world: Arc<World>,
        number: u32,
        dice: Dice,
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Self {
        let random = SharedDice::new(dice.part(u64::MAX));
        let surroundings = Surroundings::new(clock, move |buffer: &mut [u8]| random.fill(buffer));
        Self { world, number, dice, surroundings, made: 0, person: None, stranger: None }
    }

    async fn run(&mut self) -> u64 {
        let mut uncertain = 0;
        while !self.world.is_over() {
            match self.turn().await {
                Ok(()) => {}
                Err(Turn::Refused) => self.person = None,
                Err(Turn::Uncertain) => {
                    uncertain += 1;
                    self.person = None;
                }
            }
        }
        uncertain
    }

    async fn turn(&mut self) -> Result<(), Turn> {
        let Some(person) = self.person.clone() else {
            self.person = Some(self.enroll().await?);
            return Ok(());
        };
        let deed = match self.dice.below(100) {
            0..4 => Deed::LosePhone,
            4..8 => Deed::LoseOneOfTwo,
            8..16 => Deed::Cancel,
            16..23 => Deed::Mistype,
            23..25 => Deed::MistypeCode,
            25..31 => Deed::AnswerLate,
            31..36 => Deed::Trick,
            36..38 => Deed::Repeat,
            38..46 => Deed::Trespass,
            46..62 => Deed::Deny,
            _ => Deed::Approve,
        };
        self.perform(deed, &person).await
    }

    /// One deed of this person, who is the flow's own unless the phone is lost by it.
    pub(crate) async fn perform(&mut self, deed: Deed, person: &Person) -> Result<(), Turn> {
        match deed {
            Deed::Approve => self.sign_in(person, true).await,
            Deed::Deny => self.sign_in(person, false).await,
            Deed::Cancel => self.cancel(person).await,
            Deed::Mistype => self.mistype(person).await,
            Deed::AnswerLate => self.answer_late(person).await,
            Deed::LosePhone => {
                self.person = None;
                self.lose_the_phone(person).await
            }
            Deed::LoseOneOfTwo => {
                self.person = None;
                self.lose_one_of_two(person).await
            }
            Deed::MistypeCode => self.mistype_code().await,
            Deed::Trick => self.trick(person).await,
            Deed::Repeat => self.repeat(person).await,
            Deed::Crowd => self.crowd(person).await,
            Deed::Trespass => self.trespass(person).await,
        }
    }

    /// Somebody with a phone, the same one as long as the phone lasts.
    pub(crate) async fn somebody(&mut self) -> Result<Person, Turn> {
        if self.person.is_none() {
            self.person = Some(self.enroll().await?);
        }
        self.person.clone().ok_or(Turn::Refused)
    }

    /// A word that nobody else has.
    pub(crate) fn fresh(&mut self, prefix: &str) -> String {
        self.made += 1;
        format!("{prefix}-{}-{}", self.number, self.made)
    }

    pub(crate) fn http(&self) -> Http {
        self.world.idp.http.clone()
    }

    pub(crate) fn idp(&self) -> &Caller {
        &self.world.idp
    }

    pub(crate) fn server(&self) -> Server {
        self.world.server.clone()
    }

    pub(crate) fn surroundings(&self) -> Surroundings {
        self.surroundings.clone()
    }
}

/// Asks until it is certain.
pub(crate) async fn certain(mut ask: impl AsyncFnMut() -> End) -> Result<End, Turn> {
    let asked = Stopwatch::start();
    loop {
        let end = ask().await;
        if !end.is_open() {
            return Ok(end);
        }
        if asked.elapsed() > CERTAINTY {
            return Err(Turn::Uncertain);
        }
        system::pause(Duration::from_millis(10)).await;
    }
}

/// The same for what the phone does by itself (reading the server's keys, the repeated registration).
pub(crate) async fn certain_phone<T>(mut ask: impl AsyncFnMut() -> Result<T, PhoneError>) -> Result<T, Turn> {
    let asked = Stopwatch::start();
    loop {
        match ask().await {
            Ok(value) => return Ok(value),
            Err(PhoneError::Problem(problem)) if problem.status != 503 => return Err(Turn::Refused),
            Err(PhoneError::Refused(_)) => return Err(Turn::Refused),
            Err(_) if asked.elapsed() > CERTAINTY => return Err(Turn::Uncertain),
            Err(_) => system::pause(Duration::from_millis(10)).await,
        }
    }
}
