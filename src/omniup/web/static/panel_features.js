/** Tab 2: features upsampled in every way, in colours by PCA. */

import { createCompare } from "./compare.js";
import { byId, make } from "./dom.js";
import { inLanguage, number, t, tOr } from "./i18n.js";
import { makeWaiting } from "./introduction.js";
import { makeFigure } from "./pictures.js";
import { channels, heading, note } from "./words.js";

const FEATURES = {
  feat_lr_pca: null,
  feat_hr_bilinear_pca: "bilinear",
  feat_hr_fixed_pca: "fixed",
  feat_hr_gsjbu_pca: "gsjbu",
  feat_hr_pyramid_pca: "pyramid",
};

const compare = createCompare("feat_hr_bilinear_pca", "feat_hr_gsjbu_pca", { pick: true });

/** Draw a result, or say that there is none yet. */
export function renderFeatures(result) {
  const panel = byId("panel-features");
  if (!result) return panel.replaceChildren(makeWaiting());
  const { answer, picture } = result;
  const spread = (method) => () => t("spread", { value: number(answer.metrics.features[method].edge_spread, 3) });
  const features = Object.entries(FEATURES).map(([key, method]) => picture(key, method && spread(method)));
  compare.show([...features, picture("I_hr")]);
  const { extractor_weights, extractor_texts, channels: count } = answer.meta;
  // Why there are random ones is a long story: the metrics have it.
  const weights = extractor_weights.split(" (seed")[0];
  return panel.replaceChildren(
    heading("section.features"),
    note("section.features.note", { channels: () => channels(count), weights: () => tOr(`weights.${weights}`, inLanguage(extractor_texts)()) }),
    make("div", { class: "grid four" }, ...features.map((each) => makeFigure(each, { pick: true }))),
    note("spread.note"),
    heading("section.compare"),
    compare.element,
    heading("similarity"),
    note("similarity.how"),
  );
}
