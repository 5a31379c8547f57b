//! One kind's records by name, refilled in place by a relist.

use std::collections::HashMap;

use super::{Delta, Sym};

/// A record knows the name it is filed under.
pub trait Record {
    /// Namespace, empty for cluster-scoped kinds, and name.
    fn name(&self) -> (&Sym, &Sym);
}

/// Records of one kind.
///
/// A relist marks rather than rebuilds: memory does not double while it runs, and what it did not mention
/// is dropped only once it is complete.
#[derive(Debug)]
pub struct Table<T> {
    rows: HashMap<(Sym, Sym), Row<T>>,
    relist: u32,
    relisting: bool,
}

#[derive(Debug)]
struct Row<T> {
    seen_in: u32,
    record: T,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            rows: HashMap::new(),
            relist: 0,
            relisting: false,
        }
    }
}

impl<T: Record> Table<T> {
    /// Folds one event in.
    pub fn apply(&mut self, delta: Delta<T>) {
        match delta {
            Delta::Restart => {
                self.relist = self.relist.wrapping_add(1);
                self.relisting = true;
            }
            Delta::Put(record) => {
                let (namespace, name) = record.name();
                let key = (namespace.clone(), name.clone());
                self.rows.insert(
                    key,
                    Row {
                        seen_in: self.relist,
                        record,
                    },
                );
            }
            Delta::Remove { namespace, name } => {
                self.rows.remove(&(namespace, name));
            }
            Delta::Complete => {
                if std::mem::take(&mut self.relisting) {
                    let current = self.relist;
                    self.rows.retain(|_, row| row.seen_in == current);
                }
            }
        }
    }

    /// The record of that name.
    pub fn get(&self, namespace: &Sym, name: &Sym) -> Option<&T> {
        self.rows
            .get(&(namespace.clone(), name.clone()))
            .map(|row| &row.record)
    }

    /// The cluster-scoped record of that name.
    pub fn get_cluster(&self, name: &Sym) -> Option<&T> {
        self.get(&Sym::from(""), name)
    }

    /// All records, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.rows.values().map(|row| &row.record)
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Thing(Sym, Sym);
    impl Record for Thing {
        fn name(&self) -> (&Sym, &Sym) {
            (&self.0, &self.1)
        }
    }
    fn put(name: &str) -> Delta<Thing> {
        Delta::Put(Thing("media".into(), name.into()))
    }

    #[test]
    fn a_relist_drops_what_it_does_not_mention_and_only_when_complete() {
        let mut table = Table::default();
        table.apply(put("kept"));
        table.apply(put("gone"));
        table.apply(Delta::Restart);
        table.apply(put("kept"));
        assert_eq!(
            table.len(),
            2,
            "an unfinished relist must not lose anything"
        );
        table.apply(Delta::Complete);
        assert_eq!(table.len(), 1);
        assert!(table.get(&"media".into(), &"kept".into()).is_some());
    }

    #[test]
    fn a_relist_that_starts_again_counts_only_its_last_attempt() {
        let mut table = Table::default();
        table.apply(Delta::Restart);
        table.apply(put("old"));
        table.apply(Delta::Restart);
        table.apply(put("new"));
        table.apply(Delta::Complete);
        assert_eq!(table.len(), 1);
        assert!(table.get(&"media".into(), &"new".into()).is_some());
    }
}
