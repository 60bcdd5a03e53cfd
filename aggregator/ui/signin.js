// Signing in with a password or a one-time link, and the caller's own password and second factor.

import { call, get } from "./client.js";
import { h, notify, show, time } from "./dom.js";

const field = (label, attributes, hint) =>
  h("label", {}, label, hint && h("span", { class: "quiet hint" }, hint), h("input", attributes));

/** A form whose button is off while its request runs. */
function form(onSubmit, button, ...fields) {
  const submit = h("button", { type: "submit" }, button);
  const element = h("form", {
    onsubmit: async (event) => {
      event.preventDefault();
      submit.disabled = true;
      notify("");
      try {
        await onSubmit(Object.fromEntries(new FormData(element)), element);
      } catch (error) {
        notify(error.message, true);
      } finally {
        submit.disabled = false;
      }
    },
  }, ...fields, submit);
  return element;
}

/** Signing in; `done` is called with the session. */
export function showSignIn(done) {
  document.title = "Sign in - Campanile";
  const code = field("Second factor", { name: "totp", inputmode: "numeric", autocomplete: "one-time-code", pattern: "[0-9 ]*" }, "Six digits, if you have set one up");
  const element = form(async (values) => {
    const totp = values.totp.replaceAll(" ", "");
    const request = { name: values.name, password: values.password, totp: totp === "" ? null : totp };
    try {
      done(await call("POST", "/session", request));
    } catch (error) {
      if (error.code === "second_factor") code.querySelector("input").focus();
      throw error;
    }
  }, "Sign in",
    field("Name", { name: "name", autocomplete: "username", required: true, autocapitalize: "none", spellcheck: "false" }),
    field("Password", { name: "password", type: "password", autocomplete: "current-password", required: true }),
    code);
  element.className = "panel";
  show(h("div", { class: "narrow" }, h("h1", {}, "Sign in"), element,
    h("p", { class: "quiet" }, "No password yet, or forgotten? Ask for a one-time link: ", h("code", {}, "campanile-aggregator signin-link"), ".")));
  element.querySelector("input").focus();
}

/** Signing in with the secret of a link; it works once, so it is used only on request and leaves the address at once. */
export function showLink(secret, done) {
  history.replaceState(null, "", "/signin");
  document.title = "Sign in - Campanile";
  const element = form(async () => {
    done(await call("POST", "/session/link", { link: secret }));
  }, "Sign in with this link");
  show(h("div", { class: "narrow" }, h("h1", {}, "Sign in"),
    h("p", {}, "This link signs you in once. Set a password next, so that you can come back."), element));
  element.querySelector("button").focus();
}

function passwordForm(name, isFirst) {
  return form(async (values, element) => {
    if (values.new !== values.again) throw new Error("The two new passwords differ.");
    await call("PUT", "/session/password", { current: values.current || null, new: values.new });
    element.reset();
    notify("The password is set. Other sessions of yours have ended.");
  }, "Set password",
    // For password keepers, which store the password under it.
    h("input", { name: "name", autocomplete: "username", value: name, hidden: true, readonly: true }),
    field("Current password", { name: "current", type: "password", autocomplete: "current-password" }, isFirst ? "Leave empty right after signing in with a link" : null),
    field("New password", { name: "new", type: "password", autocomplete: "new-password", minlength: 12, required: true }, "At least 12 characters"),
    field("New password again", { name: "again", type: "password", autocomplete: "new-password", minlength: 12, required: true }));
}

function secondFactor() {
  const place = h("div", {});
  const begin = form(async () => {
    const setup = await call("POST", "/session/totp");
    const confirm = form(async (values) => {
      await call("POST", "/session/totp/confirm", { code: values.code.replaceAll(" ", "") });
      place.replaceChildren(h("p", {}, "The second factor is set."));
      notify("The second factor is set.");
    }, "Confirm",
      field("Code that the authenticator shows now", { name: "code", inputmode: "numeric", autocomplete: "one-time-code", required: true, pattern: "[0-9 ]*" }));
    place.replaceChildren(
      h("p", {}, "Add this secret to your authenticator:"),
      h("p", { class: "secret code" }, setup.secret),
      h("p", { class: "quiet" }, "The same as an address, for authenticators that take one:"),
      h("p", { class: "secret code" }, setup.uri),
      confirm);
    confirm.querySelector("input").focus();
  }, "Set up a second factor");
  place.append(begin);
  return place;
}

/** The caller's own password and second factor. */
export async function showAccount(isFirst) {
  document.title = "Account - Campanile";
  const session = await get("/session");
  const isPerson = session.actor.startsWith("person:");
  const grants = session.grants.map((grant) => `${grant.role} over ${grant.selector || "all nodes"}`).join("; ");
  show(
    h("h1", {}, isFirst ? "Welcome" : "Account"),
    h("dl", { class: "facts" },
      h("dt", {}, "Signed in as"), h("dd", {}, session.name),
      h("dt", {}, "Permitted"), h("dd", {}, grants || "nothing yet"),
      h("dt", {}, "Session ends"), h("dd", {}, time(session.expiresAt))),
    isPerson && h("div", { class: "columns" },
      h("section", {}, h("h2", {}, "Password"), passwordForm(session.name, isFirst)),
      h("section", {}, h("h2", {}, "Second factor"), secondFactor())),
    h("p", {}, h("a", { href: "/#/" }, "To the fleet")));
}
