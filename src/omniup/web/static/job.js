/**
 * One job at a time, whichever tab started it: sent, followed, cancelled, and tried again when the server is busy.
 */

import { ApiError, deleteRun, followProgress, newRunId, postForm } from "./api.js";

/** How long a server may take to answer a cancelled request, before the page stops listening. */
const PATIENCE = 3000; // ms

export class Cancelled extends Error {}

export class Job {
  #cancelled = false;
  #controller = new AbortController();
  #runId = null;
  #wake = null;

  /**
   * @param {string} path such as "/api/run"
   * @param {Object<string, Blob>} files
   * @param {object} config
   */
  constructor(path, files, config) {
    Object.assign(this, { path, files, config });
  }

  /**
   * Do it.
   *
   * @param {(progress: object) => void} [onProgress]
   * @param {(seconds: number) => void} [onBusy] told every second until the next attempt
   * @returns {Promise<object>} the server's answer
   * @throws {Cancelled|ApiError}
   */
  async run(onProgress = () => {}, onBusy = () => {}) {
    for (;;) {
      try {
        return await this.#attempt(onProgress);
      } catch (error) {
        if (this.#cancelled) throw new Cancelled();
        if (!(error instanceof ApiError) || error.status !== 503) throw error;
        await this.#wait(error.retryAfter, onBusy);
      }
    }
  }

  async #attempt(onProgress) {
    this.#runId = newRunId(); // a new one for each attempt, since an id belongs to one run
    const stop = followProgress(this.#runId, (progress) => !this.#cancelled && onProgress(progress));
    try {
      return await postForm(this.path, this.files, { ...this.config, run_id: this.#runId }, this.#controller.signal);
    } finally {
      stop();
    }
  }

  async #wait(seconds, onBusy) {
    for (let left = Math.ceil(seconds); left > 0; left--) {
      onBusy(left);
      await new Promise((resolve) => {
        this.#wake = resolve;
        setTimeout(resolve, 1000);
      });
      if (this.#cancelled) throw new Cancelled();
    }
  }

  /** Stop: `run` then throws Cancelled. */
  cancel() {
    this.#cancelled = true;
    this.#wake?.();
    // The server answers a cancelled request; should it not, hanging up tells it as well.
    deleteRun(this.#runId).catch(() => this.#controller.abort());
    setTimeout(() => this.#controller.abort(), PATIENCE);
  }
}
