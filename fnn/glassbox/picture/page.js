"use strict";
const views = JSON.parse(document.getElementById("data").textContent).views;
const at = (id) => document.getElementById(id);
const all = (within, selector) => [...within.querySelectorAll(selector)];
// Milliseconds between two steps of Play: time to read a sentence.
const PACE = 1400;
// page.html?folded starts folded; page.html?framed is laid out for a frame in another page.
const asked = new URLSearchParams(location.search || document.documentElement.dataset.asked);
let name = "whole", step = 0, timer = 0;

// ---- the picture at a step ----

function show(next) {
  const view = views[name], box = at(name);
  step = Math.max(0, Math.min(next, view.steps.length - 1));
  const now = view.steps[step];
  // step 0 shows everything
  const known = (from) => step === 0 || (from >= 0 && from <= step);
  for (const part of all(box, ".part")) {
    const k = Number(part.dataset.part);
    part.classList.toggle("now", k === now.part);
    part.classList.toggle("later", !known(view.values[k]));
    for (const value of all(part, ":scope > .value")) value.classList.toggle("wait", !known(view.values[k]));
    for (const bar of all(part, ":scope > .bar")) bar.classList.toggle("wait", !known(view.bars[k]));
  }
  for (const flow of all(box, ".flow")) {
    const e = Number(flow.dataset.flow);
    flow.classList.toggle("now", now.flows.includes(e));
    for (const back of all(flow, ".back")) back.classList.toggle("wait", !known(view.shares[e]));
  }
  at("caption").textContent = now.caption;
  at("previous").disabled = at("start").disabled = step === 0;
  at("next").disabled = at("end").disabled = at("play").disabled = step === view.steps.length - 1;
  // the whole picture opens at its output, the first step at its arguments
  const part = now.part >= 0 ? now.part : step === 0 ? view.output : 0;
  describe(part);
  reveal(box, box.querySelector(`[data-part="${part}"]`));
}

// the picture scrolls within its frame; the page stays where it is
function reveal(box, part) {
  const frame = box.getBoundingClientRect(), card = part.getBoundingClientRect();
  if (card.left < frame.left || card.right > frame.right)
    box.scrollLeft += (card.left + card.right - frame.left - frame.right) / 2;
  if (card.top < frame.top || card.bottom > frame.bottom)
    box.scrollTop += (card.top + card.bottom - frame.top - frame.bottom) / 2;
}

function play(on) {
  clearInterval(timer);
  timer = on ? setInterval(() => {
    show(step + 1);
    if (step === views[name].steps.length - 1) play(false);
  }, PACE) : 0;
  at("play").textContent = on ? "Pause" : "Play";
}

function go(to) {
  play(false);
  show(to);
}

// ---- the details of a part: text only ----

function describe(k) {
  const part = views[name].parts[k], list = document.createElement("dl"), head = document.createElement("h2");
  head.textContent = part.head;
  for (const [word, text] of part.rows) {
    const term = document.createElement("dt"), cell = document.createElement("dd");
    term.textContent = word;
    cell.textContent = text;
    cell.className = word;
    list.append(term, cell);
  }
  at("details").replaceChildren(head, list);
  for (const each of all(at(name), ".part")) each.classList.toggle("picked", Number(each.dataset.part) === k);
}

// ---- the view and the theme ----

function turn(to) {
  name = to;
  for (const each of Object.keys(views)) at(each).hidden = each !== to;
  go(0);
}

function dark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function label() {
  at("theme").textContent = dark() ? "Light" : "Dark";
}

// ---- what the reader does ----

for (const each of Object.keys(views)) {
  const svg = at(each).querySelector("svg"), width = Number(svg.getAttribute("width"));
  // as wide as the page, but not huge, and not too small to read unless that is asked for; a frame has no room to spare
  svg.style.maxWidth = `${asked.has("framed") ? width : Math.max(width, Math.min(1.4 * width, 900))}px`;
  svg.style.setProperty("--least", `${(asked.has("framed") ? 0.65 : 0.85) * width}px`);
  svg.removeAttribute("role");
  for (const part of all(svg, ".part")) {
    const k = Number(part.dataset.part);
    part.setAttribute("tabindex", "0");
    part.setAttribute("role", "button");
    part.setAttribute("aria-label", views[each].parts[k].label);
    part.addEventListener("click", () => describe(k));
    part.addEventListener("focus", () => describe(k));
    part.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        describe(k);
      }
    });
  }
}
at("start").addEventListener("click", () => go(0));
at("previous").addEventListener("click", () => go(step - 1));
at("next").addEventListener("click", () => go(step + 1));
at("end").addEventListener("click", () => go(views[name].steps.length - 1));
at("play").addEventListener("click", () => play(!timer));
at("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = dark() ? "light" : "dark";
  label();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);
// the page around a framed one says which theme it shows: light, dark, or auto, the system's
addEventListener("message", (event) => {
  const theme = event.data?.theme;
  if (event.source !== parent || !["light", "dark", "auto"].includes(theme)) return;
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  label();
});
if (at("fold")) at("fold").addEventListener("click", () => {
  turn(name === "whole" ? "folded" : "whole");
  at("fold").setAttribute("aria-pressed", String(name === "folded"));
});
at("fit").addEventListener("click", () => {
  const fit = at("pictures").classList.toggle("fit");
  at("fit").setAttribute("aria-pressed", String(fit));
});
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const to = {ArrowLeft: step - 1, ArrowRight: step + 1, Home: 0, End: Infinity}[event.key];
  if (to === undefined) return;
  event.preventDefault();
  go(to);
});
// a cell of a notebook: JupyterLab, VS Code and Colab say each in their way that they are dark
if (location.href === "about:srcdoc") {
  const {body, documentElement} = parent.document;
  const night = body.dataset.jpThemeLight === "false" || body.classList.contains("vscode-dark")
    || documentElement.getAttribute("theme") === "dark";
  document.documentElement.dataset.theme = night ? "dark" : "light";
}
document.documentElement.classList.toggle("framed", asked.has("framed"));
label();
show(0);
if (asked.has("folded") && at("fold")) at("fold").click();
