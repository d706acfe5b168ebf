/** Tab 4: class probabilities upsampled, then the likeliest class: of the run, or of the example that comes along. */

import { getSegmentationExample } from "./api.js";
import { createCompare } from "./compare.js";
import { byId, make } from "./dom.js";
import { inLanguage, percent, tOr, tell, tellText } from "./i18n.js";
import { explain } from "./messages.js";
import { hold, makeFigure } from "./pictures.js";
import { heading, note } from "./words.js";

const ORDER = [
  ...["seg_lr", "seg_bilinear", "seg_gsjbu", "seg_pyramid"],
  ...["photo", "boundaries_bilinear", "boundaries_gsjbu", "boundaries_pyramid"],
];

const compare = createCompare("boundaries_bilinear", "boundaries_gsjbu");

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
  const { state, texts } = status ?? { state: "off" };
  tell(panel.firstElementChild, `segmentation.${state}`, { message: texts && inLanguage(texts) });
}

function draw(panel, segmentation, stem, title) {
  if (drawn === segmentation) return;
  drawn = segmentation;
  const urls = hold("segmentation", segmentation.images);
  const pictures = ORDER.map((key) => ({ key, url: urls[key], file: `${stem}_${key}.png` }));
  panel.style.setProperty("--ratio", segmentation.W / segmentation.H);
  compare.show(pictures);
  const { source, grid } = segmentation;
  const [height, width] = grid;
  panel.replaceChildren(
    make("p", { class: "note" }),
    heading(title),
    note("segmentation.note", { source: () => tOr(`source.${source}`, source), height, width }),
    makeClasses(segmentation.classes),
    make("div", { class: "grid four" }, ...pictures.map((each) => makeFigure(each))),
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
  return make("ul", { class: "classes" }, ...rows);
}
