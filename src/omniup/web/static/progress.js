/** A job while it runs: its stage in words, how far it is, how long it still takes, and the loss of a fit so far. */

import { LossCurve } from "./charts.js";
import { byId, show } from "./dom.js";
import { number, t, tell, tellText } from "./i18n.js";

/** Where a stage begins in the bar, in %: the fit is most of a run. */
const BEGINS = { features: 4, prepare: 4, fit: 8, render: 86, segment: 88, confidence: 90, draw: 94, done: 100 };

/** The same of a signal by a method without a fit. */
const UNFITTED = { ...BEGINS, render: 15, confidence: 50, draw: 85 };

export class ProgressView {
  #curve = new LossCurve();
  #losses = [];
  #stage = null;
  #begins = BEGINS;

  constructor() {
    byId("live-curve").append(this.#curve.element);
  }

  /** Begin anew. */
  start() {
    this.#losses = [];
    this.#stage = null;
    this.#begins = BEGINS;
    show(byId("progress"));
    show(byId("live-curve"), false);
    this.#say("stage.sent");
    this.#bar(null);
    tellText(byId("remaining"), "");
  }

  /** Wait for a busy server. */
  busy(seconds) {
    this.#say("busy");
    this.#bar(null);
    tell(byId("remaining"), "busy.again", { seconds });
  }

  /** Show an event of the server's. */
  update({ stage, ahead, iteration, iterations, loss, tile, tiles, elapsed, seconds_left: left }) {
    this.#say(`stage.${stage}`, { ahead });
    const seconds = () => (left == null ? "…" : number(left, 1));
    if (tile) {
      this.#bar((BEGINS.draw * tile) / tiles);
      tell(byId("remaining"), "remaining.tiles", { tile, tiles, seconds });
      return;
    }
    if (stage === "prepare") this.#begins = UNFITTED;
    if (stage === "fit") this.#begins = BEGINS;
    if (stage !== "fit") {
      this.#bar(this.#begins[stage] ?? null);
      if (elapsed) tell(byId("remaining"), "elapsed", { seconds: () => number(elapsed, 0) });
      else tellText(byId("remaining"), "");
      return;
    }
    this.#bar(BEGINS.fit + ((BEGINS.render - BEGINS.fit) * iteration) / Math.max(iterations, 1));
    tell(byId("remaining"), "remaining", { iteration, iterations, seconds });
    if (loss == null) return;
    this.#losses.push(loss);
    show(byId("live-curve"));
    this.#curve.draw(this.#losses, iterations);
  }

  end() {
    show(byId("progress"), false);
  }

  /** The stage is a live region: it is written when it changes and not at every step. */
  #say(key, values) {
    const words = t(key, values);
    if (words === this.#stage) return;
    this.#stage = words;
    tell(byId("stage"), key, values);
  }

  /** How far it is in %, or null where nobody knows. */
  #bar(part) {
    const bar = byId("bar");
    bar.classList.toggle("unknown", part === null);
    if (part === null) bar.removeAttribute("aria-valuenow");
    else bar.setAttribute("aria-valuenow", Math.round(part));
    bar.firstElementChild.style.setProperty("width", `${part ?? 100}%`);
  }
}
