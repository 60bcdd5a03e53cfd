// One node: state, causes, charts of the last minutes, current values by group, session, processes on request.

import { follow, get } from "./client.js";
import { bytes, h, notify, percent, setBar, setText, show, span, svg, time } from "./dom.js";
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
    const isIdle = labels.mode === "idle" || labels.mode === "iowait";
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

/** What counters rise by in a second, summed over their series. A fall is a restart and counts as a pause. */
function ratePoints(series) {
  const sums = new Map();
  for (const { points } of series) {
    for (let index = 1; index < points.length; index += 1) {
      const [at, value] = points[index];
      const [since, before] = points[index - 1];
      if (value >= before && at > since) sums.set(at, (sums.get(at) ?? 0) + (value - before) / (at - since));
    }
  }
  return [...sums].sort((a, b) => a[0] - b[0]);
}

/** The next round number, so that the scale of a chart stays while its line moves. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1e-9)));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}

/** A line over the last minutes, from zero to `full` or the next round number. A pause in the readings is a pause in
 * the line. */
function chart(title, points, text, full) {
  const last = points.at(-1);
  const caption = h("figcaption", {}, h("span", {}, title), h("b", {}, last ? text(last[1]) : "–"));
  if (points.length < 2) return h("figure", { class: "chart" }, caption, h("p", { class: "quiet" }, "No readings yet."));
  const values = points.map(([, value]) => value);
  const highest = Math.max(...values);
  const top = full ?? roundUp(highest);
  const end = last[0];
  const step = Math.max(3, 3 * (end - points[0][0]) / points.length);
  let line = "";
  let before = -Infinity;
  for (const [at, value] of points) {
    const x = WIDTH * (1 - (end - at) / CHART_S);
    line += `${at - before > step ? "M" : "L"}${x.toFixed(1)} ${(HEIGHT * (1 - value / top)).toFixed(1)}`;
    before = at;
  }
  const range = `${text(Math.min(...values))} to ${text(highest)} over ${span(end - points[0][0])}`;
  return h("figure", { class: "chart" }, caption,
    svg("svg", { viewBox: `0 -1 ${WIDTH} ${HEIGHT + 2}`, preserveAspectRatio: "none", role: "img", "aria-label": `${title}: ${range}` },
      svg("path", { class: "base", d: `M0 ${HEIGHT}H${WIDTH}M0 ${HEIGHT / 2}H${WIDTH}M0 0H${WIDTH}` }), svg("path", { d: line })),
    h("p", { class: "quiet" }, range));
}

/** The file systems among the values, fullest first. */
function fileSystems(values) {
  const found = new Map();
  for (const { name, labels, value } of values) {
    const kind = /^node_filesystem_(size|avail|free)_bytes$/.exec(name)?.[1];
    if (!kind) continue;
    const entry = found.get(labels.mountpoint) ?? { place: labels.mountpoint, type: labels.fstype };
    entry[kind] = value;
    found.set(labels.mountpoint, entry);
  }
  // As df has it: what is reserved for root is neither used nor available.
  const share = ({ size, avail, free }) => 100 * (size - free) / (size - free + avail);
  return [...found.values()].filter((entry) => entry.size > 0 && Number.isFinite(share(entry)))
    .map((entry) => ({ ...entry, used: share(entry) })).sort((a, b) => b.used - a.used);
}

function fileSystemTable(values) {
  const rows = fileSystems(values).map((entry) => {
    const bar = h("span", { class: "gauge", "aria-hidden": "true" });
    setBar(bar, entry.used);
    return h("tr", {}, h("td", { class: "code" }, entry.place), h("td", {}, entry.type),
      h("td", { class: "number" }, bytes(entry.size)), h("td", { class: "number" }, bytes(entry.avail)),
      h("td", { class: "number share" }, percent(entry.used), bar));
  });
  if (rows.length === 0) return h("p", { class: "quiet" }, "None is reported.");
  return table(["Mounted at", "Type", "Size", "Available", "Used"], 2, rows);
}

/** A table whose columns from `numbers` on are numbers. It can be scrolled sideways, by keyboard too. */
function table(heads, numbers, rows, caption) {
  return h("div", { class: "wide", tabindex: "0", role: "group", "aria-label": caption ?? heads.join(", ") }, h("table", {}, caption && h("caption", {}, caption),
    h("thead", {}, h("tr", {}, heads.map((head, index) => h("th", { scope: "col", class: index >= numbers ? "number" : null }, head)))),
    h("tbody", {}, rows)));
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
      table(["Series", "Labels", "Value"], 2, rows.map((row) => h("tr", {},
        h("td", { class: "code" }, row.name),
        h("td", { class: "code" }, Object.entries(row.labels).map(([key, value]) => `${key}=${value}`).join(" ")),
        h("td", { class: "number" }, valueText(row)))))));
}

function processTable(top) {
  return table(["PID", "Name", "User", "State", "CPU", "Memory"], 4, top.processes.map((process) => h("tr", {},
    h("td", {}, process.pid), h("td", { class: "code" }, process.name), h("td", {}, process.uid), h("td", {}, process.state),
    h("td", { class: "number" }, percent(process.cpuPercent)), h("td", { class: "number" }, bytes(process.residentBytes)))),
  `As of ${time(top.time)}`);
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
  }, "List the heaviest");
  return h("section", {}, h("div", { class: "head" }, h("h2", {}, "Processes"), button), place);
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
  const state = h("span", { class: "pill", role: "status", "aria-live": "polite" });
  const score = h("span", { class: "quiet" });
  const [about, causes, link, charts, disks, values] = ["div", "div", "div", "div", "div", "div"].map((tag) => h(tag, {}));
  charts.className = "charts";
  show(h("p", { class: "crumbs" }, h("a", { href: "/#/" }, "Fleet"), " / ", name),
    h("div", { class: "title" }, h("h1", {}, name), state, score),
    h("div", { class: "split" },
      h("div", {},
        h("section", {}, h("h2", {}, "Last ten minutes"), charts),
        h("section", {}, h("h2", {}, "File systems"), disks),
        processes(path),
        h("section", {}, h("h2", {}, "Current values"), values)),
      h("div", { class: "side" },
        h("section", {}, h("h2", {}, "Lost points"), causes),
        h("section", {}, h("h2", {}, "Node"), about),
        h("section", {}, h("h2", {}, "Session"), link))));

  const showState = (status, liveness) => {
    state.className = `pill ${status}`;
    setText(state, stateText(status, liveness));
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
      setText(score, node.score === null ? "not judged yet" : `${node.score} / 100`);
      const own = node.facts ?? {};
      about.replaceChildren(facts(
        ["Id", node.nodeId], ["Labels", Object.entries(node.labels).map(([key, value]) => `${key}=${value}`).join(", ") || "none"],
        ["Host", own.hostname], ["System", own.os && `${own.os}, kernel ${own.kernel}, ${own.architecture}`],
        ["Size", own.cpus && `${own.cpus} processors, ${bytes(own.memoryBytes)}`], ["Booted", own.bootedAt && time(own.bootedAt)],
        ["Agent", node.agentVersion], ["Last heartbeat", time(node.lastHeartbeat)], ["Enrolled", time(node.enrolledAt)],
        ["Certificate until", time(node.certificateExpiresAt)]));
      causes.replaceChildren(causeList(node.causes, false));
      const points = (metric) => get(`${path}/series?name=${metric}&since_s=${CHART_S}`);
      const [current, connection, cpu, available, total, load, received, sent] = await Promise.all([
        get(`${path}/values`), connectionOf(node), points("node_cpu_seconds_total"), points("node_memory_MemAvailable_bytes"),
        points("node_memory_MemTotal_bytes"), points("node_load1"), points("node_network_receive_bytes_total"),
        points("node_network_transmit_bytes_total")]);
      const open = new Set([...values.querySelectorAll("details[open]")].map((element) => element.dataset.title));
      link.replaceChildren(session(node, connection));
      const rate = (value) => `${bytes(value)}/s`;
      const traffic = (series) => ratePoints(series.filter(({ labels }) => labels.device !== "lo"));
      charts.replaceChildren(
        chart("CPU", cpuPoints(cpu), percent, 100), chart("Memory", memoryPoints(available, total), percent, 100),
        chart("Load, 1 min", load[0]?.points ?? [], (value) => value.toFixed(2)),
        chart("Network in", traffic(received), rate), chart("Network out", traffic(sent), rate));
      if (!disks.contains(document.activeElement)) disks.replaceChildren(fileSystemTable(current.values));
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
