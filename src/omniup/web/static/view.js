/**
 * One look at many pictures: zoom, place and crosshair are shared by all pictures under a root.
 *
 * Everything is in parts of a picture's sides, 0..1, so that pictures of different sizes go together. The state lies in
 * custom properties of the root, from which the style sheet places every picture: one assignment moves them all.
 */

const MOST = 32;
const STEP = Math.SQRT2;
const CLICK = 5; // px that a pointer may wander in a click
const DOUBLE = 4; // the zoom of a double click
const FINGERS = 2;
const PAUSE = 250; // ms after which a click is no half of a double one

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

export class View {
  zoom = 1;
  centre = { x: 0.5, y: 0.5 };
  #cursor = null;
  #hovering = false; // the pointer moves the crosshair, not keys
  #mark = null;
  #drag = null;
  #touches = new Map(); // where fingers are, by their pointers
  #pinch = null; // a zoom by two fingers: how far apart they were, and where
  #click = null; // one that may still become a double one

  /**
   * @param {HTMLElement} root
   * @param {{onZoom: (zoom: number) => void, onPick: (point: {x: number, y: number}, frame: Element) => void,
   *   onCursor: (point: {x: number, y: number}) => void}} listeners told the zoom, the point that was asked for and where, and
   *   where the crosshair was moved by keys
   */
  constructor(root, listeners) {
    Object.assign(this, { root, ...listeners });
    root.addEventListener("pointerdown", (event) => this.#press(event));
    root.addEventListener("pointermove", (event) => this.#move(event));
    root.addEventListener("pointerup", (event) => this.#release(event));
    root.addEventListener("pointercancel", (event) => this.#lift(event));
    root.addEventListener("pointerleave", () => this.#pointAt(null));
    root.addEventListener("dblclick", (event) => this.#double(event));
    root.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    root.addEventListener("keydown", (event) => this.#key(event));
    root.addEventListener("focusout", () => this.#pointAt(null));
    this.#apply();
  }

  /** Everything in sight, nothing marked. */
  reset() {
    this.#mark = null;
    this.setZoom(1);
  }

  /** Take the mark away. */
  unmark() {
    this.#mark = null;
    this.#apply();
  }

  /** Zoom to a factor; `at` stays where it is. */
  setZoom(zoom, at = this.centre) {
    const next = clamp(zoom, 1, MOST);
    const kept = this.zoom / next;
    this.centre = { x: at.x + (this.centre.x - at.x) * kept, y: at.y + (this.centre.y - at.y) * kept };
    this.zoom = next;
    this.#apply();
    this.onZoom(this.zoom);
  }

  zoomIn = (at) => this.setZoom(this.zoom * STEP, at);
  zoomOut = (at) => this.setZoom(this.zoom / STEP, at);

  #apply() {
    const margin = 0.5 / this.zoom; // pictures fill their frames: no centre is nearer to a side
    this.centre = { x: clamp(this.centre.x, margin, 1 - margin), y: clamp(this.centre.y, margin, 1 - margin) };
    const set = (name, value) => this.root.style.setProperty(name, value);
    const place = (name, point) => {
      set(`--${name}-x`, `${(0.5 + (point.x - this.centre.x) * this.zoom) * 100}%`);
      set(`--${name}-y`, `${(0.5 + (point.y - this.centre.y) * this.zoom) * 100}%`);
    };
    set("--zoom", this.zoom);
    place("corner", { x: 0, y: 0 });
    if (this.#mark) place("mark", this.#mark);
    if (this.#cursor) place("cursor", this.#cursor);
    this.root.classList.toggle("zoomed", this.zoom > 1);
    this.root.classList.toggle("marked", this.#mark !== null);
    this.root.classList.toggle("pointing", this.#cursor !== null);
    this.root.classList.toggle("hovering", this.#hovering);
  }

  #pointAt(point, hovering = false) {
    this.#cursor = point;
    this.#hovering = hovering;
    this.#apply();
  }

  /** Mark a point and, after a pause, ask about it. */
  #pick(frame, point, pause = 0) {
    if (!("pick" in frame.dataset)) return;
    clearTimeout(this.#click?.asking);
    const former = this.#click ? this.#click.former : this.#mark; // before the first of two clicks
    const ask = () => {
      this.#click = null;
      this.onPick(point, frame);
    };
    this.#click = { former, asking: setTimeout(ask, pause) };
    this.#mark = point;
    this.#apply();
  }

  /** Where in its picture an event happened; nothing outside of pictures. */
  #locate(event) {
    const frame = event.target.closest(".frame");
    if (!frame || event.target.closest(".divider")) return null;
    const box = frame.getBoundingClientRect();
    const part = (offset, side, centre) => clamp(centre + (offset / side - 0.5) / this.zoom, 0, 1);
    const x = part(event.clientX - box.left, box.width, this.centre.x);
    const y = part(event.clientY - box.top, box.height, this.centre.y);
    return { frame, box, point: { x, y } };
  }

  #press(event) {
    const place = this.#locate(event);
    if (!place || event.button !== 0) return;
    if (event.pointerType === "touch") {
      this.#touches.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (this.#touches.size === FINGERS) return this.#startPinch(place);
    }
    this.#drag = { ...place, start: { x: event.clientX, y: event.clientY }, centre: this.centre, moved: false };
  }

  #startPinch({ box }) {
    this.#drag = null;
    const { distance, middle } = this.#fingers(box);
    const at = (side) => clamp(this.centre[side] + (middle[side] - 0.5) / this.zoom, 0, 1);
    this.#pinch = { box, distance, zoom: this.zoom, point: { x: at("x"), y: at("y") } };
  }

  /** How far apart two fingers are, in px, and what lies between them, in parts of a box. */
  #fingers(box) {
    const [a, b] = this.#touches.values();
    const middle = { x: ((a.x + b.x) / 2 - box.left) / box.width, y: ((a.y + b.y) / 2 - box.top) / box.height };
    return { distance: Math.hypot(a.x - b.x, a.y - b.y), middle };
  }

  /** Zoom by how far fingers have moved apart; what was between them stays there. */
  #spread(event) {
    this.#touches.set(event.pointerId, { x: event.clientX, y: event.clientY });
    const { box, distance: before, zoom, point } = this.#pinch;
    const { distance, middle } = this.#fingers(box);
    this.zoom = clamp((zoom * distance) / Math.max(before, 1), 1, MOST);
    this.centre = { x: point.x - (middle.x - 0.5) / this.zoom, y: point.y - (middle.y - 0.5) / this.zoom };
    this.#apply();
    this.onZoom(this.zoom);
  }

  #lift(event) {
    this.#touches.delete(event.pointerId);
    this.#drag = null;
    if (!this.#touches.size) this.#pinch = null; // the second finger that is lifted is no click
  }

  #move(event) {
    if (this.#pinch) {
      if (this.#touches.size === FINGERS && this.#touches.has(event.pointerId)) this.#spread(event);
    } else if (this.#drag) {
      const { box, start, centre } = this.#drag;
      const dx = event.clientX - start.x;
      const dy = event.clientY - start.y;
      this.#drag.moved ||= Math.hypot(dx, dy) > CLICK;
      if (!this.#drag.moved || this.zoom === 1) return;
      this.#drag.frame.setPointerCapture(event.pointerId);
      this.centre = { x: centre.x - dx / box.width / this.zoom, y: centre.y - dy / box.height / this.zoom };
      this.#apply();
    } else if (event.pointerType === "mouse") {
      this.#pointAt(this.#locate(event)?.point ?? null, true);
    }
  }

  #release(event) {
    const drag = this.#drag;
    this.#lift(event);
    if (drag && !drag.moved) this.#pick(drag.frame, drag.point, PAUSE);
  }

  #double(event) {
    const place = this.#locate(event);
    if (!place) return;
    if (this.#click) {
      clearTimeout(this.#click.asking);
      this.#mark = this.#click.former;
      this.#click = null;
    }
    this.setZoom(this.zoom > 1 ? 1 : DOUBLE, place.point);
  }

  #wheel(event) {
    const place = event.ctrlKey && this.#locate(event);
    if (!place) return;
    event.preventDefault(); // which would zoom the page
    this.setZoom(this.zoom * 2 ** (-event.deltaY / 200), place.point);
  }

  #key(event) {
    const frame = event.target;
    if (!frame.matches(".frame") || event.ctrlKey || event.metaKey || event.altKey) return;
    const from = this.#cursor ?? this.#mark ?? this.centre;
    const step = (event.shiftKey ? 0.004 : 0.03) / this.zoom;
    const towards = (dx, dy) => () => {
      const point = { x: clamp(from.x + dx * step, 0, 1), y: clamp(from.y + dy * step, 0, 1) };
      const reach = 0.5 / this.zoom; // the view follows the crosshair out of sight
      const follow = (centre, at) => clamp(centre, at - reach, at + reach);
      this.centre = { x: follow(this.centre.x, point.x), y: follow(this.centre.y, point.y) };
      this.#pointAt(point);
      if ("pick" in frame.dataset) this.onCursor(point);
    };
    const actions = {
      ArrowLeft: towards(-1, 0),
      ArrowRight: towards(1, 0),
      ArrowUp: towards(0, -1),
      ArrowDown: towards(0, 1),
      Enter: () => this.#pick(frame, from),
      " ": () => this.#pick(frame, from),
      "+": () => this.zoomIn(from),
      "=": () => this.zoomIn(from),
      "-": () => this.zoomOut(from),
      0: () => this.setZoom(1),
      Escape: () => this.#pointAt(null),
    };
    if (!(event.key in actions)) return;
    event.preventDefault();
    actions[event.key]();
  }
}
