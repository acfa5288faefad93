//! The senders against the stand-ins of the providers: every answer and every way for a connection to fail, over real
//! sockets on 127.0.0.1.
//!
//! Each test starts the stand-ins that it needs and ends them; what it waits for it waits for with a deadline. To add
//! a provider's behaviour: its script in the stand-in, and the outcome that it must have here.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod apns;
mod circuit;
mod doctor;
mod fcm;
mod transport;
mod webpush;
mod world;
