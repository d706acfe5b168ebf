/** Tab 2: features upsampled in every way, in colours by PCA. */

import { createCompare } from "./compare.js";
import { byId, make } from "./dom.js";
import { number, t } from "./i18n.js";
import { makeWaiting } from "./introduction.js";
import { makeFigure } from "./pictures.js";
import { channels, heading, note, weightsInWords } from "./words.js";

const FEATURES = {
  feat_lr_pca: null,
  feat_hr_bilinear_pca: "bilinear",
  feat_hr_fixed_pca: "fixed",
  feat_hr_gsjbu_pca: "gsjbu",
  feat_hr_pyramid_pca: "pyramid",
};

const compare = createCompare("feat_hr_bilinear_pca", "feat_hr_gsjbu_pca", { pick: true });

/**
 * Draw a result, or say that there is none yet.
 *
 * @param {object|null} result of a run
 * @param {HTMLElement} methods the part that has every method
 */
export function renderFeatures(result, methods) {
  const panel = byId("panel-features");
  if (!result) return panel.replaceChildren(makeWaiting());
  const { answer, picture } = result;
  const spread = (method) => () => t("spread", { value: number(answer.metrics.features[method].edge_spread, 3) });
  const features = Object.entries(FEATURES).map(([key, method]) => picture(key, method && spread(method)));
  compare.show([...features, picture("I_hr")]);
  const { extractor_weights: weights, extractor_texts: texts, channels: count } = answer.meta;
  return panel.replaceChildren(
    methods,
    heading(weights.startsWith("random") ? "section.features.random" : "section.features"),
    note("section.features.note", { channels: () => channels(count), weights: () => weightsInWords(weights, texts) }),
    make("div", { class: "grid four" }, ...features.map((each) => makeFigure(each, { pick: true }))),
    note("spread.note"),
    heading("section.compare"),
    compare.element,
    heading("similarity"),
    note("similarity.how"),
  );
}
