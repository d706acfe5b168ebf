/**
 * The tabs pattern of ARIA: one tab stop, arrow keys, Home and End; a tab is shown as soon as it is reached. Where not
 * all fit, signs at the ends say that there are more.
 */

/**
 * @param {HTMLElement} list the tablist
 * @param {(name: string) => void} onSelect told the name of each tab that is shown
 * @returns {{select: (name: string) => void, current: () => string}}
 */
export function createTabs(list, onSelect) {
  const tabs = [...list.querySelectorAll("[role=tab]")];
  const nameOf = (tab) => tab.id.replace("tab-", "");
  let chosen = tabs[0];

  function choose(tab) {
    chosen = tab;
    for (const each of tabs) {
      each.setAttribute("aria-selected", String(each === tab));
      each.tabIndex = each === tab ? 0 : -1;
      document.getElementById(each.getAttribute("aria-controls")).hidden = each !== tab;
    }
    // On a phone the list scrolls sideways; the page itself stays where it is.
    list.scrollTo({ left: tab.offsetLeft - (list.clientWidth - tab.offsetWidth) / 2 });
    onSelect(nameOf(tab));
  }

  /** Say in which directions there is more of the list than can be seen. */
  function showMore() {
    const left = list.scrollWidth - list.clientWidth - list.scrollLeft;
    list.parentElement.classList.toggle("has-before", list.scrollLeft > 1);
    list.parentElement.classList.toggle("has-after", left > 1);
  }

  list.addEventListener("scroll", showMore, { passive: true });
  new ResizeObserver(showMore).observe(list);
  for (const tab of tabs) new ResizeObserver(showMore).observe(tab); // other words are longer
  for (const [side, part] of [["before", -0.6], ["after", 0.6]]) {
    const sign = list.parentElement.querySelector(`.more-tabs.${side}`);
    sign.addEventListener("click", () => list.scrollBy({ left: part * list.clientWidth, behavior: "smooth" }));
  }

  list.addEventListener("click", ({ target }) => {
    const tab = target.closest("[role=tab]");
    if (tab) choose(tab);
  });
  list.addEventListener("keydown", (event) => {
    const last = tabs.length - 1;
    const from = tabs.indexOf(chosen);
    const next = { ArrowRight: from === last ? 0 : from + 1, ArrowLeft: from === 0 ? last : from - 1 };
    const to = { ...next, Home: 0, End: last };
    if (!(event.key in to)) return;
    event.preventDefault();
    choose(tabs[to[event.key]]);
    chosen.focus();
  });

  return {
    select: (name) => choose(tabs.find((tab) => nameOf(tab) === name) ?? tabs[0]),
    current: () => nameOf(chosen),
  };
}
