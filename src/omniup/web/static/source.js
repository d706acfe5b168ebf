/**
 * The picture to work on: a sample, a file, something dropped or pasted. What cannot work is said before it is sent.
 */

import { getPicture } from "./api.js";
import { byId, make, show } from "./dom.js";
import { number, tOr, tell, tellLabel, tellText } from "./i18n.js";

const ARRAYS = /\.(npy|npz|safetensors|json)$/i;

/** Files that may guide an upsampling and that browsers do not know for pictures. */
const GUIDANCE = /\.(npy|npz|safetensors|tiff?|exr|hdr|heic|heif|avif)$/i;

const megabytes = (bytes) => number(bytes / 1e6, 1);

/** The first part of a file's name: what the pictures made of it are called. */
const stem = (name) => name.replace(/\.[^.]*$/, "").replace(/[^\p{L}\p{N}_-]+/gu, "_") || "picture";

export class Source {
  /** @type {{file: File, sample?: string, stem: string, width?: number, height?: number}|null} */
  chosen = null;

  /**
   * @param {object} options of the server
   * @param {{onChoose: () => void, onSample: () => void, onSignal: (file: File) => void,
   *   onProblem: (error: Error) => void}} listeners
   */
  constructor(options, listeners) {
    Object.assign(this, { options, ...listeners });
    byId("samples").replaceChildren(...options.samples.map((sample) => this.#sampleButton(sample)));
    byId("file").addEventListener("change", ({ target }) => {
      if (target.files[0]) this.#choose(target.files[0]);
      target.value = ""; // so that the same file can be chosen again
    });
    document.addEventListener("paste", ({ clipboardData }) => this.#take(clipboardData.files));
    this.#acceptDrops();
  }

  /** The shorter side over the longer one; of most photographs where no picture is known. */
  get aspect() {
    const { width, height } = this.chosen ?? {};
    return width ? Math.min(width, height) / Math.max(width, height) : 3 / 4;
  }

  #sampleButton(sample) {
    const button = make("button", { type: "button", "data-sample": sample.name, "aria-pressed": "false" });
    button.append(make("img", { src: sample.thumbnail, alt: "", width: 64, height: 48 }));
    button.addEventListener("click", async () => {
      if (await this.chooseSample(sample.name)) this.onSample();
    });
    return tellLabel(button, "sample", { name: () => tOr(`sample.${sample.name}`, sample.name) });
  }

  /** Take one of the samples. Returns whether there is one of this name. */
  async chooseSample(name) {
    const sample = this.options.samples.find((each) => each.name === name);
    if (!sample) return false;
    try {
      const blob = await getPicture(sample.url);
      await this.#choose(new File([blob], `${name}.jpg`, { type: blob.type }), name);
      return true;
    } catch (error) {
      this.onProblem(error);
      return false;
    }
  }

  /** Arrays are signals, unless they are dropped where pictures belong; pictures are if dropped where signals belong. */
  async #take([file], target) {
    if (!file) return;
    const isSignal = target?.closest?.("#signal-form");
    const isPicture = target?.closest?.("#picture");
    if (isSignal || (ARRAYS.test(file.name) && !isPicture)) this.onSignal(file);
    else await this.#choose(file);
  }

  async #choose(file, sample) {
    const { upload_bytes: bytes, pixels } = this.options.limits;
    this.clearError();
    if (!file.type.startsWith("image/") && !GUIDANCE.test(file.name)) return this.refuse("file.type", { name: file.name });
    if (file.size > bytes) return this.refuse("file.bytes", { size: megabytes(file.size), most: megabytes(bytes) });

    const url = URL.createObjectURL(file);
    const picture = new Image();
    picture.src = url;
    // What the browser cannot decode (TIFF), the server may: it then has no preview.
    await picture.decode().catch(() => {});
    const { naturalWidth: width, naturalHeight: height } = picture;
    if (width * height > pixels) {
      URL.revokeObjectURL(url);
      return this.refuse("file.pixels", { size: number((width * height) / 1e6, 1), most: number(pixels / 1e6, 1) });
    }
    const name = () => (sample ? tOr(`sample.${sample}`, sample) : file.name);
    this.chosen = { file, sample, name, stem: sample ?? stem(file.name), width, height };
    this.#preview(url);
    return this.onChoose();
  }

  #preview(url) {
    const preview = byId("preview");
    if (preview.src) URL.revokeObjectURL(preview.src);
    preview.src = url;
    const { sample, name, width, height } = this.chosen;
    show(preview, width > 0);
    const size = width ? ` · ${width} × ${height}` : "";
    tellText(byId("chosen-name"), () => name() + size);
    for (const button of byId("samples").children) {
      button.setAttribute("aria-pressed", String(button.dataset.sample === sample));
    }
  }

  /** Take back what was said at the file's control. */
  clearError() {
    show(byId("file-error"), false);
  }

  /** Say at the file's control why a file is not taken. */
  refuse(key, values) {
    tell(byId("file-error"), key, values);
    show(byId("file-error"));
    tell(byId("announcer"), key, values);
  }

  #acceptDrops() {
    // Dragging over a child leaves its parent: what counts is how many have been entered and not left.
    let depth = 0;
    const over = (entered) => {
      depth = Math.max(0, entered);
      show(byId("drop"), depth > 0);
    };
    const carriesFile = ({ dataTransfer }) => dataTransfer.types.includes("Files");
    document.addEventListener("dragenter", (event) => carriesFile(event) && over(depth + 1));
    document.addEventListener("dragleave", (event) => carriesFile(event) && over(depth - 1));
    document.addEventListener("dragover", (event) => carriesFile(event) && event.preventDefault());
    document.addEventListener("drop", (event) => {
      over(0);
      if (!carriesFile(event)) return;
      event.preventDefault();
      this.#take(event.dataTransfer.files, event.target);
    });
  }
}
