// The conversation on the screen: what the server told, and below it what is still on its way.
// A message has one row from the moment it is sent; what the server tells later fills the same row.

import { appendRich } from "./richtext.js";
import { citeOf, photoTiles } from "./tiles.js";
import { votes } from "./votes.js";
import { locale, refusal, word } from "./words.js";

// Between the end of writing and the answer itself there is a moment, in which nothing should blink.
const UNSEEN_AFTER_MS = 600;

export class Transcript {
  constructor(list, { retry, open, human }) {
    this.list = list;
    this.retry = retry;
    this.human = human;
    this.open = open;
    this.rows = new Map();
    this.seen = null;
    list.addEventListener("click", (event) => {
      const link = event.target.closest("a.photo, a.cite");
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      const photos = [...list.querySelectorAll("a.photo")];
      const wanted = link.matches(".photo") ? link : photos.findLast((photo) => photo.href === link.href);
      open(wanted ?? link, wanted ? photos : [link]);
    });
  }

  get empty() {
    return this.rows.size === 0;
  }

  /** Lines of the conversation, new ones and ones that changed. */
  tell(lines) {
    for (const line of lines) {
      // The pictures of one message are lines of their own, `web:<id>:2` and so on.
      const key = line.source ? line.source.split(":", 2).join(":") : `line:${line.id}`;
      const row = this.row(key, line.who);
      if (line.who !== "customer" && this.seen) {
        row.settles = true;
        clearTimeout(this.unseeing);
        this.seen = null;
      }
      row.lines.set(line.id, line);
    }
    this.draw();
  }

  /** What is approved of an answer that is still being written, until the answer itself is here. */
  preview(parts, after) {
    clearTimeout(this.unseeing);
    if (!parts.length) {
      if (this.seen) this.unseeing = setTimeout(after, UNSEEN_AFTER_MS);
      return;
    }
    this.seen ??= seenRow();
    const text = this.seen.querySelector(".text");
    text.replaceChildren();
    parts.forEach((part) => appendRich(text, part.text, part.entities));
    this.draw();
  }

  /** Take it away: the answer is here, or there will be none. */
  unsee() {
    clearTimeout(this.unseeing);
    this.seen = null;
    this.draw();
  }

  /** A message that is on its way, has been sent, or could not be. */
  send(message) {
    this.row(message.source, "customer").message = message;
    this.draw();
  }

  row(key, who) {
    let row = this.rows.get(key);
    if (!row) {
      row = { key, who, lines: new Map(), message: null, element: document.createElement("li"), drawn: "" };
      this.rows.set(key, row);
    }
    return row;
  }

  /** Draw what changed and leave the rest: nothing flickers, nothing is read out twice. */
  draw() {
    let day = "";
    let before = null;
    const wanted = [];
    for (const row of [...this.rows.values()].sort(byTime)) {
      const at = new Date(1000 * ([...row.lines.values()][0]?.at ?? row.message.at));
      const today = at.toDateString();
      if (today !== day) wanted.push(this.day(at));
      day = today;
      this.drawRow(row, at);
      row.element.classList.toggle("follows", before === row.who);
      before = isReset(row) ? null : row.who;
      wanted.push(row.element);
    }
    if (this.seen) wanted.push(this.seen);
    wanted.forEach((element, index) => {
      if (this.list.children[index] !== element) this.list.insertBefore(element, this.list.children[index] ?? null);
    });
    while (this.list.children.length > wanted.length) this.list.lastChild.remove();
  }

  redraw() {
    for (const row of this.rows.values()) row.drawn = "";
    this.days?.clear();
    this.draw();
  }

  day(at) {
    this.days ??= new Map();
    const name = dayName(at);
    const known = this.days.get(at.toDateString());
    if (known?.textContent === name) return known;
    const element = document.createElement("li");
    element.className = "mark";
    element.textContent = name;
    this.days.set(at.toDateString(), element);
    return element;
  }

  drawRow(row, at) {
    const lines = [...row.lines.values()].sort((a, b) => a.id - b.id);
    const { message } = row;
    const state = lines.length ? "" : message.state;
    const drawn = JSON.stringify([lines, state, message?.error]);
    if (drawn !== row.drawn) {
      row.drawn = drawn;
      row.element.className = `row ${row.who} ${state}${row.settles ? " settles" : ""}`;
      if (isReset(row)) {
        row.element.className = "mark";
        row.element.textContent = word("began");
      } else {
        row.element.replaceChildren(...this.pieces(row, lines, at));
      }
    }
    if (state === "sending") row.element.querySelector(".note").textContent = progressOf(message);
  }

  pieces(row, lines, at) {
    const { message } = row;
    const bubble = document.createElement("div");
    bubble.className = "bubble";
    const speaker = document.createElement("span");
    speaker.className = row.who === "staff" ? "speaker" : "speaker unseen";
    speaker.textContent = word(row.who === "customer" ? "you" : row.who);
    bubble.append(speaker);

    if (lines.some((line) => line.preliminary)) {
      const label = document.createElement("span");
      label.className = "preliminary";
      label.title = word("preliminary_more");
      label.textContent = word("preliminary");
      bubble.append(label);
    }
    const photos = photoTiles(lines, message);
    if (photos.length) {
      const grid = document.createElement("div");
      grid.className = `photos of-${Math.min(photos.length, 3)}`;
      grid.append(...photos);
      bubble.append(grid);
    }
    const told = lines.filter((line) => line.text);
    const text = document.createElement("div");
    text.className = "text";
    const cites = (line) => line.cites.flatMap((cite) => this.cite(cite, firstId(row)));
    if (lines.length) told.forEach((line) => appendRich(text, line.text, [...line.entities, ...cites(line)]));
    else appendRich(text, message.text, []);
    if (text.childNodes.length) bubble.append(text);

    const foot = document.createElement("p");
    foot.className = "foot";
    const time = document.createElement("time");
    time.dateTime = at.toISOString();
    time.textContent = at.toLocaleTimeString(locale(), { hour: "2-digit", minute: "2-digit" });
    foot.append(time);
    if (!lines.length) foot.append(...this.state(message));
    const ask = lines.at(-1)?.ask;
    return ask ? [bubble, foot, votes(ask, { human: this.human })] : [bubble, foot];
  }

  /** The span of a reply that names a photo, leading to it; nothing where there is no such photo. */
  cite({ offset, length, number }, before) {
    let photo = null;
    for (const row of [...this.rows.values()].sort(byTime)) {
      if (firstId(row) >= before) break;
      if (isReset(row)) photo = null; // its numbers begin anew
      for (const line of row.lines.values()) photo = line.photos.find((one) => one.number === number) ?? photo;
    }
    return photo ? [{ offset, length, element: () => citeOf(photo) }] : [];
  }

  /** How a message that the transcript does not show yet is getting on. */
  state(message) {
    const note = document.createElement("span");
    note.className = "note";
    note.ariaLive = "off";
    if (message.state === "sent") note.textContent = word("sent");
    if (message.state !== "failed") return [note];
    note.textContent = `${word("not_sent")} ${refusal(message.error)}`;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "retry";
    button.textContent = word("retry");
    button.addEventListener("click", () => this.retry(message));
    return [note, button];
  }
}

// Read out is the answer itself, once.
function seenRow() {
  const element = document.createElement("li");
  element.className = "row bot seen";
  element.ariaHidden = "true";
  const bubble = document.createElement("div");
  bubble.className = "bubble";
  const text = document.createElement("div");
  text.className = "text";
  bubble.append(text);
  element.append(bubble);
  return element;
}

// Rows that the server does not know yet come last, in the order in which they were sent.
function byTime(one, other) {
  return firstId(one) - firstId(other) || 0;
}

function firstId(row) {
  return row.lines.size ? Math.min(...row.lines.keys()) : Number.MAX_SAFE_INTEGER;
}

function isReset(row) {
  const [line] = row.lines.values();
  return row.who === "customer" && /^\/reset\b/.test(line?.text ?? "");
}

function progressOf(message) {
  const percent = Math.floor(message.progress * 100);
  return message.photos.length && percent > 0 && percent < 100
    ? word("sending_percent", { n: percent })
    : word("sending");
}

function dayName(at) {
  const today = new Date();
  const yesterday = new Date(today.getFullYear(), today.getMonth(), today.getDate() - 1);
  if (at.toDateString() === today.toDateString()) return word("today");
  if (at.toDateString() === yesterday.toDateString()) return word("yesterday");
  return at.toLocaleDateString(locale(), { day: "numeric", month: "long", year: "numeric" });
}
