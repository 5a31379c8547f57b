//! The status page in a real Chromium, while a jam is healed.
//!
//! Screenshots are left in `$LOCKSMITH_SCREENSHOTS`, else in cargo's own directory for what tests write.

// A helper fails as a test does: by panicking.
#![allow(clippy::panic, clippy::unwrap_used)]

mod browser;
mod demo;

use std::path::PathBuf;

use serde_json::{Value, json};

use browser::Browser;
use demo::Demo;

/// What each text on the page has for a contrast, at least: WCAG 2.2, level AA.
const CONTRAST: f64 = 4.5;

/// The smallest phone that is still sold.
const PHONE: (u32, u32) = (360, 740);

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

fn screenshot(browser: &Browser, name: &str) {
    let directory = std::env::var_os("LOCKSMITH_SCREENSHOTS")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let file = directory.join(format!("status-page-{name}.png"));
    std::fs::write(&file, browser.screenshot()).unwrap();
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
        "return !!document.querySelector('#pending_claim')",
    );
    let title = browser.run("return document.title", &[]);
    assert!(
        title.as_str().unwrap().contains(" stuck · locksmith"),
        "{title}"
    );
    let chain = "return [...document.querySelectorAll('.chain')].some((c) =>
        /replicationsource.*vs.*vsc/.test(c.textContent))";
    browser.until("a chain from a source to its lock", chain);

    browser.until("a step", "return /suspendSources/.test(main.textContent)");
    screenshot(&browser, "run");
    let healed =
        "return !document.querySelector('#pending_claim') && /Succeeded/.test(main.textContent)";
    browser.until("the end", healed);
    assert_eq!(
        browser.run("return window.loaded", &[]),
        "once",
        "it was loaded again"
    );
    assert_eq!(browser.complaints(), [""; 0]);
    screenshot(&browser, "healed");
}

#[test]
#[ignore = "needs Chromium: ./tests/run"]
fn what_a_person_has_opened_stays_open() {
    // Until a person approves, nothing is healed, so that no row goes away by itself.
    let demo = Demo::begin("approval");
    let browser = Browser::start(&[]);
    browser.open(&demo.url());
    browser.until("it is live", "return live.textContent.startsWith('live')");
    browser.until("a run that waits", "return /closed/.test(main.textContent)");
    let summary = "#failed_snapshot ~ .wide summary";
    browser.until(
        "a failed snapshot",
        &format!("return !!document.querySelector('{summary}')"),
    );
    browser.run(&format!("document.querySelector('{summary}').focus()"), &[]);
    browser.press("Enter");
    let seen = browser.run("return live.textContent", &[]);
    browser.until_of(
        "the next event",
        "return live.textContent !== arguments[0]",
        &[seen],
    );
    let kept = browser.run(
        "return document.activeElement.matches('summary') && document.activeElement.parentElement.open",
        &[],
    );
    assert_eq!(kept, json!(true));
}

#[test]
#[ignore = "needs Chromium: ./tests/run"]
fn the_page_is_read_without_script() {
    let demo = Demo::begin("approval");
    let browser = Browser::start(&["--blink-settings=scriptEnabled=false"]);
    browser.until_opened(&demo.url(), "#pending_claim");
    let text = browser.text("main");
    for wanted in [
        "Pending PersistentVolumeClaims",
        "operation lock",
        "Switched off by locksmith",
    ] {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
    assert!(browser.text("header").contains("as of "));
}

#[test]
#[ignore = "needs Chromium: ./tests/run"]
fn the_page_is_for_everybody() {
    let demo = Demo::begin("approval");
    let browser = Browser::start(&[]);
    browser.open(&demo.url());
    browser.until("a run that waits", "return /closed/.test(main.textContent)");
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        let lowest = browser.run(LOWEST_CONTRAST, &[]);
        assert!(
            lowest["ratio"].as_f64().unwrap() >= CONTRAST,
            "{scheme}: {lowest}"
        );
        screenshot(&browser, scheme);
    }

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

    browser.resize(PHONE);
    let overflow =
        "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
    assert_eq!(browser.run(overflow, &[]), Value::from(0));
    screenshot(&browser, "phone");
}
