// Photos chosen for a reply: shown, taken back, also dropped or pasted, and kept until they are sent.

import {keep, kept} from "../kept.js";

const MOST = 10;
const chosen = new Map();  // conversation -> files
const urls = new Map();  // file -> its address in this page
let owner = "";

const form = () => document.getElementById("composer");
const keyOf = (chat) => `reply:${chat}`;
const isPhoto = (file) => file.type.startsWith("image/");

/** `tell(words)` shows a notice; `who` is signed in: what somebody else has left here is thrown away. */
export async function startPhotos({tell, who}) {
    owner = who;
    document.addEventListener("change", (event) => {
        if (event.target.matches("#composer [type=file]")) add([...event.target.files], tell);
    });
    document.addEventListener("paste", (event) => {
        const files = [...event.clipboardData.files].filter(isPhoto);
        if (!files.length || !event.target.closest?.("#composer")) return;
        event.preventDefault();
        add(files, tell);
    });
    // A file that is dropped beside its place would open in place of the console.
    for (const kind of ["dragover", "drop"]) {
        document.addEventListener(kind, (event) => {
            if (!event.dataTransfer?.types.includes("Files")) return;
            event.preventDefault();
            if (kind === "drop" && event.target.closest?.("#conversation")) add([...event.dataTransfer.files].filter(isPhoto), tell);
        });
    }
    document.addEventListener("click", (event) => {
        const button = event.target.closest("#chosen button");
        if (button) put(form().dataset.chat, filesOf(form().dataset.chat).filter((_, index) => index !== Number(button.value)));
    });
    document.addEventListener("htmx:after:swap", () => {
        const composer = form();
        if (composer?.dataset.sent !== undefined) {
            delete composer.dataset.sent;
            put(composer.dataset.chat, []);
        }
        show();
    });
    for (const [key, value] of await kept("reply:")) {
        if (value.who !== who) keep(key, null);
        else if (!chosen.has(key.slice("reply:".length))) chosen.set(key.slice("reply:".length), value.files);
    }
    show();
}

function filesOf(chat) {
    return chosen.get(chat) ?? [];
}

function add(files, tell) {
    const composer = form();
    if (!composer) return;
    const all = [...filesOf(composer.dataset.chat), ...files];
    if (all.length > MOST) tell(document.getElementById("chosen").dataset.many);
    put(composer.dataset.chat, all.slice(0, MOST));
}

function put(chat, files) {
    for (const gone of filesOf(chat).filter((file) => !files.includes(file))) {
        URL.revokeObjectURL(urls.get(gone));
        urls.delete(gone);
    }
    chosen.set(chat, files);
    keep(keyOf(chat), files.length ? {who: owner, files} : null);
    show();
}

/** The form as it now is: its files, and what they look like. */
function show() {
    const composer = form();
    if (!composer) return;
    const files = filesOf(composer.dataset.chat);
    const carried = new DataTransfer();
    files.forEach((file) => carried.items.add(file));
    composer.querySelector("[type=file]").files = carried.files;
    const list = document.getElementById("chosen");
    list.hidden = !files.length;
    list.replaceChildren(...files.map((file, index) => preview(file, index, list.dataset.remove)));
}

function preview(file, index, words) {
    if (!urls.has(file)) urls.set(file, URL.createObjectURL(file));
    const item = document.createElement("li");
    const image = new Image();
    image.src = urls.get(file);
    image.alt = file.name;
    const button = document.createElement("button");
    button.type = "button";
    button.value = index;
    button.textContent = "×";
    button.setAttribute("aria-label", `${words} ${file.name}`);
    item.append(image, button);
    return item;
}
