//! Two roles: one owns the schema and migrates, the other runs the server and can do no more than it must.
//!
//! The SQL is the very text of docs/operations.md.

use countersign_tests::{Cluster, Database, Db, text};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, PgConnection, postgres::PgConnectOptions};

use crate::process::Program;

const PASSWORD: &str = "not a secret";

/// The blocks of SQL of the page, in their order.
fn documented() -> Vec<Vec<String>> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
    let page = std::fs::read_to_string(page).unwrap();
    let blocks = page.split("```sql\n").skip(1).map(|rest| rest.split_once("```").unwrap().0);
    let statements = |block: &str| {
        let text = block.replace("'…'", &format!("'{PASSWORD}'"));
        text.split(';').map(str::trim).filter(|sql| !sql.is_empty()).map(str::to_owned).collect()
    };
    blocks.map(statements).collect()
}

fn url(cluster: &Cluster, role: &str) -> String {
    let superuser = cluster.url();
    let (_, tail) = superuser.split_once('@').unwrap();
    let (address, _) = tail.split_once('/').unwrap();
    format!("postgres://{role}:{}@{address}/countersign", PASSWORD.replace(' ', "%20"))
}

async fn connect(url: &str) -> PgConnection {
    url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap()
}

async fn run(connection: &mut PgConnection, statements: &[String]) {
    for sql in statements {
        connection.execute(AssertSqlSafe(sql.clone())).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

#[tokio::test]
async fn the_server_runs_as_a_role_that_can_do_no_more_than_it_must() {
    let cluster = Cluster::start().await;
    let [roles, rights, afterwards] = documented().try_into().unwrap();
    run(&mut cluster.connection().await, &roles).await;
    let superuser = cluster.url().replace("/postgres", "/countersign");
    run(&mut connect(&superuser).await, &rights).await;

    // The folder is what is needed of it.
    let program = Program::with(Database::create(Db::Sqlite).await).set("database.migrate", "false");
    let program = program.set("database.url", &url(&cluster, "countersign_server"));
    let refused = program.run(&["serve"]).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("countersign migrate") && refused.stderr.lines().count() == 1, "{refused:?}");
    let refused = program.run(&["migrate"]).await;
    assert_eq!(refused.code, Some(1), "this role makes no tables: {refused:?}");

    // `migrate` migrates whatever the setting says.
    let program = program.set("database.url", &url(&cluster, "countersign_owner"));
    program.json(&["migrate"]).await;
    run(&mut connect(&url(&cluster, "countersign_owner")).await, &afterwards).await;

    let program = program.set("database.url", &url(&cluster, "countersign_server"));
    let server = program.serve().await;
    let client = program.client(&server, "admin").await;
    let phone = client.enroll("ada").await;
    let challenge = client.challenge("ada").await;
    let shown = phone.pending_of(&challenge).await;
    phone.approve(&shown, Some(text(&challenge, "number")), None).await.unwrap();
    assert_eq!(client.show(&challenge).await["status"], "approved");
    client.delete(&format!("/v1/devices/{}", phone.device_id())).await.ok(200);
    client.get("/v1/events").await.ok(200);
    assert_eq!(client.http().get("/readyz").await.status, 200);
    assert_eq!(client.http().take_failures(), Vec::<String>::new());
    // The sweeper has been round: each of its statements may be run.
    let logs = server.stop().await.stderr;
    assert!(!logs.contains("permission denied") && !logs.contains("\"ERROR\"") && !logs.contains("\"WARN\""), "{logs}");

    let mut connection = connect(&url(&cluster, "countersign_server")).await;
    for sql in [
        "CREATE TABLE mine (id int)",
        "ALTER TABLE challenges ADD COLUMN mine int",
        "DROP TABLE events",
        "TRUNCATE events",
        "UPDATE _sqlx_migrations SET success = false",
        "DELETE FROM _sqlx_migrations",
        "CREATE ROLE mine",
    ] {
        let refused = connection.execute(sql).await.unwrap_err();
        let code = refused.as_database_error().and_then(|error| error.code()).unwrap().into_owned();
        assert_eq!(code, "42501", "{sql}: {refused}");
    }
}
