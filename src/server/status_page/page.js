// Keeps the page live: the server sends the inside of `main` whenever it changes. What a person has opened stays open, and
// what has the focus keeps it. Where nothing comes any more, the page says so.
"use strict";

// The server is never silent for half as long, in milliseconds.
const SILENCE = 30_000;

// How often the way to the server is looked at.
const LOOK_EVERY = 5_000;

const main = document.getElementById("main");
const live = document.getElementById("live");
const said = document.getElementById("said");
let source, heard;

// Times are rendered in UTC; readers get their own zone, and UTC as a tooltip.
const localise = () => {
    for (const time of document.querySelectorAll("time")) {
        const at = new Date(time.dateTime);
        if (time.title || Number.isNaN(at.getTime())) continue;
        time.title = time.textContent;
        time.textContent = at.toLocaleString(undefined, {
            dateStyle: "medium", timeStyle: "long",
        });
    }
};

localise();
let asOf = Array.from(live.childNodes);

// What the row is about that an element is in.
const about = (element) => element.closest("[data-about]").dataset.about;

const lost = () => live.replaceChildren("not live: locksmith does not answer; ", ...asOf);

const show = (event) => {
    const { title, at, time, content } = JSON.parse(event.data);
    const open = new Set(Array.from(main.querySelectorAll("details[open]"), about));
    const active = main.contains(document.activeElement) ? document.activeElement : null;
    const region = active?.closest("section")?.getAttribute("aria-labelledby");
    const summary = active?.matches("summary") && about(active);

    heard = Date.now();
    const observed = document.createElement("time");
    observed.dateTime = time;
    observed.textContent = at;
    asOf = ["as of ", observed];
    if (document.title !== title) said.textContent = title;
    document.title = title;
    live.replaceChildren("live, ", ...asOf);
    main.innerHTML = content;
    localise();

    // What had the focus, else the table it was in, else all: a place is never lost, nor scrolled to.
    let focus = active && (main.querySelector(`.wide[aria-labelledby="${region}"]`) ?? main);
    for (const details of main.querySelectorAll("details")) {
        details.open = open.has(about(details));
        if (summary && about(details) === summary) focus = details.querySelector("summary");
    }
    focus?.focus({ preventScroll: true });
};

const follow = () => {
    source?.close();
    heard = Date.now();
    source = new EventSource("events");
    source.addEventListener("view", show);
    source.addEventListener("error", lost);
};

follow();

// A source that was refused gives up, and one whose way is dead does not notice.
setInterval(() => {
    const silent = Date.now() - heard > SILENCE;
    if (silent) lost();
    if (silent || source.readyState === EventSource.CLOSED) follow();
}, LOOK_EVERY);
