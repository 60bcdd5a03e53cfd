// The fleet: a card per node, the score and its causes, live.

import { all, follow, get } from "./client.js";
import { h, notify, percent, setBar, setText, show } from "./dom.js";

const WORDS = { healthy: "Healthy", warning: "Warning", critical: "Critical", offline: "Offline" };
const SIGNS = { healthy: "✓", warning: "!", critical: "✕", offline: "○" };

/** Status in words and with a sign, so that colour is never all there is. */
export function stateText(status, liveness) {
  const late = liveness === "late" ? ", late" : "";
  return `${SIGNS[status]} ${WORDS[status]}${late}`;
}

/** A share of something: its name, its number, and a bar. */
class Gauge {
  constructor(name) {
    this.number = h("dd", {});
    this.bar = h("span", { class: "gauge", "aria-hidden": "true" });
    this.element = h("div", {}, h("dt", {}, name), this.number, this.bar);
  }

  set(value) {
    setText(this.number, percent(value));
    setBar(this.bar, value);
  }
}

class Card {
  constructor(node) {
    this.link = h("a", {});
    this.state = h("p", { class: "state" });
    this.points = h("p", { class: "points" });
    [this.cpu, this.memory, this.disk] = ["CPU", "Memory", "Disk"].map((name) => new Gauge(name));
    this.labels = h("p", { class: "labels" });
    this.frame = h("div", { class: "card" },
      h("div", { class: "head" }, h("h3", {}, this.link), this.state, this.points),
      h("dl", {}, this.cpu.element, this.memory.element, this.disk.element),
      this.labels);
    this.element = h("li", {}, this.frame);
    this.describe(node);
  }

  describe(node) {
    this.name = node.name;
    setText(this.link, node.name);
    this.link.setAttribute("href", `/#/nodes/${encodeURIComponent(node.name)}`);
    setText(this.labels, Object.entries(node.labels).map(([key, value]) => `${key}=${value}`).join(" "));
    this.text = `${node.name} ${this.labels.textContent}`.toLowerCase();
    this.judge(node);
  }

  /** Shown when it has every word that is looked for, in its name, labels or state. */
  filter(words) {
    const text = `${this.text} ${this.status} ${this.liveness}`;
    this.element.hidden = !words.every((word) => text.includes(word));
  }

  judge({ liveness, status, score, cpuPercent, memoryPercent, diskPercent }) {
    this.liveness = liveness ?? this.liveness;
    this.status = status ?? this.status;
    this.frame.className = `card ${this.status}`;
    setText(this.state, stateText(this.status, this.liveness));
    setText(this.points, score === null || score === undefined ? "" : `${score} / 100`);
    if (cpuPercent !== undefined) this.cpu.set(cpuPercent);
    if (memoryPercent !== undefined) this.memory.set(memoryPercent);
    if (diskPercent !== undefined) this.disk.set(diskPercent);
  }
}

/** What is wrong, most expensive first. */
export function causeList(causes, withNode) {
  if (causes.length === 0) return h("p", { class: "quiet" }, "No points are lost.");
  return h("ul", { class: "causes" }, causes.map((cause) => h("li", { class: cause.severity },
    h("span", { class: "points" }, `−${cause.points.toFixed(1)}`),
    h("span", {}, withNode && h("a", { href: `/#/nodes/${encodeURIComponent(cause.nodeName)}` }, cause.nodeName), withNode && " ",
      cause.summary))));
}

const figure = (label) => {
  const value = h("b", {}, "–");
  const element = h("div", { class: "figure" }, value, h("span", {}, label));
  // Colour only where there is something to see.
  const set = (text, status) => {
    setText(value, text);
    element.className = `figure ${status ?? ""}`;
  };
  return { set, value, element };
};

const scoreStatus = (score) => (score >= 90 ? "healthy" : score >= 60 ? "warning" : "critical");

/** Shows the fleet; returns what ends it. */
export async function showFleet(onState) {
  const cards = new Map();
  const grid = h("ul", { class: "grid", "aria-label": "Nodes" });
  const [score, online, warning, critical, offline] =
    ["Health, of 100", "Online", "Warning", "Critical", "Offline"].map(figure);
  const causes = h("div", {});
  const spoken = h("p", { class: "quiet", role: "status", "aria-live": "polite" });
  const search = h("input", { type: "search", "aria-label": "Show only nodes with", placeholder: "Name, label or status", oninput: () => sift() });
  const none = h("p", { class: "quiet", hidden: true }, "No node fits.");
  const begin = h("p", { hidden: true }, h("a", { href: "/docs/guide/install#a-node" }, "How to install the first node"));
  show(h("h1", { class: "unseen" }, "Fleet"),
    h("div", { class: "summary" }, [score, online, warning, critical, offline].map((f) => f.element)),
    h("div", { class: "split" },
      h("section", {}, h("div", { class: "head" }, h("h2", {}, "Nodes"), spoken, search), grid, none, begin),
      h("section", { class: "side" }, h("h2", {}, "Lost points"), causes)));

  const sift = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter((word) => word !== "");
    for (const card of cards.values()) card.filter(words);
    none.hidden = words.length === 0 || [...cards.values()].some((card) => !card.element.hidden);
  };

  const count = () => {
    const list = [...cards.values()];
    begin.hidden = list.length > 0;
    const number = (test) => list.filter(test).length;
    const up = number((card) => card.liveness !== "offline");
    const down = list.length - up;
    online.set(`${up} / ${list.length}`);
    for (const [place, status] of [[warning, "warning"], [critical, "critical"]]) {
      const found = number((card) => card.status === status);
      place.set(String(found), found > 0 ? status : "");
    }
    offline.set(String(down), down > 0 ? "offline" : "");
    sift();
    document.title = `${up}/${list.length} online - Campanile`;
    const bad = list.filter((card) => card.status !== "healthy").map((card) => `${card.name} ${card.status}`);
    const named = bad.slice(0, 5).join(", ") + (bad.length > 5 ? ` and ${bad.length - 5} more` : "");
    setText(spoken, list.length === 0 ? "No node yet: make a token with `campanile token create` and enrol one."
      : bad.length === 0 ? "All nodes are healthy." : named);
  };

  let isReading = false;
  let again = false;
  let causesText = "";
  const read = async () => {
    if (isReading) { again = true; return; }
    isReading = true;
    try {
      const [nodes, health] = await Promise.all([all("/nodes"), get("/health")]);
      const usage = new Map(health.nodeStatus.map((node) => [node.nodeId, node.resourceUsage]));
      const present = new Set(nodes.map((node) => node.nodeId));
      for (const [id, card] of cards) if (!present.has(id)) { card.element.remove(); cards.delete(id); }
      for (const [index, node] of nodes.entries()) {
        if (!cards.has(node.nodeId)) cards.set(node.nodeId, new Card(node));
        const card = cards.get(node.nodeId);
        card.describe({ ...node, ...usage.get(node.nodeId) });
        if (grid.children[index] !== card.element) grid.insertBefore(card.element, grid.children[index] ?? null);
      }
      score.set(String(health.overallSystemHealth), scoreStatus(health.overallSystemHealth));
      const text = JSON.stringify(health.causes);
      if (text !== causesText) causes.replaceChildren(causeList(health.causes, true));
      causesText = text;
      count();
      notify("");
    } catch (error) {
      if (error.status === 401) location.hash = "#/signin";
      else notify(error.message, true);
    } finally {
      isReading = false;
      if (again) { again = false; read(); }
    }
  };
  await read();
  let shown = score.value.textContent;
  return follow({
    onState,
    onChange: read,
    onJudged: (judged) => {
      score.set(String(judged.score), scoreStatus(judged.score));
      let isKnown = true;
      for (const node of judged.nodes) {
        const card = cards.get(node.nodeId);
        if (card) card.judge(node); else isKnown = false;
      }
      count();
      // The causes come with the health, which is read only when the score moves.
      if (!isKnown || String(judged.score) !== shown) read();
      shown = String(judged.score);
    },
  });
}
