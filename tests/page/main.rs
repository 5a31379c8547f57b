//! The status page in a real Chromium, while a jam is healed.
//!
//! Screenshots are left in `$LOCKSMITH_SCREENSHOTS`, else in cargo's own directory for what tests write.

// A helper fails as a test does: by panicking.
#![allow(clippy::panic, clippy::unwrap_used)]

mod browser;
mod demo;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;

use serde_json::{Value, json};

use browser::Browser;
use demo::Demo;

/// What each text on the page has for a contrast, at least: WCAG 2.2, level AA.
const CONTRAST: f64 = 4.5;

/// How much wider the page is than the window.
const OVERFLOW: &str =
    "return document.documentElement.scrollWidth - document.documentElement.clientWidth";

/// The smallest phone that is still sold.
const PHONE: (u32, u32) = (360, 740);

/// A phone, a tablet and a desktop.
const WIDTHS: [(u32, u32); 3] = [(390, 844), (820, 1180), (1440, 900)];

/// The picture in the README.
const README: (u32, u32) = (1000, 1240);

/// Contrast of every text with what is behind it; the lowest, and where.
const LOWEST_CONTRAST: &str = "
    const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => {
        const [x, y, z] = [r, g, b].map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const behind = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = channels(getComputedStyle(at).backgroundColor);
            if (colour.length === 3 || colour[3] > 0) return colour;
        }
        throw new Error('nothing is behind it');
    };
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    let lowest = { ratio: Infinity };
    while (texts.nextNode()) {
        const element = texts.currentNode.parentElement;
        if (!texts.currentNode.textContent.trim()) continue;
        const pair = [light(channels(getComputedStyle(element).color)), light(behind(element))];
        const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
        if (ratio < lowest.ratio) lowest = { ratio, text: texts.currentNode.textContent };
    }
    return lowest;
";

/// The whole page in each width and colour scheme.
fn screenshots(browser: &Browser, stage: &str) {
    for size in WIDTHS {
        browser.resize(size, 2.0);
        for scheme in ["light", "dark"] {
            browser.prefer(scheme);
            screenshot(browser, &format!("{stage}-{}-{scheme}", size.0));
        }
    }
}

fn screenshot(browser: &Browser, name: &str) {
    let directory = std::env::var_os("LOCKSMITH_SCREENSHOTS")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let file = directory.join(format!("status-page-{name}.png"));
    std::fs::write(&file, browser.screenshot(true)).unwrap();
    println!("screenshot: {}", file.display());
}

#[test]
#[ignore = "needs Chromium: ./tests/run"]
fn the_page_follows_a_run_to_its_end() {
    // A browser may take longer to start than the run to heal.
    let browser = Browser::start(&[]);
    let demo = Demo::begin("jam");
    browser.open(&demo.url());
    browser.run("window.loaded = 'once'", &[]);
    browser.until("it is live", "return live.textContent.startsWith('live')");
    browser.until(
        "the jam",
        "return !!document.querySelector('#operation_lock')",
    );
    let title = browser.run("return document.title", &[]);
    assert!(
        title.as_str().unwrap().contains(" stuck · locksmith"),
        "{title}"
    );
    let chain = "return [...document.querySelectorAll('.chain')].some((c) =>
        /replicationsource.*vs.*vsc.*lock.*pvc/.test(c.textContent))";
    browser.until("a chain from a source over its lock to its claim", chain);

    browser.until(
        "a step",
        "return !!document.querySelector('.stepper .running')",
    );
    if std::env::var_os("UPDATE_DOCS").is_some() {
        browser.until("the restart", "return /restartProvisioner/.test(document.querySelector('.stepper .running')?.textContent)");
        browser.resize(README, 0.75);
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/docs/status-page.png");
        std::fs::write(file, browser.screenshot(false)).unwrap();
    }
    screenshots(&browser, "run");
    let healed =
        "return !document.querySelector('#pending_claim') && /Succeeded/.test(main.textContent)";
    browser.until("the end", healed);
    assert_eq!(
        browser.run("return window.loaded", &[]),
        "once",
        "it was loaded again"
    );
    assert_eq!(browser.complaints(), [""; 0]);
    let alert = "return /ago by (webhook|poll)/.test(main.textContent)";
    browser.until("when the alert arrived", alert);
    screenshots(&browser, "healed");
}

/// Focuses and opens the evidence of a source whose claim is gone, a row that stays all through the jam. A click instead of a
/// key: an event between key down and key up would replace the row, and a late key would close it again.
const OPEN: &str = "
    const rows = [...document.querySelectorAll('#orphaned_source ~ .wide tr')];
    const row = rows.find((row) => /claim missing/.test(row.textContent));
    if (!row) return false;
    const summary = row.querySelector('summary');
    summary.focus();
    summary.click();
    window.row = row.dataset.about;
    return true;
";

/// The next event, as the server would send it: the row that has the focus has another chain, or is gone. Returns what has the
/// focus then.
const NEXT: &str = "
    const next = main.cloneNode(true);
    next.querySelectorAll('details').forEach((details) => { details.open = false; });
    const row = [...next.querySelectorAll('tr')].find((row) => row.dataset.about === window.row);
    if (arguments[0]) row.remove();
    else row.querySelector('.chain').insertAdjacentHTML('beforeend', '<li>lock x</li>');
    const data = JSON.stringify({ title: 't', at: 'later', content: next.innerHTML });
    source.dispatchEvent(new MessageEvent('view', { data }));
    const { localName, className, parentElement } = document.activeElement;
    return [localName, className, !!parentElement.open];
";

#[test]
#[ignore = "needs Chromium: ./tests/run"]
fn opened_details_stay_open() {
    let browser = Browser::start(&[]);
    let demo = Demo::begin("by-hand");
    browser.open(&demo.url());
    browser.until("it is live", "return live.textContent.startsWith('live')");
    // Before the jam, sources are created a moment before their claims, and are shown without them.
    browser.until(
        "a lock",
        "return !!document.querySelector('#operation_lock')",
    );
    browser.until("a source whose claim is gone", OPEN);
    let seen = browser.run("return live.textContent", &[]);
    browser.until_of(
        "the next event",
        "return live.textContent !== arguments[0]",
        &[seen],
    );
    let kept = browser.run(
        "return document.activeElement.closest('tr')?.dataset.about === window.row
            && document.activeElement.parentElement.open",
        &[],
    );
    assert_eq!(kept, json!(true), "{}", browser.text("body"));

    // No event but these from here on.
    drop(demo);
    let changed = browser.run(NEXT, &[json!(false)]);
    assert_eq!(changed, json!(["summary", "", true]));
    // Whoever reads by keyboard goes on in the same table.
    let gone = browser.run(NEXT, &[json!(true)]);
    assert_eq!(gone, json!(["div", "wide", false]));
}

#[test]
#[ignore = "needs Chromium: ./tests/run"]
fn the_page_says_when_it_is_not_live_and_comes_back() {
    const LIVE: &str = "return live.textContent.startsWith('live, as of ')";
    const LOST: &str = "return live.textContent.startsWith('not live')";
    let browser = Browser::start(&[]);
    let demo = Demo::begin("by-hand");
    browser.open(&demo.url());
    browser.until("it is live", LIVE);

    // The way is dead, and nobody says so.
    demo.suspend();
    browser.until("it is not live, as nothing comes", LOST);
    demo.go_on();
    browser.until("it is live again", LIVE);

    // Gone, and then something else in its place: what an Ingress says while no daemon is ready.
    let address = demo.address();
    drop(demo);
    refuse_events_once(&address);
    browser.until("it is not live, as it was refused", LOST);
    let _demo = Demo::listening("by-hand", &address);
    browser.until("it is live with another daemon", LIVE);
}

/// Answers what is asked there with 503, until the events were.
fn refuse_events_once(address: &str) {
    let listener = TcpListener::bind(address).unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let head = BufReader::new(&stream).lines().map_while(Result::ok);
        let head: Vec<_> = head.take_while(|line| !line.is_empty()).collect();
        let answer =
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let _ = stream.write_all(answer.as_bytes());
        if head.first().is_some_and(|line| line.contains("/events ")) {
            return;
        }
    }
}

#[test]
#[ignore = "needs Chromium: ./tests/run"]
fn the_page_is_read_without_script() {
    let demo = Demo::begin("by-hand");
    let browser = Browser::start(&["--blink-settings=scriptEnabled=false"]);
    browser.until_opened(&demo.url(), "#operation_lock");
    let text = browser.text("main");
    // The jam may show its first lock only.
    let summary = " of rook-ceph.rbd.csi.ceph.com: ";
    for wanted in [
        "Operation locks",
        summary,
        "Held (snapshots refused)",
        "none since this process started",
    ] {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
    assert!(browser.text("header").contains("as of "));
    assert!(browser.text("header").contains(" UTC"));
}

#[test]
#[ignore = "needs Chromium: ./tests/run"]
fn the_page_is_for_everybody() {
    // Everything at once, for as long as it takes: a jam that nobody heals, and a run that waits for a person.
    let demo = Demo::begin("by-hand");
    let browser = Browser::start(&[]);
    browser.open(&demo.url());
    browser.until(
        "the jam",
        "return !!document.querySelector('#failed_snapshot ~ .wide .chain .bad')",
    );
    demo.ask_a_person();
    browser.until("a run that waits", "return /closed/.test(main.textContent)");
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        let lowest = browser.run(LOWEST_CONTRAST, &[]);
        assert!(
            lowest["ratio"].as_f64().unwrap() >= CONTRAST,
            "{scheme}: {lowest}"
        );
    }
    screenshots(&browser, "jam");
    for (width, height) in WIDTHS {
        browser.resize((width, height), 1.0);
        assert_eq!(browser.run(OVERFLOW, &[]), 0, "at {width}");
        let shown = "return [...document.querySelectorAll('.picture')].filter((it) => it.clientWidth).length";
        assert_eq!(browser.run(shown, &[]), 1, "at {width}");
        // The labels stay large enough to be read.
        let scale = "return Math.min(...[...document.querySelectorAll('.picture')]
            .filter((it) => it.clientWidth).map((it) => it.clientWidth / it.viewBox.baseVal.width))";
        let scale = browser.run(scale, &[]).as_f64().unwrap();
        assert!(scale > 0.8, "{scale} at {width}");
    }
    let named = "return [...document.querySelectorAll('svg, progress')].every((it) =>
        it.ariaLabel || (it.getAttribute('aria-labelledby') ?? '').split(' ').every((id) => document.getElementById(id)?.textContent))";
    assert_eq!(browser.run(named, &[]), true);
    assert_eq!(browser.role(".picture"), "image");
    // Times are in the reader's zone, with UTC as a tooltip.
    let zoned = "return [...document.querySelectorAll('main time')].every((it) => it.title.endsWith(' UTC'))";
    assert_eq!(browser.run(zoned, &[]), true);

    // Headings tell the outline: one of the first level, none skipped.
    let levels = "return [...document.querySelectorAll('h1,h2,h3,h4')].map((h) => +h.localName[1])";
    let levels: Vec<u64> = serde_json::from_value(browser.run(levels, &[])).unwrap();
    assert_eq!(levels.iter().filter(|level| **level == 1).count(), 1);
    assert!(
        levels.windows(2).all(|pair| pair[1] <= pair[0] + 1),
        "{levels:?}"
    );
    let unnamed = "return [...document.querySelectorAll('section, article, [role=region], nav')].filter((it) => {
        const by = it.getAttribute('aria-labelledby');
        return !it.ariaLabel && !document.getElementById(by)?.textContent;
    }).length";
    assert_eq!(browser.run(unnamed, &[]), 0);

    // The keyboard alone: the first stop leads past the head, and each stop can be seen.
    browser.open(&demo.url());
    browser.press("Tab");
    let focused = browser.run("return document.activeElement.className", &[]);
    assert_eq!(focused, "skip");
    let outline = browser.run(
        "return getComputedStyle(document.activeElement).outlineStyle",
        &[],
    );
    assert_ne!(outline, "none");
    browser.press("Enter");
    assert_eq!(browser.run("return document.activeElement.id", &[]), "main");

    browser.resize(PHONE, 2.0);
    assert_eq!(browser.run(OVERFLOW, &[]), Value::from(0));
    // Rows are cards there, and still rows of a table to whoever hears them.
    let role = browser.role("#failed_snapshot ~ .wide tbody td");
    assert!(["cell", "gridcell"].contains(&&*role), "{role}");
    let label = "return getComputedStyle(document.querySelector('td[data-label=size]'), '::before').content";
    assert!(browser.run(label, &[]).as_str().unwrap().contains("size"));
    screenshot(&browser, "phone");
}
