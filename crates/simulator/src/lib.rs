//! What a developer points the real server at: a phone that holds a P-256 key, as an independent client of
//! docs/protocol.md.
//!
//! It links only the wire types: whatever it knows of the server it learns over HTTP, as any other app
//! would. It must never reach into the server, and never be linked by what serves requests: only the command
//! line, the demo and the tests use it.
//!
//! To add a stand-in for something else that the server talks to: a module beside [`phone`].

pub mod keys_file;
pub mod phone;

pub use self::keys_file::{KeysFile, KeysFileError};
pub use self::phone::Phone;
