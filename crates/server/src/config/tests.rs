use std::io::Write as _;

use super::*;

fn with(text: &str) -> Result<Settings, String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let none = Env::prefixed("COUNTERSIGN_TEST_OF_NOTHING__").split("__");
    Settings::from_layers(Some(file.path()), none).map_err(|error| error.to_string())
}

#[test]
fn the_defaults_listen_on_loopback_with_sqlite() {
    let settings = Settings::defaults().unwrap();
    assert_eq!(settings.issuer(), "http://127.0.0.1:8080");
    assert_eq!(settings.key_file(), Path::new("data/signing-keys.json"));
}

#[test]
fn an_unknown_setting_is_named() {
    assert_eq!(with("[server]\nlisen = \"x\"").unwrap_err(), "configuration: unknown setting `server.lisen`");
    assert_eq!(with("[sever]\n").unwrap_err(), "configuration: unknown setting `sever`");
}

#[test]
fn a_wrong_type_is_named_without_its_value() {
    let refusal = with("[database]\nurl = 4711").unwrap_err();
    assert!(refusal.contains("database.url") && !refusal.contains("4711"), "{refusal}");
}

#[test]
fn a_line_break_in_a_name_does_not_break_the_line() {
    for text in ["\"a\\nb\" = 1", "[server]\n\"a\\r\\nb\" = 1", "[push.apns.\"a\\nb\"]\nkey_file = 1"] {
        let message = Settings::of_text(text).unwrap_err().to_string();
        assert!(!message.chars().any(char::is_control), "{message:?}");
    }
}

#[test]
fn plain_http_beyond_loopback_is_refused() {
    let refusal = with("[server]\nlisten = \"0.0.0.0:8080\"").unwrap_err();
    assert!(refusal.contains("plain HTTP beyond loopback is refused"), "{refusal}");
    let upstream = "[server]\nlisten = \"0.0.0.0:8080\"\ntls_terminated_upstream = true\npublic_url = ";
    assert!(with(&format!("{upstream}\"https://approve.example.org\"")).is_ok());
    assert!(with(&format!("{upstream}\"http://approve.example.org\"")).unwrap_err().contains("https://"));
}

#[test]
fn an_issuer_with_a_path_or_slash_is_refused() {
    for url in ["https://a.example/", "https://a.example/x", "ftp://a.example", "https://", "https://u@a.example"] {
        assert!(with(&format!("[server]\npublic_url = \"{url}\"")).is_err(), "{url}");
    }
}

#[test]
fn a_reserve_has_a_bound() {
    let mib = |mib| with(&format!("[database]\nreserve_mib = {mib}"));
    assert!(mib(0).is_ok() && mib(1_024).is_ok());
    assert!(mib(1_025).unwrap_err().contains("database.reserve_mib"));
}

#[test]
fn postgres_needs_a_shared_key_file_and_its_password_is_not_printed() {
    let url = "[database]\nurl = \"postgres://u:canary-password@127.0.0.1/x\"\n";
    assert!(with(url).unwrap_err().contains("signing.key_file"));
    let settings = with(&format!("{url}[signing]\nkey_file = \"/k\"")).unwrap();
    assert!(!format!("{settings:?}").contains("canary-password"));
}

#[test]
fn credentials_that_nobody_could_tell_apart_or_that_lead_elsewhere_are_refused() {
    let apns = |name: &str, extra: &str| {
        format!(
            "[push.apns.{name}]\nkey_file = \"k\"\nkey_id = \"A\"\nteam_id = \"T\"\ntopic = \"org.example\"\n{extra}\n"
        )
    };
    assert!(with(&apns("main", "")).is_ok());
    let twice = with(&format!("{}{}", apns("one", ""), apns("two", ""))).unwrap_err();
    assert!(twice.contains("push.apns.one") && twice.contains("push.apns.two"), "{twice}");
    assert!(with(&format!("{}{}", apns("one", ""), apns("two", "environment = \"sandbox\""))).is_ok());
    assert!(with(&format!("{}{}", apns("one", ""), apns("two", "tenants = [\"a\"]"))).is_ok());
    let shared = format!("{}{}", apns("one", "tenants = [\"a\", \"b\"]"), apns("two", "tenants = [\"b\"]"));
    assert!(with(&shared).is_err());
    let base = |url: &str| with(&apns("main", &format!("base_url = \"{url}\"")));
    for url in ["https://127.0.0.1:1", "http://127.0.0.1:8080", "http://[::1]:1", "https://api.push.apple.com"] {
        assert!(base(url).is_ok(), "{url}");
    }
    for url in ["http://api.push.apple.com", "http://localhost:x@evil", "https://a/b", "ftp://a", "https://", "a"] {
        assert!(base(url).is_err(), "{url}");
    }
    assert!(with(&apns("main", "passphrase = \"x\"")).unwrap_err().contains("passphrase"));
    assert!(with("[push.webpush]\ncontact = \"http://a\"").is_err());
    assert!(with("[push]\nreload_seconds = 0").is_err());
}

/// A file of `deploy/`, of which tests watch over what a machine can judge.
fn deployed(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The value of `text`, which is TOML for one.
fn value(text: &str) -> figment::value::Value {
    let layer = Figment::from(Toml::string(&format!("value = {text}")));
    layer.find_value("value").unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn the_production_settings_are_settings() {
    // The password's file is of another machine.
    let text = deployed("countersign.toml").replace("\npassword_file = \"/etc/", "\n#");
    let settings = with(&text).unwrap();
    assert_eq!(settings.issuer(), "https://approve.example.org");
    assert!(!settings.database.migrate && !settings.database.allow_unverified_tls);
    assert_eq!(settings.push.credential_files().count(), 2);
}

#[test]
fn the_production_settings_differ_from_the_defaults_where_they_say_so_and_nowhere_else() {
    let defaults = Figment::from(Toml::string(DEFAULTS));
    let text = deployed("countersign.toml");
    let (mut part, mut stated, mut count) = (String::new(), None, 0);
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            part = name.trim_end_matches(']').to_owned();
        } else if let Some(default) = line.strip_prefix("# Default: ") {
            stated = Some(default);
        } else if let Some((key, given)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            let setting = format!("{part}.{key}");
            let stated = stated.take().unwrap_or_else(|| panic!("{setting} does not state its default"));
            let default = defaults.find_value(&setting).ok();
            assert_eq!(default, (stated != "none").then(|| value(stated)), "the default of {setting}");
            assert_ne!(default, Some(value(given)), "{setting} is what the default is");
            count += 1;
        }
    }
    assert!(count >= 10, "{count} settings");
}

#[test]
fn the_unit_of_systemd_has_room_for_what_the_settings_allow() {
    let settings = with(&deployed("countersign.toml").replace("\npassword_file = \"/etc/", "\n#")).unwrap();
    let unit = deployed("systemd/countersign.service");
    let number = |name: &str| -> u64 {
        let found = unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("{name}")).parse().unwrap()
    };
    let Server { drain_seconds, shutdown_seconds, max_connections, .. } = settings.server;
    assert!(number("TimeoutStopSec") >= drain_seconds + shutdown_seconds + 5);
    // Beside the connections: the database's, the push providers', files.
    assert!(number("LimitNOFILE") >= max_connections as u64 + 8_192);
}
