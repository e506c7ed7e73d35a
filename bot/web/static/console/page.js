// Pages without panes: times in the reader's zone, the queue's keys, and forms that are sent once.

import {startLeaving} from "./leaving.js";
import {startTheme} from "./theme.js";
import {tellTimes} from "./times.js";

document.cookie = `console-offset=${-new Date().getTimezoneOffset() * 60}; path=/staff; max-age=31536000; samesite=lax`;
tellTimes();
// On a phone the row of pages is wider than the screen.
document.querySelector(".pages [aria-current]")?.scrollIntoView({block: "nearest", inline: "nearest"});
startTheme();
startLeaving();
document.addEventListener("keydown", (event) => {
    if (event.target.closest("textarea, input[type=text]") || event.ctrlKey || event.metaKey || event.altKey) return;
    const choice = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    if (choice) {
        choice.checked = true;
        choice.focus();
    } else if (event.key === "Enter" && event.target.closest("input")) {
        event.preventDefault();
        event.target.form.requestSubmit();
    }
});
// A second click would get its answer in place of the first one's.
document.addEventListener("submit", (event) => {
    const form = event.target.closest("form[data-once]");
    if (!form) return;
    if (form.dataset.once) event.preventDefault();
    form.dataset.once = "sent";
});
