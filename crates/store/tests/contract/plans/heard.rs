//! The text of every statement that the contract suite makes the store issue.
//!
//! A part of the suite runs once more, in a process of its own whose stores log their statements. Nobody keeps a list of
//! statements: one that is written in the sources and not heard fails the test beside this.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Write as _,
    process::{Command, Stdio},
    sync::Mutex,
};

use countersign_store::Options;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// Names the file that a process of the suite writes what it hears to.
const FILE: &str = "COUNTERSIGN_TEST_HEARD";

/// Tests that together make the store issue every statement. To add one: any that issues the one that was not heard.
const TOUR: &[&str] = &[
    "api_clients::a_client_has_two_live_keys_of_a_sort_however_many_nodes_add_them",
    "api_clients::a_proof_is_spent_once_on_whatever_node_until_it_is_forgotten",
    "api_clients::a_revoked_clients_key_is_refused_on_every_node",
    "api_clients::change::",
    "audit::",
    "challenges::budget::an_idempotency_key_stands_for_the_reply_that_was_given",
    "challenges::close::a_challenge_expires_at_its_end_and_not_before",
    "challenges::code::",
    "challenges::create::keys_taken_in_opposite_orders_on_two_nodes_do_not_stand_in_each_others_way",
    "challenges::create::the_twenty_first_pending_challenge_is_refused_and_any_end_makes_room",
    "challenges::decide::an_approval_is_recorded_with_what_proves_it",
    "challenges::read::",
    "challenges::reported::an_api_client_reports_a_user_of_its_tenant",
    "challenges::reported::a_report_may_lock_until_it_is_cleared",
    "devices::a_device_is_told_what_happened_to_the_others",
    "devices::another_tenants_device_is_not_found",
    "devices::the_standing_of_active_devices_is_read_by_key",
    "devices::dispute::a_disputed_device_is_suspended_with_all_that_follows",
    "devices::many::a_device_gets_another_name_until_it_is_revoked",
    "devices::many::a_registration_takes_the_place_of_the_former_one_when_it_becomes_active",
    "devices::many::all_devices_of_a_user_are_revoked_with_their_enrollments_and_challenges",
    "devices::many::devices_are_found_by_installation_app_and_time",
    "devices::rotation::a_rotation_names_the_key_and_the_binding_that_are_current",
    "devices::push::only_the_current_key_of_a_live_device_updates",
    "enrollments::a_ticket_says_whose_it_is_in_every_state",
    "enrollments::guard::an_approval_lets_one_in_as_long_as_its_device_is_active",
    "enrollments::guard::of_two_first_devices_that_wait_for_their_codes_one_becomes_active",
    "enrollments::ends::a_completed_enrollment_never_expires",
    "enrollments::ends::from_its_end_on_an_enrollment_is_expired_swept_or_not",
    "enrollments::ends::the_fifth_wrong_code_cancels_and_deletes_the_device",
    "events::an_event_is_read_as_it_was_written_once_it_has_its_place",
    "leases::",
    "notifications::again::a_push_that_met_an_old_token_ends_if_there_is_no_other",
    "notifications::health::a_push_that_ran_out_of_time_keeps_its_last_reason",
    "notifications::health::many_sightings_are_written_in_portions_that_let_others_through",
    "notifications::lanes::the_age_of_a_lane_is_that_of_its_oldest_push_that_could_go_out",
    "retention::",
    "system::a_store_is_ready_when_it_writes_and_its_migrations_are_ours",
    "system::statistics_that_somebody_made_are_forgotten_at_the_next_start",
    "tenants::",
    "test_pushes::a_test_that_was_not_sent_ends_with_its_time_or_its_device",
    "test_pushes::what_came_of_a_test_is_forgotten_after_a_week",
    "users::another_tenants_user_is_not_found",
    "users::erasure::",
    "users::held::",
    "users::search::",
    "webhooks::",
];

/// By database (`sqlite`, `postgres`), by name, the texts.
pub(crate) type Heard = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// Makes the tour.
pub(crate) fn hear() -> Heard {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("heard");
    let mut suite = Command::new(std::env::current_exe().unwrap());
    suite.args(TOUR).args(["--skip", "plans::"]).env(FILE, &file).stdout(Stdio::null()).stderr(Stdio::null());
    // Whether its tests pass is their own business.
    suite.status().unwrap();
    let mut heard = Heard::new();
    for line in std::fs::read_to_string(file).unwrap().lines() {
        let (database, text): (String, String) = serde_json::from_str(line).unwrap();
        let text = text.trim();
        let name = text.strip_prefix("-- ").and_then(|rest| rest.lines().next());
        // Not the migrations, whose first lines are sentences.
        if let Some(name) = name.filter(|name| !name.contains(' ')) {
            let texts = heard.entry(database).or_default().entry(name.trim().to_owned()).or_default();
            texts.insert(text.to_owned());
        }
    }
    heard
}

/// The options of a store that is heard, if this process is one whose stores are.
#[expect(clippy::disallowed_methods, reason = "how the process that runs the suite tells where to write")]
pub(crate) fn listen(options: Options) -> Options {
    let Ok(path) = std::env::var(FILE) else { return options };
    if let Ok(file) = File::options().create(true).append(true).open(path) {
        // Only the first store of the process finds nobody there.
        let _ = tracing::subscriber::set_global_default(Listener(Mutex::new((BTreeSet::new(), file))));
    }
    Options { log_statements: true, ..options }
}

/// Writes each text once, at once: the process may end at any moment.
struct Listener(Mutex<(BTreeSet<(String, String)>, File)>);

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::query"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let Some(text) = text.0 else { return };
        // SQLite is worked on by threads of its own.
        let is_sqlite = std::thread::current().name().is_some_and(|name| name.starts_with("sqlx-sqlite"));
        let entry = (if is_sqlite { "sqlite" } else { "postgres" }.to_owned(), text);
        let mut known = self.0.lock().unwrap();
        if !known.0.contains(&entry) {
            let line = serde_json::to_string(&entry).unwrap();
            known.1.write_all(format!("{line}\n").as_bytes()).unwrap();
            known.0.insert(entry);
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Text(Option<String>);

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "db.statement" {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}
