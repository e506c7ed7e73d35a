// Where a message is written: the words, the photos (picked, dropped or pasted) and their previews.

import { keep, kept, withBlobs } from "./kept.js";
import { limits, refusal, word } from "./words.js";

const LONG_SIDE = 2048;
const SHRINK_OVER = 2_000_000;
const KNOWN_NAMES = /\.(jpe?g|png|webp|gif|bmp|tiff?|hei[cf]|avif|mp4|m4v|mov|webm|mkv|3gp)$/i;

export class Composer {
  constructor(form, send) {
    this.form = form;
    this.send = send;
    this.keeping = Promise.resolve();
    this.text = form.querySelector("#text");
    this.picker = form.querySelector("#photos");
    this.previews = form.querySelector("#previews");
    this.complaint = form.querySelector("#complaint");
    this.photos = [];

    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.text.addEventListener("keydown", (event) => this.key(event));
    this.text.addEventListener("input", () => {
      this.typed();
      this.keep();
    });
    this.text.addEventListener("paste", (event) => {
      if (this.add(event.clipboardData.files)) event.preventDefault();
    });
    this.picker.addEventListener("change", () => {
      this.add(this.picker.files);
      this.picker.value = "";
      this.text.focus();
    });
    this.typed();
  }

  /** Take pictures along; returns how many there were to look at. */
  add(files) {
    const refused = [];
    for (const file of files) {
      if (this.photos.length >= limits.photos) {
        refused.push(refusal("too_many_photos", { n: limits.photos }));
        break;
      }
      if (!/^(image|video)\//.test(file.type) && !KNOWN_NAMES.test(file.name)) {
        refused.push(refusal("not_a_photo", { name: file.name }));
      } else if (file.size > limits.photo_bytes) {
        refused.push(refusal("photo_too_large", { name: file.name, n: limits.photo_bytes >> 20 }));
      } else {
        this.photos.push({ name: file.name, url: URL.createObjectURL(file), blob: shrunk(file) });
      }
    }
    if (files.length) this.complain(refused.join(" "));
    this.show();
    this.keep();
    return files.length;
  }

  /** Bring back what was not sent when the page was left, below what is here already. */
  async restore() {
    for (const [, { text, photos }] of await kept("draft")) {
      if (!this.text.value) this.text.value = text;
      this.photos.unshift(...photos.map(({ name, blob }) => ({ name, url: URL.createObjectURL(blob), blob })));
    }
    this.show();
  }

  /** Keep what is here, one state after the other. */
  keep() {
    const text = this.text.value;
    const photos = [...this.photos];
    this.keeping = this.keeping.then(async () => {
      if (!text && !photos.length) return keep("draft", null);
      return keep("draft", { text, photos: await withBlobs(photos) });
    });
  }

  complain(words) {
    this.complaint.textContent = words;
    this.complaint.hidden = !words;
  }

  submit() {
    const text = this.text.value.trim();
    if (!text && !this.photos.length) {
      this.text.focus();
      return;
    }
    if (this.isTooLong()) return; // the complaint is there already
    this.send(text, this.photos);
    this.photos = [];
    this.text.value = "";
    this.complain("");
    this.show();
    this.keep();
    this.text.focus();
  }

  // Enter that ends a Chinese syllable is the input method's, not ours; some browsers tell by code 229 only.
  key(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    // On a phone there is no Shift+Enter: Enter is a new line there, and the button sends.
    if (matchMedia("(pointer: coarse)").matches && !event.ctrlKey) return;
    event.preventDefault();
    this.submit();
  }

  typed() {
    this.text.style.height = "auto";
    this.text.style.height = `${this.text.scrollHeight}px`;
    if (this.isTooLong()) this.complain(refusal("text_too_long", { n: limits.text }));
    else if (this.text.value) this.complain("");
    this.form.classList.toggle("ready", Boolean(this.text.value.trim() || this.photos.length));
  }

  // A browser would cut a long text that is pasted, without a word. Characters are counted as the server does.
  isTooLong() {
    return [...this.text.value.trim()].length > limits.text;
  }

  /** Show the photos that will be sent. */
  show() {
    this.previews.hidden = !this.photos.length;
    this.previews.replaceChildren(...this.photos.map((photo, index) => this.preview(photo, index + 1)));
    this.typed();
  }

  preview(photo, number) {
    const item = document.createElement("li");
    const image = document.createElement("img");
    image.alt = word("photo", { n: number });
    image.src = photo.url;
    item.dataset.name = photo.name; // what a picture that no browser shows, or a video, is told by
    image.addEventListener("error", () => item.classList.add("blind"), { once: true });
    const remove = document.createElement("button");
    remove.type = "button";
    remove.textContent = "×";
    remove.setAttribute("aria-label", word("remove", { n: number }));
    remove.addEventListener("click", () => {
      URL.revokeObjectURL(photo.url);
      this.photos = this.photos.filter((other) => other !== photo);
      this.show();
      this.keep();
      this.text.focus();
    });
    item.append(image, remove);
    return item;
  }
}

// A phone's twelve megapixels say no more about a fault than three do, and take half a minute on a slow line.
// It also leaves the place where the photo was taken behind. What cannot be opened here goes as it is.
async function shrunk(file) {
  if (file.size < SHRINK_OVER) return file;
  try {
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, LONG_SIDE / Math.max(bitmap.width, bitmap.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(bitmap.width * scale);
    canvas.height = Math.round(bitmap.height * scale);
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    const small = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.9));
    return small && small.size < file.size ? small : file;
  } catch {
    return file;
  }
}
