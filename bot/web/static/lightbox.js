// A photo in full size, with the others of the conversation one key away.

import { word } from "./words.js";

export class Lightbox {
  constructor(dialog) {
    this.dialog = dialog;
    this.image = dialog.querySelector("img");
    this.caption = dialog.querySelector(".caption");
    this.links = [];
    this.at = 0;
    dialog.querySelector(".previous").addEventListener("click", () => this.go(-1));
    dialog.querySelector(".next").addEventListener("click", () => this.go(1));
    dialog.querySelector(".close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") this.go(-1);
      if (event.key === "ArrowRight") this.go(1);
    });
    dialog.addEventListener("close", () => this.image.removeAttribute("src"));
  }

  /** Open the photo behind `link`; `links` are all that can be looked at. */
  open(link, links) {
    this.links = links;
    this.at = links.indexOf(link);
    this.show();
    this.dialog.showModal();
  }

  go(step) {
    this.at = (this.at + step + this.links.length) % this.links.length;
    this.show();
  }

  show() {
    const link = this.links[this.at];
    this.image.src = link.href;
    this.image.alt = link.querySelector("img").alt;
    this.caption.textContent = this.links.length > 1 ? `${this.at + 1} / ${this.links.length}` : "";
    this.dialog.setAttribute("aria-label", word("photo", { n: this.at + 1 }));
    this.dialog.classList.toggle("single", this.links.length < 2);
  }
}
