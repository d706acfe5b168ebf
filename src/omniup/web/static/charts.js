/**
 * Curves and histograms. The lines are SVG that stretches with its box; what is written around them is HTML, which
 * keeps its size on a phone.
 */

import { draw, make } from "./dom.js";
import { significant, t, tOr, tell, tellLabel, tellText, within } from "./i18n.js";

const WIDTH = 100;
const HEIGHT = 100;

/** The loss of a fit, step by step; drawn again whenever it is longer. */
export class LossCurve {
  #line = draw("polyline", { class: "line", fill: "none" });
  #top = make("span");
  #bottom = make("span");
  #last = make("span");

  constructor() {
    const grid = [0, 50, 100].map((y) => draw("line", { class: "grid", x1: 0, x2: WIDTH, y1: y, y2: y }));
    const plot = draw(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
      ...grid,
      this.#line,
    );
    this.element = make(
      "div",
      { class: "chart curve", role: "img" },
      make("div", { class: "chart-title" }, tell(make("span"), "loss")),
      make("div", { class: "y-axis figures" }, this.#top, this.#bottom),
      plot,
      make("div", { class: "x-axis figures" }, tell(make("span"), "loss.first"), this.#last),
    );
  }

  /**
   * @param {number[]} losses so far, at least one
   * @param {number} steps in all
   */
  draw(losses, steps) {
    const low = Math.min(...losses);
    const high = Math.max(...losses);
    const range = high - low || 1;
    const x = (step) => (WIDTH * step) / Math.max(steps - 1, 1);
    const y = (loss) => HEIGHT * (0.04 + (0.92 * (high - loss)) / range);
    const points = losses.map((loss, step) => `${x(step).toFixed(2)},${y(loss).toFixed(2)}`);
    this.#line.setAttribute("points", points.join(" "));
    // Losses of a good fit differ in the fourth digit.
    const digits = (value) => () => significant(value, 4);
    tellText(this.#top, digits(high));
    tellText(this.#bottom, low < high ? digits(low) : "");
    tell(this.#last, "loss.last", { steps });
    const values = { first: digits(losses[0]), last: digits(losses.at(-1)), steps: losses.length };
    tellLabel(this.element, "loss.label", values);
  }
}

/**
 * How a map's values are distributed, with their mean and median.
 *
 * @param {string} map its key
 * @param {{low: number, high: number, unit: string, counts: number[], mean: number, median: number}} values
 */
export function makeHistogram(map, { low, high, unit, counts, mean, median }) {
  const most = Math.max(...counts, 1);
  const width = WIDTH / counts.length;
  const bars = counts.map((count, index) => {
    const height = (HEIGHT * count) / most;
    return draw("rect", { x: index * width, y: HEIGHT - height, width: width * 0.9, height });
  });
  const at = (value) => (WIDTH * (value - low)) / (high - low || 1);
  const line = (value, name) => draw("line", { class: name, x1: at(value), x2: at(value), y1: 0, y2: HEIGHT });
  const plot = draw(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    draw("g", { class: "bars" }, ...bars),
    line(median, "median"),
    line(mean, "mean"),
  );
  const numbers = { mean: () => within(mean, low, high), median: () => within(median, low, high), unit: () => tOr(`unit.${unit}`, unit) };
  const chart = make("div", { class: "chart histogram", role: "img" }, plot);
  tellLabel(chart, "histogram.label", { ...numbers, name: () => t(`picture.${map}`) });
  const key = (part) => {
    const swatch = make("span", { class: `swatch-line ${part}` });
    return make("span", {}, swatch, tell(make("span"), `histogram.${part}`, numbers));
  };
  return make("div", {}, chart, make("p", { class: "figures small keys" }, key("mean"), key("median")));
}
