/** Tab 5: every number of a run, to read, to copy and to save. */

import { byId, make } from "./dom.js";
import { inLanguage, number, significant, tOr, tell, tellText } from "./i18n.js";
import { makeWaiting } from "./introduction.js";
import { toast } from "./messages.js";
import { copyText, saveBlob } from "./take_away.js";
import { button, heading, note } from "./words.js";

/** Columns: a score's name, its digits, and whether more is better; without that no row is marked as the best. */
const SCORES = [
  { name: "l1_recon", digits: 4, more: false },
  { name: "psnr_recon", digits: 2, more: true },
  { name: "ssim_recon", digits: 4, more: true },
];
const SPREAD = [{ name: "edge_spread", digits: 3 }];

/** Draw a result, or say that there is none yet. */
export function renderMetrics(result) {
  const panel = byId("panel-metrics");
  if (!result) return panel.replaceChildren(makeWaiting());
  const { answer, stem } = result;
  const { metrics, meta, files } = answer;
  const { images: _, segmentation: __, files: ___, ...numbers } = answer; // the pictures are saved one by one
  const ways = meta.iters ? {} : { gsjbu: "gsjbu_unfitted" };
  const section = (...children) => make("section", {}, ...children);
  return panel.replaceChildren(
    section(
      heading("section.scores"),
      note("section.scores.note"),
      makeTable(metrics.methods, SCORES, ways),
      tell(make("p"), meta.iters ? "gain" : "fit.none", { gain: () => (metrics.gain_db < 0 ? "" : "+") + number(metrics.gain_db) }),
      make(
        "div",
        { class: "row" },
        button("copyMarkdown", () => copy(markdown(metrics.methods))),
        button("copyCsv", () => copy(csv(metrics.methods))),
        button("saveJson", () => saveBlob(`${stem}_metrics.json`, json(numbers))),
      ),
    ),
    section(
      heading("section.spread"),
      makeTable(metrics.features, SPREAD, ways),
      note("spread.note"),
    ),
    section(heading("section.seconds"), makeTimes(meta.seconds)),
    section(heading("section.meta"), makeFacts(meta)),
    section(
      heading("section.files"),
      note("section.files.note"),
      makeFiles(files, stem),
    ),
  );
}

/** Scores read by people: infinite ones as a number that compares, others as they are. */
const comparable = (value) => (value === null ? Infinity : value);

function makeTable(rows, scores, renamed) {
  const best = Object.fromEntries(
    scores.filter(({ more }) => more !== undefined).map(({ name, more }) => {
      const values = Object.values(rows).map((row) => comparable(row[name]));
      return [name, more ? Math.max(...values) : Math.min(...values)];
    }),
  );
  const heads = scores.map(({ name }) => tell(make("th", { scope: "col" }), `score.${name}`));
  const cell = (row, { name, digits }) => {
    const value = tellText(make("span"), () => number(row[name], digits));
    if (comparable(row[name]) !== best[name]) return make("td", {}, value);
    return make("td", { class: "best" }, tell(make("span", { class: "best-mark" }), "best"), value);
  };
  const lines = Object.entries(rows).map(([method, row]) => {
    const head = tell(make("th", { scope: "row" }), `method.${renamed[method] ?? method}`);
    return make("tr", {}, head, ...scores.map((score) => cell(row, score)));
  });
  const corner = tell(make("th", { scope: "col" }), "score.method");
  return make(
    "div",
    { class: "scroll", tabindex: 0 },
    make("table", {}, make("thead", {}, make("tr", {}, corner, ...heads)), make("tbody", {}, ...lines)),
  );
}

function makeTimes(seconds) {
  const longest = Math.max(...Object.values(seconds));
  const lines = Object.entries(seconds).map(([stage, value]) => {
    const bar = make("div", { class: "time" });
    bar.style.setProperty("width", `${(100 * value) / longest}%`);
    const name = tellText(make("th", { scope: "row" }), () => tOr(`seconds.${stage}`, stage));
    const words = tell(make("td"), "seconds", { value: () => number(value) });
    return make("tr", {}, name, words, make("td", { class: "bars" }, bar));
  });
  return make("div", { class: "scroll", tabindex: 0 }, make("table", {}, make("tbody", {}, ...lines)));
}

function makeFacts({ H, W, grid, seconds: _, extractor_texts: weights, ...rest }) {
  const facts = { size: `${W} × ${H} px`, grid: `${grid[1]} × ${grid[0]}`, ...rest, extractor_weights: inLanguage(weights) };
  const pairs = Object.entries(facts).flatMap(([name, value]) => [
    tellText(make("dt"), () => tOr(`fact.${name}`, name)),
    tellText(make("dd"), typeof value === "number" ? () => significant(value, 6) : value),
  ]);
  return make("dl", { class: "facts" }, ...pairs);
}

function makeFiles(files, stem) {
  const link = ([name, url]) => make("li", {}, make("a", { href: url, download: `${stem}_${name}` }, name));
  return make("ul", { class: "files" }, ...Object.entries(files).map(link));
}

const names = SCORES.map(({ name }) => name);

function cells(methods, digits) {
  const text = (row, name) => (row[name] === null ? "inf" : row[name].toFixed(digits));
  return Object.entries(methods).map(([method, row]) => [method, ...names.map((name) => text(row, name))]);
}

function markdown(methods) {
  const line = (row) => `| ${row.join(" | ")} |`;
  return [["method", ...names], ["---", "---:", "---:", "---:"], ...cells(methods, 4)].map(line).join("\n") + "\n";
}

function csv(methods) {
  return [["method", ...names], ...cells(methods, 6)].map((row) => row.join()).join("\n") + "\n";
}

const json = (value) => new Blob([JSON.stringify(value, null, 2)], { type: "application/json" });

async function copy(text) {
  toast((await copyText(text)) ? "copied" : "notCopied");
}
