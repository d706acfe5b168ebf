/**
 * Features of the run's photograph, and of another one, by every method side by side: as colours, as segments, as
 * borders; and how much each pixel resembles a point that is clicked, in both photographs.
 */

import { ApiError, getPicture, postSimilarities } from "./api.js";
import { byId, make, show } from "./dom.js";
import { inLanguage, number, t, tOr, tell, tellText } from "./i18n.js";
import { Cancelled, Job } from "./job.js";
import { announce, explain } from "./messages.js";
import { hold, makeFigure, makeLegend } from "./pictures.js";
import { channels, heading, note, weightsInWords } from "./words.js";

const VIEWS = ["pca", "segments", "boundaries", "similarity"];
const SEGMENTS = [2, 3, 4, 6, 8, 12, 16];

export class FeatureMethods {
  #run = null; // the run whose photograph it is
  #other = null; // another photograph: { file, stem }
  #job = null;
  #answer = null;
  #similar = null;
  #view = "pca";

  /** @param {object} options of the server */
  constructor({ samples }) {
    this.element = make("section", { id: "feature-methods", hidden: true });
    this.about = make("p", { class: "note" });
    this.state = make("p", { role: "status" });
    this.pictures = make("div", { class: "panel-result" });
    this.element.append(heading("section.featureMethods"), this.about, this.#controls(samples), this.state, this.pictures);
  }

  #controls(samples) {
    const views = VIEWS.map((view) => {
      const button = make("button", { type: "button", "data-view": view, click: () => this.#look(view) });
      return tell(button, `featureView.${view}`);
    });
    const segments = make("select", { id: "feature-segments", change: () => this.#again() });
    segments.append(...SEGMENTS.map((count) => tellText(make("option", { value: count }), String(count))));
    segments.value = 6;
    const other = make("select", { id: "feature-other" }, tell(make("option", { value: "" }), "featureOther.none"));
    for (const { name, url } of samples) {
      other.append(tellText(make("option", { value: url, "data-stem": name }), () => tOr(`sample.${name}`, name)));
    }
    other.addEventListener("change", () => this.#takeSample(other.selectedOptions[0]));
    const file = make("input", { id: "feature-file", class: "unseen", type: "file", accept: "image/*" });
    file.addEventListener("change", () => file.files[0] && this.#take(file.files[0], ""));
    return make(
      "div",
      { class: "row feature-controls" },
      make("div", { class: "views", role: "group" }, ...views),
      tell(make("label", { for: "feature-segments" }), "featureSegments"),
      segments,
      tell(make("label", { for: "feature-other" }), "featureOther"),
      other,
      file,
      tell(make("label", { class: "button", for: "feature-file" }), "choosePicture"),
    );
  }

  /** Belong to a run, whose features are asked for once they are looked at; or to none. */
  reset(run) {
    this.cancel();
    this.#run = run;
    this.#answer = this.#similar = null;
    this.#view = "pca";
    show(this.element, run !== null);
    this.#draw();
  }

  /** Ask the server, unless it has been asked. */
  want() {
    if (this.#run && !this.#answer && !this.#job) this.#ask();
  }

  cancel() {
    this.#job?.cancel();
    this.#job = null;
  }

  /** Ask anew; what is there stays until the answer has come. */
  #again() {
    this.cancel();
    if (this.#run) this.#ask();
  }

  async #takeSample({ value, dataset }) {
    if (!value) return this.#take(null);
    try {
      return this.#take(await getPicture(value), dataset.stem);
    } catch (error) {
      return explain(error);
    }
  }

  #take(file, sample) {
    this.#other = file;
    const choice = byId("feature-other");
    if (sample === "") choice.value = ""; // a file of the user's own
    this.#again();
  }

  async #ask() {
    const { chosen, settings } = this.#run;
    const { size, shape, stride, device, extractor, channels: count } = settings;
    const config = { size, shape, stride, device, extractor, channels: count, segments: Number(byId("feature-segments").value) };
    const files = { image: chosen.file, ...(this.#other && { other: this.#other }) };
    const job = (this.#job = new Job("/api/features", files, config));
    tell(this.state, "featureMethods.working");
    try {
      const answer = await job.run();
      if (job !== this.#job) return;
      this.#job = null;
      this.#answer = held(answer);
      this.#similar = null;
      if (this.#view === "similarity") this.#view = "pca";
      this.#draw();
    } catch (error) {
      if (job !== this.#job) return; // another is on its way, or none is wanted
      this.#job = null;
      tell(this.state, "featureMethods.failed");
      if (!(error instanceof Cancelled)) explain(error);
    }
  }

  /** Show what resembles a point of the first photograph. */
  async pick(point) {
    const answer = this.#answer;
    if (!answer) return;
    const [height, width] = answer.sizes[0];
    const x = Math.min(Math.floor(point.x * width), width - 1);
    const y = Math.min(Math.floor(point.y * height), height - 1);
    try {
      const similar = await postSimilarities({ run_id: answer.run_id, x, y });
      if (answer !== this.#answer) return;
      const images = similar.results.flatMap(({ method, images: urls }) => urls.map((url, i) => [`${i} ${method}`, url]));
      this.#similar = { ...similar, urls: hold("feature similarities", Object.fromEntries(images)) };
      this.#look("similarity");
      announce("featureSimilarity.done", { x, y });
    } catch (error) {
      explain(error instanceof ApiError ? error : new ApiError(0, String(error)));
    }
  }

  #look(view) {
    this.#view = view;
    this.#draw();
  }

  #draw() {
    for (const button of this.element.querySelectorAll("[data-view]")) {
      button.setAttribute("aria-pressed", String(button.dataset.view === this.#view));
      button.disabled = !this.#answer;
    }
    tellText(this.state, "");
    if (!this.#answer) return this.pictures.replaceChildren();
    const { extractor_weights: weights, extractor_texts: texts, channels: count, sizes } = this.#answer;
    const known = { channels: () => channels(count), weights: () => weightsInWords(weights, texts) };
    tell(this.about, "section.features.note", known);
    if (this.#view === "similarity" && !this.#similar) {
      tell(this.state, "featureSimilarity.how");
    }
    const rows = sizes.map((size, index) => this.#row(index, size));
    const legend = this.#view === "similarity" && this.#similar ? [makeLegend(this.#similar.scale)] : [];
    return this.pictures.replaceChildren(...rows, ...legend, note("featureMethods.note"));
  }

  #row(index, [height, width]) {
    const { results, missing, urls } = this.#answer;
    const figures = results.map(({ method, edge_spread: spread }) => {
      const { url, best } = this.#lookAt(index, method);
      const score = index === 0 ? () => t("spread", { value: number(spread, 3) }) : undefined;
      const picture = { key: `feature_${method}`, url, file: `${this.#run.stem}_${method}_${this.#view}${index ? "_2" : ""}.png`, number: score };
      const figure = makeFigure(picture, { pick: index === 0 });
      if (best) figure.querySelector(".frame").append(makeBest(best, width, height));
      return figure;
    });
    const absent = index === 0 ? missing.map(makeMissing) : [];
    const low = { key: "feature_cells", url: urls[`${index} low ${this.#view === "segments" ? "segments" : "pca"}`] };
    const photo = { key: "feature_photo", url: urls[`${index} photo`] };
    const row = make("div", { class: "grid four methods" }, ...figures, ...absent);
    row.append(makeFigure(low, { pick: index === 0 }), makeFigure(photo, { pick: index === 0 }));
    row.style.setProperty("--ratio", width / height);
    return make("div", {}, index ? heading("featureOther.found") : null, row);
  }

  /** The picture of a method in the present view, and the most similar point in the second photograph. */
  #lookAt(index, method) {
    if (this.#view !== "similarity" || !this.#similar) {
      const view = this.#view === "similarity" ? "pca" : this.#view;
      return { url: this.#answer.urls[`${index} ${method} ${view}`] };
    }
    const { best } = this.#similar.results.find((each) => each.method === method);
    return { url: this.#similar.urls[`${index} ${method}`], best: index ? best[0] : undefined };
  }
}

/** The answer with its pictures as URLs, by photograph, method and view. */
function held(answer) {
  const images = {};
  answer.photos.forEach((url, index) => (images[`${index} photo`] = url));
  const take = (name, pictures) =>
    pictures.forEach((views, index) => {
      for (const [view, url] of Object.entries(views)) if (url) images[`${index} ${name} ${view}`] = url;
    });
  take("low", answer.low);
  for (const { method, pictures } of answer.results) take(method, pictures);
  return { ...answer, urls: hold("features", images) };
}

function makeMissing({ method, texts }) {
  const frame = make("div", { class: "frame pending" }, tell(make("p"), "featureMethods.missing"));
  const name = tell(make("span", { class: "name" }), `picture.feature_${method}`);
  const why = make("details", {}, tell(make("summary"), "why"), tellText(make("p", { class: "note" }), inLanguage(texts)));
  return make("figure", { class: "absent" }, frame, make("figcaption", {}, make("div", { class: "caption" }, name), why));
}

/** A mark on the most similar pixel: it follows the zoom of its picture. */
function makeBest({ x, y }, width, height) {
  const mark = make("span", { class: "best-point" });
  const at = (name, part) => `calc(var(--corner-${name}) + ${(100 * part).toFixed(2)}% * var(--zoom))`;
  mark.style.left = at("x", (x + 0.5) / width);
  mark.style.top = at("y", (y + 0.5) / height);
  return mark;
}
