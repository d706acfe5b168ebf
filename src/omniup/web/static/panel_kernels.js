/** Tab 3: the kernels' parameters as maps with their keys and distributions; how concentrated the weights are; their shapes. */

import { makeHistogram } from "./charts.js";
import { byId, make } from "./dom.js";
import { makeEllipses } from "./ellipses.js";
import { number, significant, tell } from "./i18n.js";
import { makeWaiting } from "./introduction.js";
import { makeFigure, makeLegend } from "./pictures.js";
import { button, heading, note } from "./words.js";

/** Below this part of a width, its change by the fit is none that counts. */
const MOVED = 0.05;

/**
 * Draw a result, or say that there is none yet.
 *
 * @param {object|null} result of a run
 * @param {() => void} runPaper runs with the paper's preset
 */
export function renderKernels(result, runPaper) {
  const panel = byId("panel-kernels");
  if (!result) return panel.replaceChildren(makeWaiting());
  const { answer, picture, stem } = result;
  const about = (key) => note(`about.${key}`);
  const maps = Object.entries(answer.parameters).map(([key, values]) =>
    makeFigure(picture(key), { pick: true }, makeLegend(values), makeHistogram(key, values), about(key)),
  );
  const legend = makeLegend(answer.scales.concentration);
  const weights = makeFigure(picture("concentration"), { pick: true }, legend, about("concentration"));
  const ellipses = makeEllipses(answer, picture("I_hr"), `${stem}_kernels.png`);
  return panel.replaceChildren(
    heading("section.kernels"),
    note("section.kernels.note"),
    ...makeUnmoved(answer, runPaper),
    make("div", { class: "grid maps" }, ...maps, weights, ...(ellipses ? [ellipses] : [])),
  );
}

/** What is to be said where the fit hardly moved the widths, and a way to one that does. */
function makeUnmoved({ meta, parameters: { sigma_x: x, sigma_y: y } }, runPaper) {
  const { sigma, iters, preset } = meta;
  if (!iters) return [note("fit.none")];
  const [least, most] = [Math.min(x.least, y.least), Math.max(x.most, y.most)];
  if (Math.max(sigma - least, most - sigma) >= MOVED * sigma) return [];
  const values = { sigma: () => significant(sigma), least: () => number(least, 3), most: () => number(most, 3) };
  const words = tell(make("p"), "kernels.unmoved", values);
  return [preset === "paper" ? words : make("div", { class: "row" }, words, button("hint.use_paper.act", runPaper))];
}
