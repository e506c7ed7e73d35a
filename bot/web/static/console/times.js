// Moments in the reader's own time zone and language, short where they are recent; waits that go on.

const shown = document.documentElement.lang;
const language = navigator.languages.find((one) => one.split("-")[0] === shown) ?? shown;
const clock = new Intl.DateTimeFormat(language, {hour: "2-digit", minute: "2-digit", hourCycle: "h23"});
const day = new Intl.DateTimeFormat(language, {month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23"});
const whole = new Intl.DateTimeFormat(language, {dateStyle: "full", timeStyle: "medium"});
const MINUTE_MS = 60 * 1000;
const DAY_MS = 24 * 3600 * 1000;
const SPANS = [["day", DAY_MS], ["hour", 60 * MINUTE_MS], ["minute", MINUTE_MS]].map(([unit, ms]) => [
    ms, new Intl.NumberFormat(language, {style: "unit", unit, unitDisplay: unit === "minute" ? "short" : "long"}),
]);

export function tellTimes(root = document) {
    for (const time of root.querySelectorAll("time[datetime]:not([title])")) {
        const moment = new Date(time.dateTime);
        const isRecent = Math.abs(Date.now() - moment) < DAY_MS && new Date().getDate() === moment.getDate();
        time.textContent = "ago" in time.dataset ? ago(moment) : (isRecent ? clock : day).format(moment);
        time.title = whole.format(moment);
    }
}

function ago(moment) {
    const passed = Math.max(MINUTE_MS, Date.now() - moment);
    const [ms, format] = SPANS.find(([span]) => passed >= span);
    return format.format(Math.floor(passed / ms));
}

setInterval(() => {
    for (const time of document.querySelectorAll("time[data-ago]")) time.textContent = ago(new Date(time.dateTime));
}, 20 * 1000);
