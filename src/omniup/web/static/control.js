/** One control of a form: its label, a line of help behind a question mark, and the objection to its value if any. */

import { byId, make, show, unfold } from "./dom.js";
import { t, tell, tellLabel } from "./i18n.js";

/**
 * @param {string} name the input's id, and of its texts: `name.label`, `name.help`
 * @param {HTMLElement} input
 * @param {HTMLElement} [output] shows the value of a slider
 */
export function makeControl(name, input, output) {
  const help = tell(make("p", { class: "help", id: `${name}-help`, hidden: true }), `${name}.help`);
  const error = make("p", { class: "error", id: `${name}-error`, hidden: true });
  const state = { "aria-expanded": "false", "aria-controls": help.id };
  const ask = make("button", { type: "button", class: "ask", ...state }, "?");
  ask.addEventListener("click", () => {
    show(help, help.hidden);
    ask.setAttribute("aria-expanded", String(!help.hidden));
  });
  tellLabel(ask, "help", { name: () => t(`${name}.label`) });
  input.setAttribute("aria-describedby", `${help.id} ${error.id}`);
  const label = tell(make("label", { for: name }), `${name}.label`);
  const kind = input.type === "checkbox" ? "control tick" : input.type === "range" ? "control wide" : "control";
  const head = make("div", { class: "head" }, label, ask, output ?? null);
  return make("div", { class: kind, id: `control-${name}` }, head, input, help, error);
}

/** Say at a control what is wrong with its value. Returns whether there is such a control. */
export function refuse(name, key, values) {
  const error = byId(`${name}-error`);
  const input = byId(name);
  if (!error || input.closest("[hidden]")) return false;
  unfold(input);
  input.setAttribute("aria-invalid", "true");
  tell(error, key, values);
  show(error);
  input.focus();
  return true;
}

/** The same in the server's words. */
export const showError = (name, message) => refuse(name, "verbatim", { text: message });

/** Take back what was said at controls. */
export function clearErrors() {
  for (const input of document.querySelectorAll("[aria-invalid]")) {
    input.removeAttribute("aria-invalid");
    show(byId(`${input.id}-error`), false);
  }
}
