// Below an answer: whether it helped, why not, and a person.  The server keeps one vote an answer.

import { word } from "./words.js";

const REASONS = ["wrong", "unclear", "unsafe", "off_topic", "did_not_help"];

/** The row of buttons for an answer; `ask` is what the server asks about it, with the vote it has. */
export function votes(ask, { human }) {
  const row = document.createElement("div");
  row.className = "votes";
  row.setAttribute("role", "group");
  row.setAttribute("aria-label", word(ask.about === "fixed" ? "vote_fixed" : "vote_helpful"));
  draw(row, ask, human);
  return row;
}

function draw(row, ask, human) {
  const names = ask.about === "fixed" ? { up: "vote_works", down: "vote_not_yet" } : { up: "vote_up", down: "vote_down" };
  const buttons = Object.entries(names).map(([vote, name]) => {
    const button = press(word(name), () => cast(row, ask, human, { vote, reason: "" }));
    button.setAttribute("aria-pressed", String(ask.vote === vote));
    return button;
  });
  row.replaceChildren(...buttons, press(word("vote_human"), human));
  if (ask.vote === "down" && ask.about === "helpful") {
    const why = document.createElement("p");
    why.textContent = word("vote_what");
    row.append(why);
    for (const reason of REASONS) {
      const button = press(word(`vote_why.${reason}`), () => cast(row, ask, human, { vote: "down", reason }));
      button.classList.add("why");
      button.setAttribute("aria-pressed", String(ask.reason === reason));
      row.append(button);
    }
  }
}

function press(text, act) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  button.addEventListener("click", act);
  return button;
}

async function cast(row, ask, human, chosen) {
  const body = JSON.stringify({ turn: ask.turn, about: ask.about, ...chosen });
  try {
    const answer = await fetch("/chat/votes", { method: "POST", body, headers: { "Content-Type": "application/json" } });
    if (!answer.ok) return;
  } catch {
    return; // offline: the buttons stay as they were
  }
  Object.assign(ask, chosen);
  draw(row, ask, human);
}
