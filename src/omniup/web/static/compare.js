/**
 * Two pictures on top of each other and a divider between them: which two can be chosen, the divider can be dragged,
 * touched, or moved by keys.
 */

import { make } from "./dom.js";
import { percent, t, tell, tellAlt, tellLabel } from "./i18n.js";

const STEP = 2; // % of the width, by an arrow key
const LEAP = 10;

/**
 * @param {string} left key of the picture that stands left at first
 * @param {string} right
 * @param {{pick?: boolean}} [options]
 * @returns {{element: HTMLElement, show: (pictures: import("./pictures.js").Picture[]) => void}}
 */
export function createCompare(left, right, { pick = false } = {}) {
  const sides = { left: makeSide("left", left), right: makeSide("right", right) };
  const divider = tellLabel(
    make("div", { class: "divider", role: "slider", tabindex: 0, "aria-valuemin": 0, "aria-valuemax": 100 }),
    "divider",
  );
  const frame = make(
    "div",
    { class: "frame", tabindex: 0, role: "application", "aria-describedby": "picture-keys", "data-pick": pick },
    sides.right.image,
    make("div", { class: "over" }, sides.left.image),
    make("span", { class: "mark" }),
    divider,
  );
  tellLabel(frame, pick ? "frame.pick" : "frame", { name: () => t("compare") });
  const choosers = make("div", { class: "choosers" }, sides.left.label, sides.right.label);
  const element = make("div", { class: "compare" }, choosers, frame);
  let pictures = [];
  let split = 50;

  function makeSide(side, key) {
    const image = make("img", { draggable: "false" });
    const select = make("select", { change: () => choose(side, select.value) });
    const label = make("label", {}, tell(make("span"), `compare.${side}`), select);
    return { key, image, select, label };
  }

  function choose(side, key) {
    const picture = pictures.find((each) => each.key === key) ?? pictures[0];
    const { image, select } = sides[side];
    sides[side].key = select.value = picture.key;
    image.src = picture.url;
    tellAlt(image, `alt.${picture.words ?? picture.key}`);
  }

  function moveTo(part) {
    split = Math.min(Math.max(part, 0), 100);
    frame.style.setProperty("--split", `${split}%`);
    divider.setAttribute("aria-valuenow", Math.round(split));
    divider.setAttribute("aria-valuetext", percent(split / 100));
  }

  divider.addEventListener("pointerdown", (event) => {
    divider.setPointerCapture(event.pointerId);
    event.preventDefault(); // no selecting of what lies around
    divider.focus();
  });
  divider.addEventListener("pointermove", (event) => {
    if (!divider.hasPointerCapture(event.pointerId)) return;
    const box = frame.getBoundingClientRect();
    moveTo((100 * (event.clientX - box.left)) / box.width);
  });
  divider.addEventListener("keydown", (event) => {
    const to = {
      ArrowLeft: split - STEP,
      ArrowDown: split - STEP,
      ArrowRight: split + STEP,
      ArrowUp: split + STEP,
      PageDown: split - LEAP,
      PageUp: split + LEAP,
      Home: 0,
      End: 100,
    };
    if (!(event.key in to)) return;
    event.preventDefault();
    moveTo(to[event.key]);
  });
  moveTo(50);

  return {
    element,
    show(shown) {
      pictures = shown;
      for (const side of ["left", "right"]) {
        sides[side].select.replaceChildren(
          ...pictures.map(({ key, words = key, input }) => {
            const name = () => t(`picture.${words}`);
            return tell(make("option", { value: key }), input ? `compare.${input}` : "compare.name", { name });
          }),
        );
        choose(side, sides[side].key);
      }
    },
  };
}
