/**
 * The server, as functions: what is sent, what comes back, and what can go wrong, in one kind of error.
 */

import { current, inLanguage } from "./i18n.js";

/** A request that was not served. */
export class ApiError extends Error {
  /**
   * @param {number} status of HTTP; 0 where there was no answer at all
   * @param {string | () => string} message which may follow the page's language
   * @param {{field?: string, message: () => string}[]} [problems] of the request's fields (422)
   * @param {number} [retryAfter] seconds (503)
   */
  constructor(status, message, problems = [], retryAfter = 0) {
    super();
    Object.assign(this, { status, message, problems, retryAfter });
  }
}

/** An id for a run, made here so that its progress can be followed from the first moment. */
export function newRunId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  // On plain http from another machine there is no randomUUID: version 4 by hand.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, "$1-$2-$3-$4-$5");
}

async function request(path, options = {}) {
  const headers = { ...options.headers, "Accept-Language": current() }; // the page's, not the browser's
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, error.message);
  }
  if (response.ok) return response;
  const { detail, texts } = await response.json().catch(() => ({}));
  const problem = ({ loc, msg, texts: both }) => ({
    field: loc.findLast((part) => typeof part === "string"),
    message: both ? inLanguage(both) : msg,
  });
  const problems = Array.isArray(detail) ? detail.map(problem) : [];
  const message = texts ? inLanguage(texts) : typeof detail === "string" ? detail : inLanguage({ en: response.statusText, zh: `HTTP ${response.status}` });
  throw new ApiError(response.status, message, problems, Number(response.headers.get("Retry-After")) || 5);
}

const json = async (path, options) => (await request(path, options)).json();

/** What there is to choose from. */
export const getOptions = () => json("/api/options");

/** The bundled segmentation. */
export const getSegmentationExample = () => json("/api/segmentation/example");

/** A sample photograph. */
export const getPicture = async (url) => (await request(url)).blob();

/**
 * An array of 32-bit floats out of a .npy file.
 *
 * @returns {Promise<Float32Array>} in the file's order
 */
export async function getArray(url) {
  const buffer = await (await request(url)).arrayBuffer();
  const view = new DataView(buffer);
  // Version 1 has two bytes for the header's length, later ones four; what follows is aligned.
  const begin = view.getUint8(6) === 1 ? 10 + view.getUint16(8, true) : 12 + view.getUint32(8, true);
  return new Float32Array(buffer, begin);
}

/** A heat map of the pixels that resemble one. */
export function postSimilarity(query, signal) {
  const headers = { "Content-Type": "application/json" };
  return json("/api/similarity", { method: "POST", headers, body: JSON.stringify(query), signal });
}

/** Heat maps of the pixels that resemble one, by every method. */
export function postSimilarities(query) {
  const headers = { "Content-Type": "application/json" };
  return json("/api/similarities", { method: "POST", headers, body: JSON.stringify(query) });
}

/** Ask the server to stop a run. */
export const deleteRun = (runId) => request(`/api/runs/${runId}`, { method: "DELETE" });

/**
 * Start something that takes a while.
 *
 * @param {"/api/compare"|"/api/run"|"/api/upsample"|"/api/restore"} path
 * @param {Object<string, Blob>} files
 * @param {object} config
 * @param {AbortSignal} signal
 */
export function postForm(path, files, config, signal) {
  const body = new FormData();
  for (const [name, file] of Object.entries(files)) body.append(name, file, file.name || name);
  body.append("config", JSON.stringify(config));
  return json(path, { method: "POST", body, signal });
}

/**
 * Follow a run.
 *
 * @param {string} runId
 * @param {(progress: object) => void} onProgress
 * @returns {() => void} stops following
 */
export function followProgress(runId, onProgress) {
  const source = new EventSource(`/api/progress/${runId}`);
  source.onmessage = ({ data }) => {
    const progress = JSON.parse(data);
    if (["done", "failed", "cancelled"].includes(progress.stage)) source.close();
    onProgress(progress);
  };
  return () => source.close();
}
