/** A tour in four steps, for whoever has not seen the page before: offered once, skipped or restarted at will. */

import { byId, show } from "./dom.js";
import { tell } from "./i18n.js";

/** What each step points at, and the tab that it lies in. The cards go to the top: the tour's box stands at the bottom. */
const STEPS = [
  { at: "#samples" },
  { at: "#sides .sides", tab: "image", block: "start" },
  { at: "#tab-features" },
  { at: "#tab-signal" },
];

/** Browsers may forbid remembering; the tour is offered again then. */
function isSeen() {
  try {
    return localStorage.getItem("tour") === "seen";
  } catch {
    return false;
  }
}

function remember() {
  try {
    localStorage.setItem("tour", "seen");
  } catch {
    // it is offered again, then
  }
}

export class Tour {
  #step = 0;
  #from = null; // what had the focus before

  /** @param {(tab: string) => void} onTab told the tab that a step is about */
  constructor(onTab) {
    this.onTab = onTab;
    show(byId("tour-offer"), !isSeen());
    for (const id of ["tour-start", "tour-again"]) byId(id).addEventListener("click", () => this.start());
    for (const id of ["tour-no", "tour-skip"]) byId(id).addEventListener("click", () => this.end());
    byId("tour-next").addEventListener("click", () => (this.#step === STEPS.length - 1 ? this.end() : this.#go(1)));
    byId("tour-back").addEventListener("click", () => this.#go(-1));
    byId("tour").addEventListener("keydown", ({ key }) => key === "Escape" && this.end());
  }

  start() {
    this.#from = document.activeElement;
    this.#step = 0;
    show(byId("tour-offer"), false);
    show(byId("tour"));
    this.#go(0);
  }

  #go(by) {
    this.#step += by;
    const { at, tab, block } = STEPS[this.#step];
    if (tab) this.onTab(tab);
    this.#point(at, block);
    tell(byId("tour-place"), "tour.place", { step: this.#step + 1, steps: STEPS.length });
    tell(byId("tour-title"), `tour.${this.#step + 1}.title`);
    tell(byId("tour-text"), `tour.${this.#step + 1}.text`);
    tell(byId("tour-next"), this.#step === STEPS.length - 1 ? "tour.done" : "tour.next");
    show(byId("tour-back"), this.#step > 0);
    byId("tour-title").focus();
  }

  #point(selector, block = "nearest") {
    for (const element of document.querySelectorAll(".toured")) element.classList.remove("toured");
    if (!selector) return;
    const element = document.querySelector(selector);
    element.classList.add("toured");
    element.scrollIntoView({ block });
  }

  end() {
    remember();
    this.#point(null);
    show(byId("tour"), false);
    show(byId("tour-offer"), false);
    this.#from?.focus();
    this.#from = null;
  }
}
