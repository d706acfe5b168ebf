/**
 * The page's language. An element is told which text it shows, once; when the language changes, every element changes
 * with it, whether it stands on the page or will later, so that nothing has to be drawn again.
 */

import { TEXTS } from "./texts.js";

/** Languages in the order of the texts. */
export const LANGUAGES = ["en", "zh"];

const ATTRIBUTES = { "data-t-label": "aria-label", "data-t-alt": "alt", "data-t-placeholder": "placeholder" };
const SELECTOR = ["data-t", ...Object.keys(ATTRIBUTES)].map((name) => `[${name}]`).join();

/** Values for the gaps of an element's texts, by the attribute that names the text. */
const gaps = new WeakMap();

/** Every element that has been told a text. Weakly: what is let go elsewhere is let go here. */
const told = new Set();

let language = "en";

/** What was chosen on an earlier visit. Browsers may forbid remembering; the page does without. */
function recall() {
  try {
    return localStorage.getItem("language");
  } catch {
    return null;
  }
}

/** Change the language for this visit and those to come. */
export function chooseLanguage(name) {
  try {
    localStorage.setItem("language", name);
  } catch {
    // for this visit, then
  }
  setLanguage(name);
}

/** What the browser asks for. */
export const preferred = () => (/^zh\b/i.test(navigator.language) ? "zh" : "en");

export const current = () => language;

/**
 * A text in the current language.
 *
 * @param {string} key in texts.js
 * @param {Object<string, unknown>} [values] for its {gaps}; functions are called, so that their text can follow the
 *   language.
 */
export function t(key, values = {}) {
  const text = TEXTS[key]?.[LANGUAGES.indexOf(language)] ?? key;
  return text.replace(/\{(\w+)\}/g, (gap, name) => {
    const value = values[name];
    return String((typeof value === "function" ? value() : value) ?? gap);
  });
}

/**
 * A sentence of the server's as a value for gaps: it follows the language, and brings along what a library said in
 * English where the Chinese sentence leaves that out.
 *
 * @param {{en: string, zh: string, details?: string}} texts
 */
export function inLanguage(texts) {
  return Object.assign(() => texts[language], { details: texts.details });
}

/** A text, or what the server says where the page has no words of its own. */
export const tOr = (key, fallback) => (key in TEXTS ? t(key) : fallback);

/** A number with so many digits after the point. */
export function number(value, digits = 2) {
  if (value === null) return "∞";
  return value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** A number with so many significant digits: small ones stay readable. */
export function significant(value, digits = 3) {
  return value.toLocaleString(language, { maximumSignificantDigits: digits });
}

/** A number out of a range, with the digits that tell the range's values apart. */
export function within(value, low, high) {
  const digits = Math.max(0, 2 - Math.floor(Math.log10(high - low || 1)));
  return value.toLocaleString(language, { maximumFractionDigits: digits });
}

export const percent = (part) => part.toLocaleString(language, { style: "percent", maximumFractionDigits: 1 });

/** Give an element its text, now and in every language to come. Returns the element. */
export function tell(element, key, values) {
  return tellAs(element, "data-t", key, values);
}

/** Give an element text that is no sentence of ours; a function's follows the language. */
export const tellText = (element, text) => tell(element, "verbatim", { text });

/** Give it its accessible name. */
export function tellLabel(element, key, values) {
  return tellAs(element, "data-t-label", key, values);
}

/** Say what a picture is, for those who do not see it. */
export function tellAlt(element, key, values) {
  return tellAs(element, "data-t-alt", key, values);
}

function tellAs(element, name, key, values) {
  element.setAttribute(name, key);
  if (!gaps.has(element)) told.add(new WeakRef(element));
  gaps.set(element, { ...gaps.get(element), [name]: values });
  translate(element);
  return element;
}

function translate(element) {
  const values = gaps.get(element) ?? {};
  if (element.hasAttribute("data-t")) {
    element.textContent = t(element.getAttribute("data-t"), values["data-t"]);
    element.append(...originals(values["data-t"]));
  }
  for (const [name, attribute] of Object.entries(ATTRIBUTES)) {
    if (element.hasAttribute(name)) element.setAttribute(attribute, t(element.getAttribute(name), values[name]));
  }
}

/** What libraries say in English, folded away below a Chinese sentence. */
function originals(values = {}) {
  const words = language === "zh" ? Object.values(values).flatMap((value) => value?.details || []) : [];
  return words.map((text) => {
    const [fold, summary, original] = ["details", "summary", "span"].map((tag) => document.createElement(tag));
    fold.className = "original";
    summary.textContent = t("details");
    Object.assign(original, { lang: "en", textContent: text });
    fold.append(summary, original);
    return fold;
  });
}

/** Take in the elements that are told their texts in the HTML. */
export function readPage() {
  for (const element of document.querySelectorAll(SELECTOR)) {
    gaps.set(element, {});
    told.add(new WeakRef(element));
  }
}

/**
 * Change the language of the whole page.
 *
 * @param {string} [name] else what was chosen on an earlier visit, or what the browser asks for
 */
export function setLanguage(name = recall()) {
  language = LANGUAGES.includes(name) ? name : preferred();
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = t("title");
  const other = language === "zh" ? "en" : "zh-CN"; // in which the switch names itself
  for (const element of document.querySelectorAll("[data-t=otherLanguage]")) element.lang = other;
  for (const reference of told) {
    const element = reference.deref();
    if (element) translate(element);
    else told.delete(reference);
  }
}
