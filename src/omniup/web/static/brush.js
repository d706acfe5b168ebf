/** A brush on a photograph: by pointer, touch or keys; what is painted becomes a mask. */

import { make } from "./dom.js";
import { tell, tellLabel } from "./i18n.js";

const STEP = 0.04; // of the width, by an arrow key

/** The brush's radii, as parts of the longer side. */
const RADII = { min: 0.01, max: 0.15, step: 0.01 };

export class Brush {
  #erasing = false;
  #last = null; // where the stroke was a moment ago
  #at = { x: 0.5, y: 0.5 }; // of the keys
  #touched = false;

  /** @param {() => void} onStroke called when a stroke has ended, and when all is cleared */
  constructor(onStroke) {
    this.onStroke = onStroke;
    this.photo = make("img", { alt: "" });
    this.canvas = make("canvas", { tabindex: 0, role: "application", "aria-describedby": "brush-keys" });
    tellLabel(this.canvas, "brush");
    this.cursor = make("span", { class: "brush-cursor" });
    this.radius = make("input", { id: "brush-radius", type: "range", ...RADII, value: 0.06 });
    const paint = make("button", { type: "button", "aria-pressed": "true", click: () => this.#choose(false) });
    const erase = make("button", { type: "button", "aria-pressed": "false", click: () => this.#choose(true) });
    const clear = make("button", { type: "button", click: () => this.clear() });
    this.tools = [tell(paint, "brush.paint"), tell(erase, "brush.erase")];
    const label = tell(make("label", { for: "brush-radius" }), "brush.radius");
    this.element = make(
      "div",
      { class: "brush-box" },
      make("div", { class: "row" }, ...this.tools, tell(clear, "brush.clear"), label, this.radius),
      make("div", { class: "brush" }, this.photo, this.canvas, this.cursor),
      tell(make("p", { id: "brush-keys", class: "note" }), "brush.keys"),
    );
    this.canvas.addEventListener("pointerdown", (event) => this.#press(event));
    this.canvas.addEventListener("pointermove", (event) => this.#last && this.#line(this.#place(event)));
    this.canvas.addEventListener("pointerup", () => this.#lift());
    this.canvas.addEventListener("pointercancel", () => this.#lift());
    this.canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Take another photograph; nothing is painted on it. */
  load(url, width, height) {
    this.photo.src = url;
    Object.assign(this.canvas, { width, height }); // which clears it
    this.#touched = false;
    this.element.style.setProperty("--ratio", width / height);
  }

  get isEmpty() {
    return !this.#touched;
  }

  clear() {
    this.#context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.#touched = false;
    this.onStroke();
  }

  /** The mask as a PNG: white where there is paint. */
  mask() {
    const { width, height } = this.canvas;
    const sheet = make("canvas", { width, height });
    const context = sheet.getContext("2d");
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    context.drawImage(this.canvas, 0, 0);
    return new Promise((resolve) => sheet.toBlob(resolve, "image/png"));
  }

  get #context() {
    return this.canvas.getContext("2d");
  }

  #choose(erasing) {
    this.#erasing = erasing;
    this.tools.forEach((tool, index) => tool.setAttribute("aria-pressed", String((index === 1) === erasing)));
  }

  #press(event) {
    if (event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.#last = this.#place(event);
    this.#line(this.#last);
  }

  #lift() {
    if (!this.#last) return;
    this.#last = null;
    this.onStroke();
  }

  #place({ offsetX, offsetY }) {
    const scale = this.canvas.width / this.canvas.clientWidth;
    return { x: offsetX * scale, y: offsetY * scale };
  }

  #line(to) {
    const context = this.#context;
    context.globalCompositeOperation = this.#erasing ? "destination-out" : "source-over";
    context.lineCap = context.lineJoin = "round";
    context.strokeStyle = "#fff";
    context.lineWidth = 2 * this.radius.value * Math.max(this.canvas.width, this.canvas.height);
    context.beginPath();
    context.moveTo(this.#last.x, this.#last.y);
    context.lineTo(to.x, to.y);
    context.stroke();
    this.#last = to;
    this.#touched = true;
  }

  #key(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key in moves) {
      const [dx, dy] = moves[event.key];
      const within = (value) => Math.min(Math.max(value, 0), 1);
      this.#at = { x: within(this.#at.x + dx * STEP), y: within(this.#at.y + dy * STEP) };
      this.cursor.style.left = `${100 * this.#at.x}%`;
      this.cursor.style.top = `${100 * this.#at.y}%`;
    } else if (event.key === " " || event.key === "Enter") {
      this.#last = { x: this.#at.x * this.canvas.width, y: this.#at.y * this.canvas.height };
      this.#line(this.#last);
      this.#lift();
    } else return;
    event.preventDefault();
  }
}
