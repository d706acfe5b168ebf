/** What is left of a result where its confidence is at least what a slider says: the rest is transparent. */

import { make } from "./dom.js";
import { number, tell, tellText } from "./i18n.js";
import { makeFigure, makeSaveButton } from "./pictures.js";

const RANGE = { min: 0, max: 1, step: 0.05 };
const FIRST = 0.5;

/**
 * A figure with its slider.
 *
 * @param {string} result URL of the result's picture
 * @param {string} confidence URL of the confidence's picture, from black to white
 * @param {string} file what the figure is saved as
 */
export function makeTrusted(result, confidence, file) {
  const output = make("output", { for: "signal-least", class: "figures" });
  const slider = make("input", { id: "signal-least", type: "range", ...RANGE, value: FIRST });
  const label = tell(make("label", { for: "signal-least" }), "signal.least");
  const control = make("div", { class: "control wide" }, make("div", { class: "head" }, label, output), slider);
  const figure = makeFigure({ key: "trusted", url: result }, {}, control);
  const image = figure.querySelector("img");
  const canvas = make("canvas");
  const context = canvas.getContext("2d", { willReadFrequently: true });

  Promise.all([result, confidence].map(load)).then(
    (pictures) => {
      const [{ naturalWidth: width, naturalHeight: height }] = pictures;
      Object.assign(canvas, { width, height });
      const [colours, grey] = pictures.map((picture) => {
        context.drawImage(picture, 0, 0, width, height);
        return context.getImageData(0, 0, width, height);
      });
      slider.addEventListener("input", () => paint(colours, grey));
      paint(colours, grey);
      figure.querySelector(".caption").append(makeSaveButton("trusted", file, () => canvas));
    },
    () => figure.remove(), // the result is no longer kept
  );

  function paint(colours, grey) {
    const least = 255 * Number(slider.value);
    const shown = new ImageData(colours.data.slice(), colours.width);
    for (let at = 0; at < shown.data.length; at += 4) shown.data[at + 3] = grey.data[at] < least ? 0 : 255;
    context.putImageData(shown, 0, 0);
    image.src = canvas.toDataURL();
    tellText(output, () => number(Number(slider.value)));
    slider.setAttribute("aria-valuetext", output.textContent);
  }

  return figure;
}

async function load(url) {
  const picture = make("img", { src: url });
  await picture.decode();
  return picture;
}
