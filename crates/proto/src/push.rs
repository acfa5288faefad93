//! The `push` claim: where a device wants to be rung (protocol 8).
//!
//! Only the form is read here: the channel, and the type of each of its members. The rules (lengths, hex,
//! https, which topics a tenant has) are `countersign-core`'s. Members that the channel does not know are
//! ignored.
//!
//! To add a channel: its word in [`PushChannel`], its variant, its arm in `from_members`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::vocabulary::{ApnsEnvironment, PushChannel};

/// How a device is reached. Tokens and keys are secrets of the device: `Debug` does not print them.
#[derive(Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "channel", rename_all = "snake_case")]
pub enum PushBinding {
    /// Apple Push Notification service (protocol 8.2).
    Apns {
        /// The device token, 64–200 hex digits.
        token: String,
        /// The app's bundle id.
        topic: String,
        /// Which of Apple's services the token belongs to.
        environment: ApnsEnvironment,
    },
    /// Firebase Cloud Messaging (protocol 8.3).
    Fcm {
        /// The registration token.
        token: String,
        /// The Firebase project, where a tenant has several.
        #[serde(skip_serializing_if = "Option::is_none")]
        project: Option<String>,
    },
    /// Web Push (protocol 8.4, RFC 8030).
    Webpush {
        /// The push resource, an https URL.
        endpoint: String,
        /// The browser's P-256 key, an uncompressed point in b64u (RFC 8291).
        p256dh: String,
        /// The browser's authentication secret, 16 bytes in b64u (RFC 8291).
        auth: String,
    },
    /// No push: the device pulls.
    None,
}

impl PushBinding {
    /// The channel that it belongs to.
    pub fn channel(&self) -> PushChannel {
        match self {
            Self::Apns { .. } => PushChannel::Apns,
            Self::Fcm { .. } => PushChannel::Fcm,
            Self::Webpush { .. } => PushChannel::Webpush,
            Self::None => PushChannel::None,
        }
    }

    fn from_members<E: Error>(mut members: BTreeMap<String, Value>) -> Result<Self, E> {
        let channel: PushChannel = text(&mut members, "channel")?.parse().map_err(E::custom)?;
        Ok(match channel {
            PushChannel::Apns => Self::Apns {
                token: text(&mut members, "token")?,
                topic: text(&mut members, "topic")?,
                environment: text(&mut members, "environment")?.parse().map_err(E::custom)?,
            },
            PushChannel::Fcm => {
                Self::Fcm { token: text(&mut members, "token")?, project: optional_text(&mut members, "project")? }
            }
            PushChannel::Webpush => Self::Webpush {
                endpoint: text(&mut members, "endpoint")?,
                p256dh: text(&mut members, "p256dh")?,
                auth: text(&mut members, "auth")?,
            },
            PushChannel::None => Self::None,
        })
    }
}

impl fmt::Debug for PushBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PushBinding({})", crate::vocabulary::Word::as_str(self.channel()))
    }
}

/// Written by hand because serde's tagged enums also take an array for the object and buffer values loosely.
impl<'de> Deserialize<'de> for PushBinding {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = PushBinding;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a member `channel`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PushBinding, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("must not name a member twice"));
                    }
                }
                PushBinding::from_members(members)
            }
        }

        deserializer.deserialize_map(Members)
    }
}

fn text<E: Error>(members: &mut BTreeMap<String, Value>, name: &'static str) -> Result<String, E> {
    optional_text(members, name)?.ok_or_else(|| E::missing_field(name))
}

fn optional_text<E: Error>(members: &mut BTreeMap<String, Value>, name: &'static str) -> Result<Option<String>, E> {
    match members.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        // What was given is not repeated: a token in the wrong shape is still a token.
        Some(_) => Err(E::invalid_type(Unexpected::Other("another type"), &format!("a string as `{name}`").as_str())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json, to_value};

    use super::*;

    #[test]
    fn every_channel_reads_back() {
        for value in [
            json!({"channel":"apns","token":"ab","topic":"org.example","environment":"sandbox"}),
            json!({"channel":"fcm","token":"t"}),
            json!({"channel":"fcm","token":"t","project":"p"}),
            json!({"channel":"webpush","endpoint":"https://push.example/1","p256dh":"k","auth":"a"}),
            json!({"channel":"none"}),
        ] {
            let binding: PushBinding = from_value(value.clone()).unwrap();
            assert_eq!(to_value(&binding).unwrap(), value);
            assert_eq!(to_value(binding.channel()).unwrap(), value["channel"]);
        }
    }

    #[test]
    fn members_of_no_or_another_channel_are_ignored() {
        let binding: PushBinding = from_value(json!({"channel":"none","token":7,"colour":null})).unwrap();
        assert_eq!(binding, PushBinding::None);
    }

    #[test]
    fn an_array_a_word_or_a_number_is_no_binding() {
        for wrong in [
            json!(["none"]),
            json!("none"),
            json!(0),
            json!(null),
            json!({"channel":0}),
            json!({"channel":"smoke"}),
            json!({"channel":{"none":null}}),
            json!({"channel":"fcm"}),
            json!({"channel":"fcm","token":null}),
            json!({"channel":"fcm","token":"t","project":null}),
        ] {
            assert!(from_value::<PushBinding>(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn debug_prints_no_token() {
        let binding = PushBinding::Fcm { token: "canary".into(), project: None };
        assert_eq!(format!("{binding:?}"), "PushBinding(fcm)");
    }
}
