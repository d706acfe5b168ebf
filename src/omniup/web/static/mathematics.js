/** The formula behind a picture, in a dialog: what it is made of, in one line and one sentence. */

import { byId, make } from "./dom.js";
import { t, tell, tellLabel, tellText } from "./i18n.js";

/** Which formula explains a picture, by its key; of several that match, the first. Photographs have none. */
const TOPICS = [
  [/^(I_hr|photo|image|feature_photo|enlarged|restored)$/, null],
  [/^err_|difference/, "error"],
  [/similarity/, "similarity"],
  [/concentration/, "concentration"],
  [/sigma|theta|ellipses/, "parameters"],
  [/confidence|trusted/, "confidence"],
  [/anyup/, "anyup"],
  [/pyramid/, "pyramid"],
  [/fixed/, "bilateral"],
  [/tto|gsjbu|unfitted|by_spec|by_paper|upsample_anything/, "kernels"],
  [/bilinear|bicubic/, "interpolation"],
  [/^low$|_lr$|^feat_lr|cells/, "cells"],
  [/./, "mix"],
];

const FORMULAS = {
  mix: ["y(p) = Σ_q w(p, q) s(q),   Σ_q w(p, q) = 1"],
  cells: ["s(q) = (1 / |q|) Σ_{p ∈ q} y(p)"],
  interpolation: ["y(p) = Σ_q h(p − q) s(q)"],
  bilateral: ["w(p, q) ∝ exp( −|p − q|² / 2σ² − |I(p) − I(q)|² / 2σr² )"],
  kernels: [
    "w(p, q) ∝ exp( −½ (Δx′² / σx² + Δy′² / σy²) − |I(p) − I(q)|² / 2σr² ),   Δ′ = R(θ_q) (p − q)",
    "TTO:   min_{σx, σy, θ, σr}  Σ_p | Σ_q w(p, q) I(q) − I(p) |",
  ],
  pyramid: ["y = U₁ U₂ U₄ s,   U_k:  w(p, q) ∝ exp( −|p − q|² / 2σ² − |I(p) − I(q)|² / 2σr,q² )"],
  anyup: ["w(p, q) = softmax_q ( query(p) · key(q) / √d )"],
  error: ["e(p) = (1 / C) Σ_c | y_c(p) − y′_c(p) |"],
  similarity: ["cos(p) = f(p) · f(p₀) / ( |f(p)| |f(p₀)| )"],
  concentration: ["1 − H(p) / log n,   H(p) = −Σ_q w log w"],
  parameters: ["exp( −½ (Δx′² / σx² + Δy′² / σy²) − |I(p) − I(q)|² / 2σr² ),   Δ′ = R(θ) (p − q)"],
  confidence: ["c(p) = P( |y(p) − y*(p)| ≤ ε )"],
};

const topicOf = (key) => TOPICS.find(([pattern]) => pattern.test(key))[1];

/**
 * A button that opens the formula of a picture; null for photographs, which nothing has computed.
 *
 * @param {string} key of the picture
 * @param {string} words names its texts
 */
export function makeMathematicsButton(key, words = key) {
  const topic = topicOf(key);
  if (topic === null) return null;
  const button = make("button", { type: "button", class: "icon maths", click: () => open(topic, words) }, "ƒ");
  return tellLabel(button, "maths.of", { name: () => t(`picture.${words}`) });
}

function open(topic, words) {
  const dialog = byId("mathematics");
  tell(byId("mathematics-title"), "maths.of", { name: () => t(`picture.${words}`) });
  tell(byId("mathematics-text"), `maths.${topic}`);
  byId("mathematics-formulas").replaceChildren(
    ...FORMULAS[topic].map((formula) => tellText(make("p", { class: "formula" }), formula)),
  );
  dialog.showModal();
}
