// Messages on their way to the server, one after the other, so that they arrive in the order written.
// Each has an id of its own: sent again after a broken connection, it is still one message.

import { keep, kept, withBlobs } from "./kept.js";
import { language } from "./words.js";

const TIMEOUT_S = 600;

export class Outbox {
  constructor(changed) {
    this.changed = changed;
    this.queue = [];
    this.sent = new Set();
    this.busy = false;
  }

  /** Send `text` and `photos` (`{blob: Promise<Blob>, name, url}`); returns the message, whose `state` changes. */
  send(text, photos) {
    const id = randomId();
    const at = Date.now() / 1000;
    withBlobs(photos).then((blobs) => this.sent.has(id) || keep(`message:${id}`, { id, text, at, photos: blobs }));
    return this.again({ id, source: `web:${id}`, text, photos, at, state: "failed" });
  }

  /** Send what was on its way, or could not be sent, when the page was left. */
  async restore() {
    for (const [, { id, text, at, photos }] of await kept("message:")) {
      const shown = photos.map(({ name, blob }) => ({ name, blob, url: URL.createObjectURL(blob) }));
      this.again({ id, source: `web:${id}`, text, photos: shown, at, state: "failed" });
    }
  }

  /** Try once more. */
  again(message) {
    if (message.state !== "failed") return message;
    Object.assign(message, { state: "sending", progress: 0, error: "" });
    this.queue.push(message);
    this.changed(message);
    this.run();
    return message;
  }

  async run() {
    if (this.busy) return;
    this.busy = true;
    while (this.queue.length) {
      const message = this.queue.shift();
      try {
        await this.post(message);
        message.state = "sent";
        this.sent.add(message.id);
        keep(`message:${message.id}`, null);
      } catch (refused) {
        Object.assign(message, { state: "failed", error: refused.message });
      }
      this.changed(message);
    }
    this.busy = false;
  }

  async post(message) {
    const form = new FormData();
    form.append("id", message.id);
    form.append("text", message.text);
    form.append("language", language());
    for (const photo of message.photos) form.append("photo", await photo.blob, "photo");
    await upload(form, (progress) => {
      message.progress = progress;
      this.changed(message);
    });
  }
}

// fetch() does not tell how far an upload is.
function upload(form, progressed) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/chat/messages");
    request.timeout = TIMEOUT_S * 1000;
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) progressed(event.loaded / event.total);
    });
    request.addEventListener("load", () => {
      if (request.status < 300) resolve();
      else reject(new Error(errorIn(request)));
    });
    for (const kind of ["error", "timeout", "abort"]) {
      request.addEventListener(kind, () => reject(new Error("offline")));
    }
    request.send(form);
  });
}

function errorIn(request) {
  try {
    return JSON.parse(request.responseText).error;
  } catch {
    return request.status === 413 ? "too_much" : "failed";
  }
}

// crypto.randomUUID() exists on https and localhost only; the page may be opened by address in a home network.
function randomId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
