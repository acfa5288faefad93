//! Scopes, lists of applications, the form of a key.

use super::*;

#[test]
fn admin_may_do_everything_and_others_only_what_they_hold() {
    let admin: Scopes = "admin".parse().unwrap();
    let reader: Scopes = "users:read, audit:read".parse().unwrap();
    for scope in Scope::ALL {
        assert!(admin.allow(scope));
        assert_eq!(reader.allow(scope), matches!(scope, Scope::UsersRead | Scope::AuditRead));
    }
    assert!("users:read,root".parse::<Scopes>().is_err());
}

#[test]
fn a_client_with_a_list_asks_for_what_is_in_it_and_for_nothing_else() {
    let id = |number| countersign_proto::ids::Id::from_uuid(uuid::Uuid::from_u128(number));
    let anybody = Caller {
        tenant_id: countersign_proto::ids::Id::from_uuid(uuid::Uuid::nil()),
        tenant_name: String::new(),
        client_id: id(1),
        key_id: countersign_proto::ids::Id::from_uuid(uuid::Uuid::nil()),
        scopes: Scopes::default(),
        applications: None,
        public_key: None,
        expires_at: None,
        is_proof_required: false,
        seals: CallerSeals::default(),
    };
    assert!(anybody.may_ask_for(None) && anybody.may_ask_for(Some("VPN")));
    let vpn = Caller { applications: Some(check_applications("", ["VPN"]).unwrap()), ..anybody };
    assert!(vpn.may_ask_for(Some("VPN")));
    assert!(!vpn.may_ask_for(None) && !vpn.may_ask_for(Some("vpn")) && !vpn.may_ask_for(Some("")));
    for wrong in [vec![], vec![""], vec!["a\u{202e}"]] {
        assert!(check_applications("", wrong).is_err());
    }
}

#[test]
fn only_the_exact_form_is_a_key() {
    struct Zeros;
    impl Entropy for Zeros {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(0);
        }
    }
    let key = ApiKey::generate(&Zeros);
    assert!(ApiKey::parse(key.reveal()).is_some());
    let padded = format!("{}=", key.reveal());
    let noncanonical = format!("{}B", &key.reveal()[..46]);
    for other in ["", "csk_", "csk_AAAA", &padded, &noncanonical, &key.reveal()[4..]] {
        assert!(ApiKey::parse(other).is_none(), "{other}");
    }
    assert_eq!(format!("{key:?}"), "[redacted]");
}
