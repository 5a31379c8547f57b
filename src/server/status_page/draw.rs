//! Draws a [`Picture`] as SVG, wide and narrow. Pure.
//!
//! Colours and fonts are in the style sheet: the policy of the page allows no style in the markup.

use maud::{Markup, html};

use super::picture::{Arrow, Column, Node, Picture};

/// Where boxes are drawn, in pixels of the unscaled picture.
struct Layout {
    class: &'static str,
    /// Left edge of each column; `None` where the column is not drawn.
    columns: [Option<i32>; 4],
    box_width: i32,
}

const WIDE: Layout = Layout {
    class: "picture wide-only",
    columns: [Some(1), Some(249), Some(497), Some(745)],
    box_width: 180,
};

/// For phones: the provisioner is left out, the same for all rows; the caption names it.
const NARROW: Layout = Layout {
    class: "picture narrow-only",
    columns: [Some(1), None, Some(196), None],
    box_width: 164,
};

const ROW: i32 = 46;
const GAP: i32 = 8;
const LINE: i32 = 15;

/// The shortest arrow with a verb.
const LEAST_FOR_VERB: i32 = 45;

/// A box with coordinates.
struct Rect {
    x: i32,
    y: i32,
    width: i32,
    height: i32,
}

impl Layout {
    fn width(&self) -> i32 {
        let last = self.columns.iter().flatten().max();
        last.map_or(0, |x| x + self.box_width + 1)
    }

    fn rect(&self, node: &Node) -> Option<Rect> {
        let x = self.columns[node.column as usize]?;
        Some(Rect {
            x,
            y: ROW * to_i32(node.row) + GAP / 2,
            width: self.box_width,
            height: ROW * to_i32(node.rows) - GAP,
        })
    }
}

fn to_i32(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Both drawings, of which the style sheet shows one. `id` is unique on the page.
pub(super) fn drawings(picture: &Picture, title: &str, id: &str) -> Markup {
    html! {
        (drawing(picture, &WIDE, title, &format!("{id}-wide")))
        (drawing(picture, &NARROW, title, &format!("{id}-narrow")))
    }
}

fn drawing(picture: &Picture, layout: &Layout, title: &str, id: &str) -> Markup {
    let view_box = format!("0 0 {} {}", layout.width(), ROW * to_i32(picture.rows));
    let described = format!("{id}-title {id}-desc");
    html! {
        svg.(layout.class) viewBox=(view_box) role="img" aria-labelledby=(described) {
            title id=(format!("{id}-title")) { (title) }
            desc id=(format!("{id}-desc")) { (picture.sentences().join("; ")) }
            @for arrow in &picture.arrows { (line(picture, layout, arrow)) }
            @for node in &picture.nodes { (boxed(layout, node)) }
        }
    }
}

fn boxed(layout: &Layout, node: &Node) -> Markup {
    let Some(rect) = layout.rect(node) else {
        return html! {};
    };
    let x = rect.x + 7;
    let first = rect.y + rect.height / 2 + 11 - LINE * to_i32(node.lines.len()) / 2 - 5;
    html! {
        g.node.bad[node.bad] {
            title { (node.full) }
            rect x=(rect.x) y=(rect.y) width=(rect.width) height=(rect.height) rx="5" {}
            @for (line, text) in node.lines.iter().enumerate() {
                text.name x=(x) y=(first + LINE * to_i32(line)) { (text) }
            }
            text.detail x=(x) y=(first + LINE * to_i32(node.lines.len()) - 1) { (node.detail) }
        }
    }
}

/// A horizontal arrow from one box to the next, its verb above. To a column that is not drawn, only a verb that tells rows
/// apart.
fn line(picture: &Picture, layout: &Layout, arrow: &Arrow) -> Markup {
    let mut start = &picture.nodes[arrow.from];
    // Where the layout leaves out snapshots, the arrow starts at the box before.
    if layout.rect(start).is_none()
        && let Some(before) = picture.arrows.iter().find(|it| it.to == arrow.from)
    {
        start = &picture.nodes[before.from];
    }
    let Some(start_rect) = layout.rect(start) else {
        return html! {};
    };
    let (x1, y) = (
        start_rect.x + start_rect.width,
        start_rect.y + start_rect.height / 2,
    );
    let end = &picture.nodes[arrow.to];
    let Some(end_rect) = layout.rect(end) else {
        return html! {
            @if end.column == Column::Pod && start.column < Column::Lock {
                text.verb x=(x1 + 8) y=(y + 4) { (arrow.verb) }
            }
        };
    };
    let x2 = end_rect.x;
    html! {
        path.line d=(format!("M{x1} {y}H{}", x2 - 6)) {}
        path.head d=(format!("M{x2} {y}l-7 -4v8z")) {}
        @if x2 - x1 > LEAST_FOR_VERB {
            text.verb x=(x1 + 6) y=(y - 5) { (arrow.verb) }
        }
    }
}
