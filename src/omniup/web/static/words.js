/** Pieces of text that panels are made of; all of them follow the language. */

import { make } from "./dom.js";
import { inLanguage, t, tOr, tell } from "./i18n.js";

/** The heading of a part of a panel. */
export const heading = (key) => tell(make("h3"), key);

/** A line or two of explanation. */
export const note = (key, values) => tell(make("p", { class: "note" }), key, values);

/** How many channels there are. */
export const channels = (count) => t(count === 1 ? "channels.one" : "channels.many", { count });

/** Where an encoder's weights come from. Why there are random ones is a long story: the metrics have it. */
export function weightsInWords(weights, texts) {
  const [brief] = weights.split(" (seed");
  return tOr(`weights.${brief}`, inLanguage(texts)());
}

/** A button that does one thing. */
export const button = (key, act) => tell(make("button", { type: "button", click: act }), key);
