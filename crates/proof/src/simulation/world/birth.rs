//! Who is there before the first step, and how rough it will be: drawn from the seed.

use std::collections::BTreeMap;

use countersign_core::{
    device::{KeyRole, StoredBinding},
    entropy::new_id,
    policy::{Policy, PushBudget},
    ports::users::UserName,
    push::budget::PushCounters,
};
use countersign_proto::{
    ids::{DeviceId, Id, TenantId, UserId},
    timestamp::Timestamp,
    vocabulary::{DeviceStatus, UserVerification, VerificationMode},
};

use super::{BEGINNING, Options, Tally, Weather, World};
use crate::{
    dice::{Dice, SharedDice},
    simulation::{
        keys::Keys,
        node::{Client, Node, Seeded, Vault},
        oracle::{Oracle, Registration},
        people::{IdentityProvider, Person, Phone},
        store::Store,
        tables::{Device, User},
    },
};

const HOUR: i64 = 3_600_000;

impl<'k> World<'k> {
    pub(super) fn born(seed: u64, keys: &'k Keys, options: Options) -> Self {
        let mut dice = Dice::new(seed).part(0);
        let entropy = Seeded(SharedDice::new(Dice::new(seed).part(1)));
        // SQLite has one node; PostgreSQL two or three.
        let is_single = dice.percent(20);
        let count = if is_single { 1 } else { 2 + dice.below(2) };
        let weather = weather(&mut dice);
        let mut world = Self {
            keys,
            store: Store::new(is_single, options.sabotage),
            nodes: Vec::new(),
            people: Vec::new(),
            policies: BTreeMap::new(),
            vault: Vault::default(),
            oracle: Oracle::default(),
            dice,
            entropy,
            time: BEGINNING,
            next_key: 0,
            texts: 0,
            queue: BTreeMap::new(),
            queued: 0,
            weather,
            is_calm: false,
            options,
            tally: Tally::default(),
        };
        for _ in 0..count {
            let node = world.process();
            world.nodes.push(node);
        }
        let people = [world.dice.below(2) + 1, 1];
        for users in people {
            world.organisation(users);
        }
        world.people.push(Person::Adversary);
        world
    }

    fn process(&mut self) -> Node {
        let jump = self.weather.jump;
        let skew = if jump > 0 { 5_000 } else { 50 };
        let offset = i64::try_from(self.dice.below(2 * skew + 1)).unwrap_or(0) - i64::try_from(skew).unwrap_or(0);
        let drift = if jump > 0 { i64::try_from(self.dice.below(1_001)).unwrap_or(0) - 500 } else { 0 };
        Node {
            life: 0,
            is_up: true,
            holder: self.fresh(),
            bound: BTreeMap::new(),
            known: BTreeMap::new(),
            offset,
            drift,
        }
    }

    pub(crate) fn fresh<K>(&self) -> Id<K> {
        new_id(Timestamp::from_millis(self.time), &self.entropy)
    }

    /// An organisation with its identity provider and its people; everywhere they have the same names.
    fn organisation(&mut self, users: u64) {
        let client = Client { tenant: self.fresh(), id: self.fresh() };
        let policy = self.policy();
        self.policies.insert(client.tenant, policy);
        let users: Vec<_> = (0..users).map(|number| self.user(client.tenant, number)).collect();
        self.people.push(Person::IdentityProvider(IdentityProvider { users, ..IdentityProvider::new(client) }));
    }

    fn policy(&mut self) -> Policy {
        let modes = [
            VerificationMode::Enter,
            VerificationMode::Enter,
            VerificationMode::Enter,
            VerificationMode::Display,
            VerificationMode::Choose,
            VerificationMode::None,
        ];
        let requires = self.dice.percent(10);
        let dice = &mut self.dice;
        let mut up_to = |from: u32, count: u64| from + u32::try_from(dice.below(count)).unwrap_or(0);
        Policy {
            pushes_per_user: PushBudget { per_10_minutes: up_to(2, 4), since_approval: up_to(3, 6) },
            max_pending_per_user: up_to(1, 3),
            max_devices_per_user: 3,
            wrong_numbers_before_lock: up_to(2, 3),
            lock_seconds: 20,
            quiet_seconds_after_report: 10,
            user_verification: if requires { UserVerification::Required } else { UserVerification::Preferred },
            verification_mode: self.dice.one_of(&modes).copied().unwrap_or(VerificationMode::Enter),
            ..Policy::default()
        }
    }

    fn user(&mut self, tenant: TenantId, number: u64) -> UserId {
        let id: UserId = self.fresh();
        let count = 1 + self.dice.below(2);
        let name = UserName { id, external_id: format!("user{number}"), display_name: None };
        let user = User {
            tenant,
            name,
            devices_version: 1,
            device_count: u32::try_from(count).unwrap_or(0),
            failures: 0,
            denials: 0,
            locked_until: None,
            pushes: PushCounters::default(),
            is_erased: false,
        };
        self.store.tables.users.insert(id, user);
        self.oracle.knows(id);
        for _ in 0..count {
            self.device(tenant, id);
        }
        id
    }

    fn device(&mut self, tenant: TenantId, user: UserId) {
        let (Some(key), uv_key) = (self.take_key(), self.dice.percent(50)) else { return };
        let uv_key = if uv_key { self.take_key() } else { None };
        let id: DeviceId = self.fresh();
        let thumbprint = |number: usize| self.keys.get(number).map(|key| key.thumbprint.clone());
        let Some(first) = thumbprint(key) else { return };
        let second = uv_key.and_then(thumbprint);
        let binding = StoredBinding { id: self.fresh(), jws: format!("binding {id}") };
        self.store.tables.keys.insert(first.clone(), (id, KeyRole::Device));
        self.store.tables.keys.extend(second.clone().map(|key| (key, (id, KeyRole::UserVerification))));
        let registration = Registration {
            tenant,
            user,
            status: DeviceStatus::Active,
            key: first.clone(),
            uv_key: second.clone(),
            binding: Some(binding.id),
        };
        self.oracle.has(id, registration);
        let device = Device {
            tenant,
            user,
            status: DeviceStatus::Active,
            key: first,
            uv_key: second,
            binding: Some(binding),
            keys_changed_at: None,
            is_token_gone: false,
        };
        self.store.tables.devices.insert(id, device);
        self.people.push(Person::Phone(Phone { uv_key, ..Phone::new(id, key) }));
    }

    /// A key that nobody has yet.
    pub(crate) fn take_key(&mut self) -> Option<usize> {
        let number = self.next_key;
        self.keys.get(number)?;
        self.next_key += 1;
        Some(number)
    }
}

fn weather(dice: &mut Dice) -> Weather {
    let jump = match dice.below(10) {
        0..5 => 0,
        5..7 => 5_000,
        7..9 => HOUR,
        _ => 365 * 24 * HOUR,
    };
    let is_fair = dice.percent(15);
    let rough = |dice: &mut Dice, most: u64| if is_fair { 0 } else { dice.below(most) };
    Weather {
        lost: rough(dice, 12),
        doubled: rough(dice, 25),
        unanswered: rough(dice, 8),
        longest_delay: [5, 50, 500, 3_000].get(usize::try_from(dice.below(4)).unwrap_or(0)).copied().unwrap_or(5),
        jump,
        trouble_every: if is_fair { 1_000_000 } else { 500 + dice.below(8_000) },
    }
}
