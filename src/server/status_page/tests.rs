//! What the page says, and what nobody can make it say.

use super::*;
use crate::api::{LockKey, ObjectKind};
use crate::findings::{Finding, FindingKind, FindingReason};
use crate::fixture;

fn facts() -> Facts {
    let mut history = History::default();
    for minutes in [90, 42, 41, 0] {
        let mut view = fixture::jammed();
        view.at = fixture::ago(minutes);
        view.findings
            .truncate(usize::try_from(100 - minutes).unwrap());
        history.record(&view);
    }
    Facts {
        cluster: "https://10.96.0.1/".to_owned(),
        namespace: "volsync-locksmith".to_owned(),
        replica: "locksmith-0".to_owned(),
        leads: true,
        links: vec![Link {
            name: "Grafana".to_owned(),
            url: "https://grafana.example/d/locksmith".to_owned(),
        }],
        last_alert: Some((AlertSource::Webhook, fixture::ago(3))),
        history,
    }
}

fn page(view: &View) -> String {
    document(view, &facts(), fixture::now()).into_string()
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
fn unobserved_cluster_is_never_all_clear() {
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
fn text_from_the_cluster_is_escaped() {
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
    for provisioner in &mut view.provisioners {
        provisioner.driver = ATTACK.into();
        provisioner.leaders = vec![object.clone(); 5];
        provisioner.workload = Some(object.clone());
    }
    view.provisioners.push(crate::state::view::ProvisionerView {
        workload: None,
        problem: Some(ATTACK.to_owned()),
        ..view.provisioners[0].clone()
    });
    let facts = Facts {
        cluster: ATTACK.to_owned(),
        namespace: ATTACK.to_owned(),
        replica: ATTACK.to_owned(),
        links: vec![Link {
            name: ATTACK.to_owned(),
            url: format!("https://{ATTACK}"),
        }],
        ..facts()
    };
    let page = document(&view, &facts, fixture::now()).into_string();
    assert!(
        page.matches("&lt;script&gt;alert(1)").count() > 60,
        "{page}"
    );
    assert_eq!(page.matches("<script").count(), 1, "only its own: {page}");
    assert!(
        !page.contains("<a href='javascript") && !page.contains("\" onload"),
        "{page}"
    );
}

#[test]
fn page_is_bounded_and_counts_what_it_leaves_out() {
    let mut view = fixture::jammed();
    let claim = view.stuck_of(FindingKind::PendingClaim)[0].clone();
    view.findings.extend(std::iter::repeat_n(claim, 5_000));
    let page = page(&view);
    assert!(page.contains("and 4901 more: "), "{page}");
    assert!(page.len() < 100_000, "{}", page.len());
}

/// Every finding waits for a lock of its own, at many drivers.
#[test]
fn page_of_thousands_of_locks_is_bounded() {
    let mut view = fixture::jammed();
    let lock = view.stuck_of(FindingKind::OperationLock)[0].clone();
    let claim = view.stuck_of(FindingKind::PendingClaim)[0].clone();
    for number in 0..5_000 {
        let name = format!("app-{number}");
        let object = fixture::object(ObjectKind::PersistentVolumeClaim, "media", &name);
        let driver = Some(format!("driver-{}", number % 50).as_str().into());
        let key = format!("pvc-15ca3371-4909-4727-9a3c-{number:012}");
        view.findings.push(Finding {
            what: FindingReason::OperationLock(LockKey(key.as_str().into())),
            object: Some(object.clone()),
            driver: driver.clone(),
            ..lock.clone()
        });
        view.findings.push(Finding {
            object: Some(object),
            driver,
            ..claim.clone()
        });
    }
    let page = page(&view);
    assert!(page.contains("and 47 more drivers, listed below"), "{page}");
    assert!(page.contains("and 88 more operations, not drawn"), "{page}");
    assert!(page.contains("<title>5004 stuck"), "{page}");
    assert!(page.len() < 200_000, "{}", page.len());
}
