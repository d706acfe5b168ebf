/**
 * Our own method, plain interpolation and the fits beside each other: drawn as far as they have come, with the
 * difference in a sentence.
 */

import { byId, make } from "./dom.js";
import { number, t, tOr, tell } from "./i18n.js";
import { hold, makeFigure } from "./pictures.js";
import { button, heading, note } from "./words.js";

/** What is asked for at first, since it is there within a second. */
export const quickMethods = ({ method }) => [method, "bilinear", "bicubic"].map((name) => ({ method: name }));

/** A fit: one request each, since they are shown as they are done. */
export const fit = (preset) => ({ method: "upsample_anything", settings: { preset } });

/** The name of a method with its settings: the preset of a fit, else the method. */
const nameOf = ({ method, settings }) => settings.preset ?? method;

/**
 * @typedef {object} Compared methods on one photograph
 * @property {object} first answer of the server: sizes, and the photograph
 * @property {string|null} stem of the files that are saved, if any
 * @property {Map<string, object>} results of the methods that are done, by `nameOf`
 * @property {Set<string>} awaited presets whose fits are to come
 * @property {(preset: string) => void} [fit] fits with a preset that is not awaited
 * @property {number} slot 0 or 1, other than that of the former comparison, whose pictures may be returned to
 */

/**
 * Begin a comparison with the server's first answer.
 *
 * @param {object} answer
 * @param {string} stem
 * @param {Compared|null} former
 * @returns {Compared}
 */
export function beginComparison(answer, stem, former) {
  const slot = former?.slot === 0 ? 1 : 0;
  const { original } = hold(`compared ${slot}`, { original: answer.original });
  const compared = { first: { ...answer, original }, stem, results: new Map(), awaited: new Set(), slot };
  extendComparison(compared, answer);
  return compared;
}

/** Add the methods of another answer. */
export function extendComparison({ results, slot }, answer) {
  for (const each of answer.results) {
    const name = nameOf(each);
    results.set(name, { ...each, ...hold(`compared ${slot} ${name}`, { image: each.image }) });
  }
}

const ORDER = ["pyramid_bilateral", "spec", "paper", "bilinear", "bicubic"];

/** The pictures of a comparison, our own method first. */
export function comparedPictures({ first, stem, results }) {
  const file = (name) => stem && `${stem}_${name}.png`; // the example of the empty page is not saved
  const done = ORDER.filter((name) => results.has(name)).map((name) => {
    const { image, shown, psnr } = results.get(name);
    const scores = { means: () => number(psnr.means, 1), samples: () => number(psnr.samples, 1) };
    return { key: `by_${name}`, url: image, input: shown, file: file(name), number: () => t("sides.scores", scores) };
  });
  return [...done, { key: "I_hr", url: first.original, file: file("original") }];
}

/**
 * The part of a panel that shows a comparison.
 *
 * @param {Compared} compared
 * @param {string} [title] key of its heading
 */
export function makeSideBySide(compared, title = "section.sides") {
  const original = makeFigure(comparedPictures(compared).at(-1), { pick: true });
  return make(
    "section",
    { id: "sides" },
    heading(title),
    makeSentence(compared),
    make("div", { class: "grid four sides" }, ...ORDER.map((name) => makeSide(name, compared)), original),
    note("sides.note"),
  );
}

/** Fill in what has been computed since; all else stays as it is, with its focus. */
export function updateSideBySide(compared) {
  const sides = byId("sides");
  sides.querySelector(".verdict").replaceWith(makeSentence(compared));
  for (const place of sides.querySelectorAll("figure:has(.pending)")) {
    const { name, awaited } = place.dataset;
    const isSame = (awaited === "true") === compared.awaited.has(name);
    if (compared.results.has(name) || !isSame) place.replaceWith(makeSide(name, compared));
  }
}

/** The figure of a method; a place for it while it is being fitted; the reason where it is not to be, and a way to it. */
function makeSide(name, compared) {
  const purpose = note(`good.${name}`);
  const picture = comparedPictures(compared).find(({ key }) => key === `by_${name}`);
  if (picture) return makeFigure(picture, { pick: true }, purpose);
  const isAwaited = compared.awaited.has(name);
  const words = tell(make("p"), isAwaited ? "sides.pending" : "sides.absent");
  const start = isAwaited ? null : button("sides.fitIt", () => compared.fit(name));
  const frame = make("div", { class: "frame pending" }, make("div", {}, words, start));
  const caption = make("div", { class: "caption" }, tell(make("span", { class: "name" }), `picture.by_${name}`));
  return make("figure", { "data-name": name, "data-awaited": String(isAwaited) }, frame, make("figcaption", {}, caption, purpose));
}

function makeSentence({ first, results }) {
  const [ours, plain, spec, paper] = ["pyramid_bilateral", "bilinear", "spec", "paper"].map((name) => results.get(name));
  const score = (result, signal) => () => number(result.psnr[signal], 1);
  const seconds = (result) => () => number(result.seconds, 1);
  const gain = () => difference(ours.psnr.means, plain.psnr.means);
  const [h, w] = first.grid;
  const values = { cells: `${w} × ${h}`, ours: score(ours, "means"), seconds: seconds(ours), gain };
  const sentence = make("p", { class: "verdict" });
  if (paper) sentence.append(tell(make("strong"), "sides.verdict"), " ");
  sentence.append(tell(make("span"), "sides.ours", values));
  for (const [name, fit] of Object.entries({ spec, paper })) {
    if (!fit) continue;
    const said = { name: () => tOr(`preset.${name}`, name), samples: score(fit, "samples"), means: score(fit, "means") };
    sentence.append(" ", tell(make("span"), "sides.fit", { ...said, seconds: seconds(fit) }));
  }
  return sentence;
}

function difference(a, b) {
  if (a === null || b === null) return t("sides.exact");
  return `${a < b ? "−" : "+"}${number(Math.abs(a - b), 1)}`;
}
