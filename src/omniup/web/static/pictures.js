/**
 * Pictures as figures: the picture in a frame that zooms, its name and its number, a button that saves it, and the key
 * of its colours.
 */

import { icon, make } from "./dom.js";
import { number, t, tOr, tell, tellAlt, tellLabel, tellText, within } from "./i18n.js";
import { makeMathematicsButton } from "./mathematics.js";
import { saveBlob } from "./take_away.js";

/** Object URLs by the data they were made of, one set for each answer of the server. */
const kept = new Map();

/**
 * Turn the server's data URLs into object URLs: a picture that is shown, compared and saved is then held once.
 * URLs of files stay as they are.
 *
 * @param {string} owner whose pictures these are; the owner's former pictures are let go
 * @param {Object<string, string>} images
 * @returns {Object<string, string>}
 */
export function hold(owner, images) {
  kept.get(owner)?.forEach((url) => URL.revokeObjectURL(url));
  const made = Object.entries(images).map(([name, url]) => [name, url.startsWith("data:") ? objectUrl(url) : url]);
  kept.set(owner, made.map(([, url]) => url).filter((url) => url.startsWith("blob:")));
  return Object.fromEntries(made);
}

function objectUrl(dataUrl) {
  const [head, body] = dataUrl.split(",");
  const bytes = Uint8Array.from(atob(body), (letter) => letter.charCodeAt(0));
  return URL.createObjectURL(new Blob([bytes], { type: head.slice(5).split(";")[0] }));
}

/**
 * A frame: shows the part of its picture that the view is at. Those that can be picked ask for similarity.
 *
 * @param {Picture} picture
 * @param {boolean} [pick]
 */
export function makeFrame({ key, words = key, url }, pick = false) {
  const name = () => t(`picture.${words}`);
  const image = tellAlt(make("img", { src: url, draggable: "false" }), `alt.${words}`);
  const attributes = { class: "frame", tabindex: 0, role: "application", "aria-describedby": "picture-keys" };
  const frame = make("div", { ...attributes, "data-pick": pick }, image, make("span", { class: "mark" }));
  return tellLabel(frame, pick ? "frame.pick" : "frame", { name });
}

/**
 * @typedef {object} Picture
 * @property {string} key in the server's answer
 * @property {string} [words] names its texts, where these are not those of the key
 * @property {string} url
 * @property {"means"|"samples"} [input] what it is made of, of the photograph
 * @property {string} [file] what it is saved as
 * @property {() => string} [number] what it scored, in words
 */

/**
 * A figure.
 *
 * @param {Picture} picture
 * @param {{pick?: boolean}} [options]
 * @param {...Node} below more of the caption
 */
export function makeFigure(picture, { pick = false } = {}, ...below) {
  const { key, words = key } = picture;
  const caption = make("div", { class: "caption" }, tell(make("span", { class: "name" }), `picture.${words}`));
  if (picture.number) caption.append(tellText(make("span", { class: "number" }), picture.number));
  caption.append(makeMathematicsButton(key, words) ?? "");
  if (picture.file) caption.append(saveLink(picture));
  return make("figure", {}, makeFrame(picture, pick), make("figcaption", {}, caption, ...below));
}

function saveLink({ key, words = key, url, file }) {
  const link = make("a", { class: "icon", href: url, download: file }, icon("download"));
  return tellLabel(link, "save", { name: () => t(`picture.${words}`) });
}

/**
 * A button that saves what is painted when it is pressed.
 *
 * @param {string} key of the picture
 * @param {string} file what it is saved as
 * @param {() => HTMLCanvasElement} paint
 */
export function makeSaveButton(key, file, paint) {
  const save = () => paint().toBlob((blob) => saveBlob(file, blob));
  const button = make("button", { type: "button", class: "icon", click: save }, icon("download"));
  return tellLabel(button, "save", { name: () => t(`picture.${key}`) });
}

/**
 * The key of a map's colours.
 *
 * @param {{low: number, high: number, unit: string, colours: string[]}} scale
 */
export function makeLegend({ low, high, unit, colours }) {
  const strip = make("div", { class: "strip" });
  strip.style.backgroundImage = `linear-gradient(to right, ${colours.join()})`;
  const at = (value) => tellText(make("span"), () => within(value, low, high));
  const middle = tellText(make("span"), () => tOr(`unit.${unit}`, unit));
  const ends = make("div", { class: "ends" }, at(low), middle, at(high));
  return make("div", { class: "legend" }, strip, ends);
}

/** A number of decibels, for a picture's caption. */
export const decibels = (value) => () => `${number(value)} dB`;
