//! The server under test, and what a story does around it. What is done to one process of it is in `app/node.rs`.

mod node;

use std::net::SocketAddr;

use countersign::{app::DEFAULT_TENANT, config::Settings, entropy::SystemEntropy, signing::Sealed};
use countersign_core::{
    actor::Actor,
    api_client::{ApiKey, Applications, Credential, NewApiKey},
    entropy::Entropy,
    policy::{Policy, PushBudget, check},
    ports::{
        api_clients::{AddApiKey, AddApiKeyOutcome, CreateApiClient, CreateApiClientOutcome, RevokeApiClientOutcome},
        tenants::{self, CreateTenant, CreateTenantOutcome, SetPolicy, SetPolicyOutcome, SwitchTenantOutcome},
    },
};
use countersign_proto::{ids::TenantId, jose::SigningKey};
use countersign_simulator::phone::{Server, Surroundings};

pub use self::node::Node;
use crate::{ApiClient, Database, Db, Http, TestClock};

/// Longer than any challenge or enrollment lives.
const LONGEST_LIFE_SECONDS: i64 = 601;

/// An organisation.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Its slug.
    pub slug: String,
}

/// The real server, in this process, on a database of its own.
pub struct TestApp {
    /// Time, for the server and for its phones.
    pub clock: TestClock,
    /// Its database, behind its back.
    pub database: Database,
    /// Raw requests, without credentials.
    pub http: Http,
    settings: Settings,
    node: Node,
    phones: Server,
}

/// What a server under test runs on.
#[derive(Debug, Clone)]
pub struct TestAppOptions {
    /// Its database.
    pub db: Db,
    /// Its time.
    pub clock: TestClock,
}

impl TestAppOptions {
    /// A clock of its own.
    pub fn new(db: Db) -> Self {
        Self { db, clock: TestClock::default() }
    }
}

/// Runs a story on both databases, one after the other, and finishes each.
pub async fn both(story: impl AsyncFn(&TestApp)) {
    both_with(|_| {}, story).await;
}

/// The same with other settings.
pub async fn both_with(adjust: impl Fn(&mut Settings), story: impl AsyncFn(&TestApp)) {
    for db in [Db::Sqlite, Db::Postgres] {
        let app = TestApp::start_with(db, &adjust).await;
        story(&app).await;
        app.finish().await;
    }
}

impl TestApp {
    /// A server on a fresh database.
    pub async fn start(db: Db) -> Self {
        Self::start_with(db, |_| {}).await
    }

    /// The same with other settings.
    pub async fn start_with(db: Db, adjust: impl FnOnce(&mut Settings)) -> Self {
        Self::start_as(TestAppOptions::new(db), adjust).await
    }

    /// The same under a clock that others know, too.
    pub async fn start_as(options: TestAppOptions, adjust: impl FnOnce(&mut Settings)) -> Self {
        let TestAppOptions { db, clock } = options;
        let database = Database::create(db).await;
        let mut settings = Settings::defaults().unwrap();
        settings.server.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        settings.server.shutdown_seconds = 5;
        settings.metrics.listen = String::new();
        settings.database.url = database.url();
        // Several apps at once share one cluster.
        settings.database.read_connections = 3;
        // The machine may be busy with other stories.
        settings.database.max_wait_seconds = 15;
        // Hundreds of stories, none of which fills a disk: a piece is enough for each.
        settings.database.reserve_mib = 1;
        settings.signing.key_file = database.file("signing-keys.json");
        adjust(&mut settings);
        make_key_file(&settings, &clock);
        let node = Node::start(&settings, &clock).await;
        // Further nodes answer for the same issuer.
        settings.server.public_url = settings.issuer_at(node.address());
        let phones = Server::discover(&settings.server.public_url).await.unwrap();
        Self { clock, database, http: node.http.clone(), settings, node, phones }
    }

    /// The server's public URL.
    pub fn issuer(&self) -> &str {
        &self.settings.server.public_url
    }

    /// The settings that it runs with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The first node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Another process on the same database, with the same keys, clock and issuer. Stop it before the story ends.
    pub async fn second_node(&self) -> Node {
        Node::start(&self.settings, &self.clock).await
    }

    /// Stops the server and starts it again on the same database and address, as after a crash or an update.
    #[must_use]
    pub async fn restart(self) -> Self {
        self.restart_with(|_| {}).await
    }

    /// The same with other settings.
    #[must_use]
    pub async fn restart_with(self, adjust: impl FnOnce(&mut Settings)) -> Self {
        let Self { clock, database, http: _, mut settings, node, phones } = self;
        settings.server.listen = node.address();
        adjust(&mut settings);
        node.stop().await;
        let node = Node::start(&settings, &clock).await;
        Self { clock, database, http: node.http.clone(), settings, node, phones }
    }

    /// The server as phones meet it, discovered.
    pub fn phones(&self) -> &Server {
        &self.phones
    }

    /// Time and randomness for phones.
    pub fn surroundings(&self) -> Surroundings {
        let (clock, entropy) = (self.clock.clone(), SystemEntropy::default());
        Surroundings::new(move || clock.time(), move |buffer: &mut [u8]| entropy.fill(buffer))
    }

    /// The sweeper, once.
    pub async fn sweep(&self) {
        self.node.sweep().await;
    }

    /// The poller of held reads, once.
    pub async fn poll(&self) {
        self.node.poll().await;
    }

    /// See [`Node::until_held`].
    pub async fn until_held(&self, ids: usize) {
        self.node.until_held(ids).await;
    }

    /// Makes an organisation, as `countersign tenant create` does.
    pub async fn tenant(&self, slug: &str) -> Tenant {
        let app = self.node.app();
        let now = app.now();
        let id = app.new_id(now);
        let stamp = app.stamp(Actor::Operator, id, "test", now);
        let command = CreateTenant { stamp, slug: slug.to_owned(), name: format!("Organisation {slug}") };
        assert_eq!(app.store.create_tenant(command).await, Ok(CreateTenantOutcome::Created));
        Tenant { id, slug: slug.to_owned() }
    }

    /// The organisation that always exists.
    pub async fn default_tenant(&self) -> Tenant {
        let tenant = self.node.app().store.tenant_by_slug(DEFAULT_TENANT).await.unwrap().unwrap();
        Tenant { id: tenant.id, slug: tenant.slug }
    }

    /// An API client of the default tenant with the scope `admin`.
    pub async fn admin(&self) -> ApiClient {
        self.client("admin").await
    }

    /// An API client of the default tenant.
    pub async fn client(&self, scopes: &str) -> ApiClient {
        self.client_of(&self.default_tenant().await, scopes).await
    }

    /// An API client, made as `countersign api-client create` does.
    pub async fn client_of(&self, tenant: &Tenant, scopes: &str) -> ApiClient {
        self.make_client(tenant, scopes, None, None).await
    }

    /// An API client of the default tenant that may name these applications only.
    pub async fn client_for(&self, scopes: &str, applications: &[&str]) -> ApiClient {
        let names = applications.iter().map(|name| (*name).to_owned()).collect();
        self.make_client(&self.default_tenant().await, scopes, None, Some(names)).await
    }

    /// An API client of the default tenant that has no API key and signs its requests (`ClientProof`).
    pub async fn proving_client(&self, scopes: &str) -> ApiClient {
        self.proving_client_of(&self.default_tenant().await, scopes).await
    }

    /// The same of another tenant.
    pub async fn proving_client_of(&self, tenant: &Tenant, scopes: &str) -> ApiClient {
        self.make_client(tenant, scopes, Some(SigningKey::generate().unwrap()), None).await
    }

    /// The same client with one more credential: it may call either way.
    pub async fn also_signing(&self, client: &ApiClient) -> ApiClient {
        let app = self.node.app();
        let (now, signer) = (app.now(), SigningKey::generate().unwrap());
        let credential = Credential::PublicKey(signer.public_key());
        let (tenant_id, client_id) = (client.tenant_id.parse().unwrap(), client.id.parse().unwrap());
        let key = NewApiKey { id: app.new_id(now), credential, expires_at: None, seal: String::new() };
        let key = app.keys.seals().seal_api_key(key, client_id, tenant_id);
        let command = AddApiKey { stamp: app.stamp(Actor::Operator, tenant_id, "test", now), client_id, key };
        assert_eq!(app.store.add_api_key(command).await, Ok(AddApiKeyOutcome::Added));
        ApiClient { signer: Some(signer), ..client.clone() }
    }

    async fn make_client(
        &self,
        tenant: &Tenant,
        scopes: &str,
        signer: Option<SigningKey>,
        applications: Option<Applications>,
    ) -> ApiClient {
        let app = self.node.app();
        let now = app.now();
        let key = ApiKey::generate(app.entropy.as_ref());
        let credential = match &signer {
            Some(signer) => Credential::PublicKey(signer.public_key()),
            None => Credential::ApiKey(key.digest()),
        };
        let id = app.new_id(now);
        let allowed = scopes.parse().unwrap();
        let (seals, names) = (app.keys.seals(), applications.as_ref());
        let seal = Sealed::ApiClient { client_id: id, tenant_id: tenant.id, scopes: &allowed, applications: names };
        let seal = seals.seal(&seal);
        let key_to_be = NewApiKey { id: app.new_id(now), credential, expires_at: None, seal: String::new() };
        let command = CreateApiClient {
            stamp: app.stamp(Actor::Operator, tenant.id, "test", now),
            id,
            name: scopes.to_owned(),
            scopes: allowed,
            applications,
            seal,
            key: seals.seal_api_key(key_to_be, id, tenant.id),
        };
        assert_eq!(app.store.create_api_client(command).await, Ok(CreateApiClientOutcome::Created));
        ApiClient {
            id: id.to_string(),
            tenant_id: tenant.id.to_string(),
            key: key.reveal().to_owned(),
            signer,
            http: self.http.clone(),
            phones: self.phones.clone(),
            surroundings: self.surroundings(),
        }
    }

    /// Changes the default tenant's policy, as `countersign policy set` does.
    pub async fn change_policy(&self, change: impl FnOnce(&mut Policy)) {
        let app = self.node.app();
        let tenant = app.store.tenant_by_slug(DEFAULT_TENANT).await.unwrap().unwrap();
        let mut policy = tenant.policy.clone();
        change(&mut policy);
        check::policy(&policy).unwrap();
        self.set_policy(&tenant, policy).await;
    }

    /// Takes the limits on pushes away, beyond what anybody may set: for stories of providers, where phones ring more
    /// often than people should be bothered.
    pub async fn ring_without_limit(&self) {
        let tenant = self.node.app().store.tenant_by_slug(DEFAULT_TENANT).await.unwrap().unwrap();
        let pushes_per_user = PushBudget { per_10_minutes: u32::MAX, since_approval: u32::MAX };
        let policy = Policy { pushes_per_user, max_pending_per_user: u32::MAX, ..tenant.policy.clone() };
        self.set_policy(&tenant, policy).await;
    }

    async fn set_policy(&self, tenant: &tenants::Tenant, policy: Policy) {
        let app = self.node.app();
        let stamp = app.stamp(Actor::Operator, tenant.id, "test", app.now());
        let outcome = app.store.set_policy(SetPolicy::new(stamp, &tenant.policy, policy)).await;
        assert_eq!(outcome, Ok(SetPolicyOutcome::Set));
    }

    /// Revokes an API client, as `countersign api-client revoke` does.
    pub async fn revoke_client(&self, client: &ApiClient) {
        let app = self.node.app();
        let stamp = app.stamp(Actor::Operator, client.tenant_id.parse().unwrap(), "test", app.now());
        let outcome = app.store.revoke_api_client(stamp, client.id.parse().unwrap()).await;
        assert_eq!(outcome, Ok(RevokeApiClientOutcome::Revoked));
    }

    /// Disables an organisation, as `countersign tenant disable` does.
    pub async fn disable(&self, tenant: &Tenant) -> SwitchTenantOutcome {
        let app = self.node.app();
        let stamp = || app.stamp(Actor::Operator, tenant.id, "test", app.now());
        countersign::disabling::disable(app.store.as_ref(), &stamp).await.unwrap()
    }

    /// Enables it again.
    pub async fn enable(&self, tenant: &Tenant) -> SwitchTenantOutcome {
        let app = self.node.app();
        let stamp = || app.stamp(Actor::Operator, tenant.id, "test", app.now());
        countersign::disabling::enable(app.store.as_ref(), &stamp).await.unwrap()
    }

    /// Ends the story and asserts what every story must leave behind: after everything has expired nothing is
    /// pending, counted, due or held; no request got a 500; the stopped server keeps no connection.
    pub async fn finish(self) {
        let Self { clock, database, node, .. } = self;
        assert_eq!(node.held(), 0, "held reads are leaked");
        clock.advance(LONGEST_LIFE_SECONDS);
        node.sweep().await;
        for (what, sql) in [
            ("pending challenges", "SELECT count(*) FROM challenges WHERE status = 'pending'"),
            ("open enrollments", "SELECT count(*) FROM enrollments WHERE status IN ('pending', 'claimed')"),
            ("users with pending challenges", "SELECT count(*) FROM users WHERE pending_challenges <> 0"),
            ("notifications", "SELECT count(*) FROM notifications WHERE due_at <= expires_at AND kind = 'challenge'"),
            ("events without a position", "SELECT count(*) FROM events WHERE position IS NULL"),
            ("numbers of ended challenges", "SELECT count(*) FROM challenges WHERE number IS NOT NULL"),
            ("codes of ended challenges", "SELECT count(*) FROM challenges WHERE code IS NOT NULL"),
        ] {
            assert_eq!(database.number(sql).await, 0, "{what} at the end");
        }
        node.stop().await;
        database.drop_if_nobody_is_connected().await;
    }
}

/// On PostgreSQL the server makes no key file by itself: nodes share one that an operator makes.
fn make_key_file(settings: &Settings, clock: &TestClock) {
    let entropy = SystemEntropy::default();
    let path = settings.key_file();
    countersign::signing::ServerKeys::open(&path, true, "http://unused", clock.time(), &entropy).unwrap();
}
