// Takes the one-time code out of the address, posts the form as JSON, and says beside each field what is wrong with it.
"use strict";

const base = document.querySelector(".brand").pathname.replace(/\/$/, "");
const form = document.querySelector("form");

for (const place of document.querySelectorAll("[data-server]")) place.textContent = location.origin + base;

if (form) {
  const button = form.querySelector("[type=submit]");
  const alert = document.getElementById("alert");
  const status = document.getElementById("status");
  const byHand = form.querySelector("[data-code]");
  const label = button.textContent;
  let code = null;

  const takeCode = () => {
    const found = new URLSearchParams(location.hash.slice(1)).get("code");
    if (found) {
      code = found;
      // Neither the history nor a shared screen should keep it.
      history.replaceState(null, "", location.pathname);
    }
    byHand.hidden = code !== null;
    form.elements.token.disabled = code !== null;
  };

  const clear = (field) => {
    const input = form.elements[field.dataset.field];
    const error = document.getElementById(`${field.dataset.field}-error`);
    input.removeAttribute("aria-invalid");
    error.hidden = true;
    error.textContent = "";
  };

  const complain = (name, text) => {
    const input = form.elements[name];
    const error = document.getElementById(`${name}-error`);
    if (!error || !input || input.disabled) return false;
    input.setAttribute("aria-invalid", "true");
    error.textContent = text;
    error.hidden = false;
    return true;
  };

  const announce = (...lines) => {
    alert.replaceChildren(
      ...lines.filter(Boolean).map((line) => {
        const paragraph = document.createElement("p");
        paragraph.textContent = line;
        return paragraph;
      }),
    );
    alert.hidden = false;
  };

  const explain = (problem, response) => {
    const left = [];
    for (const { pointer, detail } of problem.errors ?? []) {
      if (!complain(pointer.slice(1), detail)) left.push(detail);
    }
    const aboutCode = [401, 404, 410].includes(response.status) || problem.errors?.some((one) => one.pointer === "/token");
    const wait = response.status === 429 && response.headers.get("Retry-After");
    if (!problem.errors?.length || left.length) {
      announce(
        left.join(" ") || problem.detail || problem.title || `The server answered ${response.status}.`,
        aboutCode && form.dataset.stale,
        wait && `Try again in ${wait} seconds.`,
        response.status >= 500 && problem.request_id && `In the server's log this is request ${problem.request_id}.`,
      );
    }
    (form.querySelector("[aria-invalid]") ?? alert).focus();
  };

  const succeed = (sent) => {
    for (const place of document.querySelectorAll("[data-value]")) {
      place.textContent = sent[place.dataset.value] ?? place.textContent;
    }
    const done = document.getElementById("done");
    document.getElementById("ask").hidden = true;
    done.hidden = false;
    document.title = `${document.getElementById("done-title").textContent} – mdserver`;
    done.focus();
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.disabled) return;
    for (const field of form.querySelectorAll("[data-field]")) clear(field);
    alert.hidden = true;
    const sent = Object.fromEntries(new FormData(form));
    sent.token = (code ?? sent.token).trim();
    // A browser keeps its session in a cookie; tokens that this page would throw away are not asked for.
    if (form.dataset.session) sent.cookie = true;
    button.disabled = true;
    status.textContent = button.textContent = button.dataset.busy;
    let response, problem;
    try {
      response = await fetch(form.action, {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-MDServer": "1" },
        body: JSON.stringify(sent),
      });
      problem = response.ok ? null : await response.json().catch(() => ({}));
    } catch {
      response = null;
    }
    status.textContent = "";
    button.textContent = label;
    button.disabled = false;
    if (!response) {
      announce("The server could not be reached.", "Nothing was changed as far as this page knows. Check the connection and try again.");
      alert.focus();
    } else if (response.ok) {
      succeed(sent);
    } else {
      explain(problem, response);
    }
  });

  for (const reveal of form.querySelectorAll("[data-reveal]")) {
    const input = form.elements[reveal.dataset.reveal];
    reveal.hidden = false;
    reveal.setAttribute("aria-label", "Show the password");
    reveal.addEventListener("click", () => {
      const shown = input.type === "password";
      input.type = shown ? "text" : "password";
      reveal.textContent = shown ? "Hide" : "Show";
      reveal.setAttribute("aria-pressed", String(shown));
    });
  }

  takeCode();
  addEventListener("hashchange", takeCode);
  button.disabled = false;
}
