//! Which sources are held, and by which switches.

use std::collections::HashSet;

use super::{Action, CannotPlan, PlannedStep, Spared, StepName, Target};
use crate::config::SuspendMethod;
use crate::holds::{Switch, UNREADABLE};
use crate::model::records::{Claim, Mover, Source};
use crate::model::{Model, ObjectKind, SourceSchema, Sym};

/// Holds on every source that loads `driver`, or might.
pub fn plan(model: &Model, driver: &Sym, method: SuspendMethod) -> Result<PlannedStep, CannotPlan> {
    let switch = match model.source_schema {
        SourceSchema::Suspend => Switch::Suspend,
        SourceSchema::Paused => Switch::Paused,
        SourceSchema::Neither => return Err(CannotPlan::NoSwitch),
        SourceSchema::Unknown => return Err(CannotPlan::SchemaUnknown),
    };
    let copy_trigger = switch == Switch::Paused && method == SuspendMethod::Auto;
    let (mut targets, mut spared) = (Vec::new(), Vec::new());
    let mut claims_seen = HashSet::new();
    for source in sorted(model, driver) {
        let object = source.meta.key(ObjectKind::ReplicationSource);
        if let Some(why) = why_spared(model, source) {
            spared.push(Spared { object, why });
            continue;
        }
        // The fork's kopia mover reports a paused source as backed up, which would hide that it is not.
        let by_itself = source.mover != Mover::Kopia || switch == Switch::Suspend;
        if by_itself && source.paused && source.hold.is_none() {
            let why = "switched off before, by somebody else".to_owned();
            let object = object.clone();
            spared.push(Spared { object, why });
        } else if by_itself {
            targets.push(Target {
                object: object.clone(),
                action: Action::Hold(switch),
            });
        }
        let claim = source
            .claim
            .as_ref()
            .and_then(|name| model.claims.get(&source.meta.namespace, name))
            .filter(|_| copy_trigger && source.copies);
        let Some(claim) = claim else {
            if !by_itself {
                let why = "kopia takes paused for a completed backup, and there is no claim of its own to hold";
                let why = why.to_owned();
                spared.push(Spared { object, why });
            }
            continue;
        };
        if !claims_seen.insert(&claim.meta.uid) {
            continue;
        }
        let object = claim.meta.key(ObjectKind::PersistentVolumeClaim);
        match why_claim_spared(model, claim) {
            Some(why) => spared.push(Spared {
                object,
                why: why.to_owned(),
            }),
            None => targets.push(Target {
                object,
                action: Action::Hold(Switch::CopyTrigger),
            }),
        }
    }
    Ok(PlannedStep {
        step: StepName::SuspendSources,
        targets,
        spared,
        replicas: None,
    })
}

/// Sources whose claim is of `driver`, or of nobody knows which: a missing claim tells no driver.
fn sorted<'m>(model: &'m Model, driver: &Sym) -> Vec<&'m Source> {
    let mut sources: Vec<_> = model
        .sources
        .iter()
        .filter(|source| {
            let claim = source
                .claim
                .as_ref()
                .and_then(|name| model.claims.get(&source.meta.namespace, name));
            let class =
                claim.and_then(|claim| model.storage_classes.get_cluster(claim.class.as_ref()?));
            class.is_none_or(|class| class.provisioner == *driver)
        })
        .collect();
    sources.sort_by_key(|source| (&source.meta.namespace, &source.meta.name));
    sources
}

fn why_claim_spared(model: &Model, claim: &Claim) -> Option<&'static str> {
    if model.opted_out(&claim.meta) {
        return Some("opted out by label");
    }
    if claim.unreadable_mark {
        return Some(UNREADABLE);
    }
    if claim.copy_trigger && claim.hold.is_none() {
        return Some("has a copy trigger of somebody else's");
    }
    let mut sharing = model.sources.iter().filter(|source| {
        source.claim.as_ref() == Some(&claim.meta.name)
            && source.meta.namespace == claim.meta.namespace
    });
    sharing.find_map(|source| {
        if model.opted_out(&source.meta) {
            return Some("is shared with a source that opted out by label");
        }
        let marked = "is shared with a source whose mark of a hold cannot be read";
        source.unreadable_mark.then_some(marked)
    })
}

fn why_spared(model: &Model, source: &Source) -> Option<String> {
    if model.opted_out(&source.meta) {
        return Some("opted out by label".to_owned());
    }
    if source.unreadable_mark {
        return Some(UNREADABLE.to_owned());
    }
    match source.mover {
        Mover::Syncthing => Some("syncthing makes no snapshots and ignores paused".to_owned()),
        Mover::External => Some("synchronised outside VolSync".to_owned()),
        Mover::Job | Mover::Kopia | Mover::Unknown if source.meta.deleting.is_some() => {
            Some("is being deleted".to_owned())
        }
        Mover::Unknown => Some("has no mover that is known here".to_owned()),
        Mover::Job | Mover::Kopia => None,
    }
}
