//! Finding users: by the beginning of their id, or by a state that an administrator looks for.

use countersign_tests::{ApiClient, both, text};
use serde_json::{Value, json};

/// The ids of all pages.
async fn found(client: &ApiClient, query: &str) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/v1/users?limit=2&{query}{cursor}")).await.ok(200);
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        ids.extend(items.iter().map(|user| text(user, "external_id").to_owned()));
        let Some(next) = page["next_cursor"].as_str() else { return ids };
        cursor = format!("&cursor={next}");
    }
}

async fn invite(client: &ApiClient, ids: &[&str]) {
    for id in ids {
        client.create_enrollment(json!({"user": {"external_id": id}})).await;
    }
}

#[tokio::test]
async fn a_prefix_finds_ids_that_begin_so_in_pages_and_takes_nothing_for_a_pattern() {
    both(async |app| {
        let idp = app.admin().await;
        let stranger = app.client_of(&app.tenant("other").await, "admin").await;
        invite(&idp, &["ada", "Ada", "ada.b", "ada.a", "ada c", "adb", "a%b", "a_b", "jos\u{e9}", "100%"]).await;
        invite(&stranger, &["ada.stranger"]).await;
        let gone = idp.get("/v1/users?external_id=ada.b").await.ok(200)["items"][0]["id"].clone();
        assert_eq!(found(&idp, "q=ada").await, ["ada", "ada c", "ada.a", "ada.b"]);
        assert_eq!(idp.delete(&format!("/v1/users/{}", gone.as_str().unwrap())).await.status, 204);
        assert_eq!(found(&idp, "q=ada").await, ["ada", "ada c", "ada.a"]);
        assert_eq!(found(&idp, "q=ada%20").await, ["ada c"]);
        for (query, wanted) in
            [("a%25", "a%b"), ("a_", "a_b"), ("100%25", "100%"), ("A", "Ada"), ("jose%CC%81", "jos\u{e9}")]
        {
            assert_eq!(found(&idp, &format!("q={query}")).await, [wanted], "{query}");
        }
        assert_eq!(found(&idp, "q=%25").await, Vec::<String>::new());
        assert_eq!(found(&stranger, "q=ada").await, ["ada.stranger"]);
        let longest = "x".repeat(255);
        assert_eq!(found(&idp, &format!("q={longest}")).await, Vec::<String>::new());

        for (query, pointer) in [
            ("q=", "/q"),
            ("q=%20ada", "/q"),
            ("q=a%00", "/q"),
            (&*format!("q=x{longest}"), "/q"),
            ("q=ada&external_id=ada", "/q"),
            ("q=ada&state=locked", "/state"),
            ("external_id=ada&state=locked", "/state"),
            ("q=ada&cursor=nothing!", "/cursor"),
            // Of the list by id, and of another prefix.
            ("q=ada&cursor=01939b5e-7a2c-7def-8abc-000000000001", "/cursor"),
            ("q=ada&cursor=Ym9i", "/cursor"),
            ("q=ada&limit=0", "/limit"),
        ] {
            idp.get(&format!("/v1/users?{query}")).await.invalid(&[pointer]);
        }
        idp.get("/v1/users?state=happy").await.problem("invalid-request");
        idp.get("/v1/users?q=a&q=b").await.problem("invalid-request");
    })
    .await;
}

#[tokio::test]
async fn users_are_found_by_what_needs_looking_after() {
    both(async |app| {
        let idp = app.admin().await;
        let locked = idp.enroll("locked").await;
        let reported = idp.enroll("reported").await;
        invite(&idp, &["waiting", "forgotten"]).await;
        for _ in 0..5 {
            let challenge = idp.challenge("locked").await;
            let shown = locked.pending_of(&challenge).await;
            let number = text(&challenge, "number");
            let wrong = if number.starts_with('0') { "1" } else { "0" }.to_owned() + &number[1..];
            drop(locked.approve(&shown, Some(&wrong), None).await);
        }
        let report = format!("/v1/users/{}/report", reported.registration().user.id);
        idp.post(&report, json!({})).await.ok(200);
        assert_eq!(found(&idp, "state=locked").await, ["locked"]);
        assert_eq!(found(&idp, "state=reported").await, ["reported"]);
        let mut without = found(&idp, "state=without_device").await;
        without.sort();
        assert_eq!(without, ["forgotten", "waiting"]);
        let items = idp.get("/v1/users?state=locked").await.ok(200)["items"].clone();
        assert!(items[0]["locked_until"].is_string(), "{items}");
        // A lock ends by itself, a report does not.
        app.clock.advance(86_400);
        assert_eq!(found(&idp, "state=locked").await, Vec::<String>::new());
        assert_eq!(found(&idp, "state=reported").await, ["reported"]);
        idp.delete(&report).await.ok(200);
        assert_eq!(found(&idp, "state=reported").await, Vec::<String>::new());
        let gone: Value = idp.get("/v1/users?external_id=forgotten").await.ok(200)["items"][0]["id"].clone();
        assert_eq!(idp.delete(&format!("/v1/users/{}", gone.as_str().unwrap())).await.status, 204);
        assert_eq!(found(&idp, "state=without_device").await, ["waiting"]);
        app.client("devices:read").await.get("/v1/users?q=a").await.problem("insufficient-scope");
    })
    .await;
}
