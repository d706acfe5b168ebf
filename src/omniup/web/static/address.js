/**
 * The page's address: settings, sample, tab and language behind the #, by their names, as far as they are not what the
 * page would begin with anyway. So a run can be shared as a link, and short links are readable.
 */

/** What an address may name beside the settings. */
const PLACES = ["sample", "tab", "lang"];

/**
 * Read the address.
 *
 * @param {Object<string, unknown>} defaults settings to begin with; their types tell how to read those of the address
 * @returns {{settings: Object<string, unknown>, sample?: string, tab?: string, lang?: string}} `settings` has those
 *   only that the address names
 */
export function readAddress(defaults) {
  const named = new URLSearchParams(location.hash.slice(1));
  const settings = {};
  for (const [name, text] of named) {
    const value = parse(text, typeof defaults[name]);
    if (value !== undefined) settings[name] = value;
  }
  return { settings, ...Object.fromEntries(PLACES.map((name) => [name, named.get(name) ?? undefined])) };
}

function parse(text, type) {
  if (type === "string") return text;
  if (type === "boolean") return text === "true";
  if (type === "number" && text.trim() !== "" && Number.isFinite(Number(text))) return Number(text);
  return undefined; // no setting of this name, or no number: as if it were not there
}

/**
 * Write the address, in place of the present one: a slider's way is no history.
 *
 * @param {Object<string, unknown>} settings
 * @param {Object<string, unknown>} defaults
 * @param {{sample?: string, tab?: string, lang?: string}} places undefined for what goes without saying
 */
export function writeAddress(settings, defaults, places) {
  const changed = Object.entries(settings).filter(([name, value]) => value !== defaults[name]);
  const said = PLACES.filter((name) => places[name]).map((name) => [name, places[name]]);
  const hash = new URLSearchParams([...said, ...changed]).toString();
  history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
}
