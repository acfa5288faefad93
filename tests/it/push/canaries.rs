//! Nothing of the person or the sign-in reaches a provider (protocol 8.1).

use countersign_tests::{
    providers::{apns_options, apns_token, both_with_providers, fcm_options, webpush_options},
    text,
};
use serde_json::json;

#[tokio::test]
async fn no_name_application_number_address_or_text_reaches_a_provider() {
    both_with_providers(async |app, providers| {
        let tenant = app.tenant("canary-tenant").await;
        let idp = app.client_of(&tenant, "admin").await;
        let browser = providers.webpush.subscribe().unwrap();
        let user = json!({"external_id": "canary-external-id", "display_name": "Canary Display"});
        let phones = [apns_options(&apns_token('a')), fcm_options("fcm-token-1"), webpush_options(&browser)];
        for options in phones {
            let enrollment = idp.create_enrollment(json!({"user": user, "confirmation": "none"})).await;
            idp.claim(&enrollment, options).await;
        }
        super::drain_notices(app).await;
        let challenge = idp
            .create_challenge(json!({
                "user": {"external_id": "canary-external-id"}, "application": "canary-application",
                "action": "canary_action", "message": "canary-message",
                "context": {"ip": "203.0.113.77", "user_agent": "canary-agent", "location": "canary-location",
                    "device": "canary-device"},
                "details": [{"label": "canary-label", "value": "canary-value"}],
                "client_reference": "canary-reference", "verification": {"mode": "enter", "digits": 8},
            }))
            .await;
        let before = providers.apns.attempted_count() + providers.fcm.attempted_count();
        assert!(before >= 2, "notices were sent: {before}");
        providers.next_apns(&apns_token('a'), "challenge").await;
        providers.next_fcm("fcm-token-1", "challenge").await;
        let shown = providers.next_webpush(&browser, "challenge").await;
        // The withdrawals, too.
        idp.post_empty(&format!("/v1/challenges/{}/cancel", text(&challenge, "id"))).await.ok(200);
        providers.next_apns(&apns_token('a'), "withdrawn").await;
        providers.next_fcm("fcm-token-1", "withdrawn").await;

        let heard = format!("{}\n{shown}", providers.heard());
        assert!(heard.contains(text(&challenge, "id")), "what is searched is what was sent");
        let number = text(&challenge, "number");
        for secret in ["canary", "Canary", "203.0.113.77", number, "Organisation"] {
            assert!(!heard.contains(secret), "{secret} reached a provider:\n{heard}");
        }
    })
    .await;
}
