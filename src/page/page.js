// Keeps the page live: the server sends the inside of `main` whenever it changes. What a person has opened stays open, and
// what has the focus keeps it.
"use strict";

const main = document.getElementById("main");
const live = document.getElementById("live");
const said = document.getElementById("said");
const source = new EventSource("events");

// What the row is about that an element is in.
const about = (element) => element.closest("[data-about]").dataset.about;

source.addEventListener("view", (event) => {
    const { title, at, content } = JSON.parse(event.data);
    const open = new Set(Array.from(main.querySelectorAll("details[open]"), about));
    const active = main.contains(document.activeElement) ? document.activeElement : null;
    const region = active?.matches(".wide") && active.getAttribute("aria-labelledby");
    const summary = active?.matches("summary") && about(active);

    if (document.title !== title) said.textContent = title;
    document.title = title;
    live.textContent = `live, as of ${at}`;
    main.innerHTML = content;

    for (const details of main.querySelectorAll("details")) {
        details.open = open.has(about(details));
        if (summary && about(details) === summary) details.querySelector("summary").focus();
    }
    if (region) main.querySelector(`.wide[aria-labelledby="${region}"]`)?.focus();
});

source.addEventListener("error", () => {
    live.textContent = "not live: locksmith does not answer";
});
