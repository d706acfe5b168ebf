/**
 * Tab 4: class probabilities upsampled, then the likeliest class: of the run, or of the example that comes along; and
 * a mask that the user paints.
 */

import { getPicture, getSegmentationExample } from "./api.js";
import { createCompare } from "./compare.js";
import { byId, make } from "./dom.js";
import { inLanguage, percent, tOr, tell, tellText } from "./i18n.js";
import { Mask } from "./mask.js";
import { explain } from "./messages.js";
import { hold, makeFigure } from "./pictures.js";
import { heading, note } from "./words.js";

/** Ours first, the network's own cells last; AnyUp where the server has its weights. */
const WAYS = ["pyramid", "anyup", "gsjbu", "bilinear", "lr"];

/** The photograph of the bundled example, and the size that masks on it are worked at. */
const EXAMPLE = { url: "/api/samples/astronaut", settings: { size: 256, shape: "keep", stride: 16, device: "auto" } };

const compare = createCompare("boundaries_lr", "boundaries_pyramid");
const mask = new Mask((segmentation, stem) => makeRows(segmentation, picturesOf(segmentation, stem, "mask")));

/** The bundled example, once it has been asked for. */
let example = null;

/** What stands in the panel: drawing it again would only lose its place. */
let drawn = null;

/** Draw a result's segmentation; where there is none say why, and draw the example. */
export async function renderSegmentation(result) {
  const panel = byId("panel-segmentation");
  const { seg_status: status, segmentation: own } = result?.answer ?? {};
  if (panel.hidden && !own) return; // the example is fetched when the tab is looked at
  if (own) {
    draw(panel, own, result.stem, "segmentation.own");
  } else {
    if (!panel.hasChildNodes()) panel.append(tell(make("p", { class: "waiting" }), "segmentation.fetching"));
    try {
      example ??= getSegmentationExample();
      draw(panel, await example, "example", "segmentation.example");
    } catch (error) {
      example = null;
      explain(error);
      return;
    }
  }
  mask.use(result ? ofRun(result) : ofExample(await example));
  const { state, texts } = status ?? { state: "off" };
  tell(panel.querySelector(".about"), `segmentation.${state}`, { message: texts && inLanguage(texts) });
}

/** End what is being computed for the tab. */
export const cancelMask = () => mask.cancel();

function ofRun({ answer, picture, stem, chosen, settings }) {
  const { H, W } = answer.meta;
  return { url: picture("I_hr").url, width: W, height: H, stem, settings, file: async () => chosen.file };
}

function ofExample({ W, H }) {
  return { ...EXAMPLE, width: W, height: H, stem: "astronaut", file: () => getPicture(EXAMPLE.url) };
}

function picturesOf(segmentation, stem, owner) {
  const urls = hold(owner, segmentation.images);
  const named = (key) => (owner === "mask" && key === "boundaries_lr" ? "boundaries_cells" : key);
  const pictureOf = (key) => ({ key: named(key), url: urls[key], file: `${stem}_${key}.png` });
  const there = (part) => WAYS.map((way) => `${part}_${way}`).filter((key) => key in urls);
  return { boundaries: there("boundaries").map(pictureOf), labels: there("seg").map(pictureOf), photo: pictureOf("photo") };
}

/** The classes, and below them a row of boundaries over the photograph and a row of labels. */
function makeRows(segmentation, { boundaries, labels }) {
  const row = (pictures) => make("div", { class: "grid four ways" }, ...pictures.map((each) => makeFigure(each)));
  const rows = [makeClasses(segmentation.classes), row(boundaries), row(labels)];
  for (const each of rows) each.style.setProperty("--ratio", segmentation.W / segmentation.H);
  return rows;
}

function draw(panel, segmentation, stem, title) {
  if (drawn === segmentation) return;
  drawn = segmentation;
  const pictures = picturesOf(segmentation, stem, "segmentation");
  panel.style.setProperty("--ratio", segmentation.W / segmentation.H);
  compare.show([...pictures.boundaries, ...pictures.labels, pictures.photo]);
  const { source, grid } = segmentation;
  const [height, width] = grid;
  panel.replaceChildren(
    heading(title),
    make("p", { class: "note about" }),
    note("segmentation.note", { source: () => tOr(`source.${source}`, source), height, width }),
    ...makeRows(segmentation, pictures),
    mask.element,
    heading("section.compare"),
    compare.element,
  );
}

function makeClasses(classes) {
  const rows = classes.map(({ name, colour, share }) => {
    const swatch = make("span", { class: "swatch" });
    swatch.style.backgroundColor = colour;
    const words = tellText(make("span"), () => `${tOr(`class.${name}`, name)} ${percent(share)}`);
    return make("li", {}, swatch, words);
  });
  return make("ul", { class: "classes" }, tell(make("li"), "classes"), ...rows);
}
