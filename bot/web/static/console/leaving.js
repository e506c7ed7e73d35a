// Whoever signs out leaves nothing behind in this browser that was not sent.

import {drop} from "../kept.js";

export function startLeaving() {
    document.addEventListener("submit", (event) => {
        if (!event.target.action?.endsWith("/staff/logout")) return;
        sessionStorage.clear();
        drop("reply:");
    });
}
