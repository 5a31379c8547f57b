//! One kind's records by name, refilled in place by a relist.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::LazyLock;

use hashbrown::HashTable;

use super::Delta;
use crate::api::Sym;

/// The namespace of cluster-scoped kinds.
pub(super) static NO_NAMESPACE: LazyLock<Sym> = LazyLock::new(|| Sym::from(""));

/// What a table asks of its records.
pub trait Record {
    /// Namespace, empty for cluster-scoped kinds, and name: what it is filed under.
    fn name(&self) -> (&Sym, &Sym);

    /// Whether a detector has to look at it. Most of a healthy cluster is settled, so that looking costs what is not.
    fn unsettled(&self) -> bool {
        false
    }

    /// Shares what other records say in the same words.
    fn share(&mut self, _names: &mut Names) {}

    /// Name of the claim it is about, in its own namespace, for kinds that are found by it.
    fn claim(&self) -> Option<&Sym> {
        None
    }
}

/// Words that repeat: namespaces, classes, drivers.
#[derive(Debug, Default)]
pub struct Names(HashSet<Sym>);

impl Names {
    /// Makes `name` the one that all share.
    pub fn share(&mut self, name: &mut Sym) {
        match self.0.get(name) {
            Some(known) => name.clone_from(known),
            None => drop(self.0.insert(name.clone())),
        }
    }

    /// The same where there is one.
    pub fn share_some(&mut self, name: &mut Option<Sym>) {
        if let Some(name) = name {
            self.share(name);
        }
    }

    /// Forgets those that nobody says any more.
    fn forget_unused(&mut self) {
        self.0.retain(|name| Sym::strong_count(name) > 1);
    }
}

/// Namespace and name.
type Name = (Sym, Sym);

/// Records of one kind.
///
/// A relist does not rebuild it: memory does not double while one runs, and what it did not mention is dropped only once it is
/// complete.
#[derive(Debug)]
pub struct Table<T> {
    /// Filed under the name in the record itself, which so is kept once; boxed, as a table is never full.
    rows: HashTable<Box<T>>,
    hasher: RandomState,
    names: Names,
    unsettled: BTreeSet<Name>,
    by_claim: HashMap<Name, BTreeSet<Sym>>,
    /// What the relist under way has not mentioned yet.
    unmentioned: HashSet<Name>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            rows: HashTable::new(),
            hasher: RandomState::new(),
            names: Names::default(),
            unsettled: BTreeSet::new(),
            by_claim: HashMap::new(),
            unmentioned: HashSet::new(),
        }
    }
}

impl<T: Record> Table<T> {
    /// Folds one event in.
    pub fn apply(&mut self, delta: Delta<T>) {
        match delta {
            Delta::Restart => {
                let names = self.rows.iter().map(|record| owned(record.name()));
                self.unmentioned = names.collect();
            }
            Delta::Put(record) => self.put(record),
            Delta::Remove { namespace, name } => self.remove(&(namespace, name)),
            Delta::Complete => {
                for name in std::mem::take(&mut self.unmentioned) {
                    self.remove(&name);
                }
                self.names.forget_unused();
            }
        }
    }

    fn put(&mut self, mut record: T) {
        record.share(&mut self.names);
        let name = owned(record.name());
        if record.unsettled() {
            self.unsettled.insert(name.clone());
        } else {
            self.unsettled.remove(&name);
        }
        let before = self.get(&name.0, &name.1);
        if before.and_then(Record::claim) != record.claim() {
            let before = before.and_then(Record::claim).cloned();
            self.unfile(before, &name);
            if let Some(claim) = record.claim() {
                let place = (name.0.clone(), claim.clone());
                self.by_claim
                    .entry(place)
                    .or_default()
                    .insert(name.1.clone());
            }
        }
        self.unmentioned.remove(&name);
        let hasher = &self.hasher;
        let hash = hasher.hash_one((&*name.0, &*name.1));
        if let Some(row) = self.rows.find_mut(hash, |row| is(&**row, &name)) {
            **row = record;
        } else {
            let row = Box::new(record);
            self.rows
                .insert_unique(hash, row, |row| hash_of(hasher, &**row));
        }
    }

    fn remove(&mut self, name: &Name) {
        let hash = self.hasher.hash_one((&*name.0, &*name.1));
        if let Ok(row) = self.rows.find_entry(hash, |row| is(&**row, name)) {
            let (row, _) = row.remove();
            self.unfile(row.claim().cloned(), name);
            self.unsettled.remove(name);
        }
    }

    fn unfile(&mut self, claim: Option<Sym>, name: &Name) {
        let Some(claim) = claim else { return };
        let place = (name.0.clone(), claim);
        if let Some(names) = self.by_claim.get_mut(&place) {
            names.remove(&name.1);
            if names.is_empty() {
                self.by_claim.remove(&place);
            }
        }
    }

    /// The record of that name.
    pub fn get(&self, namespace: &Sym, name: &Sym) -> Option<&T> {
        let hash = self.hasher.hash_one((&**namespace, &**name));
        #[cfg(test)]
        rows_read::one_more();
        let row = self
            .rows
            .find(hash, |row| row.name() == (namespace, name))?;
        Some(row)
    }

    /// The cluster-scoped record of that name.
    pub fn get_cluster(&self, name: &Sym) -> Option<&T> {
        self.get(&NO_NAMESPACE, name)
    }

    /// All records, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.rows.iter().map(|row| {
            #[cfg(test)]
            rows_read::one_more();
            &**row
        })
    }

    /// Those a detector has to look at, by namespace and name.
    pub fn unsettled(&self) -> impl Iterator<Item = &T> {
        self.unsettled
            .iter()
            .filter_map(|(namespace, name)| self.get(namespace, name))
    }

    /// The same, of one namespace.
    pub fn unsettled_in(&self, namespace: &Sym) -> impl Iterator<Item = &T> + use<'_, T> {
        let of = namespace.clone();
        self.unsettled
            .range((namespace.clone(), Sym::from(""))..)
            .take_while(move |(namespace, _)| *namespace == of)
            .filter_map(|(namespace, name)| self.get(namespace, name))
    }

    /// Those that the relist under way has not mentioned yet.
    pub fn unmentioned(&self) -> impl Iterator<Item = &T> {
        self.unmentioned
            .iter()
            .filter_map(|(namespace, name)| self.get(namespace, name))
    }

    /// Those about that claim, by name.
    pub fn of_claim(&self, namespace: &Sym, claim: &Sym) -> impl Iterator<Item = &T> {
        let names = self.by_claim.get(&(namespace.clone(), claim.clone()));
        let records = names.into_iter().flatten();
        records.filter_map(move |name| self.get(namespace, name))
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

fn is<T: Record>(record: &T, name: &Name) -> bool {
    record.name() == (&name.0, &name.1)
}

fn owned((namespace, name): (&Sym, &Sym)) -> Name {
    (namespace.clone(), name.clone())
}

fn hash_of<T: Record>(hasher: &RandomState, record: &T) -> u64 {
    let (namespace, name) = record.name();
    hasher.hash_one((&**namespace, &**name))
}

/// How many rows this thread has read: the cost of a detector, in a figure that no busy machine changes.
#[cfg(test)]
pub mod rows_read {
    use std::cell::Cell;

    thread_local!(static ROWS: Cell<u64> = const { Cell::new(0) });

    pub(super) fn one_more() {
        ROWS.set(ROWS.get() + 1);
    }

    /// Rows read while `work` runs, with its result.
    pub fn during<T>(work: impl FnOnce() -> T) -> (u64, T) {
        let before = ROWS.get();
        let result = work();
        (ROWS.get() - before, result)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Thing {
        namespace: Sym,
        name: Sym,
        unsettled: bool,
        claim: Option<Sym>,
    }

    impl Record for Thing {
        fn name(&self) -> (&Sym, &Sym) {
            (&self.namespace, &self.name)
        }
        fn unsettled(&self) -> bool {
            self.unsettled
        }
        fn claim(&self) -> Option<&Sym> {
            self.claim.as_ref()
        }
        fn share(&mut self, names: &mut Names) {
            names.share(&mut self.namespace);
        }
    }

    fn thing(name: &str) -> Thing {
        Thing {
            namespace: "media".into(),
            name: name.into(),
            unsettled: false,
            claim: None,
        }
    }

    fn put(name: &str) -> Delta<Thing> {
        Delta::Put(thing(name))
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

    #[test]
    fn what_repeats_is_kept_once_and_forgotten_with_the_last() {
        let mut table = Table::default();
        table.apply(put("a"));
        table.apply(put("b"));
        let namespaces: Vec<_> = table.iter().map(|thing| thing.namespace.clone()).collect();
        assert!(Sym::ptr_eq(&namespaces[0], &namespaces[1]));
        drop(namespaces);
        table.apply(Delta::Restart);
        table.apply(Delta::Complete);
        assert!(table.names.0.is_empty());
    }

    fn deltas() -> impl Strategy<Value = Vec<Delta<Thing>>> {
        let name = || (0..2, 0..4).prop_map(|(ns, name)| (format!("ns{ns}"), format!("n{name}")));
        let claim = proptest::option::of((0..3).prop_map(|claim| Sym::from(format!("c{claim}"))));
        let put =
            (name(), any::<bool>(), claim).prop_map(|((namespace, name), unsettled, claim)| {
                Delta::Put(Thing {
                    namespace: namespace.into(),
                    name: name.into(),
                    unsettled,
                    claim,
                })
            });
        let remove = name().prop_map(|(namespace, name)| Delta::Remove {
            namespace: namespace.into(),
            name: name.into(),
        });
        let list = prop_oneof![Just(false), Just(true)].prop_map(|begins| {
            if begins {
                Delta::Restart
            } else {
                Delta::Complete
            }
        });
        vec(prop_oneof![6 => put, 2 => remove, 1 => list], 0..60)
    }

    proptest! {
        /// The ways in never differ from a look at every row.
        #[test]
        fn every_way_in_leads_to_the_same_rows(deltas in deltas()) {
            let mut table = Table::default();
            for delta in deltas {
                table.apply(delta);
                let mut unsettled: Vec<_> = table.iter().filter(|thing| thing.unsettled).collect();
                unsettled.sort_by_key(|thing| owned(thing.name()));
                prop_assert_eq!(table.unsettled().collect::<Vec<_>>(), unsettled);
                for (namespace, claim) in [("ns0", "c0"), ("ns0", "c1"), ("ns1", "c2")] {
                    let (namespace, claim) = (Sym::from(namespace), Sym::from(claim));
                    let about = |thing: &&Thing| {
                        thing.namespace == namespace && thing.claim.as_ref() == Some(&claim)
                    };
                    let mut about: Vec<_> = table.iter().filter(about).collect();
                    about.sort_by_key(|thing| owned(thing.name()));
                    prop_assert_eq!(table.of_claim(&namespace, &claim).collect::<Vec<_>>(), about);
                }
                for thing in table.iter() {
                    prop_assert_eq!(table.get(&thing.namespace, &thing.name), Some(thing));
                }
            }
        }
    }
}
