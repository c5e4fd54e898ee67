// Tooltips, switches and the crosshair of the ROC. Everything shown is in the page already; this only shows and hides.
(() => {
  "use strict";
  document.documentElement.classList.add("js");
  const tip = document.getElementById("tip");

  // The browser's own tooltips become ours.
  for (const mark of document.querySelectorAll(".tip")) {
    const title = mark.querySelector(":scope > title");
    if (!title) continue;
    mark.dataset.tip = title.textContent;
    title.remove();
  }

  const say = (lines, event) => {
    tip.replaceChildren(...lines.map((text, i) => {
      const line = document.createElement(i ? "span" : "b");
      line.textContent = text;
      return line;
    }));
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = Math.min(event.clientX + 16, document.documentElement.clientWidth - box.width - 8);
    const below = event.clientY + 18 + box.height > window.innerHeight;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${below ? event.clientY - box.height - 14 : event.clientY + 18}px`;
  };

  document.addEventListener("pointermove", (event) => {
    const mark = event.target.closest?.("[data-tip]");
    if (mark) say(mark.dataset.tip.split("\n"), event);
    else if (!readCurve(event)) tip.hidden = true;
  });
  document.addEventListener("pointerleave", () => { tip.hidden = true; });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });

  // What is switched on in a figure: one value for each radio group, a set for each group of boxes.
  const chosen = (figure) => {
    const state = { entry: new Set(), attacks: new Set() };
    for (const input of figure.querySelectorAll("input")) {
      if (input.type === "checkbox") { if (input.checked) state[input.dataset.group].add(input.value); }
      else if (input.checked) state[input.dataset.group] = input.value;
    }
    return state;
  };

  const fits = (data, state) => {
    for (const key of ["slice", "measure", "scale", "only"]) {
      if (data[key] !== undefined && state[key] !== undefined && data[key] !== state[key]) return false;
    }
    if (data.attack === undefined) return true;
    if (state.view === "attacks") return data.entry === state.one && state.attacks.has(data.attack);
    const strongest = state.attack === "strongest" ? data.strongest === "1" : data.attack === state.attack;
    return strongest && state.entry.has(data.entry);
  };

  const update = (figure) => {
    const state = chosen(figure);
    for (const part of figure.querySelectorAll("[data-slice], [data-measure], [data-scale], [data-attack], [data-only]")) {
      if (!part.matches("input")) part.classList.toggle("off", !fits(part.dataset, state));
    }
    for (const part of figure.querySelectorAll("[data-view]")) {
      part.hidden = state.view !== undefined && part.dataset.view !== state.view;
    }
    const plot = figure.querySelector(".roc");
    if (plot && state.view) {
      plot.classList.toggle("by-entry", state.view !== "attacks");
      plot.classList.toggle("by-attack", state.view === "attacks");
    }
  };

  for (const figure of document.querySelectorAll("[data-figure]")) {
    figure.addEventListener("change", () => update(figure));
    update(figure);
  }

  // The crosshair: at one false-positive rate, what every curve in sight has reached.
  const paths = new WeakMap();
  const pointsOf = (path) => {
    if (!paths.has(path)) {
      const pairs = path.getAttribute("d").slice(1).split("L").map((pair) => pair.split(" ").map(Number));
      paths.set(path, pairs);
    }
    return paths.get(path);
  };
  const percent = (value) => `${(100 * value).toPrecision(value < 0.0995 ? 2 : 3)} %`;

  function readCurve(event) {
    for (const old of document.querySelectorAll(".crosshair")) old.remove();
    const svg = event.target.closest?.(".roc");
    if (!svg) return false;
    const panel = svg.querySelector(".panel:not(.off)");
    const [left, top, right, bottom] = panel.dataset.frame.split(" ").map(Number);
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    if (at.x < left || at.x > right || at.y < top || at.y > bottom) return false;
    const low = Number(panel.dataset.low);
    const value = (part) => (panel.dataset.scale === "log" ? low ** (1 - part) : part);
    const byAttack = svg.classList.contains("by-attack");
    const rows = [];
    for (const series of panel.querySelectorAll(".series:not(.off)")) {
      const reached = pointsOf(series.querySelector(".curve")).filter(([x]) => x <= at.x).pop();
      const name = byAttack ? series.dataset.attackName : series.dataset.entryName;
      const caught = reached ? value((bottom - reached[1]) / (bottom - top)) : null;
      rows.push([caught ?? -1, `${name}: ${caught === null ? "–" : `about ${percent(caught)}`}`]);
    }
    if (!rows.length) return false;
    const cross = document.createElementNS("http://www.w3.org/2000/svg", "line");
    for (const [key, to] of Object.entries({ x1: at.x, x2: at.x, y1: top, y2: bottom, class: "crosshair" })) {
      cross.setAttribute(key, to);
    }
    panel.prepend(cross);
    rows.sort((a, b) => b[0] - a[0]);
    say([`Accusing ${percent(value((at.x - left) / (right - left)))}`, ...rows.map((row) => row[1])], event);
    return true;
  }
})();
