// The page's own words, in the language that the visitor chose.

const settings = JSON.parse(document.getElementById("settings").textContent);
export const limits = settings.limits;

export const language = () => document.documentElement.lang;

/** How dates and times are written: as the visitor's system does, where it speaks the page's language. */
export const locale = () => navigator.languages.find((name) => name.startsWith(language())) ?? language();

/** The word for `key` (dots go deeper), with `{name}` places filled in. */
export function word(key, values = {}) {
  const found = key.split(".").reduce((at, step) => at?.[step], settings.words[language()]);
  return (found ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

/** Why something was refused, in words; a code that we have no words for is our failure. */
export function refusal(code, values = {}) {
  const known = code in settings.words[language()].refused;
  return word(`refused.${known ? code : "failed"}`, values);
}

/** Put the page into the other language and remember it for the next visit. */
export function switchLanguage() {
  const next = language() === "zh" ? "en" : "zh";
  document.getElementById("switch").lang = language();
  document.documentElement.lang = next;
  document.cookie = `language=${next}; path=/; max-age=31536000; samesite=strict`;
  document.title = word("title");
  for (const [data, attribute] of [["word", null], ["wordLabel", "aria-label"], ["wordTitle", "title"], ["wordPlaceholder", "placeholder"]]) {
    for (const element of document.querySelectorAll(`[data-${data.replace(/[A-Z]/, (c) => `-${c.toLowerCase()}`)}]`)) {
      if (attribute) element.setAttribute(attribute, word(element.dataset[data]));
      else element.textContent = word(element.dataset[data]);
    }
  }
}
