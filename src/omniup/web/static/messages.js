/** What the page says about itself: problems and what to do about them, hints, and words for screen readers alone. */

import { ApiError } from "./api.js";
import { byId, icon, make, show } from "./dom.js";
import { inLanguage, t, tell, tellLabel } from "./i18n.js";
import { button } from "./words.js";

/** Say something to those who do not see the page; it stands elsewhere for the others. */
export function announce(key, values) {
  tell(byId("announcer"), key, values);
}

/**
 * Show a problem, or with no key show none.
 *
 * @param {string|null} key
 * @param {object} [values]
 * @param {{key: string, act: () => void}} [remedy] a button
 */
export function showProblem(key, values, remedy) {
  fill(byId("problem"), key, values, remedy);
  if (key) byId("problem").scrollIntoView({ block: "nearest" });
}

/** Show what is worth knowing or trying, likewise. */
export function showHint(key, values, remedy) {
  fill(byId("hint"), key, values, remedy);
}

let fading = 0;

/** Confirm something in passing. */
export function toast(key) {
  const area = tell(byId("toast"), key);
  show(area);
  clearTimeout(fading);
  fading = setTimeout(() => show(area, false), 3000);
}

function fill(area, key, values, remedy) {
  show(area, key !== null);
  if (key === null) return area.replaceChildren();
  const close = make("button", { type: "button", class: "icon", click: () => show(area, false) }, icon("close"));
  area.replaceChildren(tell(make("p"), key, values), tellLabel(close, "close"));
  return remedy && close.before(button(remedy.key, remedy.act));
}

/** English words that no sentence of ours translates. */
const aside = (words) => ({ en: words, zh: t("details"), details: words });

/** The problems of several fields as one text that follows the language. */
function allProblems(problems) {
  const words = ({ field, message }) => {
    const text = typeof message === "function" ? message() : message;
    return field === "config" ? text : t("problem.one", { field, text });
  };
  const details = problems.map(({ message }) => message.details).filter(Boolean).join("\n");
  return Object.assign(() => problems.map(words).join(t("problem.and")), { details });
}

/** Say what went wrong with a request and what can be done, as far as that can be known from the answer. */
export function explain(error) {
  if (!(error instanceof ApiError)) return showProblem("problem.page", { message: inLanguage(aside(String(error))) });
  const message = error.problems.length ? allProblems(error.problems) : error.message;
  const keys = { 0: "problem.network", 404: "problem.gone", 413: "problem.large", 422: "problem.refused" };
  return showProblem(keys[error.status] ?? "problem.server", { message, status: error.status });
}
