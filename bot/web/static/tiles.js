// Photos in the transcript: their tiles, and the small copies beside the words that name them.

import { word } from "./words.js";

/** Photos as the server has them once it has looked at all of them, until then as they were picked. */
export function photoTiles(lines, message) {
  const settled = lines.flatMap((line) => [...line.photos, ...line.rejections]);
  const picked = message?.photos ?? [];
  if (picked.length > settled.length) return picked.map((photo, index) => tile(photo.url, index + 1));
  if (settled.length && picked.length) {
    // The server's copies take over; let the browser drop its own when they are on the screen.
    setTimeout(() => picked.splice(0).forEach((photo) => URL.revokeObjectURL(photo.url)), 5000);
  }
  if (!settled.length && lines.length && lines.every((line) => !line.text)) return [waitingTile()];
  return settled.map((item, index) => (item.sha256 ? photoTile(item, index + 1) : refusedTile(item, index + 1)));
}

function photoTile(photo, index) {
  const number = photo.number || index;
  const link = tile(`/chat/photos/${photo.sha256}.jpg`, number);
  const image = link.querySelector("img");
  image.width = photo.width;
  image.height = photo.height;
  if (photo.number) {
    const badge = document.createElement("b");
    badge.ariaHidden = "true";
    badge.textContent = photo.number;
    link.append(badge);
  }
  return link;
}

function tile(address, number) {
  const link = document.createElement("a");
  link.className = "photo";
  link.href = address;
  link.setAttribute("aria-label", word("open_photo", { n: number }));
  const image = document.createElement("img");
  image.src = address;
  image.alt = word("photo", { n: number });
  image.addEventListener("error", () => link.classList.add("blind"), { once: true });
  link.append(image);
  return link;
}

/** A small copy of the photo before the words that name it. */
export function citeOf(photo) {
  const address = `/chat/photos/${photo.sha256}.jpg`;
  const link = document.createElement("a");
  link.className = "cite";
  link.href = address;
  link.title = word("open_photo", { n: photo.number });
  const image = document.createElement("img");
  image.src = address;
  image.alt = "";
  link.append(image);
  return link;
}

function refusedTile(rejection, number) {
  const box = document.createElement("p");
  box.className = "photo refused";
  box.textContent = word(rejection.clip ? "video_refused" : "photo_refused", { n: number });
  return box;
}

function waitingTile() {
  const box = document.createElement("p");
  box.className = "photo waiting";
  return box;
}
