/** Tab 1: the photograph given back by every method side by side; and the run: its pictures, their errors, the fit. */

import { LossCurve } from "./charts.js";
import { createCompare } from "./compare.js";
import { byId, make } from "./dom.js";
import { makeIntroduction } from "./introduction.js";
import { decibels, makeFigure, makeLegend } from "./pictures.js";
import { comparedPictures, makeSideBySide, updateSideBySide } from "./side_by_side.js";
import { heading, note } from "./words.js";

/** Pictures in their order, and the method whose score stands under them. */
const RECONSTRUCTIONS = {
  I_hr: null,
  I_lr: null,
  I_lr_up_bilinear: "bilinear",
  I_lr_up_bicubic: "bicubic",
  I_hat_fixed: "fixed",
  I_hat_tto: "gsjbu",
  I_hat_pyramid: "pyramid",
};
const ERRORS = ["err_abs_bilinear", "err_abs_fixed", "err_abs", "err_abs_pyramid"];

const compare = createCompare("by_bilinear", "by_pyramid_bilateral", { pick: true });

/**
 * Draw a result, or the introduction where there is none.
 *
 * @param {object|null} result of a run
 * @param {import("./side_by_side.js").Compared|null} compared the same picture by all methods, side by side
 */
export function renderImages(result, compared) {
  const panel = byId("panel-image");
  if (!compared) return panel.replaceChildren(...makeIntroduction());
  compare.show(comparable(result, compared));
  const parts = [makeSideBySide(compared), heading("section.compare"), compare.element];
  return panel.replaceChildren(...parts, ...(result ? makeRun(result) : []));
}

/** What a run adds: its reconstructions, where they err, and how the fit went. */
function makeRun(result) {
  const { losses, scales } = result.answer;
  const figures = (pictures) => pictures.map((each) => makeFigure(each, { pick: true }));
  const errors = ERRORS.map((key) => result.picture(key));
  const curve = new LossCurve();
  if (losses.length) curve.draw(losses, losses.length);
  return [
    heading("section.reconstructions"),
    note("section.reconstructions.note"),
    make("div", { class: "grid four" }, ...figures(reconstructed(result))),
    heading("section.errors"),
    note("section.errors.note"),
    make("div", { class: "grid four" }, ...figures(errors)),
    makeLegend(scales.err_abs),
    heading("section.fit"),
    losses.length ? curve.element : note("fit.none"),
  ];
}

/** Fill in what has been computed of a comparison since it was drawn. */
export function updateImages(result, compared) {
  updateSideBySide(compared);
  compare.show(comparable(result, compared));
}

/** A run's reconstructions, with their scores. */
function reconstructed({ answer, picture }) {
  const scored = ([key, method]) => picture(key, method && decibels(answer.metrics.methods[method].psnr_recon));
  return Object.entries(RECONSTRUCTIONS).map(scored);
}

/** All pictures that can be laid on each other. */
function comparable(result, compared) {
  const ofRun = result ? reconstructed(result).filter(({ key }) => key !== "I_hr") : [];
  return [...comparedPictures(compared), ...ofRun.map((each) => ({ ...each, input: "samples" }))];
}
