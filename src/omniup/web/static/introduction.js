/** What stands where no result is yet: what the demo shows, in three sentences and a drawing. */

import { draw, make } from "./dom.js";
import { tell, tellLabel } from "./i18n.js";
import { OPENING } from "./opening.js";
import { beginComparison, makeSideBySide } from "./side_by_side.js";
import { heading } from "./words.js";

/** An ellipse for each cell: how its kernel may come to lie along an edge. */
const CELLS = [
  [0, 0, 11, 11, 0], [1, 0, 11, 10, 0], [2, 0, 14, 6, -52],
  [0, 1, 11, 10, 0], [1, 1, 15, 5, -48], [2, 1, 14, 7, -40],
  [0, 2, 15, 5, -40], [1, 2, 14, 7, -44], [2, 2, 11, 11, 0],
]; // prettier-ignore

const CELL = 32;
const EDGE = "M0 96C36 84 40 60 60 44S88 20 96 0";

/** The text and the drawing of the empty page, and an example of what there is to see. */
export function makeIntroduction() {
  const text = ["intro.1", "intro.2", "intro.3"].map((key) => tell(make("p"), key));
  const invitation = tell(make("p", { class: "invitation" }), "intro.invitation");
  const words = make("div", {}, heading("intro.title"), ...text, invitation);
  const example = makeSideBySide(beginComparison(OPENING, null, null), "section.opening");
  return [make("div", { class: "introduction" }, makeDiagram(), words), example];
}

function makeDiagram() {
  const panel = (x, name, ...children) => {
    const label = tell(draw("text", { x: 48, y: 116, "text-anchor": "middle" }), name);
    const outline = draw("rect", { class: "outline", width: 96, height: 96 });
    return draw("g", { transform: `translate(${x} 8)` }, ...children, outline, label);
  };
  const arrow = (x) => draw("path", { class: "arrow", d: `M${x} 56h20m-6-5 6 5-6 5` });

  const blocks = CELLS.map(([column, row]) => {
    const inside = column + row > 2 ? "inside" : column + row === 2 ? "between" : "outside";
    return draw("rect", { class: inside, x: column * CELL, y: row * CELL, width: CELL, height: CELL });
  });
  const ellipses = CELLS.map(([column, row, long, short, turn]) => {
    const at = `translate(${(column + 0.5) * CELL} ${(row + 0.5) * CELL}) rotate(${turn})`;
    return draw("ellipse", { class: "kernel", rx: long, ry: short, transform: at });
  });
  const ground = () => draw("rect", { class: "outside", width: 96, height: 96 });
  const region = () => draw("path", { class: "inside", d: `${EDGE}V96Z` });
  const edge = () => draw("path", { class: "edge", d: EDGE });
  const diagram = draw(
    "svg",
    { class: "diagram", viewBox: "-8 0 392 132", role: "img" },
    panel(0, "intro.low", ...blocks),
    arrow(108),
    panel(140, "intro.kernels", ground(), edge(), ...ellipses),
    arrow(248),
    panel(280, "intro.high", ground(), region(), edge()),
  );
  return tellLabel(diagram, "intro.diagram");
}

/** The same in one line, for the tabs beside the first. */
export const makeWaiting = () => tell(make("p", { class: "waiting" }), "waiting");
