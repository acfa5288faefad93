//! A bounded table of what devices bring.
//!
//! Never forgets what is in use. To keep something else, too: the caller's `is_kept`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use super::lock;

/// The most recently used of something per name, at most `capacity`: what devices bring must not fill the memory.
pub(crate) struct Recent<T> {
    capacity: usize,
    entries: Mutex<Entries<T>>,
}

struct Entries<T> {
    by_name: HashMap<Arc<str>, (Arc<T>, u64)>,
    uses: u64,
}

impl<T> Recent<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, entries: Mutex::new(Entries { by_name: HashMap::new(), uses: 0 }) }
    }

    /// The entry of `name`, made if it is new. If there is no room, of those that nobody holds and that are not
    /// `kept` the one that was unused for longest goes; `None`: there is no such one.
    pub(crate) fn get_or_make(
        &self,
        name: &str,
        is_kept: impl Fn(&T) -> bool,
        make: impl FnOnce(&Arc<str>) -> T,
    ) -> Option<Arc<T>> {
        let mut entries = lock(&self.entries);
        entries.uses += 1;
        let use_ = entries.uses;
        if let Some((entry, used)) = entries.by_name.get_mut(name) {
            *used = use_;
            return Some(Arc::clone(entry));
        }
        if entries.by_name.len() >= self.capacity {
            // Handed out under this lock only: an entry that is held once is held by this table.
            let is_free = |entry: &Arc<T>| Arc::strong_count(entry) == 1 && !is_kept(entry);
            let free = entries.by_name.iter().filter(|(_, (entry, _))| is_free(entry));
            let oldest = free.min_by_key(|(_, (_, used))| *used).map(|(name, _)| Arc::clone(name))?;
            entries.by_name.remove(&oldest);
        }
        let name: Arc<str> = Arc::from(name);
        let entry = Arc::new(make(&name));
        entries.by_name.insert(name, (Arc::clone(&entry), use_));
        Some(entry)
    }

    /// The entry of `name`, if there is one. Not a use.
    pub(crate) fn peek(&self, name: &str) -> Option<Arc<T>> {
        lock(&self.entries).by_name.get(name).map(|(entry, _)| Arc::clone(entry))
    }

    pub(crate) fn all(&self) -> Vec<Arc<T>> {
        lock(&self.entries).by_name.values().map(|(entry, _)| Arc::clone(entry)).collect()
    }
}
