// The chat page: composer -> outbox -> server -> feed -> transcript.

import { Composer } from "./composer.js";
import { Feed } from "./feed.js";
import { Lightbox } from "./lightbox.js";
import { Outbox } from "./outbox.js";
import { Transcript } from "./transcript.js";
import { refusal, switchLanguage, word } from "./words.js";

const $ = (id) => document.getElementById(id);
const scroll = $("scroll");
let following = true; // the end of the conversation, wherever it moves
let lastTop = 0;
const unsent = new Set();

const lightbox = new Lightbox($("lightbox"));
const transcript = new Transcript($("log"), {
  retry: (message) => outbox.again(message),
  open: (link, links) => lightbox.open(link, links),
  human: () => command("human"),
});
const outbox = new Outbox((message) => {
  if (message.state === "failed") unsent.add(message);
  else unsent.delete(message);
  keepPlace(() => transcript.send(message), { down: message.state === "sending" && !message.progress });
});
const composer = new Composer($("composer"), (text, photos) => outbox.send(text, photos));
const feed = new Feed({
  entries: (lines) => keepPlace(() => transcript.tell(lines)),
  typing: (typing) => keepPlace(() => ($("typing").hidden = !typing)),
  preview: (parts) => keepPlace(() => transcript.preview(parts, () => keepPlace(() => transcript.unsee()))),
  state: showState,
});

/** Change the conversation; who reads its end stays at its end, who reads further up is told. */
function keepPlace(change, { down = false } = {}) {
  const rows = $("log").children.length;
  look();
  following ||= down || left() < 120;
  change();
  $("hello").hidden = !transcript.empty || $("state").dataset.state !== "online";
  if (following && !transcript.empty) scroll.scrollTop = scroll.scrollHeight;
  else if ($("log").children.length > rows) $("below").hidden = false;
}

/** See whether the reader is at the end: only going up leaves it, photos that take their place move it away. */
function look() {
  const atEnd = left() < 40;
  if (atEnd) $("below").hidden = true;
  if (atEnd || scroll.scrollTop < lastTop) following = atEnd;
  lastTop = scroll.scrollTop;
}

/** Pixels below what is seen. */
function left() {
  return scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight;
}

function showState(state) {
  const before = $("state").dataset.state;
  if (state === before) return;
  $("state").dataset.state = state;
  const words = $("state").firstElementChild;
  words.dataset.word = state;
  words.textContent = word(state);
  if (state === "online") for (const message of [...unsent]) if (message.error === "offline") outbox.again(message);
}

scroll.addEventListener("scroll", look);
$("below").addEventListener("click", () => scroll.scrollTo({ top: scroll.scrollHeight }));
const resized = new ResizeObserver(() => keepPlace(() => {}));
resized.observe(scroll);
resized.observe($("log"));

$("switch").addEventListener("click", () => {
  switchLanguage();
  transcript.redraw();
  composer.show();
});

$("reset").addEventListener("click", () => $("ask").showModal());
$("ask").addEventListener("close", async () => {
  if ($("ask").returnValue !== "yes") return;
  $("ask").returnValue = "";
  await command("reset");
  composer.text.focus();
});

async function command(name) {
  composer.complain("");
  scroll.scrollTop = scroll.scrollHeight;
  try {
    const answer = await fetch(`/chat/${name}`, { method: "POST" });
    if (!answer.ok) composer.complain(refusal((await answer.json()).error));
  } catch {
    composer.complain(refusal("offline"));
  }
}

let dragging = 0;
const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragenter", (event) => {
  if (!carriesFiles(event)) return;
  dragging += 1;
  $("drop").hidden = false;
});
addEventListener("dragleave", (event) => {
  if (!carriesFiles(event)) return;
  dragging -= 1;
  $("drop").hidden = dragging > 0 ? false : true;
});
addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
addEventListener("drop", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  dragging = 0;
  $("drop").hidden = true;
  composer.add(event.dataTransfer.files);
  composer.text.focus();
});

feed.open();
outbox.restore();
composer.restore();
if (matchMedia("(pointer: fine)").matches) composer.text.focus();
