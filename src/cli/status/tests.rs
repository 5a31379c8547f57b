//! Complete outputs of `locksmith status`.

use rstest::rstest;

use super::*;
use crate::api::ObjectKind;
use crate::config::Config;
use crate::findings::DetectionSettings;
use crate::fixture;
use crate::model::Change;
use crate::model::fixture::{DRIVER, LEADER, LEADER_UID, OTHER_DRIVER, World, at};

/// On a terminal of 80 columns, without colours.
const TERMINAL: Look = Look {
    wide: false,
    width: Some(80),
    headers: true,
    colour: false,
};

fn table(view: &View) -> String {
    render(view, fixture::now(), TERMINAL)
}

#[test]
fn jammed_cluster_is_rendered() {
    insta::assert_snapshot!(table(&fixture::jammed()));
}

#[test]
fn jammed_cluster_is_rendered_wide() {
    let wide = Look {
        wide: true,
        width: None,
        ..TERMINAL
    };
    insta::assert_snapshot!(render(&fixture::jammed(), fixture::now(), wide));
}

#[test]
fn rows_alone_have_no_heading_and_no_summary() {
    let rows = Look {
        headers: false,
        width: None,
        ..TERMINAL
    };
    let text = render(&fixture::jammed(), fixture::now(), rows);
    let jammed = fixture::jammed();
    let unfinished = jammed.runs.iter().filter(|run| !run.phase.finished());
    let rows = jammed.stuck().count() + jammed.holds.len() + unfinished.count();
    assert_eq!(text.lines().count(), rows, "{text}");
    assert!(
        !text.contains("NAMESPACE") && !text.contains("Stuck"),
        "{text}"
    );
    assert_eq!(
        render(
            &fixture::healthy(),
            fixture::now(),
            Look {
                headers: false,
                ..TERMINAL
            }
        ),
        ""
    );
}

/// A finding of a claim and the lock it waits for name the same claim.
#[test]
fn names_are_those_of_kubectl_each_once() {
    let names: Vec<_> = names(&fixture::jammed()).into_iter().collect();
    assert_eq!(
        names,
        [
            "persistentvolumeclaim/prowlarr",
            "replicationsource.volsync.backube/litellm",
            "volumesnapshot.snapshot.storage.k8s.io/volsync-litellm-src",
            "volumesnapshot.snapshot.storage.k8s.io/volsync-sonarr-src",
        ]
    );
}

#[test]
fn jammed_cluster_is_rendered_in_colour() {
    let colour = Look {
        colour: true,
        ..TERMINAL
    };
    let coloured = render(&fixture::jammed(), fixture::now(), colour);
    assert!(coloured.contains("\u{1b}["));
    assert_eq!(
        anstream::adapter::strip_str(&coloured).to_string(),
        table(&fixture::jammed())
    );
}

#[test]
fn partly_read_cluster_is_rendered() {
    insta::assert_snapshot!(table(&fixture::half_seen()));
}

#[test]
fn healthy_cluster_is_rendered() {
    insta::assert_snapshot!(table(&fixture::healthy()));
}

fn list(output: OutputFormat, no_headers: bool) -> ListArgs {
    ListArgs { output, no_headers }
}

#[test]
fn rows_alone_leave_doubts_to_stderr() {
    let view = fixture::half_seen();
    for (output, no_headers) in [
        (OutputFormat::Text, true),
        (OutputFormat::Wide, true),
        (OutputFormat::Name, false),
    ] {
        let doubts = doubts_beside(&view, &list(output, no_headers));
        assert!(
            doubts.starts_with("Not everything could be read; "),
            "{doubts}"
        );
        assert!(doubts.lines().count() > 1, "{doubts}");
    }
    for output in [OutputFormat::Text, OutputFormat::Json, OutputFormat::Yaml] {
        assert_eq!(doubts_beside(&view, &list(output, false)), "");
    }
    let healthy = fixture::healthy();
    assert_eq!(
        doubts_beside(&healthy, &list(OutputFormat::Name, false)),
        ""
    );
}

#[test]
fn young_claims_are_named_if_nothing_is_stuck() {
    let config = Config::default();
    let line = "2 claims are Pending, which counts as stuck after 10m (detect.pendingAfter).\n";
    let text = |view: View, no_headers| {
        let list = list(OutputFormat::Text, no_headers);
        text(&view, &list, &young(2, &config)).unwrap()
    };
    assert!(text(fixture::healthy(), false).ends_with(line));
    assert_eq!(text(fixture::healthy(), true), "");
    assert!(!text(fixture::jammed(), false).contains(line));
    assert_eq!(young(0, &config), "");
    assert!(young(1, &config).starts_with("1 claim is Pending, "));
}

/// "Nothing is stuck" is reported only if everything was read.
#[test]
fn doubt_is_shown_and_exits_with_2() {
    let mut view = fixture::healthy();
    assert_eq!(exit_code(&view), 0);
    view.doubts.push(crate::findings::Doubt {
        kind: crate::findings::DoubtKind::DriverExcluded,
        subject: "ebs.csi.aws.com".into(),
        message: "not watched, with 3 PersistentVolumeClaims: add it to `drivers`, or leave `drivers` empty to watch every CSI driver in use".to_owned(),
    });
    assert_eq!(exit_code(&view), FAILED);
    let text = table(&view);
    let shown =
        "  ebs.csi.aws.com: not watched, with 3 PersistentVolumeClaims: add it to\n    `drivers`";
    assert!(text.contains(shown), "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    assert!(!text.contains("Nothing is stuck"), "{text}");
}

#[test]
fn long_names_are_wrapped_not_truncated() {
    let mut view = fixture::jammed();
    let name = "a-claim-whose-name-is-as-long-as-a-name-in-kubernetes-may-ever-be-more-or-less";
    for finding in &mut view.findings {
        finding.object = Some(fixture::object(
            ObjectKind::VolumeSnapshot,
            "a-namespace-of-some-length",
            name,
        ));
    }
    let text = table(&view);
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    insta::assert_snapshot!(text);
}

#[rstest]
#[case(fixture::healthy(), 0)]
#[case(fixture::jammed(), 1)]
#[case(fixture::half_seen(), 1)]
#[case(View { findings: Vec::new(), ..fixture::half_seen() }, 2)]
#[case::only_holds(View { findings: Vec::new(), ..fixture::jammed() }, 0)]
fn exit_codes(#[case] view: View, #[case] code: u8) {
    assert_eq!(exit_code(&view), code);
}

/// The provisioner of one driver is found, but the log of its leader cannot be read; that of another is not found.
#[test]
fn provisioner_problem_is_shown_with_its_fix() {
    let forbidden = Change::LogRead(
        LEADER_UID.into(),
        DRIVER.into(),
        Some(Err("forbidden".into())),
    );
    let world = World::rook().with(forbidden);
    let view = crate::state::view::take(
        &world.0,
        &Config::default(),
        &DetectionSettings::default(),
        at(0),
    );
    let text = table(&view)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    let unreadable = format!(
        "{DRIVER}: 2 logs of its provisioner cannot be read: Pod rook-ceph/{LEADER}: forbidden"
    );
    let lost = format!("{OTHER_DRIVER}: provisioner not found: no lease");
    assert!(text.contains(&unreadable) && text.contains(&lost), "{text}");
    assert!(
        text.contains("name the workload in drivers[].provisioner"),
        "{text}"
    );
    assert_eq!(exit_code(&view), 2);
}

#[test]
fn hold_is_not_stuck() {
    let mut view = fixture::jammed();
    view.findings.retain(|finding| !finding.what.is_stuck());
    assert_eq!(exit_code(&view), 0);
    assert!(table(&view).contains("\nNothing is stuck.\n"));
}

#[test]
fn namespace_option_hides_other_namespaces() {
    let media = only(fixture::jammed(), Some("media"));
    let ai = only(fixture::jammed(), Some("ai"));
    let all = fixture::jammed();
    assert_eq!(media.findings.len() + ai.findings.len(), all.findings.len());
    assert_eq!(media.holds.len(), all.holds.len());
    // Those of classes concern every namespace.
    assert!(ai.holds.iter().all(|hold| hold.object.namespace.is_empty()));
    assert!(!table(&media).contains("litellm"));
}
