//! What the page says, and what nobody can make it say.

use super::*;
use crate::api::{LockKey, ObjectKind};
use crate::findings::{Finding, FindingKind, FindingReason};
use crate::fixture;

fn page(view: &View) -> String {
    document(view, fixture::now()).into_string()
}

/// The page without its tags, a line each text.
fn words_of(page: &str) -> String {
    let mut text = String::new();
    for part in page.split('<').skip(1) {
        let (_, said) = part.split_once('>').unwrap();
        if !said.trim().is_empty() {
            text.push_str(said.trim());
            text.push('\n');
        }
    }
    text
}

#[test]
fn a_jammed_cluster() {
    insta::assert_snapshot!(words_of(&page(&fixture::jammed())));
}

#[test]
fn what_was_not_seen_is_never_all_clear() {
    let healthy = page(&fixture::healthy());
    assert!(healthy.contains("Nothing is stuck") && healthy.contains("<title>nothing stuck"));
    let mut view = fixture::half_seen();
    view.findings.clear();
    let unseen = page(&view);
    assert!(!unseen.contains("Nothing is stuck"), "{unseen}");
    for wanted in ["<title>incomplete", "volumesnapshots: ", "is forbidden"] {
        assert!(unseen.contains(wanted), "{wanted} in {unseen}");
    }
}

#[test]
fn doubt_is_never_all_clear() {
    let mut view = fixture::healthy();
    view.doubts.push(crate::findings::Doubt {
        kind: crate::findings::DoubtKind::NotServed,
        subject: "replicationsources".into(),
        message: "are the CRDs installed?".to_owned(),
    });
    let page = page(&view);
    assert!(!page.contains("Nothing is stuck"), "{page}");
    for wanted in [
        "<title>incomplete",
        "replicationsources: are the CRDs installed?",
    ] {
        assert!(page.contains(wanted), "{wanted} in {page}");
    }
}

#[test]
fn a_chain_leads_from_who_asks_over_the_lock_to_the_claim() {
    let mut view = fixture::jammed();
    let key = |kind, name| fixture::object(kind, "media", name);
    for finding in &mut view.findings {
        if matches!(finding.what, FindingReason::FailedSnapshot(_)) {
            finding.chain.extend([
                key(ObjectKind::ReplicationSource, "sonarr"),
                key(ObjectKind::VolumeSnapshotContent, "snapcontent-7f1e"),
            ]);
        }
    }
    let text = words_of(&page(&view)).replace('\n', " ");
    let locks =
        ["7f1e", "8a2b"].map(|id| format!("lock 0001-0009-rook-ceph-0000000000000002-{id} "));
    let chain = format!(
        "replicationsource/sonarr vs/volsync-sonarr-src vsc/snapcontent-7f1e {}pvc/sonarr",
        locks.concat()
    );
    assert!(text.contains(&chain), "{chain} in {text}");
}

/// Names, messages and keys are what anybody in the cluster may have written.
#[test]
fn what_a_cluster_says_is_never_markup() {
    const ATTACK: &str = "<script>alert(1)</script><a href='javascript:x'>\" onload=\"x";
    let mut view = fixture::jammed();
    let object = fixture::object(ObjectKind::VolumeSnapshot, ATTACK, ATTACK);
    for finding in &mut view.findings {
        finding.object = Some(object.clone());
        finding.chain = vec![object.clone()];
        finding.driver = Some(ATTACK.into());
        finding.evidence = vec![ATTACK.to_owned()];
    }
    view.findings.push(Finding {
        what: FindingReason::OperationLock(LockKey(ATTACK.into())),
        ..view.findings[0].clone()
    });
    for hold in &mut view.holds {
        hold.object = object.clone();
        hold.by = ATTACK.into();
        hold.reason = Some(ATTACK.into());
    }
    view.hold_policy = Some(ATTACK.to_owned());
    for run in &mut view.runs {
        (run.name, run.namespace, run.driver) = (ATTACK.into(), ATTACK.into(), ATTACK.into());
        (run.playbook, run.message) = (ATTACK.to_owned(), ATTACK.to_owned());
        run.gates = vec![crate::api::remediation::GateRecord {
            gate: ATTACK.to_owned(),
            open: false,
            reason: ATTACK.to_owned(),
            opens_when: ATTACK.to_owned(),
        }];
        for step in &mut run.steps {
            step.message = ATTACK.to_owned();
        }
    }
    let page = page(&view);
    assert!(
        page.matches("&lt;script&gt;alert(1)").count() > 20,
        "{page}"
    );
    assert_eq!(page.matches("<script").count(), 1, "only its own: {page}");
    assert!(
        !page.contains("<a href='javascript") && !page.contains("\" onload"),
        "{page}"
    );
}

#[test]
fn a_page_is_bounded_and_says_what_it_leaves_out() {
    let mut view = fixture::jammed();
    let claim = view.stuck_of(FindingKind::PendingClaim)[0].clone();
    view.findings.extend(std::iter::repeat_n(claim, 5_000));
    let page = page(&view);
    assert!(page.contains("and 4901 more: "), "{page}");
    assert!(page.len() < 100_000, "{}", page.len());
}
