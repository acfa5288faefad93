//! Who is served next: how many messages of which webhooks may be on their way from this node.
//!
//! Addresses that are well and addresses that fail have room of their own, and each goes round by itself: whoever was
//! served last comes last. So nobody is passed over for ever, however many others always have something due. Of either
//! room an organisation has a part, in which its addresses take turns. Of an address's own places one is kept for what
//! somebody waits for, and one for the rest: neither waits for the other. Knows no store, no clock and no message. To
//! bound something more: a number here, and its test.

use std::collections::HashMap;

use countersign_core::ports::webhooks::{DueWebhook, Health, Share};
use countersign_proto::ids::{TenantId, WebhookId};

/// Messages in flight to addresses that are well.
const ROOM_FOR_WELL: usize = 192;
/// And to those at which everything fails: a quarter of all.
const ROOM_FOR_FAILING: usize = 64;
/// One organisation has this part of each: an eighth.
const PART: usize = 8;
/// Messages to one address in flight. Of either sort at most one less: of those that somebody waits for, and of the rest.
const PER_WELL: u32 = 4;
/// To one at which everything fails: one of each sort.
const PER_FAILING: u32 = 2;
/// Addresses that are looked at in one statement, and leased for in one transaction.
pub(super) const LISTED: u32 = 64;

/// A message on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flight {
    pub(super) webhook_id: WebhookId,
    pub(super) tenant_id: TenantId,
    pub(super) health: Health,
    /// Whether somebody waits for it.
    pub(super) is_urgent: bool,
}

/// What is on its way, and who has been served.
#[derive(Default)]
pub(super) struct Room {
    by_webhook: HashMap<WebhookId, Places>,
    well: Lane,
    failing: Lane,
}

/// What is on its way to one address.
#[derive(Clone, Copy, Default)]
struct Places {
    urgent: u32,
    usual: u32,
}

#[derive(Default)]
struct Lane {
    in_flight: usize,
    /// Where there was no room any more: the next round begins behind it.
    last_served: Option<WebhookId>,
    by_tenant: HashMap<TenantId, Part>,
}

/// An organisation's part of a lane.
#[derive(Default)]
struct Part {
    in_flight: usize,
    /// The first of its addresses for which there was no room in it: those before have to wait for that one.
    next: Option<WebhookId>,
}

/// One look at all addresses that fare alike: those behind the last one that was served, then all. Whoever was served
/// has less room then, or none.
pub(super) struct Turn {
    health: Health,
    after: Option<WebhookId>,
    comes_round: bool,
    is_over: bool,
    /// How much has left since it began, or began again.
    departed: usize,
    /// Whether those were let go first again who had to wait for one that has nothing due.
    has_released: bool,
}

impl Turn {
    const fn once_more(health: Health) -> Self {
        Self { health, after: None, comes_round: false, is_over: false, departed: 0, has_released: false }
    }
}

impl Places {
    /// What may leave besides, of what is due: one place is kept for each sort.
    fn share(self, due: &DueWebhook, health: Health, most: usize) -> Share {
        let bound = match health {
            Health::Well => PER_WELL,
            Health::Failing => PER_FAILING,
        };
        let all = bound.saturating_sub(self.urgent + self.usual).min(u32::try_from(most).unwrap_or(u32::MAX));
        let room = |is_due, taken| if is_due { (bound - 1).saturating_sub(taken).min(all) } else { 0 };
        let (urgent, usual) = (room(due.has_urgent, self.urgent), room(due.has_usual, self.usual));
        Share { webhook_id: due.id, urgent, usual, all: all.min(urgent + usual) }
    }
}

impl Lane {
    /// The organisations that have room, and addresses that there was none for.
    fn waiting(&mut self, most: usize) -> impl Iterator<Item = &mut Part> {
        self.by_tenant.values_mut().filter(move |part| part.in_flight < most && part.next.is_some())
    }
}

const fn room_for(health: Health) -> usize {
    match health {
        Health::Well => ROOM_FOR_WELL,
        Health::Failing => ROOM_FOR_FAILING,
    }
}

impl Room {
    const fn lane(&mut self, health: Health) -> &mut Lane {
        match health {
            Health::Well => &mut self.well,
            Health::Failing => &mut self.failing,
        }
    }

    const fn left(&mut self, health: Health) -> usize {
        room_for(health).saturating_sub(self.lane(health).in_flight)
    }

    /// Begins to look.
    pub(super) const fn begin(&mut self, health: Health) -> Turn {
        let after = self.lane(health).last_served;
        Turn { health, after, comes_round: after.is_some(), is_over: false, departed: 0, has_released: false }
    }

    /// Behind whom to look now; `None`: there is no more room, or nobody else.
    pub(super) fn look(&mut self, turn: &mut Turn) -> Option<Option<WebhookId>> {
        if self.left(turn.health) == 0 {
            return None;
        }
        if turn.is_over {
            let (health, has_left) = (turn.health, turn.departed > 0);
            let lane = self.lane(health);
            lane.by_tenant.retain(|_, part| part.in_flight > 0 || part.next.is_some());
            let mut waiting = lane.waiting(room_for(health) / PART).peekable();
            if waiting.peek().is_none() || (!has_left && turn.has_released) {
                return None;
            }
            if !has_left {
                // The one that the others wait for has nothing due any more. Once only: perhaps all that is due is just
                // being leased by somebody else.
                waiting.for_each(|part| part.next = None);
            }
            // Fewer have left than there was room for: whoever waits is looked at once more.
            *turn = Turn { has_released: !has_left, ..Turn::once_more(health) };
        }
        Some(turn.after)
    }

    /// How many messages of which of these may leave: the ones that were found where [`Self::look`] said.
    pub(super) fn serve(&mut self, turn: &mut Turn, due: &[DueWebhook]) -> Vec<Share> {
        let health = turn.health;
        let mut left = self.left(health);
        let mut planned: HashMap<TenantId, usize> = HashMap::new();
        let mut wanted = Vec::new();
        for due in due {
            let Some(tenant_id) = due.tenant_id else { continue };
            let places = self.by_webhook.get(&due.id).copied().unwrap_or_default();
            let planned = planned.entry(tenant_id).or_default();
            let part = self.lane(health).by_tenant.entry(tenant_id).or_default();
            if part.next.is_some_and(|next| due.id.as_uuid() < next.as_uuid()) {
                continue;
            }
            let own = (room_for(health) / PART).saturating_sub(part.in_flight + *planned);
            let share = places.share(due, health, own.min(left));
            if share.all > 0 {
                part.next = None;
                let all = usize::try_from(share.all).unwrap_or(usize::MAX);
                left -= all;
                *planned += all;
                wanted.push(share);
            } else if own == 0 {
                part.next.get_or_insert(due.id);
            }
        }
        if left == 0 {
            // Whoever stands behind is first when something has landed, or now if fewer could be leased.
            turn.after = wanted.last().map(|share| share.webhook_id);
            self.lane(health).last_served = turn.after;
        } else if due.len() >= LISTED as usize {
            turn.after = due.last().map(|due| due.id);
        } else if turn.comes_round {
            turn.after = None;
            turn.comes_round = false;
        } else {
            turn.is_over = true;
            self.lane(health).last_served = None;
        }
        wanted
    }

    /// A message leaves.
    pub(super) fn depart(&mut self, turn: &mut Turn, flight: Flight) {
        let places = self.by_webhook.entry(flight.webhook_id).or_default();
        *places.of(flight.is_urgent) += 1;
        let lane = self.lane(flight.health);
        lane.in_flight += 1;
        lane.by_tenant.entry(flight.tenant_id).or_default().in_flight += 1;
        turn.departed += 1;
    }

    /// It has landed.
    pub(super) fn land(&mut self, flight: Flight) {
        let lane = self.lane(flight.health);
        lane.in_flight = lane.in_flight.saturating_sub(1);
        if let Some(part) = lane.by_tenant.get_mut(&flight.tenant_id) {
            part.in_flight = part.in_flight.saturating_sub(1);
        }
        if let Some(places) = self.by_webhook.get_mut(&flight.webhook_id) {
            let taken = places.of(flight.is_urgent);
            *taken = taken.saturating_sub(1);
            if places.urgent + places.usual == 0 {
                self.by_webhook.remove(&flight.webhook_id);
            }
        }
    }
}

impl Places {
    const fn of(&mut self, is_urgent: bool) -> &mut u32 {
        if is_urgent { &mut self.urgent } else { &mut self.usual }
    }
}

#[cfg(test)]
mod tests;
