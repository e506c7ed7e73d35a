// What the server tells: the lines of the conversation, the typing sign and the beginning of an answer that is
// being written, through one event stream.
// A stream that breaks is taken up again after the last line that was answered.

const SLOWEST_S = 15;
const STALE_S = 30;

export class Feed {
  constructor({ entries, typing, preview, state }) {
    this.tell = { entries, typing, preview, state };
    this.after = "0";
    this.failures = 0;
    this.hiddenSince = 0;
    addEventListener("online", () => this.open());
    addEventListener("offline", () => this.lost());
    document.addEventListener("visibilitychange", () => this.wake());
    addEventListener("pagehide", () => this.source?.close());
    addEventListener("pageshow", (event) => event.persisted && this.open());
  }

  open() {
    clearTimeout(this.timer);
    this.source?.close();
    const source = new EventSource(`/chat/events?after=${this.after}`);
    this.source = source;
    source.addEventListener("entries", (event) => {
      this.failures = 0;
      clearTimeout(this.timer);
      if (event.lastEventId) this.after = event.lastEventId;
      this.tell.state("online");
      this.tell.entries(JSON.parse(event.data).entries);
    });
    source.addEventListener("typing", (event) => this.tell.typing(JSON.parse(event.data).typing));
    source.addEventListener("preview", (event) => this.tell.preview(JSON.parse(event.data).parts));
    source.addEventListener("error", () => this.lost());
  }

  lost() {
    this.tell.typing(false);
    this.tell.preview([]);
    this.tell.state("offline");
    this.source?.close();
    this.failures += 1;
    clearTimeout(this.timer);
    const pause = Math.min(2 ** (this.failures - 1), SLOWEST_S) * 1000;
    this.timer = setTimeout(() => this.open(), pause * (0.75 + Math.random() / 2));
  }

  // A phone that slept may hold a stream that is long dead without knowing it.
  wake() {
    if (document.hidden) this.hiddenSince = Date.now();
    else if (Date.now() - this.hiddenSince > STALE_S * 1000) this.open();
  }
}
