// Text with formatting spans, as DOM nodes. Markup in the text stays text: nothing is ever parsed as HTML.
// Offsets count UTF-16 code units, which is how JavaScript counts too.

const TAGS = {
  bold: "strong",
  italic: "em",
  underline: "u",
  strikethrough: "s",
  code: "code",
  pre: "pre",
  blockquote: "blockquote",
  expandable_blockquote: "blockquote",
};
const BLOCKS = new Set(["pre", "blockquote", "expandable_blockquote"]);
const SAFE = new Set(["http:", "https:", "mailto:", "tel:"]);
const BARE_LINK = /https?:\/\/[^\s<>"\u2018-\u201d\u3001-\u3011\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f]+/g; // up to Chinese punctuation

/** Append `text` with its `entities` to `parent`; an entity may bring its own `element()`. */
export function appendRich(parent, text, entities) {
  const spans = entities
    .filter((span) => span.length > 0 && span.offset >= 0)
    .sort((a, b) => a.offset - b.offset || b.length - a.length);
  fill(parent, text, 0, text.length, spans);
}

function fill(parent, text, start, end, spans) {
  let at = start;
  const waiting = [...spans];
  while (waiting.length) {
    const span = waiting.shift();
    const from = Math.max(span.offset, at);
    const to = Math.min(span.offset + span.length, end);
    if (to <= from) continue;
    appendPlain(parent, text.slice(at, from));
    const node = elementFor(span, text.slice(from, to));
    const inside = [];
    while (waiting.length && waiting[0].offset < to) {
      const inner = waiting.shift();
      inside.push(inner);
      // One that reaches beyond goes on after this one.
      const rest = inner.offset + inner.length - to;
      if (rest > 0) waiting.splice(waiting.findIndex((other) => other.offset > to) >>> 0, 0, { ...inner, offset: to, length: rest });
    }
    fill(node, text, from, to, inside);
    parent.append(node);
    at = to;
    if (BLOCKS.has(span.type) && text[at] === "\n") at += 1;
  }
  appendPlain(parent, text.slice(at, end));
}

function elementFor(span, inner) {
  if (span.element) return span.element();
  if (span.type === "text_link") return link(span.url);
  if (span.type === "url") return link(/^https?:/i.test(inner) ? inner : `https://${inner}`);
  if (span.type === "email") return link(`mailto:${inner}`);
  if (span.type === "phone_number") return link(`tel:${inner.replace(/[^\d+]/g, "")}`);
  return document.createElement(TAGS[span.type] ?? "span");
}

function link(address) {
  let url = null;
  try {
    url = new URL(address);
  } catch {
    // Not an address: its words stay words.
  }
  if (!url || !SAFE.has(url.protocol)) return document.createElement("span");
  const anchor = document.createElement("a");
  anchor.href = url.href;
  anchor.target = "_blank";
  anchor.rel = "noopener noreferrer nofollow";
  return anchor;
}

function appendPlain(parent, text) {
  if (parent.closest?.("a, code, pre") || parent.localName === "a") {
    parent.append(text);
    return;
  }
  let at = 0;
  for (const match of text.matchAll(BARE_LINK)) {
    const address = match[0].replace(/[.,;:!?)\]}'*_]+$/, "");
    const anchor = link(address);
    anchor.append(address);
    parent.append(text.slice(at, match.index), anchor);
    at = match.index + address.length;
  }
  if (at < text.length) parent.append(text.slice(at));
}
