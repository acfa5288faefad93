use std::collections::VecDeque;

use super::*;

/// An address of an organisation, with how much is due there.
#[derive(Clone, Copy)]
struct Address {
    due: DueWebhook,
    urgent: u32,
    usual: u32,
}

const ALWAYS: u32 = u32::MAX;

/// Addresses that always have something due that nobody waits for, each of an organisation of its own.
fn insatiable(count: usize) -> Vec<Address> {
    (0..count).map(|number| of_tenant(number, number)).collect()
}

/// The same, of that organisation.
fn of_tenant(number: usize, tenant: usize) -> Address {
    let id = format!("01890a5d-ac96-774b-bcce-{number:012x}").parse().unwrap();
    let tenant_id = format!("01890a5d-ac96-774b-aaaa-{tenant:012x}").parse().unwrap();
    let due = DueWebhook { id, tenant_id: Some(tenant_id), has_urgent: false, has_usual: true };
    Address { due, urgent: 0, usual: ALWAYS }
}

/// As the worker and its store do it: what has left, in order. What has left is not due any more.
fn fill(room: &mut Room, health: Health, all: &mut [Address]) -> Vec<Flight> {
    let (mut turn, mut left) = (room.begin(health), Vec::new());
    while let Some(after) = room.look(&mut turn) {
        let is_behind = |it: &&Address| after.is_none_or(|after| it.due.id.as_uuid() > after.as_uuid());
        let has_due = |it: &&Address| it.urgent > 0 || it.usual > 0;
        let look = |it: &Address| DueWebhook { has_urgent: it.urgent > 0, has_usual: it.usual > 0, ..it.due };
        let due: Vec<_> = all.iter().filter(is_behind).filter(has_due).take(LISTED as usize).map(look).collect();
        for share in room.serve(&mut turn, &due) {
            let address = all.iter_mut().find(|address| address.due.id == share.webhook_id).unwrap();
            let urgent = share.urgent.min(share.all).min(address.urgent);
            let usual = share.usual.min(share.all - urgent).min(address.usual);
            for (is_urgent, count, due) in [(true, urgent, &mut address.urgent), (false, usual, &mut address.usual)] {
                *due = if *due == ALWAYS { ALWAYS } else { *due - count };
                for _ in 0..count {
                    let tenant_id = address.due.tenant_id.unwrap();
                    let flight = Flight { webhook_id: share.webhook_id, tenant_id, health, is_urgent };
                    room.depart(&mut turn, flight);
                    left.push(flight);
                }
            }
        }
    }
    left
}

/// How often each was served while so many landed, the oldest first.
fn served(health: Health, all: &mut [Address], landings: usize) -> Vec<usize> {
    let (mut room, mut counts) = (Room::default(), HashMap::<WebhookId, usize>::new());
    let mut in_flight: VecDeque<_> = fill(&mut room, health, all).into();
    for _ in 0..landings {
        let flight = in_flight.pop_front().unwrap();
        room.land(flight);
        *counts.entry(flight.webhook_id).or_default() += 1;
        in_flight.extend(fill(&mut room, health, all));
    }
    all.iter().map(|it| counts.get(&it.due.id).copied().unwrap_or(0)).collect()
}

fn of(flights: &[Flight], tenant: &Address) -> usize {
    flights.iter().filter(|flight| Some(flight.tenant_id) == tenant.due.tenant_id).count()
}

#[test]
fn whoever_fails_has_a_turn_however_many_others_fail() {
    let counts = served(Health::Failing, &mut insatiable(200), 2_000);
    assert!(counts.iter().all(|count| (8..=11).contains(count)), "{counts:?}");
}

#[test]
fn whoever_is_well_has_a_turn_however_many_others_are_slow() {
    let counts = served(Health::Well, &mut insatiable(150), 3_000);
    assert!(counts.iter().all(|count| (14..=26).contains(count)), "{counts:?}");
}

#[test]
fn those_that_fail_and_those_that_do_not_take_no_room_from_each_other() {
    let (mut room, mut all) = (Room::default(), insatiable(300));
    assert_eq!(fill(&mut room, Health::Failing, &mut all).len(), ROOM_FOR_FAILING);
    assert_eq!(fill(&mut room, Health::Well, &mut all[200..]).len(), ROOM_FOR_WELL);
    assert_eq!(fill(&mut room, Health::Failing, &mut all), []);
}

#[test]
fn an_organisation_has_an_eighth_of_the_room_however_many_addresses_it_has() {
    for (health, room_for) in [(Health::Well, ROOM_FOR_WELL), (Health::Failing, ROOM_FOR_FAILING)] {
        let mut all: Vec<_> = (0..200).map(|number| of_tenant(number, 0)).collect();
        all.push(of_tenant(1_000, 1));
        let mut room = Room::default();
        let left = fill(&mut room, health, &mut all);
        assert_eq!(of(&left, &all[0]), room_for / PART);
        assert!(of(&left, &all[200]) > 0, "the others have theirs");
        let others: Vec<_> = (2_000..2_500).map(|number| of_tenant(number, number)).collect();
        all.extend(others);
        fill(&mut room, health, &mut all);
        room.land(left[0]);
        let next = fill(&mut room, health, &mut all);
        assert_eq!(next.len(), 1, "nor is anything kept for it");
        assert_ne!(next[0].tenant_id, left[0].tenant_id);
    }
}

#[test]
fn the_addresses_of_an_organisation_take_turns_in_its_part() {
    for health in [Health::Well, Health::Failing] {
        // Beside one that has little to do, so that no round ends where the last one began.
        let mut all: Vec<_> = (0..100).map(|number| of_tenant(number, 0)).collect();
        all.push(of_tenant(1_000, 1));
        let counts = served(health, &mut all, 4_000);
        let (least, most) = (counts[..100].iter().min().unwrap(), counts[..100].iter().max().unwrap());
        assert!(*least > 20 && most - least < 8, "{counts:?}");
    }
}

#[test]
fn one_address_that_is_stuck_stops_no_other_of_its_organisation() {
    let mut all: Vec<_> = (0..50).map(|number| of_tenant(number, 0)).collect();
    let (mut room, mut counts) = (Room::default(), HashMap::<WebhookId, usize>::new());
    let stuck = all[10].due.id;
    let mut in_flight: VecDeque<_> = fill(&mut room, Health::Well, &mut all).into();
    for _ in 0..2_000 {
        // What goes there never lands.
        let flight = loop {
            match in_flight.pop_front().unwrap() {
                flight if flight.webhook_id == stuck => {}
                flight => break flight,
            }
        };
        room.land(flight);
        *counts.entry(flight.webhook_id).or_default() += 1;
        in_flight.extend(fill(&mut room, Health::Well, &mut all));
    }
    let others = all.iter().filter(|it| it.due.id != stuck).map(|it| counts.get(&it.due.id).copied().unwrap_or(0));
    assert!(others.clone().all(|count| (30..=52).contains(&count)), "{:?}", others.collect::<Vec<_>>());
}

#[test]
fn an_organisation_with_one_message_for_each_of_many_addresses_has_them_all_leave_at_once() {
    let mut all: Vec<_> = (0..20).map(|number| Address { usual: 1, ..of_tenant(number, 0) }).collect();
    assert_eq!(fill(&mut Room::default(), Health::Well, &mut all).len(), 20);
}

#[test]
fn what_somebody_waits_for_finds_a_place_beside_any_backlog_and_the_backlog_beside_it() {
    let mut room = Room::default();
    let mut all = insatiable(1);
    let backlog = fill(&mut room, Health::Well, &mut all);
    assert_eq!(backlog.len(), 3, "one place is kept for what somebody will wait for");
    all[0].urgent = ALWAYS;
    let decision = fill(&mut room, Health::Well, &mut all);
    assert_eq!(decision.iter().map(|flight| flight.is_urgent).collect::<Vec<_>>(), [true]);
    // Whatever lands, what somebody waits for takes its place, but for the last one of the rest.
    for flight in &backlog[..2] {
        room.land(*flight);
        assert!(fill(&mut room, Health::Well, &mut all).iter().all(|flight| flight.is_urgent));
    }
    room.land(backlog[2]);
    let next = fill(&mut room, Health::Well, &mut all);
    assert_eq!(next.iter().map(|flight| flight.is_urgent).collect::<Vec<_>>(), [false]);
}

#[test]
fn an_address_has_four_on_their_way_and_one_that_fails_has_one_of_each_sort() {
    let (mut room, mut all) = (Room::default(), insatiable(1));
    all[0].urgent = ALWAYS;
    let left = fill(&mut room, Health::Well, &mut all);
    assert_eq!(left.len(), 4);
    room.land(left[0]);
    assert_eq!(fill(&mut room, Health::Well, &mut all).len(), 1);
    let sorts = |left: Vec<Flight>| left.iter().map(|flight| flight.is_urgent).collect::<Vec<_>>();
    assert_eq!(sorts(fill(&mut Room::default(), Health::Failing, &mut all)), [true, false]);
    all[0].urgent = 0;
    assert_eq!(sorts(fill(&mut Room::default(), Health::Failing, &mut all)), [false]);
}
