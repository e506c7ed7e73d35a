// Photos in full size: zoom by wheel, buttons and keys, moved by dragging, turned, two side by side.

const box = document.getElementById("lightbox");
const stage = document.getElementById("stage");
const name = document.getElementById("lightbox-name");
let photos = [];
let at = 0;
let view = {};

export function startLightbox() {
    document.addEventListener("click", (event) => {
        const link = event.target.closest("a.photo");
        if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        open(link);
    });
    box.addEventListener("click", (event) => {
        const button = event.target.closest("[data-do]");
        if (button) act(button.dataset.do);
        else if (event.target === stage) box.close();
    });
    box.addEventListener("keydown", (event) => {
        const does = {"ArrowLeft": "previous", "ArrowRight": "next", "+": "in", "=": "in", "-": "out",
            "r": "turn", "b": "beside", "t": "text"}[event.key];
        if (!does || event.ctrlKey || event.metaKey) return;
        event.preventDefault();
        act(does);
    });
    stage.addEventListener("wheel", (event) => {
        event.preventDefault();
        zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15);
    }, {passive: false});
    let from = null;
    stage.addEventListener("pointerdown", (event) => {
        if (!event.target.closest("figure")) return;
        event.preventDefault();
        from = {x: event.clientX - view.x, y: event.clientY - view.y};
        stage.setPointerCapture(event.pointerId);
    });
    stage.addEventListener("pointermove", (event) => {
        if (!from) return;
        view.x = event.clientX - from.x;
        view.y = event.clientY - from.y;
        draw();
    });
    for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, () => { from = null; });
}

function open(link) {
    photos = [...document.querySelectorAll("#thread a.photo")];
    at = photos.indexOf(link);
    if (at < 0) [photos, at] = [[link], 0];
    view = {};
    show();
    box.showModal();
}

function act(what) {
    if (what === "close") return box.close();
    if (what === "previous" || what === "next") {
        at = (at + (what === "next" ? 1 : photos.length - 1)) % photos.length;
        view = {beside: view.beside, text: view.text};
        return show();
    }
    if (what === "in") return zoom(1.3);
    if (what === "out") return zoom(1 / 1.3);
    if (what === "turn") view.turn = ((view.turn ?? 0) + 90) % 360;
    if (what === "beside") view.beside = !view.beside;
    if (what === "text") view.text = !view.text;
    return what === "turn" ? draw() : show();
}

function zoom(by) {
    view.zoom = Math.min(12, Math.max(0.5, (view.zoom ?? 1) * by));
    draw();
}

function show() {
    view = {zoom: 1, turn: 0, x: 0, y: 0, ...view};
    const shown = view.beside && photos.length > 1 ? [photos[at], photos[(at + 1) % photos.length]] : [photos[at]];
    stage.replaceChildren(...shown.map(figure));
    stage.classList.toggle("two", shown.length > 1);
    name.textContent = shown.map((photo) => photo.title).join(" · ");
    for (const key of ["beside", "text"]) {
        box.querySelector(`[data-do="${key}"]`).setAttribute("aria-pressed", String(Boolean(view[key])));
    }
    draw();
}

function figure(link) {
    const made = document.createElement("figure");
    const image = new Image();
    image.src = link.href;
    image.alt = link.title;
    image.draggable = false;
    made.append(image);
    if (view.text) readText(made, link);
    return made;
}

async function readText(made, link) {
    const answer = await fetch(link.href.replace(/\.jpg$/, "/text")).catch(() => null);
    if (!answer?.ok) return;
    const {lines, facts} = await answer.json();
    const factsAt = (box) => facts.filter((fact) => String(fact.place) === String(box));
    const image = made.querySelector("img");
    await image.decode().catch(() => null);
    const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    drawing.setAttribute("viewBox", `0 0 ${image.naturalWidth} ${image.naturalHeight}`);
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
        words.setAttribute("font-size", Math.max(12, image.naturalWidth / 45));
        words.textContent = known || line.text;
        shape.classList.toggle("fact", Boolean(known));
        drawing.append(shape, words);
    }
    made.append(drawing);
}

function draw() {
    for (const made of stage.children) {
        made.style.transform = `translate(${view.x}px, ${view.y}px) rotate(${view.turn}deg) scale(${view.zoom})`;
    }
}
