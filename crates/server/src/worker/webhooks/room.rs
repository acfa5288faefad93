//! Who is served next: how many messages of which webhooks may be on their way from this node.
//!
//! Addresses that are well and addresses that fail have room of their own, and each goes round by itself: whoever was
//! served last comes last. So nobody is passed over for ever, however many others always have something due. Knows no
//! store, no clock and no message. To bound something more: a number here, and its test.

use std::collections::HashMap;

use countersign_core::ports::webhooks::{DueWebhook, Health};
use countersign_proto::ids::WebhookId;

/// Messages in flight to addresses that are well.
const ROOM_FOR_WELL: usize = 192;
/// And to those at which everything fails: a quarter of all.
const ROOM_FOR_FAILING: usize = 64;
/// Messages to one address in flight.
const PER_WELL: u32 = 4;
/// To one at which everything fails.
const PER_FAILING: u32 = 1;
/// Addresses that are looked at in one statement, and leased for in one transaction.
pub(super) const LISTED: u32 = 64;

/// What is on its way, and who has been served.
#[derive(Default)]
pub(super) struct Room {
    by_webhook: HashMap<WebhookId, u32>,
    well: Lane,
    failing: Lane,
}

#[derive(Default)]
struct Lane {
    in_flight: usize,
    /// Where there was no room any more: the next round begins behind it.
    last_served: Option<WebhookId>,
}

/// One look at all addresses that fare alike: those behind the last one that was served, then all. Whoever was served
/// has less room then, or none.
pub(super) struct Turn {
    health: Health,
    after: Option<WebhookId>,
    comes_round: bool,
    is_over: bool,
}

impl Room {
    const fn lane(&mut self, health: Health) -> &mut Lane {
        match health {
            Health::Well => &mut self.well,
            Health::Failing => &mut self.failing,
        }
    }

    const fn left(&self, health: Health) -> usize {
        match health {
            Health::Well => ROOM_FOR_WELL.saturating_sub(self.well.in_flight),
            Health::Failing => ROOM_FOR_FAILING.saturating_sub(self.failing.in_flight),
        }
    }

    /// Begins to look.
    pub(super) const fn begin(&mut self, health: Health) -> Turn {
        let after = self.lane(health).last_served;
        Turn { health, after, comes_round: after.is_some(), is_over: false }
    }

    /// Behind whom to look now; `None`: there is no more room, or nobody else.
    pub(super) fn look(&self, turn: &Turn) -> Option<Option<WebhookId>> {
        (!turn.is_over && self.left(turn.health) > 0).then_some(turn.after)
    }

    /// How many messages of which of these may leave: the ones that were found where [`Self::look`] said.
    pub(super) fn serve(&mut self, turn: &mut Turn, due: &[DueWebhook]) -> Vec<(WebhookId, u32)> {
        let bound = if turn.health == Health::Failing { PER_FAILING } else { PER_WELL };
        let mut left = u32::try_from(self.left(turn.health)).unwrap_or(u32::MAX);
        let mut wanted = Vec::new();
        for due in due.iter().filter(|due| !due.is_gone) {
            let own = bound.saturating_sub(self.by_webhook.get(&due.id).copied().unwrap_or(0)).min(left);
            if own > 0 {
                left -= own;
                wanted.push((due.id, own));
            }
        }
        if left == 0 {
            // Whoever stands behind is first when something has landed, or now if fewer could be leased.
            turn.after = wanted.last().map(|(id, _)| *id);
            self.lane(turn.health).last_served = turn.after;
        } else if due.len() >= LISTED as usize {
            turn.after = due.last().map(|due| due.id);
        } else if turn.comes_round {
            turn.after = None;
            turn.comes_round = false;
        } else {
            turn.is_over = true;
            self.lane(turn.health).last_served = None;
        }
        wanted
    }

    /// A message leaves.
    pub(super) fn depart(&mut self, id: WebhookId, health: Health) {
        *self.by_webhook.entry(id).or_default() += 1;
        self.lane(health).in_flight += 1;
    }

    /// It has landed.
    pub(super) fn land(&mut self, id: WebhookId, health: Health) {
        let lane = self.lane(health);
        lane.in_flight = lane.in_flight.saturating_sub(1);
        if let Some(count) = self.by_webhook.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                self.by_webhook.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Addresses that always have something due.
    fn insatiable(count: usize) -> Vec<WebhookId> {
        (0..count).map(|number| format!("01890a5d-ac96-774b-bcce-{number:012x}").parse().unwrap()).collect()
    }

    /// As the worker does it: whom it serves, in order.
    fn fill(room: &mut Room, health: Health, all: &[WebhookId]) -> Vec<WebhookId> {
        let (mut turn, mut served) = (room.begin(health), Vec::new());
        while let Some(after) = room.look(&turn) {
            let behind = all.iter().filter(|id| after.is_none_or(|after| id.as_uuid() > after.as_uuid()));
            let due: Vec<_> = behind.take(LISTED as usize).map(|id| DueWebhook { id: *id, is_gone: false }).collect();
            for (id, count) in room.serve(&mut turn, &due) {
                for _ in 0..count {
                    room.depart(id, health);
                    served.push(id);
                }
            }
        }
        served
    }

    /// How often each was served while so many landed, the oldest first.
    fn served(health: Health, all: &[WebhookId], landings: usize) -> Vec<usize> {
        let (mut room, mut counts) = (Room::default(), HashMap::<WebhookId, usize>::new());
        let mut in_flight: VecDeque<_> = fill(&mut room, health, all).into();
        for _ in 0..landings {
            let id = in_flight.pop_front().unwrap();
            room.land(id, health);
            *counts.entry(id).or_default() += 1;
            in_flight.extend(fill(&mut room, health, all));
        }
        all.iter().map(|id| counts.get(id).copied().unwrap_or(0)).collect()
    }

    #[test]
    fn whoever_fails_has_a_turn_however_many_others_fail() {
        let counts = served(Health::Failing, &insatiable(200), 2_000);
        assert!(counts.iter().all(|count| (8..=11).contains(count)), "{counts:?}");
    }

    #[test]
    fn whoever_is_well_has_a_turn_however_many_others_are_slow() {
        let counts = served(Health::Well, &insatiable(150), 3_000);
        assert!(counts.iter().all(|count| (14..=26).contains(count)), "{counts:?}");
    }

    #[test]
    fn those_that_fail_and_those_that_do_not_take_no_room_from_each_other() {
        let (mut room, all) = (Room::default(), insatiable(300));
        assert_eq!(fill(&mut room, Health::Failing, &all).len(), ROOM_FOR_FAILING);
        assert_eq!(fill(&mut room, Health::Well, &all[200..]).len(), ROOM_FOR_WELL);
        assert_eq!(fill(&mut room, Health::Failing, &all), []);
    }

    #[test]
    fn one_address_has_four_on_their_way_and_one_that_fails_has_one() {
        let (mut room, all) = (Room::default(), insatiable(1));
        assert_eq!(fill(&mut room, Health::Well, &all).len(), 4);
        room.land(all[0], Health::Well);
        assert_eq!(fill(&mut room, Health::Well, &all).len(), 1);
        assert_eq!(fill(&mut Room::default(), Health::Failing, &all).len(), 1);
    }
}
