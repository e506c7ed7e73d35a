// The console's page: what is pressed, what is open, what was told.  htmx fetches the pieces.

import {startDrafts} from "./drafts.js";
import {startKeys} from "./keys.js";
import {startLeaving} from "./leaving.js";
import {startLightbox} from "./lightbox.js";
import {startLive} from "./live.js";
import {startPhotos} from "./photos.js";
import {startTheme} from "./theme.js";
import {tellTimes} from "./times.js";

const csrf = document.querySelector("meta[name=csrf]").content;
const conversation = document.getElementById("conversation");
const details = document.getElementById("details");
const notices = document.getElementById("notices");
const NOTICE_MS = 6000;

// A double click is one click: the second would hit whatever has taken the button's place.
document.addEventListener("click", (event) => {
    if (event.detail < 2 || !event.target.closest("button") || event.target.closest("dialog")) return;
    event.preventDefault();
    event.stopImmediatePropagation();
}, true);

document.addEventListener("htmx:config:request", (event) => {
    const {ctx} = event.detail;
    ctx.request.headers["X-CSRF-Token"] = csrf;
    const row = ctx.sourceElement.closest?.(".row");
    if (row?.classList.contains("hit")) ctx.push = ctx.sourceElement.pathname + ctx.sourceElement.search + ctx.sourceElement.hash;
    else if (row) ctx.push = ctx.sourceElement.pathname + listSearch();
});

// The list as it is filtered, without the place in the conversation that was open.
function listSearch() {
    const asked = new URLSearchParams(location.search);
    asked.delete("turn");
    return asked.size ? `?${asked}` : "";
}

document.addEventListener("htmx:after:request", (event) => {
    const status = event.detail.ctx.response?.raw?.status ?? event.detail.ctx.response?.status;
    if (status >= 500) tell(notices.dataset.failed);
});
document.addEventListener("htmx:error", () => tell(notices.dataset.lost));

function tell(words) {
    const notice = document.createElement("p");
    notice.className = "notice bad";
    notice.role = "alert";
    notice.textContent = words;
    notices.append(notice);
}

document.addEventListener("htmx:after:swap", () => {
    tellTimes();
    mark();
});

// Every case counts its photos from one: what is meant is the newest of that number before these words.
function cited(cite) {
    const photos = [...document.querySelectorAll(`#thread [data-photo="${cite.dataset.cite}"]`)];
    return photos.filter((photo) => photo.compareDocumentPosition(cite) & Node.DOCUMENT_POSITION_FOLLOWING).at(-1) ?? photos[0];
}

function openChat() {
    return conversation.querySelector(".pane")?.dataset.chat;
}

let shown = openChat();
function mark() {
    const chat = openChat();
    document.body.classList.toggle("has-chat", Boolean(chat));
    for (const row of document.querySelectorAll("#rows .row")) row.classList.toggle("open", row.dataset.chat === chat);
    for (const row of document.querySelectorAll("#rows .row.left:not(.open)")) row.remove();
    if (chat !== shown) {
        shown = chat;
        document.body.classList.remove("has-details");
        toEnd();
        stayAtEnd();
    }
}

// Below the conversation, photos and objections make room for themselves: who reads its end stays there.
let isAtEnd = true;
const resized = new ResizeObserver(([{target}]) => {
    if (isAtEnd) target.scrollTop = target.scrollHeight;
});
conversation.addEventListener("scroll", ({target}) => {
    if (target.id === "scroll") isAtEnd = below(target) < 80;
}, true);

function stayAtEnd() {
    const scroll = document.getElementById("scroll");
    resized.disconnect();
    if (!scroll) return;
    isAtEnd = below(scroll) < 80;
    resized.observe(scroll);
}

/** Pixels below what is seen. */
function below(scroll) {
    return scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight;
}

function toEnd() {
    const scroll = document.getElementById("scroll");
    if (!scroll) return;
    const turn = location.hash && document.getElementById(location.hash.slice(1));
    if (turn) turn.scrollIntoView({block: "center"});
    else scroll.scrollTop = scroll.scrollHeight;
    // Photos have their size only once they are here.
    for (const image of scroll.querySelectorAll("img")) {
        if (!turn && !image.complete) image.addEventListener("load", () => { scroll.scrollTop = scroll.scrollHeight; }, {once: true});
    }
}

function refresh(changed) {
    if (!changed.has(openChat())) return;
    const scroll = document.getElementById("scroll");
    const wasAtEnd = below(scroll) < 80;
    const end = document.querySelector("#thread [data-end]");  // none while an old place is open
    if (wasAtEnd) end?.addEventListener("htmx:after:settle", toEnd, {once: true});
    if (end) htmx.trigger(end, "refresh");
    htmx.trigger(document.getElementById("head"), "refresh");
}

new MutationObserver((changes) => {
    for (const {addedNodes} of changes) {
        for (const notice of addedNodes) if (notice.remove) setTimeout(() => notice.remove(), NOTICE_MS);
    }
}).observe(notices, {childList: true});

document.addEventListener("click", (event) => {
    if (event.target.closest(".why")) document.body.classList.add("has-details");
    if (event.target.closest("[data-close-details]")) document.body.classList.remove("has-details");
    const cite = event.target.closest("[data-cite]");
    if (cite) {
        event.preventDefault();
        const photo = cited(cite);
        photo?.scrollIntoView({block: "center"});
        photo?.focus();
    }
    const chip = event.target.closest(".list .chip");
    if (chip && openChat()) chip.href = location.pathname + chip.search;  // what is open stays open
});
for (const [kind, on] of [["mouseover", true], ["mouseout", false]]) {
    document.addEventListener(kind, (event) => {
        const cite = event.target.closest?.("[data-cite]");
        if (cite) cited(cite)?.classList.toggle("cited", on);
    });
}

startKeys({press: (what) => [...document.querySelectorAll(`[data-press="${what}"]`)].at(-1)?.click()});
startLightbox();
startDrafts();
startPhotos({tell, who: document.querySelector(".me summary").textContent});
startTheme();
startLeaving();
startLive(refresh);
tellTimes();
mark();
toEnd();
stayAtEnd();
