use rstest::rstest;

use super::super::plan::PlanArgs;
use super::*;
use crate::api::ObjectKind;
use crate::config::Config;
use crate::findings::DetectionSettings;
use crate::model::fixture::*;
use crate::state::view;

fn settings(config: &Config) -> DetectionSettings {
    DetectionSettings {
        detect: config.detect.clone(),
        drivers: config.drivers.clone(),
        one_shot: false,
    }
}

fn explained(world: &World, subject: &str, namespace: &str) -> Option<Explanation> {
    let mut config = Config::default();
    // Namespace of the hold policy in the fixture.
    config.remediation.namespace = Some("locksmith".into());
    let view = view::take(&world.0, &config, &settings(&config), at(0));
    let subject: Subject = subject.parse().unwrap();
    let subject = subject.resolved(&view).unwrap();
    let mut explanation = Explanation::of(&world.0, &view, &subject, namespace, &config, at(0))?;
    if let Some((name, playbook, driver)) = playbook_for(&explanation, &config) {
        let what = PlanArgs {
            playbook: name.clone(),
            driver: None,
            details: false,
        };
        let planned = what.planned(&world.0, &view.findings, playbook, driver, &config, at(0));
        explanation.add_run(planned, &view);
    }
    Some(explanation)
}

fn rendered(subject: &str, namespace: &str) -> String {
    let explanation = explained(&World::jam(), subject, namespace).unwrap();
    assert_eq!(explanation.exit_code(), 1);
    text::render(&explanation, at(0))
}

#[rstest]
#[case("pvc/x", Subject::Object(ObjectKind::PersistentVolumeClaim, "x".to_owned()))]
#[case("PersistentVolumeClaim/x", Subject::Object(ObjectKind::PersistentVolumeClaim, "x".to_owned()))]
#[case("volumesnapshot.snapshot.storage.k8s.io/x", Subject::Object(ObjectKind::VolumeSnapshot, "x".to_owned()))]
#[case("volumesnapshots/x", Subject::Object(ObjectKind::VolumeSnapshot, "x".to_owned()))]
#[case("source/x", Subject::Object(ObjectKind::ReplicationSource, "x".to_owned()))]
#[case("lock/a/b", Subject::Lock("a/b".to_owned()))]
fn subject_is_parsed_in_kubectl_notation(#[case] text: &str, #[case] subject: Subject) {
    assert_eq!(text.parse(), Ok(subject));
}

#[rstest]
#[case("pvc", "expected KIND/NAME")]
#[case("pvc/", "expected KIND/NAME")]
#[case("pod/x", "one of pvc, vs, source, lock")]
fn unsupported_subject_is_refused(#[case] text: &str, #[case] why: &str) {
    let error = text.parse::<Subject>().unwrap_err();
    assert!(error.contains(why), "{error}");
}

#[test]
fn locked_claim_is_explained() {
    insta::assert_snapshot!(rendered("pvc/sonarr", "media"));
}

#[test]
fn locked_snapshot_is_explained() {
    insta::assert_snapshot!(rendered("vs/volsync-prowlarr-src", "media"));
}

#[test]
fn source_of_a_failed_snapshot_is_explained() {
    insta::assert_snapshot!(rendered("source/prowlarr", "media"));
}

#[test]
fn lock_is_explained_with_its_waiters() {
    let view = explained(&World::jam(), "pvc/sonarr", "media").unwrap();
    let lock = view.lock.unwrap();
    insta::assert_snapshot!(rendered(&format!("lock/{}", lock.0), "nowhere"));
}

#[test]
fn part_of_a_key_names_its_only_lock() {
    let config = Config::default();
    let world = World::jam();
    let view = view::take(&world.0, &config, &settings(&config), at(0));
    let resolved = |part: &str| Subject::Lock(part.to_owned()).resolved(&view);
    let keys: std::collections::BTreeSet<_> = view
        .stuck()
        .filter_map(|finding| match &finding.what {
            crate::findings::FindingReason::OperationLock(key) => Some(key.0.to_string()),
            _ => None,
        })
        .collect();
    assert!(keys.len() > 1, "{keys:?}");
    for key in &keys {
        let whole = Ok(Subject::Lock(key.clone()));
        assert_eq!(resolved(key), whole);
        // The keys of the fixture end in different names.
        let end = key.rsplit('-').next().unwrap();
        if keys.iter().filter(|key| key.contains(end)).count() == 1 {
            assert_eq!(resolved(end), whole);
        }
    }
    let error = resolved("-").unwrap_err();
    assert!(
        error.starts_with("several locks contain -; choose one of "),
        "{error}"
    );
    assert!(
        keys.iter().all(|key| error.contains(key.as_str())),
        "{error}"
    );
    assert_eq!(resolved("none"), Ok(Subject::Lock("none".to_owned())));
}

#[test]
fn evidence_is_printed_once() {
    let mut explanation = explained(&World::jam(), "pvc/sonarr", "media").unwrap();
    let mut findings = explanation.findings.clone();
    findings[0].evidence = vec!["refused".into(), "waits".into(), "refused".into()];
    explanation.findings = findings;
    let text = text::render(&explanation, at(0));
    assert_eq!(text.matches("  refused\n").count(), 1, "{text}");
}

#[rstest]
#[case::bound("pvc/wiki", "selfhosted", "is not Pending")]
#[case::young(
    "pvc/young",
    "media",
    "has been Pending for 3m; counts as stuck after 10m"
)]
#[case::idle("source/wiki", "selfhosted", "is not synchronising")]
#[case::ready("vs/sonarr-dst-20261101", "media", "is ready")]
fn healthy_object_is_explained(
    #[case] subject: &str,
    #[case] namespace: &str,
    #[case] state: &str,
) {
    let young = claim("media", "young").pending().created(at(-3));
    let world = World::jam().with(young);
    let explanation = explained(&world, subject, namespace).unwrap();
    let text = text::render(&explanation, at(0));
    assert!(text.contains(state), "{text}");
    assert!(
        explanation.findings.is_empty() && explanation.run.is_none(),
        "{text}"
    );
}

#[rstest]
#[case::of_no_such_name("pvc/nowhere", "media")]
#[case::of_another_namespace("pvc/sonarr", "selfhosted")]
#[case::of_no_lock("lock/nothing", "media")]
fn missing_object_is_reported(#[case] subject: &str, #[case] namespace: &str) {
    assert!(explained(&World::jam(), subject, namespace).is_none());
}
