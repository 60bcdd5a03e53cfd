// Makes elements. Text always goes in as text, so nothing that a node or person is called can become markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...present(children));
  return element;
}

/** The children of all lists within lists, without those that are left out. */
function present(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/** An HTML element with attributes (`onclick` and the like are listeners) and children. */
export function h(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function svg(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

/** Sets an element's text only when it differs, so that screen readers are not told the same again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A bar as long as a share of a hundred; null for an empty one. What it says stands beside it as text. */
export function setBar(element, value) {
  const share = value === null || value === undefined ? 0 : Math.min(100, Math.max(0, value));
  element.style.setProperty("--share", `${share.toFixed(1)}%`);
}

/** Says something to whoever looks or listens. */
export function notify(text, isBad = false) {
  const notice = document.getElementById("notice");
  notice.classList.toggle("bad", isBad);
  setText(notice, text);
}

/** Shows a view: replaces the content and moves the focus there, as a page load would. */
export function show(...children) {
  const main = document.getElementById("main");
  main.replaceChildren(...present(children));
  main.focus({ preventScroll: true });
}

export const percent = (value) => (value === null || value === undefined ? "–" : `${value.toFixed(0)} %`);

/** A number of bytes with a binary prefix. */
export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const prefixes = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let index = 0;
  while (Math.abs(value) >= 1024 && index < prefixes.length - 1) {
    value /= 1024;
    index += 1;
  }
  return `${value.toFixed(index === 0 ? 0 : 1)} ${prefixes[index]}`;
}

/** A span of seconds in its two largest units. */
export function span(seconds) {
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => seconds >= size);
  if (first === -1) return "0 s";
  const [name, size] = units[first];
  const rest = units[first + 1];
  const whole = Math.floor(seconds / size);
  const part = rest ? Math.floor((seconds % size) / rest[1]) : 0;
  return part > 0 ? `${whole} ${name} ${part} ${rest[0]}` : `${whole} ${name}`;
}

/** A time as the reader's own clock shows it. */
export const time = (text) => (text ? new Date(text).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" }) : "never");
