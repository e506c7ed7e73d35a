// Moments in the reader's own time zone and language, short where they are recent.

const language = document.documentElement.lang;
const clock = new Intl.DateTimeFormat(language, {hour: "2-digit", minute: "2-digit"});
const day = new Intl.DateTimeFormat(language, {month: "short", day: "numeric", hour: "2-digit", minute: "2-digit"});
const whole = new Intl.DateTimeFormat(language, {dateStyle: "full", timeStyle: "medium"});
const DAY_MS = 24 * 3600 * 1000;

export function tellTimes(root = document) {
    for (const time of root.querySelectorAll("time[datetime]:not([title])")) {
        const moment = new Date(time.dateTime);
        const isRecent = Math.abs(Date.now() - moment) < DAY_MS && new Date().getDate() === moment.getDate();
        time.textContent = (isRecent ? clock : day).format(moment);
        time.title = whole.format(moment);
    }
}
