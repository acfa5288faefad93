//! The attacks. Each stands on a [`crate::rig::Rig`] of its own, and is judged by [`crate::check`].

pub(crate) mod disk;
pub(crate) mod failover;
pub(crate) mod forge;
mod frame;
pub(crate) mod http;
mod judge;
pub(crate) mod kill;
pub(crate) mod postgres;
pub(crate) mod power;
pub(crate) mod races;
pub(crate) mod rules;
pub(crate) mod syscalls;
pub(crate) mod time;
pub(crate) mod tokens;
