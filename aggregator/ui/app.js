// Chooses the view from the address and holds what all views share: who is signed in and how the link is.

import { call, get } from "./client.js";
import { notify, setText } from "./dom.js";
import { showFleet } from "./fleet.js";
import { showNode } from "./node.js";
import { showAccount, showLink, showSignIn } from "./signin.js";

const LINK_STATES = { live: "Live", polling: "No live link; asking every few seconds" };

let stop = null;
let turn = 0;

function setState(state) {
  const element = document.getElementById("link-state");
  element.className = state;
  setText(element, LINK_STATES[state] ?? "");
}

function markView(view) {
  for (const link of document.querySelectorAll("#site-nav a[data-view]")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

const setSignedIn = (is) => { document.getElementById("site-nav").hidden = !is; };

async function showFleetName() {
  const status = await get("/status");
  setText(document.getElementById("fleet-name"), status.fleet);
}

function signedIn(target) {
  return () => {
    notify("");
    history.replaceState(null, "", `/${target}`);
    route();
  };
}

/** Shows what the address names. A view that is still being prepared when the address changes again is dropped. */
async function route() {
  const mine = (turn += 1);
  stop?.();
  stop = null;
  setState("");
  const hash = location.hash;
  if (hash.startsWith("#link=")) {
    setSignedIn(false);
    return showLink(decodeURIComponent(hash.slice("#link=".length)), signedIn("#/welcome"));
  }
  if (hash === "#/signin" || location.pathname === "/signin") {
    setSignedIn(false);
    return showSignIn(signedIn("#/"));
  }
  let end = null;
  try {
    await showFleetName();
    if (mine !== turn) return;
    setSignedIn(true);
    markView(hash === "#/account" || hash === "#/welcome" ? "account" : "fleet");
    if (hash === "#/account" || hash === "#/welcome") await showAccount(hash === "#/welcome");
    else if (hash.startsWith("#/nodes/")) end = await showNode(decodeURIComponent(hash.slice("#/nodes/".length)), setState);
    else end = await showFleet(setState);
  } catch (error) {
    if (mine !== turn) return;
    if (error.status === 401) {
      setSignedIn(false);
      return showSignIn(signedIn(hash || "#/"));
    }
    // Signed in without a role that reads: the account is still there.
    if (error.status === 403) {
      setSignedIn(true);
      await showAccount(false);
    }
    notify(error.message, true);
  }
  if (mine === turn) stop = end;
  else end?.();
}

document.getElementById("sign-out").addEventListener("click", async () => {
  try {
    await call("DELETE", "/session");
  } catch (error) {
    if (error.status !== 401) return notify(error.message, true);
  }
  notify("Signed out.");
  location.hash = "#/signin";
});
addEventListener("hashchange", route);
route();
