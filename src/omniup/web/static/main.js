/**
 * The page: fetches what there is to choose from, and lets picture, settings, runs, tabs, view and address know of each
 * other. Each of them lives in a module of its own and knows nothing of the others.
 */

import { ApiError, getOptions } from "./api.js";
import { readAddress, writeAddress } from "./address.js";
import { clearErrors, showError } from "./control.js";
import { Controls, defaultSettings } from "./controls.js";
import { byId, show } from "./dom.js";
import { chooseLanguage, current, number, preferred, readPage, setLanguage, t, tell } from "./i18n.js";
import { ASIDE, AT_ONCE, estimate, gentler, PATIENCE } from "./estimate.js";
import { FeatureMethods } from "./feature_methods.js";
import { Cancelled, Job } from "./job.js";
import { announce, explain, showHint, showProblem, toast } from "./messages.js";
import { renderFeatures } from "./panel_features.js";
import { renderImages, updateImages } from "./panel_image.js";
import { renderKernels } from "./panel_kernels.js";
import { renderMetrics } from "./panel_metrics.js";
import { RESTORE_DEFAULTS, RestorePanel } from "./panel_restore.js";
import { cancelMask, renderSegmentation } from "./panel_segmentation.js";
import { SignalPanel } from "./panel_signal.js";
import { hold } from "./pictures.js";
import { ProgressView } from "./progress.js";
import { clearSimilarity, showSimilarity } from "./similarity.js";
import { beginComparison, extendComparison, fit, quickMethods } from "./side_by_side.js";
import { Source } from "./source.js";
import { createTabs } from "./tabs.js";
import { copyText } from "./take_away.js";
import { Tour } from "./tour.js";
import { View } from "./view.js";

/** Pictures larger than this come as files: as data in the answer they would be held three times. */
const LARGE = 512;

const FIRST_TAB = "image";

/** Tabs with a form and a result of their own: they do not show the run. */
const APART = ["signal", "restore"];

/** Where the style sheet puts the results below the controls. */
const NARROW = window.matchMedia("(max-width: 56rem)");

/** The specification's settings, where the page begins with gentler ones. */
const USUAL = { size: 256, iters: 50 };

/** What pictures are called where no step of a fit was taken. */
const UNFITTED = { I_hat_tto: "I_hat_unfitted", err_abs: "err_abs_unfitted", feat_hr_gsjbu_pca: "feat_hr_unfitted" };

const isCancelled = (error) => error instanceof Cancelled || error.status === 409;

class Page {
  #job = null;
  #fitting = null; // a job that nobody waits for: its result is filled in
  #result = null;
  #compared = null;
  #reading = false;
  #progress = new ProgressView();

  constructor(options) {
    this.options = options;
    this.defaults = defaultSettings(options);
    this.controls = new Controls(options, () => this.#changed());
    this.source = new Source(options, {
      onChoose: () => this.#chosen(),
      onSample: () => (this.tabs.current() === "restore" && this.restoring.ready ? this.restoring.run() : this.run()),
      onSignal: (file) => this.#takeSignal(file),
      onProblem: explain,
    });
    this.signal = new SignalPanel(
      options,
      (file, config) => this.#upsample(file, config),
      (error) => this.#failed(error, (field, message) => this.signal.showError(field, message)),
    );
    this.restoring = new RestorePanel(
      options,
      (config) => this.#restore(config),
      () => this.#writeAddress(),
    );
    this.features = new FeatureMethods(options);
    this.view = new View(byId("results"), {
      onZoom: (zoom) => (byId("zoom-reset").textContent = `${Math.round(100 * zoom)} %`),
      onPick: (point, frame) => this.#pick(point, frame),
      onCursor: ({ x, y }) => this.#tellPoint(x, y),
    });
    this.tabs = createTabs(byId("tabs"), (name) => this.#tabShown(name));
    this.#render();
    this.#listen();
    new Tour((tab) => this.tabs.select(tab));
  }

  #listen() {
    byId("controls").addEventListener("submit", (event) => {
      event.preventDefault();
      this.run();
    });
    byId("cancel").addEventListener("click", () => this.#job?.cancel());
    byId("usual").addEventListener("click", () => this.controls.set(USUAL));
    byId("gentler").addEventListener("click", () => this.controls.set(this.#gentler()));
    byId("zoom-in").addEventListener("click", () => this.view.zoomIn());
    byId("zoom-out").addEventListener("click", () => this.view.zoomOut());
    byId("zoom-reset").addEventListener("click", () => this.view.setZoom(1));
    byId("copy-link").addEventListener("click", async () => {
      toast((await copyText(location.href)) ? "linkCopied" : "notCopied");
    });
    byId("language").addEventListener("click", () => {
      chooseLanguage(current() === "zh" ? "en" : "zh");
      this.#writeAddress();
    });
    window.addEventListener("hashchange", () => this.readAddress());
  }

  /** Take over what the address says; a small sample's run starts at once, others wait for a click. */
  async readAddress() {
    const { settings, sample, tab, lang } = readAddress(this.defaults);
    this.#reading = true; // the address stays what it is until the page agrees with it
    setLanguage(lang);
    this.controls.set({ ...this.#baseline(settings.preset ?? this.defaults.preset), ...settings });
    this.restoring.set(readAddress(RESTORE_DEFAULTS).settings);
    this.tabs.select(tab ?? FIRST_TAB);
    const found = sample && (await this.source.chooseSample(sample));
    this.#reading = false;
    this.#writeAddress();
    if (!found) return;
    if (this.#seconds() < AT_ONCE && !APART.includes(tab)) this.run();
    else announce("ready");
  }

  /** What an address means that names this preset and nothing else. */
  #baseline(preset) {
    if (preset === this.defaults.preset || !(preset in this.options.presets)) return this.defaults;
    const { iters, radius, lr } = this.options.presets[preset];
    return { ...this.defaults, iters, radius, lr };
  }

  #seconds() {
    return estimate(this.controls.settings, this.options, this.source.aspect);
  }

  #gentler() {
    return gentler(this.controls.settings, this.options, this.source.aspect);
  }

  #changed() {
    if (!this.tabs) return; // while the page is built
    this.#showEstimate();
    this.#writeAddress();
  }

  #showEstimate() {
    const seconds = this.#seconds();
    tell(byId("estimate"), "estimate", { seconds: () => number(seconds, seconds < 10 ? 1 : 0) });
    show(byId("slow"), seconds > PATIENCE && Object.keys(this.#gentler()).length > 0);
    const { size, iters, preset } = this.controls.settings;
    const isGentle = this.defaults.iters < USUAL.iters && size === this.defaults.size && iters === this.defaults.iters;
    show(byId("gentle"), preset === "spec" && isGentle);
    tell(byId("gentle-text"), "gentle", { size, iters, usualSize: USUAL.size, usualIters: USUAL.iters });
  }

  #chosen() {
    this.signal.showGuidance(this.source.chosen);
    this.restoring.showPicture(this.source.chosen);
    this.#changed();
  }

  #takeSignal(file) {
    this.signal.take(file);
    this.tabs.select("signal");
  }

  #writeAddress() {
    if (this.#reading) return;
    const tab = this.tabs.current();
    const { settings } = this.controls;
    const begun = { ...this.#baseline(settings.preset), ...RESTORE_DEFAULTS };
    writeAddress({ ...settings, ...this.restoring.settings }, begun, {
      sample: this.source.chosen?.sample,
      tab: tab === FIRST_TAB ? undefined : tab,
      lang: current() === preferred() ? undefined : current(),
    });
  }

  #tabShown(name) {
    byId("results").dataset.tab = name; // for the style sheet: what is seen beside the panel
    if (name === "segmentation") renderSegmentation(this.#result);
    if (name === "features") this.features.want();
    // Another tab begins at its beginning, however far down the last one was looked at.
    if (byId("results").getBoundingClientRect().top < 0) byId("results").scrollIntoView();
    this.#writeAddress();
  }

  #tellPoint(x, y) {
    if (!this.#result) return;
    const { H, W } = this.#result.answer.meta;
    announce("point", { x: Math.min(Math.floor(x * W), W - 1), y: Math.min(Math.floor(y * H), H - 1) });
  }

  #pick(point, frame) {
    if (this.features.element.contains(frame)) return this.features.pick(point);
    const unmark = () => this.view.unmark();
    return this.#result ? showSimilarity(this.#result, point, unmark) : unmark(); // before the run there are no features
  }

  /** Run with the picture and the settings that stand there. */
  async run() {
    const { chosen } = this.source;
    if (!chosen) return this.#askForPicture();
    const { settings } = this.controls;
    const former = { result: this.#result, compared: this.#compared };
    const first = await this.#do(this.#comparison(chosen, settings, quickMethods(this.options)), showError);
    if (!first) return undefined;
    const compared = beginComparison(first, chosen.stem, former.compared);
    const presets = Object.keys(this.options.presets);
    compared.awaited = new Set(presets);
    compared.fit = (preset) => this.#fit(compared, chosen, settings, [preset], explain);
    this.#showResult(null, compared);
    this.#reveal(byId("tabs"));
    const config = { ...settings, return_files: settings.size > LARGE };
    const answer = await this.#do(new Job("/api/run", { image: chosen.file }, config), showError);
    if (answer) this.#show(answer, chosen);
    else if (compared === this.#compared && former.compared) this.#showResult(former.result, former.compared);
    const aside = presets.filter((preset) => this.#isAside(preset, settings));
    if (compared === this.#compared) this.#fit(compared, chosen, settings, aside);
    return undefined;
  }

  #comparison(chosen, { size, shape, stride, device }, methods) {
    return new Job("/api/compare", { image: chosen.file }, { size, shape, stride, device, methods });
  }

  /** Whether a fit with a preset is short enough to be done beside what people look at. */
  #isAside(preset, settings) {
    return estimate({ ...settings, ...this.options.presets[preset], preset }, this.options, this.source.aspect) <= ASIDE;
  }

  /** Fit with each of the presets, and show the results one by one; whatever the user starts ends this. */
  async #fit(compared, chosen, settings, presets, onProblem = () => {}) {
    this.#fitting?.cancel();
    const awaited = (compared.awaited = new Set(presets));
    updateImages(this.#result, compared);
    for (const preset of presets) {
      const job = (this.#fitting = this.#comparison(chosen, settings, [fit(preset)]));
      try {
        extendComparison(compared, await job.run());
      } catch (error) {
        if (!(error instanceof ApiError || error instanceof Cancelled)) throw error;
        if (!isCancelled(error)) onProblem(error);
        break; // the page shows what it has
      }
      if (compared === this.#compared) updateImages(this.#result, compared);
    }
    awaited.clear();
    if (compared === this.#compared) updateImages(this.#result, compared);
  }

  #isPreset(name, settings) {
    const preset = this.options.presets[name];
    return Object.entries(settings).every(([setting, value]) => value === preset[setting]);
  }

  /** What a run has loaded need not be loaded again. */
  #loaded({ extractor, segmentation }) {
    delete this.options.loading_seconds[extractor];
    if (segmentation) delete this.options.loading_seconds.segmentation;
    this.#showEstimate();
  }

  #askForPicture() {
    this.source.refuse("file.missing");
    byId("file").focus();
  }

  async #restore(config) {
    const { chosen } = this.source;
    if (!chosen) return this.#askForPicture();
    const { thinnest } = this.options.restoration;
    if (thinnest && thinnest * this.source.aspect < 1) return this.source.refuse("restore.thin", { most: thinnest });
    const { device } = this.controls.settings;
    const job = new Job("/api/restore", { image: chosen.file }, { ...config, device });
    const answer = await this.#do(job, (field, message) => showError(`restore-${field}`, message));
    if (!answer) return undefined;
    this.restoring.render(answer, chosen.stem);
    announce("done", { seconds: () => number(answer.seconds.total, 1) });
    return this.#reveal(byId("restore-result"));
  }

  async #upsample(file, config) {
    const { chosen } = this.source;
    if (!chosen) return this.signal.refuse("signal.noGuidance");
    if (file.size > this.options.limits.upload_bytes) {
      const most = number(this.options.limits.upload_bytes / 1e6, 1);
      return this.signal.refuse("file.bytes", { size: number(file.size / 1e6, 1), most });
    }
    const { device } = this.controls.settings;
    const job = new Job("/api/upsample", { image: chosen.file, signal: file }, { ...config, device });
    const answer = await this.#do(job, (field, message) => this.signal.showError(field, message), () => this.signal.clear());
    if (!answer) return undefined;
    this.signal.render(answer, chosen.stem);
    announce("done", { seconds: () => number(answer.seconds.total, 1) });
    return this.#reveal(byId("signal-result"));
  }

  /**
   * Do a job in sight of the user.
   *
   * @param {Job} job
   * @param {(field: string, message: string) => boolean} showError shows at its control what the server has against it,
   *   and tells whether there is one
   * @param {() => void} [onFailure] told that there will be no result
   * @returns {Promise<object|null>} the answer; null where there is none, and the page has said why
   */
  async #do(job, showError, onFailure = () => {}) {
    this.#job?.cancel(); // the last wish counts
    this.#fitting?.cancel();
    this.features.cancel();
    cancelMask();
    this.#job = job;
    showProblem(null);
    showHint(null);
    clearErrors();
    this.source.clearError();
    this.#progress.start();
    show(byId("cancel"));
    try {
      return await job.run(
        (progress) => job === this.#job && this.#progress.update(progress),
        (seconds) => job === this.#job && this.#progress.busy(seconds),
      );
    } catch (error) {
      if (job !== this.#job) return null;
      if (!isCancelled(error)) onFailure();
      this.#failed(error, showError);
      return null;
    } finally {
      if (job === this.#job) {
        this.#job = null;
        this.#progress.end();
        if (document.activeElement === byId("cancel")) byId("run").focus(); // which would be lost with the button
        show(byId("cancel"), false);
      }
    }
  }

  #failed(error, showError) {
    if (isCancelled(error)) return showHint("cancelled");
    const objections = error instanceof ApiError ? error.problems : [];
    const homeless = objections.filter(({ field, message }) => {
      if (field !== "image") return !showError(field, message);
      this.source.refuse("verbatim", { text: message });
      return false;
    });
    if (objections.length && !homeless.length) return announce("problem.field");
    return explain(objections.length ? new ApiError(error.status, error.message, homeless) : error);
  }

  #show(answer, chosen) {
    const urls = hold("run", answer.images);
    const { stem, name } = chosen;
    const words = answer.meta.iters ? {} : UNFITTED;
    const named = (key) => ({ key, words: words[key], url: urls[key], file: `${stem}_${key}.png` });
    const picture = (key, number) => ({ ...named(key), number: number || undefined });
    const { settings } = this.controls;
    this.#loaded(settings);
    this.#showResult({ answer, stem, picture, chosen, settings }, this.#compared);
    this.features.reset(this.#result);
    if (this.tabs.current() === "features") this.features.want();
    this.#showHint(answer);
    this.#describe(answer.meta, name);
    announce("done", { seconds: () => number(answer.meta.seconds.total, 1) });
  }

  /** Show a run, or before it is done the comparison alone. */
  #showResult(result, compared) {
    this.#result = result;
    this.#compared = compared;
    const { H, W } = compared.first;
    byId("results").style.setProperty("--ratio", W / H);
    clearSimilarity();
    this.view.reset();
    if (APART.includes(this.tabs.current())) this.tabs.select(FIRST_TAB);
    this.#render();
  }

  /** On a phone, where the results lie below the controls, bring them into sight. */
  #reveal(element) {
    if (NARROW.matches) element.scrollIntoView({ block: "start" });
  }

  #render() {
    renderImages(this.#result, this.#compared);
    renderFeatures(this.#result, this.features.element);
    renderKernels(this.#result, () => this.#runPaper());
    renderMetrics(this.#result);
    renderSegmentation(this.#result);
  }

  #showHint({ hint, metrics }) {
    if (hint !== "use_paper") return showHint(null);
    const gain = () => number(metrics.gain_db, 3);
    return showHint("hint.use_paper", { gain }, { key: "hint.use_paper.act", act: () => this.#runPaper() });
  }

  #runPaper() {
    this.controls.set({ preset: "paper" });
    return this.run();
  }

  #describe({ W, H, grid, iters, radius, lr, device, preset, seconds }, name) {
    tell(byId("about-run"), "aboutRun", {
      ...{ name, W, H, iters, radius },
      cells: `${grid[1]} × ${grid[0]}`,
      device: device.toUpperCase(),
      preset: () => {
        const words = t(`preset.${preset}`);
        return this.#isPreset(preset, { iters, radius, lr }) ? words : t("preset.changed", { name: words });
      },
      seconds: () => number(seconds.total, 1),
    });
  }
}

async function start() {
  readPage();
  const { lang } = readAddress({});
  setLanguage(lang);
  // On a phone the settings would push the results far down.
  if (NARROW.matches) byId("settings").open = false;
  try {
    const page = new Page(await getOptions());
    await page.readAddress();
  } catch (error) {
    const again = { key: "again", act: () => location.reload() };
    if (error instanceof ApiError) showProblem("problem.start", {}, again);
    else throw error;
  }
}

start();
