//! Two organisations of two people each, in which every text is a canary that says whose it is: none is heard by anybody
//! else, in any reply, push, webhook, log line or metric, whoever asks for whatever.
//!
//! The real program, at its most talkative. Silence proves nothing by itself: every canary that is told to anybody was
//! heard where it belongs, and every operation has answered somebody with what they asked for.

use std::collections::BTreeSet;

use countersign::http::operations::{ALL, Operation};
use countersign_simulator::stand_in::system_clock;
use countersign_tests::{
    ApiClient, Db, Ear, Exchange,
    providers::{Providers, SOON},
    receiver::Receiver,
    text,
};
use serde_json::Value;

use super::{
    people::{Organisation, Person},
    walk,
    whose::{Audience, Flock, Owner},
    without_times,
};
use crate::{indistinguishable::asks::By, process::Program};

struct World {
    organisations: Vec<Organisation>,
    people: Vec<Person>,
    /// Of who has no credentials.
    anybody: Ear,
}

impl World {
    async fn everything_is_asked_for(&mut self, nobody: &ApiClient, receiver: &Receiver, flock: &mut Flock) {
        for person in &mut self.people {
            person.live_on(flock).await;
        }
        // Foreign things first: those who ask for their own end some of them.
        for is_own in [false, true] {
            for by in &self.people {
                let device = By::Device(by.phone.clone());
                for theirs in self.people.iter().filter(|theirs| (theirs.owner == by.owner) == is_own) {
                    walk::ask_in_paths(&device, by, theirs, "").await;
                }
            }
            for organisation in &self.organisations {
                for theirs in self.people.iter().filter(|theirs| theirs.is_of(organisation) == is_own) {
                    let own = self.people.iter().find(|person| person.is_of(organisation)).unwrap();
                    let by = if is_own { theirs } else { own };
                    // Who may least comes first: what the administrator ends is over. The rest of what it may not is
                    // refused before anything is looked for (`access.rs`).
                    for (client, what) in [(&organisation.asker, "challenges."), (&organisation.admin, "")] {
                        walk::ask_in_paths(&By::Client(client.clone()), by, theirs, what).await;
                        walk::ask_elsewhere(client, organisation, theirs, receiver).await;
                    }
                }
            }
        }
        let (first, second) = (&self.people[0], &self.people[1]);
        walk::ask_in_paths(&By::Client(nobody.clone()), first, second, "").await;
        walk::ask_elsewhere(nobody, &self.organisations[0], second, receiver).await;
        for (person, organisation) in [(first, &self.organisations[0]), (&self.people[2], &self.organisations[1])] {
            person.leave().await;
            walk::revoke_many(organisation, person).await;
        }
    }

    /// All that callers and phones were answered, and who heard it.
    fn replies(&self) -> Vec<(Audience, Exchange)> {
        let callers = self.organisations.iter().map(|it| (Audience::Caller(it.name), &it.ear));
        let devices = self.people.iter().map(|it| match it.owner {
            Owner::Person(name, number) => (Audience::Device(name, number), &it.ear),
            other => panic!("{other:?} has no phone"),
        });
        let all = callers.chain(devices).chain([(Audience::Anybody, &self.anybody)]);
        all.flat_map(|(audience, ear)| ear.lock().unwrap().clone().into_iter().map(move |it| (audience, it))).collect()
    }
}

/// Waits until the organisation's webhook has been told of every event since it was made, but for those of people who
/// were erased meanwhile.
async fn told(organisation: &Organisation, people: &[Person], receiver: &Receiver) {
    let erased: BTreeSet<_> = people.iter().map(|person| &person.things.users[0].id).collect();
    let (mut cursor, mut wanted, mut is_told) = (String::from("0"), BTreeSet::new(), false);
    loop {
        let page = organisation.admin.get(&format!("/v1/events?cursor={cursor}&limit=200")).await.ok(200);
        let items = page["items"].as_array().unwrap();
        for event in items {
            // What came before it is none of its business.
            let is_erased = event["user_id"].as_str().is_some_and(|id| erased.contains(&id.to_owned()));
            if is_told && !is_erased {
                wanted.insert(text(event, "id").to_owned());
            }
            is_told |= event["type"] == "webhook.created";
        }
        if items.is_empty() {
            break;
        }
        text(&page, "next_cursor").clone_into(&mut cursor);
    }
    assert!(wanted.len() > 50, "{} events", wanted.len());
    while !wanted.is_empty() {
        let message = receiver.hooks.next(&organisation.hook.name, SOON).await;
        let message: Value =
            serde_json::from_str(&message.unwrap_or_else(|| panic!("it is told of all")).push.body).unwrap();
        if let Some(id) = message["data"]["id"].as_str() {
            wanted.remove(id);
        }
    }
}

/// What webhooks and providers got.
fn hear_what_was_sent(world: &World, providers: &Providers, receiver: &Receiver, flock: &mut Flock) {
    for organisation in &world.organisations {
        let own = receiver.hooks.attempts().into_iter().filter(|attempt| attempt.token == organisation.hook.name);
        for attempt in own {
            let text = serde_json::to_string(&attempt.push).unwrap();
            let text = format!("{text}\n{}", attempt.push.body);
            flock.tell(Audience::Webhook(organisation.name), "a webhook's message", "", &text);
        }
    }
    let mut pushes = Vec::new();
    for attempt in providers.apns.attempts() {
        pushes.push((attempt.token, serde_json::to_string(&attempt.push).unwrap()));
    }
    for attempt in providers.fcm.attempts() {
        pushes.push((attempt.token, serde_json::to_string(&attempt.push).unwrap()));
    }
    for attempt in providers.webpush.attempts() {
        assert!(attempt.push.plain.is_some(), "the browser reads it");
        pushes.push((attempt.token, serde_json::to_string(&attempt.push).unwrap()));
    }
    let mut rung = BTreeSet::new();
    for (address, push) in &pushes {
        // What stands for a person's other phone begins with that person's word.
        let is_theirs =
            |person: &&Person| person.addresses.contains(address) || address.starts_with(&person.owner.word("thing"));
        let person = world.people.iter().find(is_theirs).unwrap_or_else(|| panic!("whose is {address}?"));
        let Owner::Person(name, number) = person.owner else { panic!("{:?} has no phone", person.owner) };
        flock.tell(Audience::Provider(name, number), "a push", address, push);
        rung.insert(address);
    }
    let addresses = world.people.iter().flat_map(|person| &person.addresses);
    let silent: Vec<_> = addresses.filter(|address| !rung.contains(address)).collect();
    assert!(silent.is_empty(), "never rung: {silent:?}");
}

/// Whatever is not asked for, or refuses everybody, proves nothing.
fn all_was_asked_for(replies: &[(Audience, Exchange)], people: &[Person]) {
    let operation = |exchange: &Exchange| walk::operation_of(&exchange.method, &exchange.path).map(|it| it.id);
    let answered: BTreeSet<_> = replies
        .iter()
        .filter(|(_, it)| (200..300).contains(&it.reply.status))
        .filter_map(|(_, it)| operation(it))
        .collect();
    let silent: Vec<_> = ALL.iter().map(|it| it.id).filter(|id| !answered.contains(id)).collect();
    assert!(silent.is_empty(), "these have answered nobody: {silent:?}");
    let ids_of = |name: char| {
        let theirs = people.iter().filter(move |person| !matches!(person.owner, Owner::Person(own, _) if own == name));
        theirs.flat_map(|person| person.things.ids()).collect::<BTreeSet<_>>()
    };
    for audience in [Audience::Caller('a'), Audience::Caller('b'), Audience::Device('a', 1), Audience::Device('b', 2)] {
        let (Audience::Caller(name) | Audience::Device(name, _)) = audience else { continue };
        let foreign = ids_of(name);
        let is_foreign = |it: &Exchange| it.path.split('/').any(|part| foreign.contains(part));
        let asked: BTreeSet<_> = replies
            .iter()
            .filter(|(who, it)| *who == audience && is_foreign(it))
            .filter_map(|(_, it)| operation(it))
            .collect();
        let least = if matches!(audience, Audience::Caller(_)) { 35 } else { 3 };
        assert!(asked.len() >= least, "{audience:?} asked others' things for {asked:?} only");
    }
    let failed: Vec<_> = replies.iter().filter(|(_, it)| it.reply.status >= 500).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

async fn nothing_of_others(db: Db) {
    let (providers, receiver) = (Providers::start_by(system_clock()).await, Receiver::start_by(system_clock()).await);
    let program = Program::on(db).await.set("log.filter", "trace").ringing(&providers);
    let program = receiver.settings().iter().fold(program, |program, (name, value)| program.set(name, value));
    let server = program.serve().await;
    let mut flock = Flock::default();
    let mut world = World { organisations: Vec::new(), people: Vec::new(), anybody: Ear::default() };
    for name in ['a', 'b'] {
        let organisation = Organisation::new(&program, &server, &receiver, &mut flock, name).await;
        for number in [1, 2] {
            world.people.push(Person::new(&organisation, &providers, &mut flock, number).await);
        }
        world.organisations.push(organisation);
    }
    let nobody = ApiClient::connect(&server.issuer, "", &format!("csk_{}", "A".repeat(43))).await;
    let nobody = nobody.at(&nobody.http.overheard(&world.anybody));
    world.everything_is_asked_for(&nobody, &receiver, &mut flock).await;
    for organisation in &world.organisations {
        told(organisation, &world.people, &receiver).await;
    }
    let metrics = server.metrics().await;
    let finished = server.stop().await;

    let replies = world.replies();
    for (audience, exchange) in &replies {
        let Exchange { method, path, request, reply } = exchange;
        let heard = format!("{:?}\n{}", reply.headers, reply.text());
        // Who has no credentials hears nothing, not even what they said.
        let said = if *audience == Audience::Anybody { "" } else { request };
        flock.tell(*audience, &format!("{method} {path}"), said, &heard);
    }
    hear_what_was_sent(&world, &providers, &receiver, &mut flock);
    flock.read_out("the metrics", &metrics);
    flock.read_out("stdout", &finished.stdout);
    let logs = without_times(&finished.stderr);
    let is_told = |operation: &Operation| logs.contains(&format!("\"operation\":\"{}\"", operation.id));
    assert!(ALL.iter().all(is_told) && logs.lines().count() > 10_000, "what is searched is what was said");
    flock.read_out("the log", &logs);

    all_was_asked_for(&replies, &world.people);
    flock.all_were_in_play();
    for person in &world.people {
        let Owner::Person(name, number) = person.owner else { continue };
        for audience in [Audience::Caller(name), Audience::Webhook(name), Audience::Device(name, number)] {
            assert!(flock.heard_by(audience, person.owner) > 10, "{audience:?} heard little of {:?}", person.owner);
        }
    }
    assert_eq!(flock.heard_by(Audience::Anybody, world.people[0].owner), 0);
    providers.stop().await;
    receiver.hooks.stop().await;
}

#[tokio::test]
async fn nobody_hears_anything_of_others() {
    for db in [Db::Sqlite, Db::Postgres] {
        nothing_of_others(db).await;
    }
}
