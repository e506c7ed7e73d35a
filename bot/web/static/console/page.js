// Pages without panes: times in the reader's zone, and the queue's keys.

import {tellTimes} from "./times.js";

document.cookie = `console-offset=${-new Date().getTimezoneOffset() * 60}; path=/staff; max-age=31536000; samesite=lax`;
tellTimes();
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
