/**
 * Which pixels resemble this one? A point picked on any picture of a run gives two heat maps, of bilinear
 * interpolation and of the fitted kernels, side by side.
 */

import { ApiError, postSimilarity } from "./api.js";
import { byId, icon, make, show } from "./dom.js";
import { number, tell, tellLabel } from "./i18n.js";
import { announce, explain } from "./messages.js";
import { hold, makeFigure, makeLegend } from "./pictures.js";

const MAPS = ["bilinear", "gsjbu"];

let pending = new AbortController();

/** Take the maps away: a new run has other features. */
export function clearSimilarity() {
  pending.abort();
  show(byId("similarity"), false);
}

/**
 * Ask for the maps of a point and show them.
 *
 * @param {{answer: object, stem: string}} result
 * @param {{x: number, y: number}} point in parts of the sides
 * @param {() => void} onClose told when the user has seen enough
 */
export async function showSimilarity({ answer, stem }, point, onClose) {
  pending.abort(); // only the last point matters
  pending = new AbortController();
  const { H, W } = answer.meta;
  const x = Math.min(Math.floor(point.x * W), W - 1);
  const y = Math.min(Math.floor(point.y * H), H - 1);
  try {
    const ask = (map) => postSimilarity({ run_id: answer.run_id, x, y, map }, pending.signal);
    draw(await Promise.all(MAPS.map(ask)), stem, { x, y }, onClose);
    announce("similarity.done", { x, y });
  } catch (error) {
    if (error.name !== "AbortError") explain(error instanceof ApiError ? error : new ApiError(0, String(error)));
  }
}

function draw(answers, stem, { x, y }, onClose) {
  const section = byId("similarity");
  const urls = hold("similarity", Object.fromEntries(answers.map(({ map, image }) => [map, image])));
  const figures = answers.map(({ map }) => {
    const picture = { key: `similarity_${map}`, url: urls[map], file: `${stem}_similarity_${map}_${x}_${y}.png` };
    return makeFigure(picture, { pick: true });
  });
  const milliseconds = () => number(Math.max(...answers.map((answer) => answer.milliseconds)), 0);
  const close = make("button", { type: "button", class: "icon" }, icon("close"));
  close.addEventListener("click", () => {
    clearSimilarity();
    onClose();
  });
  section.replaceChildren(
    make(
      "div",
      { class: "row" },
      tell(make("h3"), "similarity"),
      tell(make("p", { class: "figures small" }), "similarity.at", { x, y, milliseconds }),
      makeLegend(answers[0].scale),
      tellLabel(close, "close"),
    ),
    make("div", { class: "pair" }, ...figures),
  );
  show(section);
}
