// The keyboard: one key, one thing, and never while somebody is writing.

const help = document.getElementById("help");

export function startKeys({press}) {
    document.getElementById("help-open").addEventListener("click", () => help.showModal());
    document.addEventListener("keydown", (event) => {
        const isWriting = event.target.closest("input, textarea, select, [contenteditable]");
        if (event.key === "Escape" && isWriting) event.target.blur();
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && isWriting?.form) {
            event.preventDefault();
            isWriting.form.requestSubmit();
        }
        if (isWriting || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
        if (document.querySelector("dialog[open]")) return;
        const does = {
            j: () => step(1),
            k: () => step(-1),
            "/": () => focus("q"),
            r: () => focus("reply"),
            n: () => focus("note"),
            e: () => press("done"),
            f: () => press("flag"),
            1: () => press("up"),
            2: () => press("down"),
            w: () => [...document.querySelectorAll("#thread .why")].at(-1)?.click(),
            "?": () => help.showModal(),
        }[event.key];
        if (!does) return;
        event.preventDefault();
        does();
    });
}

function step(by) {
    const links = [...document.querySelectorAll("#rows .row a")];
    const at = links.findIndex((link) => link.parentElement.classList.contains("open"));
    const next = links[at < 0 ? 0 : at + by];
    if (!next) return;
    next.focus();
    next.scrollIntoView({block: "nearest"});
    next.click();
}

function focus(id) {
    const field = document.getElementById(id);
    if (!field) return;
    const fold = field.closest("details");
    if (fold) fold.open = true;
    field.focus();
    field.select?.();
}
