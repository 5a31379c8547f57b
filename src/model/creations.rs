//! The latest volume or snapshot that each driver was seen to create, even if it has been deleted since.

use std::collections::HashMap;

use super::UnixSeconds;
use crate::api::{ObjectKind, SharedStr};

/// Maximum number of drivers. Only controllers write the objects that name one.
const MAX_DRIVERS: usize = 1_000;

/// An object that a driver created.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Creation {
    /// Creation time of the object.
    pub at: UnixSeconds,
    /// PersistentVolume or VolumeSnapshotContent.
    pub kind: ObjectKind,
    /// Name of the object.
    pub name: SharedStr,
}

/// The latest creation of each driver. A deleted one still shows that the driver works.
#[derive(Debug, Default)]
pub struct Creations(HashMap<SharedStr, Creation>);

impl Creations {
    /// Records a creation by `driver`, unless a later one is known: a relist shows old objects again.
    pub fn note(&mut self, driver: &SharedStr, creation: Creation) {
        let full = self.0.len() >= MAX_DRIVERS;
        match self.0.get_mut(driver) {
            Some(known) if known.at >= creation.at => {}
            Some(known) => *known = creation,
            None if full => {}
            None => {
                self.0.insert(driver.clone(), creation);
            }
        }
    }

    /// The latest creation by `driver`.
    pub fn latest(&self, driver: &SharedStr) -> Option<&Creation> {
        self.0.get(driver)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::at;

    fn creation(name: &str, minute: i64) -> Creation {
        Creation {
            at: at(minute).into(),
            kind: ObjectKind::PersistentVolume,
            name: name.into(),
        }
    }

    #[test]
    fn older_creation_does_not_replace_a_later_one() {
        let (mut creations, driver) = (Creations::default(), SharedStr::from("a"));
        creations.note(&driver, creation("first", 1));
        creations.note(&driver, creation("latest", 3));
        creations.note(&driver, creation("late news", 2));
        assert_eq!(creations.latest(&driver), Some(&creation("latest", 3)));
        assert_eq!(creations.latest(&"b".into()), None);
    }

    #[test]
    fn number_of_drivers_is_bounded() {
        let mut creations = Creations::default();
        for number in 0..=MAX_DRIVERS {
            creations.note(&format!("d{number}").as_str().into(), creation("v", 1));
        }
        assert_eq!(creations.0.len(), MAX_DRIVERS);
    }
}
