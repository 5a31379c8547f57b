//! Records of one kind, indexed by name, updated in place by a relist.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::LazyLock;

use hashbrown::HashTable;

use super::Delta;
use crate::api::SharedStr;

/// The namespace of cluster-scoped kinds.
pub(super) static NO_NAMESPACE: LazyLock<SharedStr> = LazyLock::new(|| SharedStr::from(""));

/// A record of a table.
pub trait Record {
    /// Namespace (empty for cluster-scoped kinds) and name: the key of the record.
    fn name(&self) -> (&SharedStr, &SharedStr);

    /// Whether detectors have to read it. In a healthy cluster few records need attention, so detection is cheap.
    fn needs_attention(&self) -> bool {
        false
    }

    /// Replaces repeated strings by shared ones.
    fn share(&mut self, _names: &mut Interner) {}

    /// Name of the claim it is about, in its own namespace, for kinds that are indexed by claim.
    fn claim(&self) -> Option<&SharedStr> {
        None
    }
}

/// Number of strings that an [`Interner`] may have before it looks for unused ones.
const SWEEP_THRESHOLD: usize = 1024;

/// Repeated strings: namespaces, classes, drivers.
#[derive(Debug)]
pub struct Interner {
    names: HashSet<SharedStr>,
    /// Number of strings at which those that no record uses are dropped.
    limit: usize,
}

impl Default for Interner {
    fn default() -> Self {
        Self {
            names: HashSet::new(),
            limit: SWEEP_THRESHOLD,
        }
    }
}

impl Interner {
    /// Replaces `name` by the shared string.
    pub fn share(&mut self, name: &mut SharedStr) {
        if let Some(known) = self.names.get(name) {
            name.clone_from(known);
            return;
        }
        if self.names.len() >= self.limit {
            self.names.retain(|name| SharedStr::strong_count(name) > 1);
            // Twice the strings in use, so that sweeps cost a constant time for each new string.
            self.limit = SWEEP_THRESHOLD + 2 * self.names.len();
        }
        self.names.insert(name.clone());
    }

    /// The same for an optional string.
    pub fn share_some(&mut self, name: &mut Option<SharedStr>) {
        if let Some(name) = name {
            self.share(name);
        }
    }
}

/// Namespace and name.
type Name = (SharedStr, SharedStr);

/// Records of one kind.
///
/// A relist does not rebuild the table, so memory does not double meanwhile. Records that it did not mention are dropped
/// once it is complete.
#[derive(Debug)]
pub struct Table<T> {
    /// Indexed by the name in the record itself, which is thus stored once; boxed, as a hash table has empty slots.
    rows: HashTable<Box<T>>,
    hasher: RandomState,
    names: Interner,
    needs_attention: BTreeSet<Name>,
    by_claim: HashMap<Name, BTreeSet<SharedStr>>,
    /// Names that the current relist has not mentioned yet.
    unmentioned: HashSet<Name>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            rows: HashTable::new(),
            hasher: RandomState::new(),
            names: Interner::default(),
            needs_attention: BTreeSet::new(),
            by_claim: HashMap::new(),
            unmentioned: HashSet::new(),
        }
    }
}

impl<T: Record> Table<T> {
    /// Applies one event.
    pub fn apply(&mut self, delta: Delta<T>) {
        match delta {
            Delta::Init => {
                let names = self.rows.iter().map(|record| owned(record.name()));
                self.unmentioned = names.collect();
            }
            Delta::Apply(record) => self.put(record),
            Delta::Delete { namespace, name } => self.remove(&(namespace, name)),
            Delta::InitDone => {
                for name in std::mem::take(&mut self.unmentioned) {
                    self.remove(&name);
                }
            }
        }
    }

    fn put(&mut self, mut record: T) {
        record.share(&mut self.names);
        let name = owned(record.name());
        if record.needs_attention() {
            self.needs_attention.insert(name.clone());
        } else {
            self.needs_attention.remove(&name);
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
            self.needs_attention.remove(name);
        }
    }

    fn unfile(&mut self, claim: Option<SharedStr>, name: &Name) {
        let Some(claim) = claim else { return };
        let place = (name.0.clone(), claim);
        if let Some(names) = self.by_claim.get_mut(&place) {
            names.remove(&name.1);
            if names.is_empty() {
                self.by_claim.remove(&place);
            }
        }
    }

    /// The record with that name.
    pub fn get(&self, namespace: &SharedStr, name: &SharedStr) -> Option<&T> {
        let hash = self.hasher.hash_one((&**namespace, &**name));
        #[cfg(test)]
        rows_read::one_more();
        let row = self
            .rows
            .find(hash, |row| row.name() == (namespace, name))?;
        Some(row)
    }

    /// The cluster-scoped record with that name.
    pub fn get_cluster(&self, name: &SharedStr) -> Option<&T> {
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

    /// Records that need attention, by namespace and name.
    pub fn needs_attention(&self) -> impl Iterator<Item = &T> {
        self.needs_attention
            .iter()
            .filter_map(|(namespace, name)| self.get(namespace, name))
    }

    /// The same, of one namespace.
    pub fn needs_attention_in(
        &self,
        namespace: &SharedStr,
    ) -> impl Iterator<Item = &T> + use<'_, T> {
        let of = namespace.clone();
        self.needs_attention
            .range((namespace.clone(), SharedStr::from(""))..)
            .take_while(move |(namespace, _)| *namespace == of)
            .filter_map(|(namespace, name)| self.get(namespace, name))
    }

    /// Records that the current relist has not mentioned yet.
    pub fn unmentioned(&self) -> impl Iterator<Item = &T> {
        self.unmentioned
            .iter()
            .filter_map(|(namespace, name)| self.get(namespace, name))
    }

    /// Records about that claim, by name.
    pub fn of_claim(&self, namespace: &SharedStr, claim: &SharedStr) -> impl Iterator<Item = &T> {
        let names = self.by_claim.get(&(namespace.clone(), claim.clone()));
        let records = names.into_iter().flatten();
        records.filter_map(move |name| self.get(namespace, name))
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

fn is<T: Record>(record: &T, name: &Name) -> bool {
    record.name() == (&name.0, &name.1)
}

fn owned((namespace, name): (&SharedStr, &SharedStr)) -> Name {
    (namespace.clone(), name.clone())
}

fn hash_of<T: Record>(hasher: &RandomState, record: &T) -> u64 {
    let (namespace, name) = record.name();
    hasher.hash_one((&**namespace, &**name))
}

/// Number of rows that this thread has read: the cost of a detector, independent of the load of the machine.
#[cfg(test)]
pub mod rows_read {
    use std::cell::Cell;

    thread_local!(static ROWS: Cell<u64> = const { Cell::new(0) });

    pub(super) fn one_more() {
        ROWS.set(ROWS.get() + 1);
    }

    /// Number of rows read while `work` runs, with its result.
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
        namespace: SharedStr,
        name: SharedStr,
        needs_attention: bool,
        claim: Option<SharedStr>,
    }

    impl Record for Thing {
        fn name(&self) -> (&SharedStr, &SharedStr) {
            (&self.namespace, &self.name)
        }
        fn needs_attention(&self) -> bool {
            self.needs_attention
        }
        fn claim(&self) -> Option<&SharedStr> {
            self.claim.as_ref()
        }
        fn share(&mut self, names: &mut Interner) {
            names.share(&mut self.namespace);
        }
    }

    fn thing(name: &str) -> Thing {
        Thing {
            namespace: "media".into(),
            name: name.into(),
            needs_attention: false,
            claim: None,
        }
    }

    fn put(name: &str) -> Delta<Thing> {
        Delta::Apply(thing(name))
    }

    #[test]
    fn relist_drops_unmentioned_records_once_complete() {
        let mut table = Table::default();
        table.apply(put("kept"));
        table.apply(put("gone"));
        table.apply(Delta::Init);
        table.apply(put("kept"));
        assert_eq!(
            table.len(),
            2,
            "an unfinished relist must not lose anything"
        );
        table.apply(Delta::InitDone);
        assert_eq!(table.len(), 1);
        assert!(table.get(&"media".into(), &"kept".into()).is_some());
    }

    #[test]
    fn restarted_relist_counts_only_the_last_attempt() {
        let mut table = Table::default();
        table.apply(Delta::Init);
        table.apply(put("old"));
        table.apply(Delta::Init);
        table.apply(put("new"));
        table.apply(Delta::InitDone);
        assert_eq!(table.len(), 1);
        assert!(table.get(&"media".into(), &"new".into()).is_some());
    }

    #[test]
    fn repeated_strings_are_shared() {
        let mut table = Table::default();
        table.apply(put("a"));
        table.apply(put("b"));
        let namespaces: Vec<_> = table.iter().map(|thing| &thing.namespace).collect();
        assert!(SharedStr::ptr_eq(namespaces[0], namespaces[1]));
    }

    /// Attack: a tenant writes another class into one claim 50 times a second, and a watch without errors never lists again.
    /// Defence: strings that no record uses are dropped as their number grows.
    #[test]
    fn strings_that_no_record_uses_are_dropped() {
        let mut table = Table::default();
        for n in 0..100_000 {
            table.apply(Delta::Apply(Thing {
                namespace: format!("class-{n}").as_str().into(),
                ..thing("a")
            }));
            table.apply(Delta::Delete {
                namespace: format!("class-{n}").as_str().into(),
                name: "a".into(),
            });
        }
        assert!(table.names.names.len() <= 2 * SWEEP_THRESHOLD);
    }

    fn deltas() -> impl Strategy<Value = Vec<Delta<Thing>>> {
        let name = || (0..2, 0..4).prop_map(|(ns, name)| (format!("ns{ns}"), format!("n{name}")));
        let claim =
            proptest::option::of((0..3).prop_map(|claim| SharedStr::from(format!("c{claim}"))));
        let put = (name(), any::<bool>(), claim).prop_map(
            |((namespace, name), needs_attention, claim)| {
                Delta::Apply(Thing {
                    namespace: namespace.into(),
                    name: name.into(),
                    needs_attention,
                    claim,
                })
            },
        );
        let remove = name().prop_map(|(namespace, name)| Delta::Delete {
            namespace: namespace.into(),
            name: name.into(),
        });
        let list = prop_oneof![Just(false), Just(true)]
            .prop_map(|begins| if begins { Delta::Init } else { Delta::InitDone });
        vec(prop_oneof![6 => put, 2 => remove, 1 => list], 0..60)
    }

    proptest! {
        /// Every index agrees with a scan of all rows.
        #[test]
        fn indices_agree_with_a_full_scan(deltas in deltas()) {
            let mut table = Table::default();
            for delta in deltas {
                table.apply(delta);
                let mut needs_attention: Vec<_> = table.iter().filter(|thing| thing.needs_attention).collect();
                needs_attention.sort_by_key(|thing| owned(thing.name()));
                prop_assert_eq!(table.needs_attention().collect::<Vec<_>>(), needs_attention);
                for (namespace, claim) in [("ns0", "c0"), ("ns0", "c1"), ("ns1", "c2")] {
                    let (namespace, claim) = (SharedStr::from(namespace), SharedStr::from(claim));
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
