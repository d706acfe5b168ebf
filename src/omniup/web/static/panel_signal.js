/** Tab 6: upsample one's own signal: features, probabilities, depth, labels, whatever was computed from the picture. */

import { postForm } from "./api.js";
import { createCompare } from "./compare.js";
import { byId, make, show, unfold } from "./dom.js";
import { current, inLanguage, number, significant, t, tOr, tell, tellText } from "./i18n.js";
import { makeFigure, makeLegend, hold } from "./pictures.js";
import { makeTrusted } from "./trusted.js";
import { channels, heading, note } from "./words.js";

const ORDER = ["image", "low", "bilinear", "result", "difference", "confidence"];

/** What a confidence means, by the type of the signal: names a text. */
const MEANINGS = {
  ...{ probabilities: "classes", logits: "classes", labels: "labels", measurement: "values", values: "values" },
  ...{ features: "features", directions: "features" },
};

/** Which of a preset's numbers is which setting of the method. */
const OF_PRESET = { iterations: "iters", radius: "radius", lr: "lr" };

/** The settings that one may want to change first; the others are folded away once more. */
const BASIC = ["iterations", "radius", "lr", "sigma", "sigma_x", "sigma_y", "theta", "sigma_r", "eps"];

/** Files with arrays that have names. */
const ARCHIVES = /\.(npz|safetensors)$/i;

/** The parts of the request, by the controls that say them; settings of the method have controls of their own. */
const CONTROLS = {
  ...{ signal: "signal", signal_type: "signal-type", invalid: "signal-invalid", layout: "signal-layout" },
  ...{ consistency: "signal-consistency", grid: "signal-grid", name: "signal-array-name", image_name: "signal-image-array-name" },
  ...Object.fromEntries(["region", "left", "top", "width", "height"].map((side) => [side, "signal-region"])),
};

/** What has to be asked anew when it changes: how the signal is read. */
const READING = ["type", "layout", "grid", "invalid", "region", "array-name", "image-array-name"].map((name) => `signal-${name}`);

const PAUSE = 200; // ms

const compare = createCompare("bilinear", "result");

export class SignalPanel {
  #file = null;
  #picture = null;
  #found = null; // what the server takes the signal for
  #asking = new AbortController();
  #answered = Promise.resolve();
  #pause = null; // before a question, so that nothing moves below a pointer that is about to press the button

  /**
   * @param {object} options of the server
   * @param {(file: File, config: object) => void} onRun told the signal and how to upsample it
   * @param {(error: Error) => void} onProblem told why the server cannot read the files
   */
  constructor(options, onRun, onProblem) {
    Object.assign(this, { options, onRun, onProblem });
    const option = (group) => (name) =>
      tellText(make("option", { value: name }), () => tOr(`${group}.${name}`, name));
    byId("signal-method").append(...options.methods.map((method) => this.#methodOption(method)));
    byId("signal-method").value = options.method;
    byId("signal-type").append(...options.signal_types.map(option("signal_type")));
    tellText(byId("signal-type").options[0], () => this.#recognisedAs());
    byId("signal-layout").append(...options.layouts.map(option("layout")));
    byId("signal-consistency").append(...options.consistencies.map(option("consistency")));
    this.#showSettings();
    this.showGuidance(null);
    this.#listen();
  }

  /** Take a signal. */
  take(file) {
    this.#file = file;
    tellText(byId("signal-name"), file.name);
    show(byId("signal-error"), false);
    show(byId("signal-array"), ARCHIVES.test(file.name));
    byId("signal-type").value = "auto";
    this.recognise();
  }

  /** Say which picture guides. */
  showGuidance(chosen) {
    this.#picture = chosen;
    const key = chosen ? "signal.guidance" : "signal.noGuidance";
    tell(byId("signal-guidance"), key, { name: chosen?.name });
    show(byId("signal-image-array"), ARCHIVES.test(chosen?.file.name));
    this.recognise();
  }

  /** Ask the server what the signal is, and say it before anything is set. */
  recognise() {
    clearTimeout(this.#pause);
    this.#pause = null;
    this.#asking.abort(); // only the last question matters
    this.#asking = new AbortController();
    this.#setFound(null);
    show(byId("signal-found"), this.#file !== null && this.#picture !== null);
    if (byId("signal-found").hidden || this.#isTooLarge) return;
    tell(byId("signal-found-type"), "signal.recognising");
    const files = { image: this.#picture.file, signal: this.#file };
    this.#answered = postForm("/api/recognise", files, this.#config(), this.#asking.signal).then(
      (found) => this.#setFound(found),
      (error) => {
        if (error.name === "AbortError") return;
        show(byId("signal-found"), false);
        // Settings say how to read it.
        if (error.problems?.some(({ field }) => field === "signal")) byId("signal-settings").open = true;
        this.onProblem(error);
      },
    );
  }

  #recogniseSoon() {
    clearTimeout(this.#pause);
    this.#pause = setTimeout(() => this.recognise(), PAUSE);
  }

  get #isTooLarge() {
    return Math.max(this.#file.size, this.#picture.file.size) > this.options.limits.upload_bytes;
  }

  #recognisedAs() {
    const isAsked = this.#found && byId("signal-type").value === "auto";
    const type = isAsked && (() => t(`signal_type.${this.#found.signal_type}`));
    return type ? t("signal_type.recognised", { type }) : t("signal_type.auto");
  }

  /** Say what was recognised, in words. */
  #setFound(found) {
    this.#found = found;
    tellText(byId("signal-type").options[0], () => this.#recognisedAs());
    show(byId("signal-found-holes"), Boolean(found?.invalid.length));
    tellText(byId("signal-found-layout"), "");
    if (!found) return;
    show(byId("signal-error"), false);
    const { signal_type, layout, channels: count, grid, size, low, high, labels, holes, invalid, extra_tokens } = found;
    const values = {
      ...{ channels: () => channels(count), cells: `${grid[1]} × ${grid[0]}`, size: `${size[1]} × ${size[0]}` },
      ...{ low: () => significant(low), high: () => significant(high), labels, holes, extra: extra_tokens },
      numbers: () => invalid.map((value) => (value === "nan" ? t("signal.found.nan") : significant(value))).join(", "),
    };
    tell(byId("signal-found-type"), `signal.found.${signal_type}`, values);
    const order = layout === "tokens" && !extra_tokens ? "tokens.bare" : layout;
    tell(byId("signal-found-layout"), `signal.found.${order}`, values);
    tell(byId("signal-holes-text"), "signal.found.holes", values);
  }

  /** Say what is missing or wrong with the signal. */
  refuse(key, values) {
    tell(byId("signal-error"), key, values);
    show(byId("signal-error"));
    byId("signal").focus();
  }

  /** Show the server's objection at its control. Returns whether there is one. */
  showError(field, message) {
    const input = byId(CONTROLS[field] ?? `setting-${field}`);
    if (!input) return false;
    this.refuse("verbatim", { text: message });
    unfold(input);
    input.focus();
    return true;
  }

  #listen() {
    byId("signal").addEventListener("change", ({ target }) => {
      if (target.files[0]) this.take(target.files[0]);
      target.value = ""; // so that the same file can be chosen again
    });
    byId("signal-method").addEventListener("change", () => this.#showSettings());
    byId("signal-form").addEventListener("change", ({ target }) => {
      if (READING.includes(target.id)) this.#recogniseSoon();
      if (target.id !== "signal") this.#age();
    });
    byId("signal-form").addEventListener("submit", async (event) => {
      event.preventDefault();
      if (!this.#file) return this.refuse("signal.missing");
      show(byId("signal-error"), false);
      if (this.#pause !== null) this.recognise();
      await this.#answered;
      return this.onRun(this.#file, this.#accepted());
    });
  }

  /** The settings of the chosen method: empty ones stay at what stands in them. */
  #showSettings() {
    const name = byId("signal-method").value;
    const method = this.options.methods.find((method) => method.name === name);
    const { settings, summary, summary_zh } = method;
    tellText(byId("method-summary"), () => (current() === "zh" && summary_zh) || summary);
    const build = ([setting, value]) => this.#setting(method, setting, value);
    const entries = Object.entries(settings);
    const basic = BASIC.filter((setting) => setting in settings).map((setting) => build([setting, settings[setting]]));
    const others = entries.filter(([setting]) => !BASIC.includes(setting) && !method.variants.includes(setting));
    const rest = others.map(build).filter(Boolean);
    byId("method-variant").replaceChildren(...method.variants.map((setting) => build([setting, settings[setting]])));
    const fields = (controls) => make("div", { class: "fields narrow" }, ...controls);
    const more = make("details", {}, tell(make("summary"), "signal.more"), fields(rest));
    byId("method-settings").replaceChildren(fields(basic), ...(rest.length ? [more] : []));
    byId("setting-preset")?.addEventListener("change", () => this.#showPreset(settings));
    byId("setting-weights")?.addEventListener("change", () => this.#showMissing(method));
    this.#showPreset(settings);
    this.#showMissing(method);
  }

  /** A method's name, grey where none of its weights are here. */
  #methodOption({ name, missing, choices }) {
    const lacks = (choices.weights ?? []).length > 0 && choices.weights.every((word) => word in missing);
    const words = () => tOr(`method.${name}`, name);
    const option = make("option", { value: name, class: lacks && "lacking" });
    return tellText(option, () => (lacks ? t("method.lacking", { name: words }) : words()));
  }

  /** Say why the chosen weights cannot be used, and leave the button only where they can. */
  #showMissing({ missing }) {
    const reason = missing[byId("setting-weights")?.value];
    show(byId("method-missing"), Boolean(reason));
    if (reason) tell(byId("method-missing"), "method.missing", { reason: inLanguage(reason) });
    byId("signal-run").disabled = Boolean(reason);
  }

  #setting({ choices, variants, missing }, name, value) {
    const id = `setting-${name}`;
    const words = choices[name];
    let control;
    if (words) {
      const option = (word) => {
        const lacks = name === "weights" && word in missing;
        const text = () => tOr(`${name}.${word}`, word);
        const element = make("option", { value: word, class: lacks && "lacking" });
        return tellText(element, () => (lacks ? t("method.lacking", { name: text }) : text()));
      };
      const options = words.map(option);
      // A word that is not chosen is left to the variant: to the preset, or to the weights.
      const leads = variants.includes(name);
      if (!leads) options.unshift(tell(make("option", { value: "" }), "setting.default"));
      control = make("select", { id, "data-setting": name }, ...options);
      const isHere = (word) => !(name === "weights" && word in missing);
      if (leads) control.value = isHere(value) ? value : (words.find(isHere) ?? value);
    } else if (typeof value === "number") {
      control = make("input", { id, type: "number", step: "any", "data-setting": name });
    } else {
      return null; // pairs of limits and the like: for the command line
    }
    const label = tellText(make("label", { for: id }), () => tOr(`setting.${name}`, name));
    return make("div", { class: "control" }, label, control);
  }

  /** Show in the empty fields what holds for the chosen preset. */
  #showPreset(settings) {
    const preset = byId("setting-preset")?.value;
    const changed = preset && preset !== settings.preset;
    for (const input of byId("method-settings").querySelectorAll("input")) {
      const name = input.dataset.setting;
      const own = preset && this.options.presets[preset][OF_PRESET[name]];
      // Of a preset that is not the default the page knows these three only.
      input.placeholder = own ?? (changed && name === "lr_decay" ? "" : Number(settings[name].toPrecision(4)));
    }
  }

  #config() {
    const method = byId("signal-method").value;
    const given = [...byId("signal-form").querySelectorAll("[data-setting]")].filter(({ value }) => value !== "");
    const settings = Object.fromEntries(
      given.map(({ dataset, type, value }) => [dataset.setting, type === "number" ? Number(value) : value]),
    );
    const layout = byId("signal-layout").value;
    const sides = byId("signal-grid").value.split(/[^\d.]+/).filter(Boolean);
    const grid = sides.length ? sides.map(Number) : null;
    const words = byId("signal-invalid").value.split(/[\s,;]+/).filter(Boolean);
    // What is no number goes as it is, and the server says so.
    const invalid = words.map((word) => (Number.isFinite(Number(word)) ? Number(word) : word.toLowerCase()));
    const named = (id) => (byId(id).hidden ? null : byId(`${id}-name`).value || null);
    const names = { name: named("signal-array"), image_name: named("signal-image-array") };
    const steps = byId("signal-consistency").value;
    const consistency = Number.isNaN(Number(steps)) ? steps : Number(steps);
    const signal_type = byId("signal-type").value;
    return { method, settings, signal_type, layout, grid, consistency, region: this.#region(), invalid, ...names };
  }

  /** The same with what was recognised and not taken back. */
  #accepted() {
    const config = this.#config();
    if (!this.#found) return config;
    const { signal_type, invalid } = this.#found;
    const holes = invalid.length && byId("signal-holes").checked ? invalid : [];
    const type = config.signal_type === "auto" ? signal_type : config.signal_type;
    return { ...config, signal_type: type, invalid: [...config.invalid, ...holes] };
  }

  /** Say of a result that it was made with other settings than those that stand here now. */
  #age() {
    const first = byId("signal-result").firstElementChild;
    if (first && !first.classList.contains("hint")) first.before(tell(make("p", { class: "hint" }), "signal.aged"));
  }

  /** Take the result away: what was asked for last could not be done. */
  clear() {
    byId("signal-result").replaceChildren();
  }

  /** The part of the picture that the signal covers, as far as it is said: the server says what is missing. */
  #region() {
    const sides = byId("signal-region").value.split(/[\s,;]+/).filter(Boolean);
    if (!sides.length) return null;
    const [left, top, width, height] = sides.map((side) => (Number.isFinite(Number(side)) ? Number(side) : side));
    return { left, top, width, height };
  }

  /** What was decided about the files, a line each. */
  #notes({ bands, stored, gathered, grid, holes, georeferenced, sixteen_bits: sixteen }) {
    const digits = (value) => () => significant(value);
    const cells = ([rows, columns]) => `${columns} × ${rows}`;
    return [
      bands && note("signal.bands", { low: digits(bands[0]), high: digits(bands[1]) }),
      stored && note("signal.stored"),
      gathered && note("signal.gathered", { from: cells(gathered), to: cells(grid) }),
      holes && note("signal.holes", { holes }),
      sixteen && note("signal.sixteen", { low: digits(sixteen[0]), high: digits(sixteen[1]) }),
      georeferenced && note("signal.georeferenced"),
    ].filter(Boolean);
  }

  /** Where the result differs from bilinear interpolation, and what that is measured in. */
  #difference(picture, { difference, kind }) {
    const words = note(`signal.difference.${difference ? (kind === "features" ? "features" : "values") : "classes"}`);
    return makeFigure(picture, {}, ...(difference ? [makeLegend(difference)] : []), words);
  }

  /** Show what came back. */
  render(answer, stem) {
    const urls = hold("signal", answer.images);
    const pictures = ORDER.map((key) => ({ key, url: urls[key], file: `${stem}_${key}.png` }));
    const [, count, height, width] = answer.shape;
    byId("panel-signal").style.setProperty("--ratio", width / height);
    compare.show(pictures);
    const facts = {
      type: () => t(`signal_type.${answer.signal_type}`),
      method: () => tOr(`method.${answer.method}`, answer.method),
      low: `${answer.grid[1]} × ${answer.grid[0]}`,
      size: `${width} × ${height}`,
      channels: () => channels(count),
      seconds: () => number(answer.seconds.total ?? 0),
    };
    const links = Object.entries(answer.files).map(([name, url]) =>
      make("li", {}, make("a", { href: url, download: `${stem}_${name}` }, name)),
    );
    byId("signal-result").replaceChildren(
      heading("section.signal.result"),
      tell(make("p", { class: "note figures" }), "signal.facts", facts),
      ...this.#notes(answer),
      compare.element,
      ...(answer.scale ? [makeLegend(answer.scale)] : []),
      make("ul", { class: "files" }, ...links),
      make("div", { class: "grid" }, ...pictures.slice(0, 4).map((picture) => makeFigure(picture)), this.#difference(pictures[4], answer)),
      heading("section.signal.confidence"),
      note(`signal.confidence.${MEANINGS[answer.signal_type]}`),
      make(
        "div",
        { class: "grid" },
        makeFigure(pictures.at(-1), {}, makeLegend(answer.confidence)),
        makeTrusted(urls.result, answer.files["confidence.png"], `${stem}_trusted.png`),
      ),
    );
  }
}
