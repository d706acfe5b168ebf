/** Tab 3: the kernels' parameters as maps with their keys and distributions; how concentrated the weights are; their shapes. */

import { makeHistogram } from "./charts.js";
import { byId, make } from "./dom.js";
import { makeEllipses } from "./ellipses.js";
import { makeWaiting } from "./introduction.js";
import { makeFigure, makeLegend } from "./pictures.js";
import { heading, note } from "./words.js";

/** Draw a result, or say that there is none yet. */
export function renderKernels(result) {
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
    make("div", { class: "grid maps" }, ...maps, weights, ...(ellipses ? [ellipses] : [])),
  );
}
