/** The settings of a run: a control for each, with its value, a line of help, and the server's objection if any. */

import { clearErrors, makeControl } from "./control.js";
import { byId, make, show } from "./dom.js";
import { inLanguage, significant, t, tOr, tell, tellText } from "./i18n.js";

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
 * The settings that the page begins with on this machine. Pictures keep their proportions here, and features come from
 * a trained network where there is one, whatever a bare request to the server would get.
 */
export function defaultSettings({ config, presets, extractor }) {
  const { iters, radius, lr } = presets[config.preset ?? DEFAULTS.preset];
  const given = Object.entries(config).filter(([name, value]) => name in DEFAULTS && value !== null);
  return { ...DEFAULTS, iters, radius, lr, ...Object.fromEntries(given), shape: DEFAULTS.shape, extractor };
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
    const { state, texts } = options.segmentation;
    if (state === "unavailable") {
      const why = tell(make("p", { class: "help" }), "segmentation.note.unavailable", { message: inLanguage(texts) });
      byId("control-segmentation").append(why);
    }
    this.set({});
  }

  /** Change settings, as the user would; a preset brings its own iters, radius and lr unless they are given as well. */
  set(changes) {
    const { iters, radius, lr } = ("preset" in changes && this.options.presets[changes.preset]) || this.settings;
    this.settings = { ...this.settings, iters, radius, lr, ...changes };
    for (const [name, value] of Object.entries(this.settings)) this.#shown[name](value);
    for (const option of byId("preset").options) tellText(option, () => this.#choiceName("preset", option.value));
    show(byId("control-device"), this.options.devices.length > 1);
    show(byId("control-seg_resolution"), this.settings.segmentation);
    show(byId("control-channels"), this.settings.extractor === "projection");
    clearErrors();
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
    return makeControl(name, select);
  }

  #choiceName(name, value) {
    if (name === "size" || name === "stride") return `${value} px`;
    if (name === "preset") return this.#presetName(value);
    const device = name === "device" && this.options.devices.find((each) => each.name === value);
    return tOr(`${name}.${value}`, device ? inLanguage(device.texts)() : value);
  }

  /** A preset's name, and of the chosen one whether its numbers still stand. */
  #presetName(name) {
    const words = tOr(`preset.${name}`, name);
    const preset = this.options.presets[name];
    const { preset: chosen, ...settings } = this.settings;
    const isChanged = name === chosen && ["iters", "radius", "lr"].some((each) => settings[each] !== preset[each]);
    return isChanged ? t("preset.changed", { name: words }) : words;
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
    return makeControl(name, slider, output);
  }

  #box(name) {
    const box = make("input", { id: name, type: "checkbox", change: () => this.set({ [name]: box.checked }) });
    this.#shown[name] = (value) => (box.checked = value);
    return makeControl(name, box);
  }
}
