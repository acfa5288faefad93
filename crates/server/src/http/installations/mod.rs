//! `/v1/installations`: all registrations of one installed app, whoever's they are (protocol 10.7).
//!
//! What an app says of its installation is its own word: it groups registrations, and proves nothing.

pub mod revoke;
