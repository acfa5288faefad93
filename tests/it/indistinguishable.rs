//! Unknown and foreign objects cannot be told apart: not by status, not by body or headers, not by what the database is
//! asked for, and, over many samples, not by time.
//!
//! All but the last are asserted, of every place in every path that names a thing. The statements are heard on their way
//! to PostgreSQL; SQLite's are the same texts, run by the same code (see `countersign_store`). To add a question that is in
//! no path: [`asks::in_texts`].

pub(crate) mod asks;
pub(crate) mod things;
mod time;
mod wire;

use countersign_tests::{Db, Reply, TestApp, TestAppOptions, TestClock, providers::Providers};
use serde_json::Value;

use self::{
    asks::{Ask, By, in_paths, in_texts, of_tickets},
    things::Things,
    wire::Wire,
};

/// What is random or the time in any reply, or that names the very question.
const DIFFERS: [&str; 3] = ["request_id", "confirmation", "server_time"];

/// All of a reply that does not differ from request to request: status, headers, body.
fn told(reply: &Reply, id: &str) -> (u16, Vec<String>, Value) {
    let header = |(name, value): (&reqwest::header::HeaderName, &reqwest::header::HeaderValue)| match name.as_str() {
        "x-request-id" | "date" => name.to_string(),
        _ => format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()).replace(id, "{id}")),
    };
    let mut headers: Vec<_> = reply.headers.iter().map(header).collect();
    headers.sort();
    let text = reply.text().replace(id, "{id}");
    let mut body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    if let Some(members) = body.as_object_mut() {
        DIFFERS.iter().for_each(|name| drop(members.remove(*name)));
    }
    (reply.status, headers, body)
}

/// What the database is asked for this. Whatever else the server does meanwhile can only add to it.
async fn statements(ask: &Ask, id: &str, wire: &Wire) -> Vec<String> {
    let mut fewest: Option<Vec<String>> = None;
    for _ in 0..3 {
        wire.take();
        ask.about(id).await;
        let heard = wire.take();
        if fewest.as_ref().is_none_or(|known| heard.len() < known.len()) {
            fewest = Some(heard);
        }
    }
    fewest.unwrap()
}

/// A row that is found and not shown is a row that is found.
fn without_counts(heard: Vec<String>) -> Vec<String> {
    heard.into_iter().filter(|line| !line.starts_with("-> ")).collect()
}

async fn looks_the_same(ask: &Ask, wire: Option<&Wire>) {
    let unknown = ask.unknown('0');
    let (of_others, of_nobody) = (ask.about(&ask.foreign).await, ask.about(&unknown).await);
    assert_eq!(told(&of_others, &ask.foreign), told(&of_nobody, &unknown), "{}", ask.name);
    assert!(of_others.status != 401, "{} is not even asked: {}", ask.name, of_others.text());
    let Some(wire) = wire.filter(|_| !ask.name.starts_with("device_api.register ")) else { return };
    let (mut theirs, mut nobodys) = (statements(ask, &ask.foreign, wire).await, statements(ask, &unknown, wire).await);
    assert!(!theirs.is_empty(), "{}: nothing is heard", ask.name);
    if ask.is_own_tenants {
        (theirs, nobodys) = (without_counts(theirs), without_counts(nobodys));
    }
    assert_eq!(theirs, nobodys, "{}: another's (left) and nobody's (right) are looked for differently", ask.name);
}

/// The kinds of the events of all organisations: whatever is done leaves one.
async fn done(app: &TestApp) -> Vec<String> {
    app.database.texts("SELECT kind FROM events ORDER BY id").await
}

async fn nothing_is_told_apart(db: Db) {
    let clock = TestClock::default();
    let providers = Providers::start(&clock).await;
    let wire = match db {
        Db::Sqlite => None,
        Db::Postgres => Some(Wire::start().await),
    };
    let options = TestAppOptions { clock, ..TestAppOptions::new(db) };
    let app = TestApp::start_as(options, |settings| {
        providers.configure(settings);
        if let Some(wire) = &wire {
            settings.database.url = wire.url(&settings.database.url);
        }
    })
    .await;
    let owner = app.admin().await;
    let stranger = app.client_of(&app.tenant("other").await, "admin").await;
    let colleague = app.client("challenges").await;
    let theirs = Things::of(&owner, "theirs").await;
    let own = Things::of(&stranger, "own").await;
    let neighbour = Things::of(&owner, "neighbours").await;

    let mut asks = in_paths(&By::Client(stranger.clone()), &own, &theirs, false);
    asks.extend(in_paths(&By::Device(own.phone.clone()), &own, &theirs, false));
    asks.extend(in_texts(&stranger, &own.external_id, &theirs));
    // Of the same organisation, and yet not theirs: another person's phone, and a client that asked for none of them.
    asks.extend(in_paths(&By::Device(neighbour.phone.clone()), &neighbour, &theirs, true));
    let of_colleague = in_paths(&By::Client(colleague), &neighbour, &theirs, true);
    asks.extend(of_colleague.into_iter().filter(|ask| ask.name.starts_with("challenges.")));
    asks.extend(of_tickets(&stranger, &theirs));

    // Whoever owns a thing does tell it from none: so what follows could.
    let mine = in_paths(&By::Client(owner.clone()), &theirs, &theirs, false);
    let mine = mine.iter().find(|ask| ask.name.starts_with("users.show ")).unwrap();
    let unknown = mine.unknown('0');
    assert_ne!(told(&mine.about(&mine.foreign).await, &mine.foreign), told(&mine.about(&unknown).await, &unknown));
    if let Some(wire) = &wire {
        assert_ne!(statements(mine, &mine.foreign, wire).await, statements(mine, &unknown, wire).await);
    }
    // What was made is told to phones and sealed first.
    app.node().dispatch().await;
    app.sweep().await;
    let before = done(&app).await;
    for ask in &asks {
        looks_the_same(ask, wire.as_ref()).await;
    }
    assert_eq!(done(&app).await, before, "{db:?}: to ask has done something");
    time::take(&asks, db).await;
    app.finish().await;
    providers.stop().await;
}

#[tokio::test]
async fn what_is_somebody_elses_looks_like_what_is_nobodys() {
    for db in [Db::Sqlite, Db::Postgres] {
        nothing_is_told_apart(db).await;
    }
}
