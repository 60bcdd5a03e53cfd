// One node: state, causes, charts of the last minutes, current values by group, session, processes on request.

import { follow, get } from "./client.js";
import { bytes, h, notify, percent, setText, show, span, svg, time } from "./dom.js";
import { causeList, stateText } from "./fleet.js";

/** How often values and charts are read anew while somebody looks. */
const READ_MS = 5000;
const CHART_S = 600;
const WIDTH = 300;
const HEIGHT = 60;

const GROUPS = [
  ["Processor and load", /^node_(cpu|load|procs|processes|context|intr|forks|pressure_cpu)/],
  ["Memory", /^node_(memory|vmstat|pressure_memory)/],
  ["Disks and file systems", /^node_(disk|filesystem|filefd|pressure_io)/],
  ["Network", /^node_(network|netstat|sockstat|nf_conntrack)/],
  ["Services", /^node_systemd/],
  ["Sensors and clock", /^node_(hwmon|thermal|timex|time|boot)/],
  ["Agent", /^campanile_/],
  ["Other", /./],
];

const facts = (...pairs) => h("dl", { class: "facts" }, pairs.filter(([, value]) => value !== null && value !== undefined)
  .map(([term, value]) => [h("dt", {}, term), h("dd", {}, value)]));

/** Per cent of processor time not idle between readings, from the counters of all processors. */
function cpuPoints(series) {
  const total = new Map();
  for (const { labels, points } of series) {
    const isIdle = labels.mode === "idle" || labels.mode === "iowait" || labels.mode === "steal";
    for (const [at, value] of points) {
      const sum = total.get(at) ?? { all: 0, idle: 0, count: 0 };
      sum.all += value;
      sum.count += 1;
      if (isIdle) sum.idle += value;
      total.set(at, sum);
    }
  }
  const whole = series.length;
  const sums = [...total].filter(([, sum]) => sum.count === whole).sort((a, b) => a[0] - b[0]);
  const points = [];
  for (let index = 1; index < sums.length; index += 1) {
    const [at, now] = sums[index];
    const before = sums[index - 1][1];
    const all = now.all - before.all;
    if (all > 0) points.push([at, Math.min(100, Math.max(0, 100 * (1 - (now.idle - before.idle) / all)))]);
  }
  return points;
}

function memoryPoints(available, total) {
  const size = total[0]?.points.at(-1)?.[1];
  if (!size) return [];
  return (available[0]?.points ?? []).map(([at, value]) => [at, Math.min(100, Math.max(0, 100 * (1 - value / size)))]);
}

/** A line of per cent over the last minutes. A pause in the readings is a pause in the line. */
function chart(title, points) {
  const last = points.at(-1);
  const caption = h("figcaption", {}, `${title}: ${last ? percent(last[1]) : "no readings"}`);
  if (points.length < 2) return h("figure", { class: "chart" }, caption);
  const end = last[0];
  const step = Math.max(3, 3 * (end - points[0][0]) / points.length);
  let path = "";
  let before = -Infinity;
  for (const [at, value] of points) {
    const x = WIDTH * (1 - (end - at) / CHART_S);
    path += `${at - before > step ? "M" : "L"}${x.toFixed(1)} ${(HEIGHT * (1 - value / 100)).toFixed(1)}`;
    before = at;
  }
  const values = points.map(([, value]) => value);
  const words = `${title} over ${span(end - points[0][0])}: lowest ${percent(Math.min(...values))}, highest ${percent(Math.max(...values))}`;
  return h("figure", { class: "chart" }, caption,
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": words }, svg("path", { d: path })),
    h("p", { class: "quiet" }, words));
}

function valueText({ name, value }) {
  if (/_bytes(_total)?$/.test(name)) return bytes(value);
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(6)));
}

function valueGroups(values, open) {
  const groups = GROUPS.map(([title]) => ({ title, rows: [] }));
  for (const value of values) groups[GROUPS.findIndex(([, names]) => names.test(value.name))].rows.push(value);
  return groups.filter(({ rows }) => rows.length > 0).map(({ title, rows }) =>
    h("details", { "data-title": title, open: open.has(title) },
      h("summary", {}, `${title} (${rows.length})`),
      h("div", { class: "wide" }, h("table", {},
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Series"), h("th", { scope: "col" }, "Labels"), h("th", { scope: "col", class: "number" }, "Value"))),
        h("tbody", {}, rows.map((row) => h("tr", {},
          h("td", { class: "code" }, row.name),
          h("td", { class: "code" }, Object.entries(row.labels).map(([key, value]) => `${key}=${value}`).join(" ")),
          h("td", { class: "number" }, valueText(row)))))))));
}

function processTable(top) {
  return h("div", { class: "wide" }, h("table", {}, h("caption", {}, `As of ${time(top.time)}`),
    h("thead", {}, h("tr", {}, ["PID", "Name", "User", "State", "CPU", "Memory"].map((name, index) =>
      h("th", { scope: "col", class: index > 3 ? "number" : null }, name)))),
    h("tbody", {}, top.processes.map((process) => h("tr", {},
      h("td", {}, process.pid), h("td", { class: "code" }, process.name), h("td", {}, process.uid), h("td", {}, process.state),
      h("td", { class: "number" }, percent(process.cpuPercent)), h("td", { class: "number" }, bytes(process.residentBytes)))))));
}

function processes(path) {
  const place = h("div", { "aria-live": "polite" });
  const button = h("button", {
    type: "button",
    onclick: async () => {
      button.disabled = true;
      try {
        place.replaceChildren(processTable(await get(`${path}/top?count=10`)));
      } catch (error) {
        place.replaceChildren(h("p", {}, error.message));
      } finally {
        button.disabled = false;
      }
    },
  }, "List the heaviest processes");
  return h("section", {}, h("h2", {}, "Processes"), button, place);
}

function session(node, connection) {
  if (!connection) return h("p", { class: "quiet" }, `No session; last heard of ${time(node.lastHeartbeat)}.`);
  return facts(
    ["Transport", `${connection.transport}, protocol ${connection.protocolVersion}`],
    ["From", connection.remoteAddress], ["Since", time(connection.connectedAt)],
    ["Round trip", `${connection.rttMs.toFixed(1)} ms`], ["Lost packets", `${connection.lossPercent.toFixed(2)} %`],
    ["Reconnects", String(connection.reconnects)],
    ["Received, sent", `${bytes(connection.receivedBytes)}, ${bytes(connection.sentBytes)}`]);
}

async function connectionOf(node) {
  let cursor = null;
  do {
    const page = await get(`/connections?limit=1000${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
    const found = page.items.find((connection) => connection.nodeId === node.nodeId);
    if (found) return found;
    cursor = page.nextCursor;
  } while (cursor);
  return null;
}

/** Shows one node; returns what ends it. */
export async function showNode(name, onState) {
  const path = `/nodes/${encodeURIComponent(name)}`;
  const state = h("p", {}, h("span", { class: "pill", role: "status", "aria-live": "polite" }));
  const [about, causes, link, charts, values] = ["div", "div", "div", "div", "div"].map((tag) => h(tag, {}));
  charts.className = "charts";
  show(h("p", {}, h("a", { href: "/#/" }, "Fleet"), " / ", name), h("h1", {}, name), state, about,
    h("section", {}, h("h2", {}, "What the lost points are for"), causes),
    h("section", {}, h("h2", {}, "Last ten minutes"), charts),
    processes(path),
    h("section", {}, h("h2", {}, "Session"), link),
    h("section", {}, h("h2", {}, "Current values"), values));

  const showState = (status, liveness) => {
    state.firstChild.className = `pill ${status}`;
    setText(state.firstChild, stateText(status, liveness));
    document.title = `${name} ${status} - Campanile`;
  };
  let id = null;
  let isReading = false;
  const read = async () => {
    if (isReading || document.hidden) return;
    isReading = true;
    try {
      const node = await get(path);
      id = node.nodeId;
      showState(node.status, node.liveness);
      const own = node.facts ?? {};
      about.replaceChildren(facts(
        ["Id", node.nodeId], ["Labels", Object.entries(node.labels).map(([key, value]) => `${key}=${value}`).join(", ") || "none"],
        ["Score", node.score === null ? "not judged yet" : `${node.score} of 100`],
        ["Host", own.hostname], ["System", own.os && `${own.os}, kernel ${own.kernel}, ${own.architecture}`],
        ["Size", own.cpus && `${own.cpus} processors, ${bytes(own.memoryBytes)}`], ["Booted", own.bootedAt && time(own.bootedAt)],
        ["Agent", node.agentVersion], ["Last heartbeat", time(node.lastHeartbeat)], ["Enrolled", time(node.enrolledAt)],
        ["Certificate until", time(node.certificateExpiresAt)]));
      causes.replaceChildren(causeList(node.causes, false));
      const points = (metric) => get(`${path}/series?name=${metric}&since_s=${CHART_S}`);
      const [current, connection, cpu, available, total] = await Promise.all([get(`${path}/values`), connectionOf(node),
        points("node_cpu_seconds_total"), points("node_memory_MemAvailable_bytes"), points("node_memory_MemTotal_bytes")]);
      const open = new Set([...values.querySelectorAll("details[open]")].map((element) => element.dataset.title));
      link.replaceChildren(session(node, connection));
      charts.replaceChildren(chart("Processor", cpuPoints(cpu)), chart("Memory", memoryPoints(available, total)));
      // What somebody is reading keeps its place: the table is not replaced under the focus.
      if (!values.contains(document.activeElement)) values.replaceChildren(...valueGroups(current.values, open));
      notify("");
    } catch (error) {
      if (error.status === 401) location.hash = "#/signin";
      else notify(error.message, true);
    } finally {
      isReading = false;
    }
  };
  await read();
  const timer = setInterval(read, READ_MS);
  const stop = follow({
    onState,
    onChange: read,
    onJudged: (judged) => {
      const node = judged.nodes.find((node) => node.nodeId === id);
      if (node) showState(node.status, node.liveness);
    },
  });
  return () => {
    clearInterval(timer);
    stop();
  };
}
