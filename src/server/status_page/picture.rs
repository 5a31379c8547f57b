//! The picture of one driver: from what was requested over snapshots and locks to the provisioner's pods. Pure.
//!
//! It holds boxes on a grid and arrows between them; [`draw`](super::draw) gives them coordinates.

use super::operations::{AtDriver, LockedBy};
use crate::api::{ObjectKey, ObjectKind};
use crate::findings::{Finding, FindingReason};
use crate::state::view::ProvisionerView;
use crate::text::humanize;
use jiff::Timestamp;

/// Most operations drawn; the others are counted.
pub(super) const MAX_ROWS: usize = 12;

/// Most characters of a label.
const MAX_LABEL: usize = 23;

/// Most pods named in the provisioner's box.
const MAX_PODS: usize = 3;

/// Columns from left to right.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Column {
    /// The ReplicationSource or claim.
    Origin,
    /// The VolumeSnapshot.
    Snapshot,
    /// The operation lock.
    Lock,
    /// The provisioner.
    Pod,
}

/// One box.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Node {
    pub column: Column,
    /// First row, from 0.
    pub row: usize,
    /// Number of rows it is centred on.
    pub rows: usize,
    /// Shortened text, a line each.
    pub lines: Vec<String>,
    /// Second line in small print.
    pub detail: String,
    /// The whole text.
    pub full: String,
    /// Whether it is the cause.
    pub bad: bool,
}

/// One arrow between two boxes, by their index.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Arrow {
    pub from: usize,
    pub to: usize,
    pub verb: String,
}

/// A picture.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Picture {
    pub nodes: Vec<Node>,
    pub arrows: Vec<Arrow>,
    pub rows: usize,
    /// Operations that are not drawn.
    pub left_out: usize,
}

/// The picture of `stuck`, oldest first; `None` if nothing is.
pub(super) fn picture(
    stuck: &AtDriver<'_>,
    provisioner: Option<&ProvisionerView>,
    now: Timestamp,
) -> Option<Picture> {
    let mut picture = Picture::default();
    let mut ends = Vec::new();
    for locked in &stuck.locks {
        picture.add_lock(locked, now, &mut ends);
    }
    for finding in &stuck.unlocked {
        if picture.rows == MAX_ROWS {
            picture.left_out += 1;
            continue;
        }
        let last = picture.add_operation(finding, finding.object.as_ref(), now);
        ends.push((last, finding.what.reason().replace('_', " ")));
        picture.rows += 1;
    }
    if picture.rows == 0 {
        return None;
    }
    let pod = picture.add(pod(provisioner, picture.rows));
    for (from, verb) in ends {
        picture.arrows.push(Arrow {
            from,
            to: pod,
            verb,
        });
    }
    Some(picture)
}

impl Picture {
    fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn link(&mut self, from: usize, to: usize, verb: &str) {
        let verb = verb.to_owned();
        self.arrows.push(Arrow { from, to, verb });
    }

    /// Adds a lock with the operations that wait for it, and to `ends` its arrow to the provisioner.
    fn add_lock(&mut self, locked: &LockedBy<'_>, now: Timestamp, ends: &mut Vec<(usize, String)>) {
        let waiting = locked.waiting.len().max(1);
        let drawn = waiting.min(MAX_ROWS - self.rows);
        self.left_out += waiting - drawn;
        if drawn == 0 {
            return;
        }
        let first = self.rows;
        let mut lasts = Vec::new();
        if locked.waiting.is_empty() {
            lasts.push(self.add_operation(locked.lock, locked.lock.object.as_ref(), now));
            self.rows += 1;
        }
        for finding in locked.waiting.iter().take(drawn) {
            lasts.push(self.add_operation(finding, finding.object.as_ref(), now));
            self.rows += 1;
        }
        let lock = self.add(lock(locked, first, drawn, now));
        for last in lasts {
            self.link(last, lock, "waits for");
        }
        ends.push((lock, "held by".to_owned()));
    }

    /// Adds the boxes of one operation to the current row, and returns the last one.
    fn add_operation(
        &mut self,
        finding: &Finding,
        object: Option<&ObjectKey>,
        now: Timestamp,
    ) -> usize {
        let of_kind = |kind| finding.chain.iter().find(|object| object.kind == kind);
        let row = self.rows;
        let since = humanize::span(finding.since, now);
        let Some(object) = object else {
            return self.add(Node {
                column: Column::Origin,
                row,
                rows: 1,
                lines: vec!["unknown".to_owned()],
                detail: since,
                full: "unknown object".to_owned(),
                bad: false,
            });
        };
        let snapshot = match object.kind {
            ObjectKind::VolumeSnapshot | ObjectKind::VolumeSnapshotContent => Some(object),
            _ => finding
                .restores
                .as_ref()
                .or_else(|| of_kind(ObjectKind::VolumeSnapshot)),
        };
        let origin = if snapshot == Some(object) {
            of_kind(ObjectKind::ReplicationSource)
                .or_else(|| of_kind(ObjectKind::PersistentVolumeClaim))
        } else {
            Some(object)
        };
        let origin = origin.map(|origin| self.add(node(Column::Origin, row, origin, &since)));
        let snapshot = snapshot.map(|it| self.add(node(Column::Snapshot, row, it, &since)));
        match (origin, snapshot) {
            (Some(origin), Some(snapshot)) => {
                let verb = match &finding.what {
                    FindingReason::PendingClaim(_) => "restores",
                    FindingReason::DeletionStuck(_) => "deletes",
                    _ => "takes",
                };
                self.link(origin, snapshot, verb);
                snapshot
            }
            (Some(only), None) | (None, Some(only)) => only,
            // The object itself is one of both.
            (None, None) => self.add(node(Column::Origin, row, object, &since)),
        }
    }

    /// The whole text of the provisioner's box.
    pub fn pod(&self) -> Option<&str> {
        let pod = self.nodes.iter().find(|node| node.column == Column::Pod);
        pod.map(|pod| &*pod.full)
    }

    /// One sentence for each row, for those who do not see the picture.
    pub fn sentences(&self) -> Vec<String> {
        (0..self.rows).map(|row| self.sentence(row)).collect()
    }

    fn sentence(&self, row: usize) -> String {
        let mut at = self
            .nodes
            .iter()
            .position(|node| node.row == row && node.rows == 1 && node.column < Column::Lock);
        let mut text = String::new();
        while let Some(index) = at {
            text.push_str(&self.nodes[index].full);
            let next = self.arrows.iter().find(|arrow| arrow.from == index);
            if let Some(arrow) = next {
                text.push(' ');
                text.push_str(&arrow.verb);
                text.push(' ');
            }
            at = next.map(|arrow| arrow.to);
        }
        text
    }
}

fn node(column: Column, row: usize, object: &ObjectKey, since: &str) -> Node {
    let name = humanize::plain(&object.name);
    let kind = match object.kind {
        ObjectKind::ReplicationSource => "source",
        other => humanize::kind(other),
    };
    let place = humanize::plain(&object.namespace);
    let separator = if place.is_empty() { "" } else { " · " };
    Node {
        column,
        row,
        rows: 1,
        lines: vec![shortened(&format!("{kind}/{name}"))],
        detail: shortened(&format!("{place}{separator}{since}")),
        full: humanize::plain(&humanize::place(object)),
        bad: false,
    }
}

fn lock(locked: &LockedBy<'_>, row: usize, rows: usize, now: Timestamp) -> Node {
    let key = humanize::plain(&locked.key.0);
    let operation = locked.lock.what.reason().replace('_', " ");
    let since = humanize::span(locked.lock.since, now);
    Node {
        column: Column::Lock,
        row,
        rows,
        lines: vec![shortened(&key)],
        detail: format!("{operation} · {since}"),
        full: format!("lock {key}"),
        bad: true,
    }
}

/// The pods that hold the driver's leases, across all rows.
fn pod(provisioner: Option<&ProvisionerView>, rows: usize) -> Node {
    let mut node = Node {
        column: Column::Pod,
        row: 0,
        rows,
        lines: vec!["provisioner".to_owned()],
        detail: "not found".to_owned(),
        full: "a provisioner that is not found".to_owned(),
        bad: true,
    };
    let Some(workload) = provisioner.and_then(|it| it.workload.as_ref()) else {
        return node;
    };
    let leaders = provisioner.map_or(&[][..], |it| &it.leaders);
    node.bad = false;
    node.full = humanize::place(workload);
    node.lines = vec![shortened(&humanize::object(workload))];
    "no running pod leads".clone_into(&mut node.detail);
    if !leaders.is_empty() {
        let shown = MAX_PODS.min(2 * rows - 1);
        let names = leaders.iter().take(shown);
        node.lines = names
            .clone()
            .map(|pod| shortened(&humanize::plain(&pod.name)))
            .collect();
        let all: Vec<_> = names.map(humanize::place).collect();
        node.full = all.join(", ");
        node.detail = shortened(&workload.namespace);
        if let Some(more) = leaders.len().checked_sub(shown).filter(|more| *more > 0) {
            node.full = format!("{} and {more} more", node.full);
            node.detail = format!("and {more} more");
        }
    }
    node
}

/// Shortens uids to their first digits, and what is still too long in the middle, since both ends tell objects apart.
pub(super) fn shortened(text: &str) -> String {
    let text = without_uids(text);
    let characters: Vec<char> = text.chars().collect();
    if characters.len() <= MAX_LABEL {
        return text;
    }
    // Names made from others differ in the middle, and end in a time or random letters.
    let tail = MAX_LABEL / 3;
    let head = MAX_LABEL - 1 - tail;
    let head: String = characters[..head].iter().collect();
    let tail: String = characters[characters.len() - tail..].iter().collect();
    format!("{head}…{tail}")
}

/// Digits of a uid that are shown.
const DIGITS: usize = 8;

/// The length of a uid as the API server writes it.
const UID: usize = 36;

fn without_uids(text: &str) -> String {
    let mut rest = text;
    let mut short = String::new();
    while let Some(next) = rest.chars().next() {
        let uid = rest.get(..UID).filter(|part| is_uid(part));
        if let Some(uid) = uid {
            short.push_str(&uid[..DIGITS]);
            rest = &rest[UID..];
            if !rest.is_empty() {
                short.push('…');
            }
        } else {
            short.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    short
}

fn is_uid(text: &str) -> bool {
    let dashes = [8, 13, 18, 23];
    text.bytes().enumerate().all(|(at, byte)| {
        if dashes.contains(&at) {
            byte == b'-'
        } else {
            byte.is_ascii_hexdigit()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::server::status_page::operations::by_driver;
    use crate::state::view::View;
    use rstest::rstest;

    const RBD: &str = "rook-ceph.rbd.csi.ceph.com";

    fn of(view: &View) -> Picture {
        let drivers = by_driver(view);
        let driver = RBD.into();
        let stuck = &drivers[&Some(&driver)];
        picture(stuck, view.provisioners.first(), fixture::now()).unwrap()
    }

    #[rstest]
    #[case("pvc/sonarr", "pvc/sonarr")]
    #[case("pvc-15ca3371-4909-4727-9a3c-0d1f6c6a2b11", "pvc-15ca3371")]
    #[case(
        "snapshot-15ca3371-4909-4727-9a3c-0d1f6c6a2b11/x",
        "snapshot-15ca3371…/x"
    )]
    #[case("0001-0009-rook-ceph-0000000000000002-7f1e", "0001-0009-rook-…02-7f1e")]
    #[case(
        "csi-rbdplugin-provisioner-6c5d8b7f9d-abcde",
        "csi-rbdplugin-p…d-abcde"
    )]
    #[case("ééééééééééééééééééééééééééééé", "ééééééééééééééé…ééééééé")]
    #[case("", "")]
    fn ids_are_shortened(#[case] text: &str, #[case] wanted: &str) {
        assert_eq!(shortened(text), wanted);
    }

    #[test]
    fn jam_is_drawn_from_its_origins_to_the_pod() {
        let picture = of(&fixture::jammed());
        let pod = "rook-ceph/pod/csi-rbdplugin-provisioner-6c5d8b7f9d-abcde";
        let wanted = [
            format!("media/pvc/prowlarr waits for lock pvc-4e1c held by {pod}"),
            format!(
                "media/pvc/sonarr takes media/vs/volsync-sonarr-src waits for lock 0001-0009-rook-ceph-0000000000000002-7f1e held by {pod}"
            ),
            format!(
                "media/pvc/sonarr takes media/vs/volsync-sonarr-src waits for lock 0001-0009-rook-ceph-0000000000000002-8a2b held by {pod}"
            ),
        ];
        assert_eq!(picture.sentences(), wanted);
        let boxes: Vec<_> = picture
            .nodes
            .iter()
            .map(|node| (node.column, node.row, node.rows, &*node.lines[0]))
            .collect();
        assert_eq!(
            boxes,
            [
                (Column::Origin, 0, 1, "pvc/prowlarr"),
                (Column::Lock, 0, 1, "pvc-4e1c"),
                (Column::Origin, 1, 1, "pvc/sonarr"),
                (Column::Snapshot, 1, 1, "vs/volsync-sonarr-src"),
                (Column::Lock, 1, 1, "0001-0009-rook-…02-7f1e"),
                (Column::Origin, 2, 1, "pvc/sonarr"),
                (Column::Snapshot, 2, 1, "vs/volsync-sonarr-src"),
                (Column::Lock, 2, 1, "0001-0009-rook-…02-8a2b"),
                (Column::Pod, 0, 3, "csi-rbdplugin-p…d-abcde"),
            ]
        );
    }

    #[test]
    fn lock_of_several_operations_is_drawn_once_and_the_rest_counted() {
        let mut view = fixture::jammed();
        let claim = view
            .findings
            .iter()
            .find(|it| matches!(it.what, FindingReason::PendingClaim(_)));
        let claim = claim.unwrap().clone();
        view.findings.extend(std::iter::repeat_n(claim, 19));
        let picture = of(&view);
        let locks: Vec<_> = picture
            .nodes
            .iter()
            .filter(|it| it.column == Column::Lock)
            .collect();
        assert_eq!(locks.len(), 1);
        assert_eq!((locks[0].row, locks[0].rows), (0, MAX_ROWS));
        // 20 claims of one lock, and a snapshot behind two.
        assert_eq!((picture.rows, picture.left_out), (MAX_ROWS, 10));
    }

    #[test]
    fn operation_without_a_lock_leads_to_the_pod_by_its_reason() {
        let mut view = fixture::jammed();
        view.findings
            .retain(|it| matches!(it.what, FindingReason::FailedSnapshot(_)));
        view.provisioners[0].workload = None;
        assert_eq!(
            of(&view).sentences(),
            [
                "media/pvc/sonarr takes media/vs/volsync-sonarr-src timeout a provisioner that is not found"
            ]
        );
    }
}
