/** What leaves the page: text for the clipboard, text as a file. */

import { make } from "./dom.js";

/** Put text on the clipboard. Returns whether that was possible. */
export async function copyText(text) {
  if (navigator.clipboard) {
    return navigator.clipboard.writeText(text).then(
      () => true,
      () => false,
    );
  }
  // On plain http from another machine there is no clipboard object: copy a selection, as ever.
  const area = make("textarea", { class: "unseen" });
  area.value = text;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  return copied;
}

/** Save what was made here as a file. */
export function saveBlob(name, blob) {
  const url = URL.createObjectURL(blob);
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
