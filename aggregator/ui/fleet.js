// The fleet: a card per node, the score and its causes, live.

import { all, follow, get } from "./client.js";
import { h, notify, percent, setText, show } from "./dom.js";

const WORDS = { healthy: "Healthy", warning: "Warning", critical: "Critical", offline: "Offline" };
const SIGNS = { healthy: "✓", warning: "!", critical: "✕", offline: "○" };

/** Status in words and with a sign, so that colour is never all there is. */
export function stateText(status, liveness) {
  const late = liveness === "late" ? ", late" : "";
  return `${SIGNS[status]} ${WORDS[status]}${late}`;
}

class Card {
  constructor(node) {
    this.link = h("a", {});
    this.state = h("p", { class: "state" });
    this.cpu = h("dd", {});
    this.memory = h("dd", {});
    this.disk = h("dd", {});
    this.labels = h("p", { class: "quiet" });
    this.frame = h("div", { class: "card" }, h("h3", {}, this.link), this.state,
      h("dl", {},
        h("div", {}, h("dt", {}, "CPU"), this.cpu),
        h("div", {}, h("dt", {}, "Memory"), this.memory),
        h("div", {}, h("dt", {}, "Disk"), this.disk)),
      this.labels);
    this.element = h("li", {}, this.frame);
    this.describe(node);
  }

  describe(node) {
    this.name = node.name;
    setText(this.link, node.name);
    this.link.setAttribute("href", `/#/nodes/${encodeURIComponent(node.name)}`);
    setText(this.labels, Object.entries(node.labels).map(([key, value]) => `${key}=${value}`).join(" "));
    this.judge(node);
  }

  judge({ liveness, status, score, cpuPercent, memoryPercent, diskPercent }) {
    this.liveness = liveness ?? this.liveness;
    this.status = status ?? this.status;
    this.frame.className = `card ${this.status}`;
    const points = score === null || score === undefined ? "" : `, ${score} of 100`;
    setText(this.state, stateText(this.status, this.liveness) + points);
    if (cpuPercent !== undefined) setText(this.cpu, percent(cpuPercent));
    if (memoryPercent !== undefined) setText(this.memory, percent(memoryPercent));
    if (diskPercent !== undefined) setText(this.disk, percent(diskPercent));
  }
}

/** What is wrong, most expensive first. */
export function causeList(causes, withNode) {
  if (causes.length === 0) return h("p", { class: "quiet" }, "No points are lost.");
  return h("ul", { class: "causes" }, causes.map((cause) => h("li", {},
    withNode && h("a", { href: `/#/nodes/${encodeURIComponent(cause.nodeName)}` }, cause.nodeName), withNode && ": ",
    cause.summary, " ", h("span", { class: "points" }, `(−${cause.points.toFixed(1)} points)`))));
}

const figure = (label) => {
  const value = h("b", {}, "–");
  return { value, element: h("div", { class: "figure" }, value, h("span", { class: "quiet" }, label)) };
};

/** Shows the fleet; returns what ends it. */
export async function showFleet(onState) {
  const cards = new Map();
  const grid = h("ul", { class: "grid", "aria-label": "Nodes" });
  const [score, online, warning, critical] =
    [figure("health, of 100"), figure("online"), figure("with a warning"), figure("critical")];
  const causes = h("div", {});
  const spoken = h("p", { class: "quiet", role: "status", "aria-live": "polite" });
  show(h("h1", {}, "Fleet"), h("div", { class: "summary" }, [score, online, warning, critical].map((f) => f.element)),
    spoken, h("section", {}, h("h2", {}, "What the lost points are for"), causes), h("h2", {}, "Nodes"), grid);

  const count = () => {
    const list = [...cards.values()];
    const number = (test) => list.filter(test).length;
    const up = number((card) => card.liveness !== "offline");
    setText(online.value, `${up}/${list.length}`);
    setText(warning.value, String(number((card) => card.status === "warning")));
    setText(critical.value, String(number((card) => card.status === "critical")));
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
      setText(score.value, String(health.overallSystemHealth));
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
      setText(score.value, String(judged.score));
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
