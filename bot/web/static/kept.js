// What is not sent yet, photos included, kept in this browser for a day: a reload or a closed tab loses none of it.
// Where a browser keeps nothing (some private windows, a full disk), the pages work as before.

const DAY_MS = 24 * 3600 * 1000;

/** Keep a value (plain data and blobs) under a key, in place of what was there; `null` drops it. */
export async function keep(key, value) {
  await inStore("readwrite", (store) => (value === null ? store.delete(key) : store.put({ value, at: Date.now() }, key)));
}

/** Drop everything that is kept under keys that begin so. */
export async function drop(prefix) {
  await inStore("readwrite", (store) => store.delete(below(prefix)));
}

/** What is kept under keys that begin so: `[key, value]`, the oldest first.  What is older than a day goes. */
export async function kept(prefix) {
  const range = below(prefix);
  const keys = (await inStore("readonly", (store) => store.getAllKeys(range))) ?? [];
  const found = (await inStore("readonly", (store) => store.getAll(range))) ?? [];
  const all = found.map(({ value, at }, index) => ({ key: keys[index], value, at })).sort((one, other) => one.at - other.at);
  const isOld = ({ at }) => Date.now() - at > DAY_MS;
  for (const { key } of all.filter(isOld)) keep(key, null);
  return all.filter((one) => !isOld(one)).map(({ key, value }) => [key, value]);
}

/** Photos as they can be kept: nothing that is still being made smaller. */
export function withBlobs(photos) {
  return Promise.all(photos.map(async ({ name, blob }) => ({ name, blob: await blob })));
}

const below = (prefix) => IDBKeyRange.bound(prefix, `${prefix}\uffff`);

let opened = null;

async function inStore(mode, work) {
  try {
    opened ??= settled(opening());
    const database = await opened;
    return await settled(work(database.transaction("unsent", mode).objectStore("unsent")));
  } catch {
    return undefined;
  }
}

function opening() {
  const request = indexedDB.open("unsent", 1);
  request.addEventListener("upgradeneeded", () => request.result.createObjectStore("unsent"));
  return request;
}

function settled(request) {
  return new Promise((resolve, reject) => {
    request.addEventListener("success", () => resolve(request.result));
    request.addEventListener("error", () => reject(request.error));
  });
}
