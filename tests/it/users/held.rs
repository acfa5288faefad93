//! An export tells every column that is about a person, and an erasure leaves of it what the inventory says.

use countersign_proto::{jose::base64url, push::PushBinding, timestamp::Timestamp};
use countersign_simulator::phone::{EnrollOptions, Replace};
use countersign_tests::{ApiClient, Database, Db, Device, TestApp, both, path_of, text};
use serde_json::{Value, json};

use super::inventory::{After, Column, Form, NOBODYS, PERSONS, Table, Told};

/// Columns that are in one of the schema and the inventory, and not in the other.
async fn unclassified(database: &Database) -> Vec<String> {
    let tables = match database.db() {
        Db::Postgres => {
            "SELECT table_name::text FROM information_schema.tables
             WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
        }
        // But for SQLite's own.
        Db::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    };
    let mut there = Vec::new();
    for table in database.texts(tables).await {
        let columns = match database.db() {
            Db::Postgres => format!(
                "SELECT column_name::text FROM information_schema.columns
                 WHERE table_schema = 'public' AND table_name = '{table}'"
            ),
            Db::Sqlite => format!("SELECT name FROM pragma_table_info('{table}')"),
        };
        let columns = database.texts(&columns).await;
        there.extend(columns.into_iter().map(|column| format!("{table}.{column}")));
    }
    let nobodys = NOBODYS
        .iter()
        .flat_map(|(table, columns)| columns.split_whitespace().map(move |column| format!("{table}.{column}")));
    let persons = PERSONS
        .iter()
        .flat_map(|table| table.columns.iter().map(move |column| format!("{}.{}", table.name, column.name)));
    let mut known: Vec<_> = nobodys.chain(persons).collect();
    for column in &there {
        let before = known.len();
        known.retain(|known| known != column);
        if known.len() + 1 != before {
            known.push(format!("{column}: {} times", before - known.len()));
        }
    }
    known
}

#[tokio::test]
async fn every_column_is_classified_and_a_new_one_is_missed() {
    both(async |app| {
        assert_eq!(unclassified(&app.database).await, Vec::<String>::new());
        app.database.tamper("ALTER TABLE users ADD COLUMN shoe_size TEXT").await;
        assert_eq!(unclassified(&app.database).await, ["users.shoe_size: 0 times"]);
        app.database.tamper("ALTER TABLE users DROP COLUMN shoe_size").await;
        app.database.tamper("ALTER TABLE leases RENAME COLUMN until TO until_when").await;
        assert_eq!(unclassified(&app.database).await, ["leases.until", "leases.until_when: 0 times"]);
        app.database.tamper("ALTER TABLE leases RENAME COLUMN until_when TO until").await;
    })
    .await;
}

/// The cells of a column in the person's rows that are there, as text: ids and bytes in hexadecimal digits.
async fn cells(app: &TestApp, user: &str, table: &Table, column: &Column, which: &str) -> Vec<String> {
    let name = column.name;
    let is_bytes = matches!(column.told, Told::At(_, Form::Id | Form::Bytes)) || name == "ticket";
    let is_id = matches!(column.told, Told::At(_, Form::Id));
    let cell = match (app.database.db(), is_bytes) {
        (Db::Sqlite, true) => format!(r#"lower(hex("{name}"))"#),
        (Db::Postgres, true) if is_id => format!(r#"replace(CAST("{name}" AS TEXT), '-', '')"#),
        (Db::Postgres, true) => format!(r#"encode("{name}", 'hex')"#),
        _ => format!(r#"CAST("{name}" AS TEXT)"#),
    };
    let rows = table.rows.replace("{user}", &app.database.id(user));
    let sql = format!(r#"SELECT {cell} FROM {} WHERE "{name}" IS NOT NULL AND ({rows}) AND {which}"#, table.name);
    app.database.texts(&sql).await
}

/// All values at a path, in all places that it names.
fn values<'v>(document: &'v Value, path: &str) -> Vec<&'v Value> {
    path.split('|').flat_map(|path| values_at(document, path)).collect()
}

fn values_at<'v>(document: &'v Value, path: &str) -> Vec<&'v Value> {
    let mut here = vec![document];
    for step in path.split('.') {
        let (name, is_each) = step.strip_suffix("[]").map_or((step, false), |name| (name, true));
        here = here.into_iter().filter_map(|value| value.get(name)).collect();
        if is_each {
            here = here.into_iter().flat_map(|value| value.as_array().unwrap()).collect();
        }
    }
    here
}

/// Texts and numbers, wherever they are.
fn leaves(value: &Value) -> Vec<String> {
    match value {
        Value::Object(members) => members.values().flat_map(leaves).collect(),
        Value::Array(entries) => entries.iter().flat_map(leaves).collect(),
        Value::String(text) => vec![text.clone()],
        other => vec![other.to_string()],
    }
}

/// Whether what a cell holds is at the path. A flag that is not set is nowhere.
fn is_told(export: &Value, path: &str, form: Form, cell: &str) -> bool {
    let values = values(export, path);
    let has = |wanted: &str| values.iter().any(|value| value.as_str() == Some(wanted));
    let time = |millis: &str| Timestamp::from_millis(millis.parse().unwrap()).to_string();
    match form {
        Form::Text => has(cell),
        Form::Number => {
            values.iter().any(|value| value.as_i64().is_some_and(|number| cell.parse::<i64>() == Ok(number)))
        }
        Form::Flag => cell == "0" || values.iter().any(|value| **value == json!(true)),
        Form::Means(word) => cell == "0" || has(word),
        Form::Time => has(&time(cell)),
        Form::Times => cell.split_whitespace().all(|millis| has(&time(millis))),
        Form::Id => values.iter().any(|value| value.as_str().is_some_and(|id| id.replace('-', "") == cell)),
        Form::Bytes => {
            let bytes: Vec<u8> =
                (0..cell.len() / 2).map(|at| u8::from_str_radix(&cell[at * 2..at * 2 + 2], 16).unwrap()).collect();
            has(&base64url::encode(bytes))
        }
        Form::Words => cell.split_whitespace().all(has),
        Form::Json => {
            let wanted: Value = serde_json::from_str(cell).unwrap();
            values.iter().any(|value| **value == wanted)
        }
        Form::Leaves => {
            let wanted = leaves(&serde_json::from_str(cell).unwrap());
            values.iter().any(|value| {
                let there = leaves(value);
                wanted.iter().all(|leaf| there.contains(leaf))
            })
        }
    }
}

/// Whether a cell proves anything: what is empty or 0 looks like what is not there.
fn is_blank(cell: &str) -> bool {
    matches!(cell, "" | "0")
}

#[test]
fn what_is_not_there_is_not_found() {
    let export = json!({"devices": [{"name": "a"}, {"name": "b", "at": "1970-01-01T00:00:01Z", "gone": true}]});
    assert!(is_told(&export, "devices[].name", Form::Text, "b"));
    assert!(!is_told(&export, "devices[].name", Form::Text, "c"));
    assert!(!is_told(&export, "devices[].other", Form::Text, "a"));
    assert!(is_told(&export, "devices[].none|devices[].at", Form::Time, "1000"));
    assert!(!is_told(&export, "devices[].at", Form::Time, "2000"));
    assert!(is_told(&export, "devices[].gone", Form::Flag, "1") && !is_told(&export, "devices[].no", Form::Flag, "1"));
    assert!(is_told(&export, "devices[]", Form::Leaves, r#"{"x": ["b", true]}"#));
    assert!(!is_told(&export, "devices[]", Form::Leaves, r#"{"x": ["a", true]}"#));
}

/// A life that leaves something in every column: lived as far as that goes, then written into the database.
async fn full_life(app: &TestApp, idp: &ApiClient) -> (Device, String) {
    let user = json!({"external_id": "canary-external-id", "display_name": "Canary Display Name"});
    let mut options = EnrollOptions::named("Canary Phone").with_uv_key();
    let about = &mut options.device;
    about.model = Some("canary-model".to_owned());
    about.os_version = Some("canary-os".to_owned());
    about.app_id = Some("canary-app".to_owned());
    about.app_version = Some("canary-version".to_owned());
    about.installation_id = Some("canary-installation".to_owned());
    let enrollment = idp.create_enrollment(json!({"user": user})).await;
    let phone = idp.claim(&enrollment, options).await;
    idp.confirm(&enrollment, &phone.registration().confirmation_code.clone().unwrap()).await.ok(200);
    let user_id = phone.registration().user.id.to_string();
    let lost = idp.enroll_with("canary-external-id", EnrollOptions::named("Canary Lost Phone")).await;
    idp.delete(&format!("/v1/devices/{}?reason=lost", lost.device_id())).await.ok(200);
    idp.enroll_with("canary-external-id", EnrollOptions::named("Canary Tablet")).await;
    app.clock.advance(60);
    let phone = phone.rotated(Replace::Both).await;
    phone.update_push(PushBinding::None).await.unwrap();
    for (round, mode) in ["enter", "enter", "none", "enter", "display"].into_iter().enumerate() {
        let body = json!({
            "user": {"external_id": "canary-external-id"}, "application": "canary-application",
            "message": "canary-message", "context": {"ip": "203.0.113.77", "location": "canary-location"},
            "details": [{"label": "canary-label", "value": "canary-value"}], "client_reference": "canary-reference",
            "risk": {"level": "low", "reasons": ["canary-risk"]}, "verification": {"mode": mode},
        });
        // Their ids begin with the time: the first is the one that is approved.
        app.clock.advance(1);
        let request = idp.request(reqwest::Method::POST, "/v1/challenges").json(&body);
        let key = format!("canary-idempotency-{round}");
        let challenge = idp.send(request.header("Idempotency-Key", key)).await.ok(201);
        let shown = phone.pending_of(&challenge).await;
        match round {
            0 => drop(phone.approve(&shown, Some(text(&challenge, "number")), None).await.unwrap()),
            1 => drop(phone.deny(&shown, None).await.unwrap()),
            2 => drop(idp.post_empty(&format!("{}/cancel", path_of(&challenge))).await.ok(200)),
            // Left waiting, the other one for its code.
            3 => {}
            _ => drop(phone.approve(&shown, None, None).await.unwrap()),
        }
    }
    app.node().observe().await;
    (phone, user_id)
}

/// What would take providers, weeks or an attacker to come about. Nobody takes it up: leases last, and times are far.
async fn written(app: &TestApp, idp: &ApiClient, phone: &Device, user_id: &str) {
    let id = |text: &str| app.database.id(text);
    let (user, device, tenant) = (id(user_id), id(&phone.device_id()), id(&idp.tenant_id));
    let fresh = |number: u32| id(&format!("01939b5e-7a2c-7def-8abc-0000000000{number:02}"));
    let one = |table: &str| format!("(SELECT id FROM {table} WHERE user_id = {user} ORDER BY id LIMIT 1)");
    let event = format!("(SELECT id FROM events WHERE user_id = {user} AND kind = 'user.created')");
    let far = 4_000_000_000_000_i64;
    for sql in [
        format!(
            "UPDATE users SET consecutive_failures = 31, consecutive_denials = 32, locked_until = {far} + 1000,
             recent_pushes = '1790000001000 1790000002000', pushes_since_approval = 33, pushes_stopped_until = {far},
             reported_at = 1790000003000, reported_by = 'api_client' WHERE id = {user}"
        ),
        format!(
            r#"UPDATE devices SET push_channel = 'fcm', push = '{{"channel":"fcm","token":"canary-push-token"}}',
             push_undeliverable = 'canary-refusal 400', push_undeliverable_at = 1790000004000 WHERE id = {device}"#
        ),
        format!(
            "UPDATE devices SET push_channel = 'apns', push_token_gone = 1
             WHERE user_id = {user} AND name = 'Canary Tablet'"
        ),
        format!(
            "UPDATE push_health SET accepted_at = 1790000005000, pulled_at = 1790000006000,
             error = 'canary-health 503', error_at = 1790000007000 WHERE device_id = {device}"
        ),
        format!(
            "INSERT INTO notifications (id, tenant_id, kind, device_id, challenge_id, due_at, expires_at, attempts,
             lease, leased_until, channel) VALUES ({}, {tenant}, 'challenge', {device}, {}, {far} + 2000, {far} + 3000,
             34, {}, {far} + 4000, 'fcm')",
            fresh(1),
            one("challenges"),
            fresh(2)
        ),
        format!(
            "INSERT INTO test_pushes (id, tenant_id, device_id, channel, state, attempts, last_error, created_at,
             updated_at) VALUES ({}, {tenant}, {device}, 'fcm', 'failed', 35, 'canary-test 410', 1790000008000,
             1790000009000)",
            fresh(3)
        ),
        format!(
            "UPDATE enrollments SET wrong_codes = 3, overridden = 1, approval_id = {} WHERE id = {}",
            one("challenges"),
            one("enrollments")
        ),
        format!("UPDATE challenges SET wrong_codes = 4, flags = 'fast_approval' WHERE id = {}", one("challenges")),
        format!(
            "UPDATE deliveries SET attempts = 36, last_error = 'canary-delivery 500', accepted_at = 1790000010000,
             fetched_at = 1790000011000 WHERE challenge_id = {}",
            one("challenges")
        ),
        format!("UPDATE events SET api_client_id = {} WHERE id = {event}", id(&idp.id)),
        format!(
            "INSERT INTO webhooks (id, tenant_id, url, events, status, disabled_reason, secret_id, previous_secrets,
             seal, created_at) VALUES ({}, {tenant}, 'https://hooks.example', ' * ', 'disabled', 'gone', {}, '[]',
             'no seal', 1790000012000)",
            fresh(4),
            fresh(5)
        ),
        format!(
            r#"INSERT INTO webhook_deliveries (webhook_id, message_id, tenant_id, kind, status, due_at, queued_at, tries,
             attempts, is_put_off, lease, leased_until, kept_until) VALUES ({}, {event}, {tenant}, 'user.created',
             'delivered', {far} + 5000, 1790000013000, 37, '[{{"number":37}}]', 1, {}, {far} + 6000, {far} + 7000)"#,
            fresh(4),
            fresh(6)
        ),
    ] {
        assert!(app.database.tamper(&sql).await > 0, "nothing to write to: {sql}");
    }
}

/// What the export does not tell of the columns that it should.
async fn untold(app: &TestApp, user_id: &str, export: &Value, troubles: &mut Vec<String>) {
    for table in PERSONS {
        for column in table.columns {
            let name = format!("{}.{}", table.name, column.name);
            let (path, form, which) = match column.told {
                Told::At(path, form) => (path, form, "1 = 1"),
                Told::Where(path, form, which) => (path, form, which),
                Told::Secret(_) | Told::Nobody(_) => continue,
            };
            let cells = cells(app, user_id, table, column, which).await;
            if cells.iter().all(|cell| is_blank(cell)) {
                troubles.push(format!("{name}: nothing of the person's is in it, so that nothing is shown"));
            }
            let lacks = cells.iter().find(|cell| !is_told(export, path, form, cell));
            troubles.extend(lacks.map(|cell| format!("{name}: {cell} is not at {path}")));
        }
    }
}

/// Secrets, as they are stored now.
async fn secrets(app: &TestApp, user_id: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for table in PERSONS {
        for column in table.columns {
            let which = match column.told {
                Told::Secret(_) => "1 = 1".to_owned(),
                Told::Where(_, _, which) => format!("NOT ({which})"),
                Told::At(..) | Told::Nobody(_) => continue,
            };
            let name = format!("{}.{}", table.name, column.name);
            for cell in cells(app, user_id, table, column, &which).await {
                all.push((name.clone(), cell));
            }
        }
    }
    all
}

/// What an erasure leaves that it should not.
async fn left(app: &TestApp, user_id: &str, troubles: &mut Vec<String>) {
    for table in PERSONS {
        for column in table.columns.iter().filter(|column| !matches!(column.told, Told::Nobody(_))) {
            for cell in cells(app, user_id, table, column, "1 = 1").await {
                let is_right = match column.after {
                    After::Blank => is_blank(&cell),
                    After::Instead(wanted) => match wanted.strip_suffix('…') {
                        Some(begin) => cell.starts_with(begin),
                        None => cell == wanted,
                    },
                    After::Stays(why) => !why.is_empty(),
                };
                if !is_right {
                    troubles.push(format!("{}.{} holds {cell} after the erasure", table.name, column.name));
                }
            }
        }
    }
}

#[tokio::test]
async fn an_export_tells_every_column_of_a_person_and_an_erasure_leaves_what_is_said() {
    both(async |app| {
        let idp = app.admin().await;
        let (phone, user_id) = full_life(app, &idp).await;
        written(app, &idp, &phone, &user_id).await;
        let path = format!("/v1/users/{user_id}");
        let export = idp.get(&format!("{path}/export")).await.ok(200);
        assert_eq!(export["complete"], true);
        let mut troubles = Vec::new();
        untold(app, &user_id, &export, &mut troubles).await;
        // A secret of six digits may look like a part of something else: there it is looked for as a text of its own.
        let told = leaves(&export);
        let secrets = secrets(app, &user_id).await;
        for wanted in ["number", "code", "code_seal", "jws"].map(|name| format!("challenges.{name}")) {
            assert!(secrets.iter().any(|(name, _)| *name == wanted), "no {wanted}: nothing is shown");
        }
        for (name, secret) in &secrets {
            let is_there = if secret.len() < 20 { told.contains(secret) } else { export.to_string().contains(secret) };
            if is_there {
                troubles.push(format!("{name}: {secret} is in the export"));
            }
        }
        assert!(!export.to_string().contains("canary-push-token"));
        assert_eq!(idp.delete(&path).await.status, 204);
        left(app, &user_id, &mut troubles).await;
        assert!(troubles.is_empty(), "{}", troubles.join("\n"));
    })
    .await;
}
