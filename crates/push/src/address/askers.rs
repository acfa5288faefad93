//! Who wants a name to be looked up: so that each organisation has its share of the look-ups, and no more.
//!
//! The connector asks for a name and does not say for whom. So whoever sends says so beforehand, for as long as it sends;
//! a look-up is then charged to one of those who wait for that name. Knows no address and asks nobody. To bound what
//! else is asked for on somebody's behalf: such a list, with its own key.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use countersign_proto::ids::TenantId;

use crate::destinations::lock;

/// For each name, how often each organisation waits for it.
type Waiting = HashMap<String, HashMap<TenantId, usize>>;

/// Who waits for which names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Askers(Arc<Mutex<Waiting>>);

/// An organisation that waits for a name, until dropped: also when its task is cancelled.
#[derive(Debug)]
pub(crate) struct Asker {
    askers: Askers,
    name: String,
    tenant_id: TenantId,
}

impl Askers {
    /// From now on this organisation waits for `name`.
    pub(crate) fn begin(&self, name: &str, tenant_id: TenantId) -> Asker {
        *lock(&self.0).entry(name.to_owned()).or_default().entry(tenant_id).or_default() += 1;
        Asker { askers: self.clone(), name: name.to_owned(), tenant_id }
    }

    /// Those who wait for it.
    pub(crate) fn of(&self, name: &str) -> Vec<TenantId> {
        lock(&self.0).get(name).into_iter().flat_map(HashMap::keys).copied().collect()
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        let mut waiting = lock(&self.askers.0);
        let Some(of_name) = waiting.get_mut(&self.name) else { return };
        if let Some(count) = of_name.get_mut(&self.tenant_id) {
            *count = count.saturating_sub(1);
        }
        of_name.retain(|_, count| *count > 0);
        if of_name.is_empty() {
            waiting.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(number: u8) -> TenantId {
        format!("01890a5d-ac96-774b-bcce-0000000000{number:02x}").parse().unwrap()
    }

    #[test]
    fn who_waits_for_a_name_is_known_until_the_last_of_its_messages_has_ended() {
        let askers = Askers::default();
        let first = askers.begin("a.example", tenant(1));
        let second = askers.begin("a.example", tenant(1));
        let other = askers.begin("b.example", tenant(2));
        assert_eq!((askers.of("a.example"), askers.of("b.example")), (vec![tenant(1)], vec![tenant(2)]));
        drop(first);
        assert_eq!(askers.of("a.example"), [tenant(1)]);
        drop((second, other));
        assert!(askers.of("a.example").is_empty() && lock(&askers.0).is_empty());
    }
}
