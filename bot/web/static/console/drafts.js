// What somebody has begun to write, kept in this tab: a click on a filter, another conversation or a reload loses none of it.

const fields = (root) => root.querySelectorAll("textarea[data-draft]");
const keyOf = (field) => `draft:${field.dataset.draft}`;

function keep(field) {
    if (field.value && field.value !== field.defaultValue) sessionStorage.setItem(keyOf(field), field.value);
    else sessionStorage.removeItem(keyOf(field));
}

function bring(root = document) {
    for (const field of fields(root)) {
        const kept = sessionStorage.getItem(keyOf(field));
        if (kept === null || field === document.activeElement) continue;
        field.value = kept;
        const fold = field.closest("details");
        if (fold) fold.open = true;
    }
}

export function startDrafts() {
    const who = document.querySelector(".me summary").textContent;
    if (sessionStorage.getItem("writer") !== who) {  // somebody else has signed in at this desk
        sessionStorage.clear();
        sessionStorage.setItem("writer", who);
    }
    document.addEventListener("input", (event) => {
        if (event.target.matches("textarea[data-draft]")) keep(event.target);
    });
    document.addEventListener("htmx:after:swap", (event) => {
        const form = event.detail.ctx.sourceElement?.closest?.("form");
        for (const sent of form ? fields(form) : []) {
            if (form.dataset.clears !== undefined) sent.value = sent.defaultValue;
            sessionStorage.removeItem(keyOf(sent));
            // What came back is what counts: empty after it was sent, filled with a canned reply.
            const field = document.querySelector(`textarea[data-draft="${CSS.escape(sent.dataset.draft)}"]`);
            if (field?.value) sessionStorage.setItem(keyOf(field), field.value);
        }
        for (const card of document.querySelectorAll(".held-card[id]")) {
            if (!fields(card).length) sessionStorage.removeItem(`draft:${card.id}`);  // it is decided
        }
        bring();
    });
    bring();
}
