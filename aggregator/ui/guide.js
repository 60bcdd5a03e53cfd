// Search of the guide: sections whose words begin with every word that was typed. The list of words is fetched once
// somebody searches; without this script the pages are whole.

import { h, setText } from "./dom.js";

/** More are of no use: a further word narrows them. */
const RESULTS_MAX = 20;
const form = document.getElementById("search");
const field = document.getElementById("words");
const count = document.getElementById("count");
const results = document.getElementById("results");
let sections;

/** The sections, each with its words in a set; fetched at the first call. */
async function load() {
  const response = await fetch("/docs/guide/index.json");
  if (!response.ok) throw new Error(`the index answers ${response.status}`);
  return (await response.json()).map(([place, chapter, heading, words]) =>
    ({ place, chapter, heading, title: ` ${chapter} ${heading}`.toLowerCase(), words: ` ${words}` }));
}

/** How well a section fits: headings count for more than text; 0 where a word is missing. */
function fit(section, wanted) {
  let sum = 0;
  for (const word of wanted) {
    if (section.title.includes(` ${word}`)) sum += 10;
    else if (section.words.includes(` ${word}`)) sum += 1;
    else return 0;
  }
  return sum;
}

async function search() {
  const wanted = field.value.toLowerCase().split(/\s+/).filter((word) => word !== "");
  if (wanted.length === 0) {
    results.replaceChildren();
    setText(count, "");
    return;
  }
  try {
    sections ??= load();
    const fitting = (await sections).map((section) => ({ section, points: fit(section, wanted) }))
      .filter(({ points }) => points > 0).sort((a, b) => b.points - a.points);
    setText(count, fitting.length === 1 ? "1 section" : `${fitting.length} sections`);
    results.replaceChildren(...fitting.slice(0, RESULTS_MAX).map(({ section }) =>
      h("li", {}, h("a", { href: section.place }, section.chapter === section.heading
        ? section.heading : `${section.chapter}: ${section.heading}`))));
  } catch (error) {
    sections = undefined;
    setText(count, `The search does not work now: ${error.message}`);
  }
}

form.hidden = false;
field.addEventListener("input", search);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  results.querySelector("a")?.click();
});
