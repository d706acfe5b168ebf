/**
 * Making elements. Text always goes in as text nodes, never as markup: file names and the server's messages are
 * other people's words.
 */

const SVG = "http://www.w3.org/2000/svg";

/** The element of the page with this id. */
export const byId = (id) => document.getElementById(id);

/**
 * Make an HTML element.
 *
 * @param {string} tag
 * @param {Object<string, unknown>} [attributes] attributes; functions are event listeners, true is an empty attribute,
 *   false, null and undefined are left out.
 * @param {...(Node|string|null)} children
 */
export function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** Make an SVG element; arguments as for `make`. */
export function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

const ICONS = { download: "M8 2v8M4.5 7 8 10.5 11.5 7M3 13.5h10", close: "M4 4l8 8M12 4l-8 8" };

/** A small line drawing; the control that holds it has the name. */
export function icon(name) {
  const path = draw("path", { d: ICONS[name], fill: "none", stroke: "currentColor", "stroke-width": 1.5 });
  return draw("svg", { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" }, path);
}

/** Open whatever an element is folded away in. */
export function unfold(element) {
  for (let at = element; at; at = at.parentElement) if (at.matches("details")) at.open = true;
}

/** Show or hide an element. */
export function show(element, visible = true) {
  element.hidden = !visible;
}
