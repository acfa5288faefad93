//! What a developer points the real server at: a phone that holds a P-256 key, as an independent client of
//! docs/protocol.md, and stand-ins of the push providers, as strict as the real ones.
//!
//! It links only the wire types: whatever it knows of the server it learns over HTTP, as any other app or
//! provider would. It must never reach into the server, and never be linked by what serves requests: only
//! the command line, the demo and the tests use it. The stand-ins listen on 127.0.0.1 only.
//!
//! Beside them stands what those who attack and measure a server from outside share: [`commit_thief`],
//! [`process`], [`switch`].
//!
//! To add a stand-in for something else that the server talks to: a module beside [`apns`] with its
//! [`stand_in::Provider`], its `start`, and a test for each wrong request that it must catch.

pub mod apns;
pub mod commit_thief;
pub mod fcm;
pub mod keys_file;
pub mod phone;
pub mod process;
pub mod stand_in;
pub mod switch;
pub mod webhook;
pub mod webpush;

pub use self::keys_file::{KeysFile, KeysFileError};
pub use self::phone::Phone;
