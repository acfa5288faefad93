//! The attacks. Each stands on a [`crate::rig::Rig`] of its own, and is judged by [`crate::check`].

mod judge;
pub(crate) mod kill;
pub(crate) mod races;
pub(crate) mod disk;
pub(crate) mod postgres;
pub(crate) mod syscalls;
