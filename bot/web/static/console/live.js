// Rows of the list as they change: put in their place, or behind a pill while the reader is further down.

import {tellTimes} from "./times.js";

const rows = document.getElementById("rows");
const pill = document.getElementById("newer");
const line = document.getElementById("line");
const MOST_ROWS = 200;
let waiting = new Map();
const beyond = new Set();
const title = document.title;

export function startLive(onChange) {
    const source = document.getElementById("live");
    source.addEventListener("rows", (event) => {
        const news = JSON.parse(event.detail.data);
        tellCounts(news.counts);
        if (rows.hasAttribute("data-live")) {
            news.gone.forEach(remove);
            news.more.forEach((id) => beyond.add(id));
            news.rows.forEach(place);
            showPill();
        }
        onChange(new Set([...news.gone, ...news.more, ...news.rows.map((row) => row.id)]));
    });
    source.addEventListener("reload", () => location.reload());
    for (const [name, state] of [["after:connection", "online"], ["error", "offline"], ["close", "offline"]]) {
        source.addEventListener(`htmx:sse:${name}`, () => show(state));
    }
    pill.addEventListener("click", () => {
        if (beyond.size) {  // more at once than was told: the list anew
            location.reload();
            return;
        }
        rows.parentElement.scrollTop = 0;
        rows.scrollTop = 0;
        flush();
    });
    rows.addEventListener("scroll", () => rows.scrollTop < 20 && flush());
    show("offline");
    tellTitle(document.querySelector("[data-chip=waiting] .count")?.textContent);
}

// Who works in another window sees in the tab that somebody waits.
function tellTitle(waiting) {
    document.title = waiting && waiting !== "0" ? `(${waiting}) ${title}` : title;
}

function show(state) {
    line.dataset.state = state;
    line.textContent = state === "online" ? line.dataset.online : line.dataset.offline;
}

function place(news) {
    beyond.delete(news.id);
    const known = document.getElementById(`row-${news.id}`);
    const isOpen = known?.classList.contains("open");
    const isFocused = known?.contains(document.activeElement);
    if ("longestFirst" in rows.dataset) return placeLast(news, known, isOpen);
    if (!known && rows.scrollTop > 20) {
        waiting.set(news.id, news);
        return;
    }
    if (known && rows.scrollTop > 20) {  // nothing moves under the reader's eyes
        known.replaceWith(made(news, isOpen));
    } else {
        known?.remove();
        rows.prepend(made(news, isOpen));
    }
    if (isFocused) document.getElementById(`row-${news.id}`).querySelector("a").focus({preventScroll: true});
    rows.querySelector(".none")?.remove();
    for (const extra of [...rows.querySelectorAll(".row")].slice(MOST_ROWS)) extra.remove();
}

// Who waits keeps their place; who is new comes last, on this page or one that "Older" brings.
function placeLast(news, known, isOpen) {
    rows.querySelector(".none")?.remove();
    if (known) known.replaceWith(made(news, isOpen));
    else if (!rows.querySelector(".more")) rows.append(made(news, isOpen));
}

function made(news, isOpen) {
    const holder = document.createElement("template");
    holder.innerHTML = news.html.trim();
    const row = holder.content.querySelector("li");
    row.classList.toggle("open", Boolean(isOpen));
    tellTimes(holder.content);
    queueMicrotask(() => htmx.process(row));
    return row;
}

function remove(id) {
    waiting.delete(id);
    const known = document.getElementById(`row-${id}`);
    // What is open stays, and tells no more of what it was listed for.
    if (known?.classList.contains("open")) known.classList.add("left");
    else known?.remove();
}

function flush() {
    const news = [...waiting.values()];
    waiting = new Map();
    news.forEach(place);
    showPill();
}

function showPill() {
    const count = waiting.size + beyond.size;
    pill.hidden = count === 0;
    pill.textContent = count === 1 ? pill.dataset.one : pill.dataset.many.replace("{n}", count);
}

function tellCounts(counts) {
    for (const [chip, count] of Object.entries(counts)) {
        const shown = document.querySelector(`[data-chip="${chip}"] .count`);
        if (!shown) continue;
        shown.textContent = count > 99 ? "99+" : count;
        shown.hidden = !count;
        if (chip === "waiting") tellTitle(shown.textContent);
    }
}
