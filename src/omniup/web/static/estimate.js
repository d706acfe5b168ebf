/** How long a run will take on this machine, before it is started; and what would make it shorter. */

/** Above so many seconds people are warned. */
export const PATIENCE = 8;

/** Up to so many seconds a fit is done beside what people look at; it ends when they start something else. */
export const ASIDE = 20;

/** Below so many seconds a shared link may start by itself: where nobody would be warned. */
export const AT_ONCE = PATIENCE;

/** What is tried, in this order, until a run is short enough; all but the last change little of what one sees. */
const GENTLER = [
  ["size", 384],
  ["iters", 30],
  ["radius", 4],
  ["iters", 20],
  ["size", 256],
  ["radius", 2],
  ["size", 224],
];

/**
 * @param {object} settings
 * @param {object} options of the server
 * @param {number} aspect the picture's shorter side over its longer one
 * @returns {number} seconds
 */
export function estimate({ size, shape, preset, radius, iters, extractor, segmentation }, options, aspect) {
  const pixels = size * size * (shape === "keep" ? aspect : 1);
  const { pairs_per_second, overhead_seconds, presets, loading_seconds: loading } = options;
  const loads = (loading[extractor] ?? 0) + ((segmentation && loading.segmentation) || 0);
  // A square has (2R + 1)² cells, the paper's disc about πR²: known exactly at the preset's own radius.
  const disc = presets.paper.window_cells * (radius / presets.paper.radius) ** 2;
  const cells = preset === "paper" ? disc : (2 * radius + 1) ** 2;
  return loads + (overhead_seconds * pixels) / 65536 + (pixels * cells * iters) / pairs_per_second;
}

/** The changes to settings that bring a run under the limit, or as near to it as they can. */
export function gentler(settings, options, aspect) {
  const changes = {};
  for (const [name, value] of GENTLER) {
    if (settings[name] > value) changes[name] = value;
    if (estimate({ ...settings, ...changes }, options, aspect) <= PATIENCE) break;
  }
  return changes;
}
