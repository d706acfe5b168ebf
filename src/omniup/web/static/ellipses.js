/**
 * The kernels as ellipses over the photograph: each turned and stretched as its Gaussian is. Widths go over two orders
 * of magnitude, so that only their ratio is drawn: the longer axis always spans its cell.
 */

import { getArray } from "./api.js";
import { draw, make } from "./dom.js";
import { makeFigure, makeSaveButton } from "./pictures.js";
import { note } from "./words.js";

/** More of them are a grey veil. */
const MOST = 4200;

const PARTS = ["sigma_x", "sigma_y", "theta"];

/** Part of the cell that the longer axis takes, and the least of it that the shorter one is drawn with. */
const LONG = 0.46;
const LEAST = 0.05;

/** Pixels of a saved picture for one of the photograph: ellipses need more than it has. */
const FINER = 4;

/**
 * A figure of a run's kernels, or null where there are too many of them.
 *
 * @param {object} answer of the run
 * @param {import("./pictures.js").Picture} photograph
 * @param {string} file what the figure is saved as
 */
export function makeEllipses({ meta, files }, photograph, file) {
  const [height, width] = meta.grid;
  if (height * width > MOST) return null;
  const figure = makeFigure({ key: "ellipses", url: photograph.url }, { pick: true }, note("about.ellipses"));
  const box = { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" };
  const layer = draw("svg", { class: "ellipses", ...box });
  const image = figure.querySelector("img");
  image.after(layer);
  Promise.all(PARTS.map((name) => getArray(files[`${name}.npy`]))).then(
    (parts) => {
      const shapes = findShapes(width, ...parts);
      layer.append(...shapes.map(drawShape));
      figure.querySelector(".caption").append(makeSaveButton("ellipses", file, () => paint(image, shapes, width)));
    },
    () => figure.remove(), // the run is no longer kept, and its arrays neither
  );
  return figure;
}

/** Ellipses in units of cells; turns in radians. */
function findShapes(width, sigmaX, sigmaY, theta) {
  return Array.from(theta, (turn, index) => {
    const longer = Math.max(sigmaX[index], sigmaY[index]);
    const [rx, ry] = [sigmaX, sigmaY].map((sigma) => LONG * Math.max(sigma[index] / longer, LEAST));
    return { x: (index % width) + 0.5, y: Math.floor(index / width) + 0.5, rx, ry, turn };
  });
}

function drawShape({ x, y, rx, ry, turn }) {
  const degrees = ((turn * 180) / Math.PI).toFixed(1);
  const transform = `translate(${x} ${y}) rotate(${degrees})`;
  return draw("ellipse", { rx: rx.toFixed(3), ry: ry.toFixed(3), transform });
}

/** The photograph and the ellipses as one picture. */
function paint(image, shapes, width) {
  const canvas = make("canvas", { width: FINER * image.naturalWidth, height: FINER * image.naturalHeight });
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  const cell = canvas.width / width;
  for (const [colour, thickness] of [["#000", 4], ["#fff", 2]]) {
    Object.assign(context, { strokeStyle: colour, lineWidth: thickness });
    for (const { x, y, rx, ry, turn } of shapes) {
      context.beginPath();
      context.ellipse(x * cell, y * cell, rx * cell, ry * cell, turn, 0, 2 * Math.PI);
      context.stroke();
    }
  }
  return canvas;
}
