// Speaks to the API: the only way this page learns or changes anything.

/** An error of the API: a problem document with a stable code. */
export class ApiError extends Error {
  constructor(problem) {
    super(problem.detail);
    this.code = problem.code;
    this.status = problem.status;
  }
}

/** One request. `body` goes as JSON. */
export async function call(method, path, body) {
  const options = { method, headers: { accept: "application/json" } };
  if (body !== undefined) {
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(`/api/v1${path}`, options);
  } catch {
    throw new ApiError({ code: "unreachable", status: 0, detail: "The aggregator cannot be reached." });
  }
  if (response.status === 204) return null;
  const answer = await response.json().catch(() => null);
  if (response.ok) return answer;
  throw new ApiError(answer ?? { code: "unavailable", status: response.status, detail: response.statusText });
}

export const get = (path) => call("GET", path);

/** Every entry of a list, page by page. */
export async function all(path) {
  const items = [];
  let cursor = null;
  do {
    const parameters = `limit=1000${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`;
    const page = await get(`${path}${path.includes("?") ? "&" : "?"}${parameters}`);
    items.push(...page.items);
    cursor = page.nextCursor;
  } while (cursor);
  return items;
}

const KINDS = ["node.enrolled", "node.changed", "node.retired", "node.liveness-changed", "node.status-changed"];
/** Longest silence of a stream that is well: the fleet is judged each second. */
const SILENCE_MS = 15000;
/** How often the page asks while it has no stream. */
const POLL_MS = 3000;

/**
 * Follows the fleet. `onChange` is called when everything should be read anew, `onJudged` with each judgement,
 * `onState` with what to tell of the link. Falls back to asking every few seconds. Returns what ends it.
 */
export function follow({ onChange, onJudged, onState }) {
  let source = null;
  let lastHeard = 0;
  let isLive = false;
  const heard = () => {
    lastHeard = Date.now();
    if (!isLive) onState("live");
    isLive = true;
  };
  const open = () => {
    source?.close();
    lastHeard = Date.now();
    source = new EventSource("/api/v1/events");
    source.onopen = heard;
    source.onerror = () => {
      isLive = false;
      onState("polling");
    };
    source.addEventListener("reset", () => { heard(); onChange(); });
    for (const kind of KINDS) source.addEventListener(kind, () => { heard(); onChange(); });
    source.addEventListener("fleet.judged", (event) => { heard(); onJudged(JSON.parse(event.data)); });
  };
  open();
  const timer = setInterval(() => {
    if (isLive && Date.now() - lastHeard > SILENCE_MS) {
      isLive = false;
      onState("polling");
    }
    if (!isLive) {
      onChange();
      // A browser gives up on a stream that was refused; this one does not.
      if (source.readyState === EventSource.CLOSED) open();
    }
  }, POLL_MS);
  return () => {
    clearInterval(timer);
    source?.close();
  };
}
