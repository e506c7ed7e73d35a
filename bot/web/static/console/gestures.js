// Fingers and mouse on a picture: drag, pinch, double tap, wheel, and a swipe across it.

const TAP_MS = 300;
const TAP_PX = 12;
const SWIPE_PX = 60;

/** `move(dx, dy)`, `zoom(by, place)`, `toggle(place)`, `tap(place)` and `swipe(step)` are called as it happens. */
export function startGestures(stage, on) {
    const fingers = new Map();
    let began = null;  // where and when the first finger came down; none after a second one
    let tapped = null;  // the tap before

    stage.addEventListener("wheel", (event) => {
        event.preventDefault();
        on.zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15, placeOf(event));
    }, {passive: false});

    stage.addEventListener("pointerdown", (event) => {
        if (event.button || !event.target.closest("figure")) return;
        event.preventDefault();
        stage.setPointerCapture(event.pointerId);
        fingers.set(event.pointerId, placeOf(event));
        began = fingers.size === 1 ? {...placeOf(event), at: event.timeStamp} : null;
        stage.classList.add("held");
    });

    stage.addEventListener("pointermove", (event) => {
        if (!fingers.has(event.pointerId)) return;
        const before = spread(fingers);
        fingers.set(event.pointerId, placeOf(event));
        const now = spread(fingers);
        on.move(now.x - before.x, now.y - before.y);
        if (fingers.size > 1 && before.wide > 0) on.zoom(now.wide / before.wide, now);
    });

    for (const end of ["pointerup", "pointercancel"]) {
        stage.addEventListener(end, (event) => {
            if (!fingers.delete(event.pointerId)) return;
            if (fingers.size) return;
            stage.classList.remove("held");
            if (began && end === "pointerup") settle(event);
            began = null;
        });
    }

    function settle(event) {
        const place = placeOf(event);
        const [dx, dy] = [place.x - began.x, place.y - began.y];
        if (Math.hypot(dx, dy) > TAP_PX) {
            const isSwipe = event.pointerType === "touch" && Math.abs(dx) > SWIPE_PX && Math.abs(dx) > 2 * Math.abs(dy);
            if (isSwipe) on.swipe(dx < 0 ? 1 : -1);
            return;
        }
        if (event.timeStamp - began.at > TAP_MS) return;
        const isSecond = tapped && event.timeStamp - tapped.at < TAP_MS && Math.hypot(place.x - tapped.x, place.y - tapped.y) < 3 * TAP_PX;
        tapped = isSecond ? null : {...place, at: event.timeStamp};
        if (isSecond) on.toggle(place);
        else on.tap(place);
    }
}

function placeOf(event) {
    return {x: event.clientX, y: event.clientY};
}

/** The middle of all fingers, and how far apart they are. */
function spread(fingers) {
    const places = [...fingers.values()];
    const middle = (axis) => places.reduce((sum, place) => sum + place[axis], 0) / places.length;
    const [x, y] = [middle("x"), middle("y")];
    return {x, y, wide: Math.max(...places.map((place) => Math.hypot(place.x - x, place.y - y)))};
}
