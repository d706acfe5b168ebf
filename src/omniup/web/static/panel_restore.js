/** Tab 7: a noisy, compressed or small picture, restored. Which settings there are depends on the model. */

import { createCompare } from "./compare.js";
import { clearErrors, makeControl, refuse } from "./control.js";
import { byId, make, show } from "./dom.js";
import { inLanguage, number, significant, tell, tellText } from "./i18n.js";
import { heading } from "./words.js";

/** As RestoreConfig in the OpenAPI document has them. */
const SCALE = { min: 1, max: 8, step: 0.5 };
const FACTOR = { min: 0, max: 3, step: 0.1 };
const SEED = { min: 0, max: 2 ** 32 - 1, step: 1 };
const LONGEST_PROMPT = 2000;
const COLOURS = ["wavelet", "adain", "none"];

/** What the form begins with; a tile of 0 is automatic. */
export const RESTORE_DEFAULTS = { prompt: "", scale: 2, strength: 1, deblur: 0, tile: 0, seed: 0, colour: "wavelet" };

const FACTORS = ["scale", "strength", "deblur"];

const NUMBERS = [...FACTORS, "tile", "seed"];

const ORDER = ["enlarged", "restored"];

const compare = createCompare(...ORDER);

export class RestorePanel {
  #picture = null;

  /**
   * @param {object} options of the server
   * @param {(config: object) => void} onRun told how to restore the picture
   * @param {() => void} onChange called when a setting has been changed
   */
  constructor({ restoration, limits }, onRun, onChange) {
    const { state, trained, settings } = restoration;
    Object.assign(this, { limits, onRun, names: settings, ready: state === "ready" && trained });
    this.#introduce(restoration);
    const controls = this.#controls(restoration.tiles);
    byId("restore-settings").append(...settings.map((name) => controls[name]));
    this.set({});
    byId("restore-settings").addEventListener("input", () => {
      clearErrors();
      this.#showSize();
    });
    byId("restore-settings").addEventListener("change", onChange);
    byId("restore-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.run();
    });
  }

  /** Say what restores here, or why nothing can. */
  #introduce({ state, model, texts, trained, settings }) {
    show(byId("restore-form"), state === "ready");
    tell(byId("restore-note"), settings.includes("strength") ? "restore.note.small" : "restore.note");
    const key = state === "ready" && !trained ? "untrained" : state;
    const note = tell(byId("restore-model"), `restore.${key}`, { model, message: inLanguage(texts) });
    note.className = { ready: "note", untrained: "hint", unavailable: "problem" }[key];
  }

  #controls(tiles) {
    const prompt = make("input", { id: "restore-prompt", type: "text", maxlength: LONGEST_PROMPT, autocomplete: "off" });
    const scale = make("input", { id: "restore-scale", type: "range", ...SCALE });
    const strength = make("input", { id: "restore-strength", type: "range", ...FACTOR });
    const deblur = make("input", { id: "restore-deblur", type: "range", ...FACTOR });
    const output = (name) => make("output", { id: `restore-${name}-value`, for: `restore-${name}`, class: "figures" });
    const option = (value, key, values) => tell(make("option", { value }), key, values);
    const sides = tiles.map((side) => option(side, "verbatim", { text: `${side} px` }));
    const tile = make("select", { id: "restore-tile" }, option(0, "restore.tile.auto"), ...sides);
    const colours = COLOURS.map((name) => option(name, `restore.colour.${name}`));
    const colour = make("select", { id: "restore-colour" }, ...colours);
    const seed = make("input", { id: "restore-seed", type: "number", ...SEED });
    const line = makeControl("restore-prompt", prompt);
    line.classList.add("line");
    return {
      prompt: line,
      scale: makeControl("restore-scale", scale, output("scale")),
      strength: makeControl("restore-strength", strength, output("strength")),
      deblur: makeControl("restore-deblur", deblur, output("deblur")),
      ...Object.fromEntries(Object.entries({ tile, colour, seed }).map(([name, input]) => [name, makeControl(input.id, input)])),
    };
  }

  /** Say which picture will be restored. */
  showPicture(chosen) {
    this.#picture = chosen;
    this.#showSize();
  }

  /** Set the form: to what is given, and else to what it begins with. */
  set(settings) {
    for (const name of this.names) {
      const input = byId(`restore-${name}`);
      input.value = settings[name] ?? RESTORE_DEFAULTS[name];
      if (input.selectedIndex === -1) input.selectedIndex = 0; // there is no such choice here
    }
    this.#showSize();
  }

  get settings() {
    const value = (name) => byId(`restore-${name}`).value;
    return Object.fromEntries(this.names.map((name) => [name, NUMBERS.includes(name) ? Number(value(name)) : value(name)]));
  }

  get #scale() {
    return this.settings.scale;
  }

  /** The size of the result; zeros where the browser does not know the picture's. */
  get #size() {
    const { width = 0, height = 0 } = this.#picture ?? {};
    return [width, height].map((side) => Math.round(side * this.#scale));
  }

  get #isTooLarge() {
    const [width, height] = this.#size;
    return width * height > this.limits.restored_pixels;
  }

  get #most() {
    return number(this.limits.restored_pixels / 1e6, 1);
  }

  #showSize() {
    for (const name of FACTORS.filter((each) => this.names.includes(each))) {
      const factor = () => `${significant(this.settings[name])} ×`;
      tellText(byId(`restore-${name}-value`), factor);
      byId(`restore-${name}`).setAttribute("aria-valuetext", factor());
    }
    const line = byId("restore-size");
    line.className = this.#isTooLarge ? "error" : "figures";
    if (!this.#picture) return tell(line, "restore.noPicture");
    const { file, width, height } = this.#picture;
    if (!width) return tellText(line, file.name);
    const values = { from: `${width} × ${height}`, to: this.#size.join(" × "), most: () => this.#most };
    return tell(line, this.#isTooLarge ? "restore.size.large" : "restore.size", values);
  }

  /** Restore the picture that is chosen, with the settings that stand there. */
  run() {
    if (!this.ready) return this.#explain();
    if (this.#isTooLarge) return refuse("restore-scale", "restore.large", { most: () => this.#most });
    if (byId("restore-seed")?.validity.valid === false) return refuse("restore-seed", "restore.seed");
    const { tile, ...settings } = this.settings;
    return this.onRun(tile ? { ...settings, tile } : settings);
  }

  /** Say what is missing: what a network draws that nobody has trained helps nobody. */
  #explain() {
    const why = tell(make("p", { class: "problem", role: "alert", tabindex: -1 }), "restore.missing");
    byId("restore-result").replaceChildren(why);
    why.focus();
  }

  /** Show what came back. */
  render({ W, H, images, files, model, trained, found, precision, device, seconds }, stem) {
    byId("panel-restore").style.setProperty("--ratio", W / H);
    compare.show(ORDER.map((key) => ({ key, url: images[key] })));
    const facts = {
      ...{ W, H, model, precision, device: device.toUpperCase() },
      seconds: () => number(seconds.total, 1),
    };
    const links = Object.entries(files).map(([name, url]) =>
      make("li", {}, make("a", { href: url, download: `${stem}_${name}` }, name)),
    );
    byId("restore-result").replaceChildren(
      heading("section.restore.result"),
      tell(make("p", { class: "note figures" }), trained ? "restore.facts" : "restore.facts.untrained", facts),
      ...(found ? [this.#describe(found)] : []),
      compare.element,
      make("ul", { class: "files" }, ...links),
    );
  }

  /** Say what was found wrong with the picture. */
  #describe({ noise, quality, blur }) {
    const values = { noise: () => number(noise, 0), quality: () => number(quality, 0), blur: () => number(blur, 1) };
    return tell(make("p", { class: "note figures" }), "restore.found", values);
  }
}
