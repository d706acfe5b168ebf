/** The settings of a run: a control for each, with its value, a line of help, and the server's objection if any. */

import { byId, make, show } from "./dom.js";
import { significant, t, tOr, tell, tellLabel, tellText } from "./i18n.js";

/** Step sizes are chosen on a scale of powers of ten, from 10⁻⁴ to 1. */
const LR = { toSlider: (lr) => Math.log10(lr), fromSlider: (x) => Number((10 ** x).toPrecision(2)) };

/** Sliders: their range, and how a value is shown. */
const SLIDERS = {
  iters: { min: 0, max: 100, step: 1 },
  radius: { min: 1, max: 8, step: 1 },
  lr: { min: -4, max: 0, step: 0.05, ...LR },
  sigma: { min: 1, max: 64, step: 0.5, unit: "px" },
  sigma_r: { min: 0.01, max: 1, step: 0.01 },
  channels: { min: 1, max: 128, step: 1 },
  seg_resolution: { min: 64, max: 512, step: 32, unit: "px" },
};

const MAIN = [
  ...["preset", "size", "shape", "stride", "iters", "radius", "lr"],
  ...["extractor", "device", "segmentation", "seg_resolution"],
];
const MORE = ["sigma", "sigma_r", "channels"];

/** What a run takes where neither the server nor the user says otherwise. */
const DEFAULTS = {
  preset: "spec",
  size: 256,
  shape: "keep",
  stride: 16,
  iters: 50,
  radius: 2,
  lr: 1e-3,
  sigma: 16,
  sigma_r: 0.12,
  extractor: "projection",
  channels: 32,
  device: "auto",
  segmentation: false,
  seg_resolution: 256,
};

/**
 * The settings that the page begins with on this machine. Pictures keep their proportions here, whatever a bare
 * request to the server would get.
 */
export function defaultSettings({ config, presets }) {
  const { iters, radius, lr } = presets[config.preset ?? DEFAULTS.preset];
  const given = Object.entries(config).filter(([name, value]) => name in DEFAULTS && value !== null);
  return { ...DEFAULTS, iters, radius, lr, ...Object.fromEntries(given), shape: DEFAULTS.shape };
}

export class Controls {
  #shown = {};

  /**
   * @param {object} options of the server
   * @param {(settings: object) => void} onChange told the settings whenever one of them changes
   */
  constructor(options, onChange) {
    this.options = options;
    this.onChange = onChange;
    this.settings = defaultSettings(options);
    const choices = {
      preset: Object.keys(options.presets),
      size: options.sizes,
      shape: ["keep", "square"],
      stride: options.strides,
      extractor: options.extractors.map(({ name }) => name),
      device: ["auto", ...options.devices.map(({ name }) => name)],
    };
    const build = (name) => {
      if (name in choices) return this.#select(name, choices[name]);
      return name in SLIDERS ? this.#slider(name, SLIDERS[name]) : this.#box(name);
    };
    byId("main-settings").replaceChildren(...MAIN.map(build));
    byId("more-settings").replaceChildren(...MORE.map(build));
    const { state, message } = options.segmentation;
    if (state === "unavailable") {
      const why = tell(make("p", { class: "help" }), "segmentation.note.unavailable", { message });
      byId("control-segmentation").append(why);
    }
    this.set({});
  }

  /** Change settings, as the user would; a preset brings its own iters, radius and lr unless they are given as well. */
  set(changes) {
    const { iters, radius, lr } = ("preset" in changes && this.options.presets[changes.preset]) || this.settings;
    this.settings = { ...this.settings, iters, radius, lr, ...changes };
    for (const [name, value] of Object.entries(this.settings)) this.#shown[name](value);
    show(byId("control-device"), this.options.devices.length > 1);
    show(byId("control-seg_resolution"), this.settings.segmentation);
    show(byId("control-channels"), this.settings.extractor === "projection");
    this.clearErrors();
    this.onChange(this.settings);
  }

  #select(name, values) {
    const select = make("select", { id: name, change: () => this.set({ [name]: this.#typed(name, select.value) }) });
    const add = (value) => {
      const option = make("option", { value });
      select.append(tellText(option, () => this.#choiceName(name, value)));
    };
    values.forEach(add);
    this.#shown[name] = (value) => {
      if (![...select.options].some((option) => option.value === String(value))) add(value); // from an address
      select.value = value;
    };
    return this.#control(name, select);
  }

  #choiceName(name, value) {
    if (name === "size" || name === "stride") return `${value} px`;
    const device = name === "device" && this.options.devices.find((each) => each.name === value);
    return tOr(`${name}.${value}`, device?.label ?? value);
  }

  #typed(name, text) {
    return typeof this.settings[name] === "number" ? Number(text) : text;
  }

  #slider(name, { unit, toSlider = Number, fromSlider = Number, ...range }) {
    const output = make("output", { for: name, class: "figures" });
    const slider = make("input", { id: name, type: "range", ...range });
    slider.addEventListener("input", () => this.set({ [name]: fromSlider(slider.value) }));
    this.#shown[name] = (value) => {
      slider.value = toSlider(value);
      const text = unit ? `${significant(value)} ${unit}` : significant(value);
      output.textContent = text;
      slider.setAttribute("aria-valuetext", text);
    };
    return this.#control(name, slider, output);
  }

  #box(name) {
    const box = make("input", { id: name, type: "checkbox", change: () => this.set({ [name]: box.checked }) });
    this.#shown[name] = (value) => (box.checked = value);
    return this.#control(name, box);
  }

  #control(name, input, output) {
    const help = tell(make("p", { class: "help", id: `${name}-help`, hidden: true }), `${name}.help`);
    const error = make("p", { class: "error", id: `${name}-error`, hidden: true });
    const state = { "aria-expanded": "false", "aria-controls": help.id };
    const ask = make("button", { type: "button", class: "ask", ...state }, "?");
    ask.addEventListener("click", () => {
      show(help, help.hidden);
      ask.setAttribute("aria-expanded", String(!help.hidden));
    });
    tellLabel(ask, "help", { name: () => t(`${name}.label`) });
    input.setAttribute("aria-describedby", `${help.id} ${error.id}`);
    const label = tell(make("label", { for: name }), `${name}.label`);
    const kind = input.type === "checkbox" ? "control tick" : input.type === "range" ? "control wide" : "control";
    const head = make("div", { class: "head" }, label, ask, output ?? null);
    return make("div", { class: kind, id: `control-${name}` }, head, input, help, error);
  }

  /** Say at a control what the server has against its value. Returns whether there is such a control. */
  showError(name, message) {
    const error = byId(`${name}-error`);
    const input = byId(name);
    if (!error || input.closest("[hidden]")) return false;
    input.closest("details")?.setAttribute("open", "");
    byId("settings").open = true;
    input.setAttribute("aria-invalid", "true");
    error.textContent = message;
    show(error);
    input.focus();
    return true;
  }

  clearErrors() {
    for (const input of byId("controls").querySelectorAll("[aria-invalid]")) {
      input.removeAttribute("aria-invalid");
      show(byId(`${input.id}-error`), false);
    }
  }
}
