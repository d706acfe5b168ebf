/** Tab 1: the photograph reconstructed from its cells in every way, where they err, and how the fit went. */

import { LossCurve } from "./charts.js";
import { createCompare } from "./compare.js";
import { byId, make } from "./dom.js";
import { makeIntroduction } from "./introduction.js";
import { decibels, makeFigure, makeLegend } from "./pictures.js";
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

const compare = createCompare("I_lr_up_bilinear", "I_hat_tto", { pick: true });

/** Draw a result, or the introduction where there is none. */
export function renderImages(result) {
  const panel = byId("panel-image");
  if (!result) return panel.replaceChildren(makeIntroduction());
  const { answer, picture } = result;
  const scored = ([key, method]) => picture(key, method && decibels(answer.metrics.methods[method].psnr_recon));
  const reconstructions = Object.entries(RECONSTRUCTIONS).map(scored);
  const figures = (pictures) => pictures.map((each) => makeFigure(each, { pick: true }));
  compare.show(reconstructions);

  const { losses } = answer;
  const curve = new LossCurve();
  if (losses.length) curve.draw(losses, losses.length);
  return panel.replaceChildren(
    heading("section.reconstructions"),
    note("section.reconstructions.note"),
    make("div", { class: "grid four" }, ...figures(reconstructions)),
    heading("section.compare"),
    compare.element,
    heading("section.errors"),
    note("section.errors.note"),
    make("div", { class: "grid four" }, ...figures(ERRORS.map((key) => picture(key)))),
    makeLegend(answer.scales.err_abs),
    heading("section.fit"),
    losses.length ? curve.element : note("fit.none"),
  );
}
