// Photos in full size: zoomed, moved, turned, with their text, and two of them side by side.

import {startGestures} from "./gestures.js";

const box = document.getElementById("lightbox");
const stage = document.getElementById("stage");
const strip = document.getElementById("strip");
const name = document.getElementById("lightbox-name");
const MOST_ZOOM = 12;
const TAP_ZOOM = 2.5;
let photos = [];
let at = [0, 1];  // the photo shown, and the one beside it
let side = 0;  // which of the two is exchanged by the arrows and the strip
let view = {};
const texts = new Map();  // what was read on the photos, or is being read, by address

export function startLightbox() {
    document.addEventListener("click", (event) => {
        const compare = event.target.closest("[data-compare]");
        const link = compare ? compare.closest(".said").querySelector("a.photo") : event.target.closest("a.photo");
        if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        open(link, Boolean(compare));
    });
    box.addEventListener("click", (event) => {
        const button = event.target.closest("[data-do]");
        const chosen = event.target.closest("[data-at]");
        if (button) act(button.dataset.do);
        else if (chosen) choose(Number(chosen.dataset.at));
        else if (event.target.parentElement === stage) box.close();
    });
    box.addEventListener("keydown", (event) => {
        const does = {"ArrowLeft": "previous", "ArrowRight": "next", "+": "in", "=": "in", "-": "out",
            "r": "turn", "b": "beside", "t": "text"}[event.key];
        if (!does || event.ctrlKey || event.metaKey) return;
        event.preventDefault();
        act(does);
    });
    startGestures(stage, {
        move: (dx, dy) => {
            if (view.zoom > 1) draw({x: view.x + dx, y: view.y + dy});
        },
        zoom,
        toggle: (place) => zoom(view.zoom > 1 ? 1 / view.zoom : TAP_ZOOM, place),
        tap: (place) => {
            const index = figures().indexOf(nearest(place));
            if (view.beside && index !== side) {
                side = index;
                show();
            }
        },
        swipe: (step) => view.zoom > 1 || act(step > 0 ? "next" : "previous"),
    });
}

// A prompt's photos are those of the prompt, each as it is stored and as the model got it.
function open(link, isBeside) {
    photos = [...(link.closest("[data-photos]") ?? document.getElementById("thread")).querySelectorAll("a.photo")];
    if (!photos.includes(link)) photos = [link];
    at = [photos.indexOf(link), (photos.indexOf(link) + 1) % photos.length];
    side = 0;
    view = {};
    strip.replaceChildren(...(photos.length > 1 ? photos.map(small) : []));
    strip.hidden = photos.length < 2;
    show();
    box.showModal();
    if (isBeside) act("beside");
    mark();
}

function act(what) {
    if (what === "close") return box.close();
    if (what === "previous" || what === "next") {
        const step = what === "next" ? 1 : photos.length - 1;
        let next = (at[side] + step) % photos.length;
        if (view.beside && photos.length > 2 && next === at[1 - side]) next = (next + step) % photos.length;
        return choose(next);
    }
    if (what === "in") return zoom(1.3);
    if (what === "out") return zoom(1 / 1.3);
    if (what === "turn") return draw({turn: (view.turn + 90) % 360});
    if (what === "beside") {
        if (photos.length < 2) return;
        view.beside = !view.beside;
        if (view.beside && at[0] === at[1]) at[1] = (at[0] + 1) % photos.length;
        if (!view.beside) at[0] = at[side];
        side = view.beside ? 1 : 0;
    }
    if (what === "text") view.text = !view.text;
    return show();
}

function choose(index) {
    at[side] = index;
    view = {beside: view.beside, text: view.text};
    show();
}

function show() {
    view = {zoom: 1, turn: 0, x: 0, y: 0, ...view};
    const shown = (view.beside ? at : at.slice(0, 1)).map((index) => photos[index]);
    stage.replaceChildren(...shown.map(cell));
    stage.classList.toggle("two", shown.length > 1);
    name.textContent = shown.map((photo) => photo.title).join(" · ");
    for (const key of ["beside", "text"]) {
        box.querySelector(`[data-do="${key}"]`).setAttribute("aria-pressed", String(Boolean(view[key])));
    }
    for (const key of ["previous", "next", "beside"]) box.querySelector(`[data-do="${key}"]`).disabled = photos.length < 2;
    mark();
    draw();
}

/** Show in the strip which photos are on the stage. */
function mark() {
    const shown = view.beside ? at : at.slice(0, 1);
    for (const [index, one] of [...strip.children].entries()) {
        one.setAttribute("aria-pressed", String(shown.includes(index)));
        one.classList.toggle("active", index === at[side]);
    }
    strip.children[at[side]]?.scrollIntoView({block: "nearest", inline: "nearest"});
    for (const [index, made] of figures().entries()) made.parentElement.classList.toggle("active", Boolean(view.beside) && index === side);
}

function small(link, index) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.at = index;
    button.setAttribute("aria-label", link.title);
    const image = new Image();
    image.loading = "lazy";
    image.alt = "";
    image.src = link.href;
    button.append(image);
    return button;
}

const figures = () => [...stage.querySelectorAll("figure")];

function cell(link) {
    const around = document.createElement("div");
    const made = document.createElement("figure");
    const image = new Image();
    image.src = link.href;
    image.alt = link.title;
    image.draggable = false;
    made.append(image);
    around.append(made);
    if (view.text) showText(made, link);
    return around;
}

/** The text on a photo over it; below it that it is being read, or why there is none. */
async function showText(made, link) {
    const note = document.createElement("p");
    note.setAttribute("role", "status");
    made.after(note);
    note.textContent = stage.dataset.reading;
    const read = await textOn(link);
    note.textContent = !read ? stage.dataset.unread : read.lines.length ? "" : stage.dataset.empty;
    if (read) made.append(outlined(read, link));
}

/** Asked for once, however often the photo is drawn anew; a failure may be tried again. */
function textOn({pathname}) {
    if (!texts.has(pathname)) {
        const asked = fetch(pathname.replace(/\.jpg$/, "/text")).then((answer) => (answer.ok ? answer.json() : null));
        texts.set(pathname, asked.catch(() => null).then((read) => {
            if (!read) texts.delete(pathname);
            return read;
        }));
    }
    return texts.get(pathname);
}

function outlined({lines, facts}, link) {
    const factsAt = (box) => facts.filter((fact) => String(fact.place) === String(box));
    const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    // Places are pixels of the stored photo, also where it is shown as small as a prompt had it.
    drawing.setAttribute("viewBox", `0 0 ${link.dataset.width} ${link.dataset.height}`);
    for (const line of lines) {
        const known = factsAt(line.box).map((fact) => `${fact.name}: ${fact.value}`).join(" · ");
        const shape = document.createElementNS(drawing.namespaceURI, "polygon");
        shape.setAttribute("points", line.box.map((corner) => corner.join(",")).join(" "));
        const title = document.createElementNS(drawing.namespaceURI, "title");
        title.textContent = `${line.text} (${Math.round(line.confidence * 100)} %)`;
        shape.append(title);
        const words = document.createElementNS(drawing.namespaceURI, "text");
        words.setAttribute("x", line.box[0][0]);
        words.setAttribute("y", line.box[0][1] - 4);
        words.setAttribute("font-size", Math.max(12, link.dataset.width / 45));
        words.textContent = known || line.text;
        shape.classList.toggle("fact", Boolean(known));
        drawing.append(shape, words);
    }
    return drawing;
}

/** Zoom, so that what is under `place` (in the window) stays there; without one the middle of the stage does. */
function zoom(by, place) {
    const wanted = Math.min(MOST_ZOOM, Math.max(1, view.zoom * by));
    const rest = 1 - wanted / view.zoom;
    let [dx, dy] = [-view.x, -view.y];
    if (place) {
        const seen = nearest(place).getBoundingClientRect();
        [dx, dy] = [place.x - seen.x - seen.width / 2, place.y - seen.y - seen.height / 2];
    }
    draw({zoom: wanted, x: view.x + dx * rest, y: view.y + dy * rest});
}

function nearest({x}) {
    const distance = (made) => {
        const seen = made.getBoundingClientRect();
        return Math.abs(x - seen.x - seen.width / 2);
    };
    return figures().reduce((best, made) => (distance(made) < distance(best) ? made : best));
}

/** Draw with another zoom, turn or place; a picture is never moved out of sight. */
function draw(changed = {}) {
    Object.assign(view, changed);
    const most = (view.zoom - 1) / 2;
    const inside = (value, length) => Math.min(most * length, Math.max(-most * length, value));
    view.x = inside(view.x, stage.firstElementChild.clientWidth);
    view.y = inside(view.y, stage.firstElementChild.clientHeight);
    for (const made of figures()) {
        made.style.transform = `translate(${view.x}px, ${view.y}px) rotate(${view.turn}deg) scale(${view.zoom})`;
    }
}
