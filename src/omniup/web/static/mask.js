/** A mask that is painted on a photograph, averaged down to cells, and upsampled by every method. */

import { ApiError } from "./api.js";
import { Brush } from "./brush.js";
import { make } from "./dom.js";
import { tell, tellText } from "./i18n.js";
import { Cancelled, Job } from "./job.js";
import { announce, explain } from "./messages.js";
import { heading, note } from "./words.js";

export class Mask {
  #photo = null;
  #job = null;

  /** @param {(segmentation: object, stem: string) => Node[]} drawRows draws what comes back */
  constructor(drawRows) {
    this.drawRows = drawRows;
    this.brush = new Brush(() => this.#ask());
    this.state = make("p", { role: "status" });
    this.rows = make("div", { class: "panel-result" });
    this.element = make(
      "section",
      { id: "mask" },
      heading("section.mask"),
      note("section.mask.note"),
      this.brush.element,
      this.state,
      this.rows,
    );
  }

  /**
   * Paint on a photograph.
   *
   * @param {{url: string, width: number, height: number, stem: string, settings: object, file: () => Promise<Blob>}}
   *   photo as it was worked on, and its file
   */
  use(photo) {
    if (this.#photo?.url === photo.url) return;
    this.cancel();
    this.#photo = photo;
    this.brush.load(photo.url, photo.width, photo.height);
    this.#show();
  }

  cancel() {
    this.#job?.cancel();
    this.#job = null;
  }

  #show(...rows) {
    tellText(this.state, "");
    this.rows.replaceChildren(...rows);
  }

  async #ask() {
    this.cancel();
    if (this.brush.isEmpty) return this.#show();
    const photo = this.#photo;
    const { size, shape, stride, device } = photo.settings;
    tell(this.state, "mask.working");
    const files = { image: await photo.file(), mask: await this.brush.mask() };
    if (photo !== this.#photo) return undefined;
    this.cancel(); // a stroke that came meanwhile
    const job = (this.#job = new Job("/api/mask", files, { size, shape, stride, device }));
    try {
      const found = await job.run();
      if (job !== this.#job) return undefined;
      this.#show(...this.drawRows(found, photo.stem));
      if (found.classes.length === 1 && found.classes[0].name === "background") tell(this.state, "mask.thin");
      return announce("mask.done");
    } catch (error) {
      if (job !== this.#job) return undefined; // the last stroke counts
      this.#show();
      if (error instanceof ApiError) return explain(error);
      if (!(error instanceof Cancelled)) throw error;
      return undefined;
    }
  }
}
