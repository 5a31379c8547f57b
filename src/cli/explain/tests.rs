use rstest::rstest;

use super::super::plan::PlanArgs;
use super::*;
use crate::api::ObjectKind;
use crate::config::Config;
use crate::findings::Policy;
use crate::model::fixture::*;
use crate::state::view;

fn policy(config: &Config) -> Policy {
    Policy {
        detect: config.detect.clone(),
        drivers: config.drivers.clone(),
        one_shot: false,
    }
}

fn explained(world: &World, subject: &str, namespace: &str) -> Option<Explanation> {
    let mut config = Config::default();
    // Namespace of the hold policy in the fixture.
    config.remediation.namespace = Some("locksmith".into());
    let view = view::take(&world.0, &config, &policy(&config), at(0));
    let subject = subject.parse().unwrap();
    let mut explanation = Explanation::of(&world.0, &view, &subject, namespace, &config, at(0))?;
    if let Some((name, playbook, driver)) = playbook_for(&explanation, &config) {
        let what = PlanArgs {
            playbook: name.clone(),
            driver: None,
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
#[case("volumesnapshots/x", Subject::Object(ObjectKind::VolumeSnapshot, "x".to_owned()))]
#[case("source/x", Subject::Object(ObjectKind::ReplicationSource, "x".to_owned()))]
#[case("lock/a/b", Subject::Lock("a/b".to_owned()))]
fn a_subject_is_named_as_kubectl_names_it(#[case] text: &str, #[case] subject: Subject) {
    assert_eq!(text.parse(), Ok(subject));
}

#[rstest]
#[case("pvc", "expected KIND/NAME")]
#[case("pvc/", "expected KIND/NAME")]
#[case("pod/x", "one of pvc, vs, source, lock")]
fn a_subject_that_cannot_be_explained_is_refused(#[case] text: &str, #[case] why: &str) {
    let error = text.parse::<Subject>().unwrap_err();
    assert!(error.contains(why), "{error}");
}

#[test]
fn a_claim_that_waits_for_a_lock() {
    insta::assert_snapshot!(rendered("pvc/sonarr", "media"));
}

#[test]
fn a_snapshot_that_waits_for_a_lock() {
    insta::assert_snapshot!(rendered("vs/volsync-prowlarr-src", "media"));
}

#[test]
fn a_source_whose_snapshot_fails() {
    insta::assert_snapshot!(rendered("source/prowlarr", "media"));
}

#[test]
fn a_lock_and_what_waits_for_it() {
    let view = explained(&World::jam(), "pvc/sonarr", "media").unwrap();
    let lock = view.lock.unwrap();
    insta::assert_snapshot!(rendered(&format!("lock/{}", lock.0), "nowhere"));
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
fn an_object_that_is_not_stuck(
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
fn an_object_that_is_not_there(#[case] subject: &str, #[case] namespace: &str) {
    assert!(explained(&World::jam(), subject, namespace).is_none());
}
