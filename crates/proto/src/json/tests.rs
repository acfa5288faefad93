use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::*;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Outer {
    count: u8,
    #[serde(default)]
    inner: Option<Inner>,
    #[serde(default)]
    list: Vec<Inner>,
    #[serde(default)]
    word: Option<crate::vocabulary::Decision>,
    #[serde(default)]
    plain: Option<Plain>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Inner {
    #[serde(default)]
    name: Option<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Plain {
    Yes,
}

fn nested(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

#[test]
fn a_member_named_twice_is_refused_at_any_depth_and_in_any_spelling() {
    for text in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"{"x":{"a":1,"a":2}}"#,
        r#"[{"x":[{"a":null,"b":1,"a":null}]}]"#,
        r#"{"":0,"":0}"#,
    ] {
        assert_eq!(parse(text.as_bytes()), Err(Malformed::DuplicateMember), "{text}");
    }
    assert_eq!(parse(br#"{"a":{"a":1},"b":{"a":1},"A":1}"#).unwrap()["b"]["a"], json!(1));
}

#[test]
fn sixteen_levels_pass_and_seventeen_do_not() {
    assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
    assert_eq!(parse(nested(MAX_DEPTH + 1).as_bytes()), Err(Malformed::TooDeep));
    assert_eq!(parse("[".repeat(100_000).as_bytes()), Err(Malformed::TooDeep));
    assert_eq!(parse(r#"{"a":"#.repeat(100_000).as_bytes()), Err(Malformed::TooDeep));
}

#[test]
fn what_is_not_one_utf8_json_value_is_refused() {
    let cases: [&[u8]; 16] = [
        b"",
        b" ",
        b"{",
        b"{}{}",
        b"{} x",
        b"\xEF\xBB\xBF{}",
        b"{\"a\":\"\xFF\"}",
        b"{\"\xC3\x28\":1}",
        b"{\"a\":\"\\ud800\"}",
        b"{'a':1}",
        b"{\"a\":1,}",
        b"{\"a\":01}",
        b"{\"a\":NaN}",
        b"{\"a\":1e999}",
        b"{\"a\":\"line\nbreak\"}",
        b"{}\0",
    ];
    for bytes in cases {
        assert_eq!(parse(bytes), Err(Malformed::NotJson), "{}", String::from_utf8_lossy(bytes));
    }
    assert_eq!(parse_object(b"[]"), Err(Malformed::NotAnObject));
    assert_eq!(parse_object(b"null"), Err(Malformed::NotAnObject));
}

#[test]
fn names_that_a_json_library_reserves_are_ordinary_members() {
    let text = br#"{"$serde_json::private::RawValue":"[1]","$serde_json::private::Number":"1"}"#;
    assert_eq!(parse(text).unwrap().as_object().unwrap().len(), 2);
}

#[test]
fn each_fault_names_its_place_and_what_is_due() {
    let cases = [
        (json!({}), "/count", Fault::Missing, "is required"),
        (json!({"count":null}), "/count", Fault::Type, "must be an integer"),
        (json!({"count":"1"}), "/count", Fault::Type, "must be an integer"),
        (json!({"count":1.0}), "/count", Fault::Type, "must be an integer"),
        (json!({"count":300}), "/count", Fault::Type, "is out of range"),
        (json!({"count":-1}), "/count", Fault::Type, "is out of range"),
        (json!({"count":1,"inner":null}), "/inner", Fault::Type, "must be absent rather than null"),
        (json!({"count":1,"inner":[]}), "/inner", Fault::Type, "must be an object"),
        (json!({"count":1,"inner":["x"]}), "/inner", Fault::Type, "must be an object"),
        (json!({"count":1,"inner":{"name":7}}), "/inner/name", Fault::Type, "must be a string"),
        (json!({"count":1,"list":{}}), "/list", Fault::Type, "must be an array"),
        (json!({"count":1,"list":[{},[]]}), "/list/1", Fault::Type, "must be an object"),
        (json!({"count":1,"word":"perhaps"}), "/word", Fault::Value, "must be one of: approve, deny"),
        (json!({"count":1,"word":{"deny":null}}), "/word", Fault::Type, "must be a string"),
        (json!({"count":1,"plain":{"yes":null}}), "/plain", Fault::Type, "must be a string"),
        (json!({"count":1,"plain":"no"}), "/plain", Fault::Value, "must be one of: yes"),
        (json!({"count":1,"a/b~c":1}), "/a~1b~0c", Fault::Unknown, "is not a known member"),
        (json!([1]), "", Fault::Type, "must be an object"),
    ];
    for (value, pointer, fault, detail) in cases {
        let error = typed::<Outer>(&value).unwrap_err();
        assert_eq!((error.pointer.as_str(), error.fault, error.detail.as_str()), (pointer, fault, detail), "{value}");
    }
}

#[test]
fn a_value_that_fits_is_read() {
    let value = json!({"count":255,"inner":{"name":"n","more":[]},"list":[{}],"word":"deny","plain":"yes"});
    let outer: Outer = typed(&value).unwrap();
    assert_eq!(outer.count, 255);
    assert_eq!(outer.inner, Some(Inner { name: Some("n".into()) }));
    assert_eq!(outer.list, [Inner { name: None }]);
    assert_eq!(outer.plain, Some(Plain::Yes));
    let map: BTreeMap<String, i64> = typed(&json!({"a":-1,"b":i64::MAX})).unwrap();
    assert_eq!(map["b"], i64::MAX);
    assert!(typed::<i64>(&json!(u64::MAX)).is_err());
    assert_eq!(typed::<Value>(&json!({"f":1.5})).unwrap(), json!({"f":1.5}));
}
