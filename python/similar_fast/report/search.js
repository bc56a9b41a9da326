"use strict";
const PAGE = 200; // children shown at once; the rest waits behind a row
const data = JSON.parse(document.getElementById("data").textContent);
const nodes = data.nodes;
const byId = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function format(value, digits) {
  if (value === null || value === undefined) return "\u2013";
  if (typeof value === "string") return value; // nan, inf, -inf
  const size = Math.abs(value);
  const text = size >= 1e6 || (size > 0 && size < 1e-3 && digits > 3)
    ? value.toExponential(3)
    : value.toFixed(size >= 100 ? Math.max(1, digits - 2) : digits);
  return text.replace("-", "\u2212");
}
const count = (n) => n.toLocaleString("en-US").replace("-", "\u2212");

function showOutcome() {
  document.title = data.title;
  byId("title").textContent = data.title;
  byId("kicker").textContent = `Search report \u00b7 task ${data.task}, seed ${data.seed}`;
  byId("instruction").textContent = data.instruction;
  byId("badge").textContent = data.success ? "Solved" : "Not solved";
  byId("badge").classList.toggle("good", data.success);
  const run = "A run of the committed actions on a fresh reset";
  byId("outcome").textContent = data.actions.length === 0 && !data.success
    ? "The search committed no action."
    : data.success ? `${run} solved the task.`
    : data.is_done ? `${run} ended the episode without solving the task.`
    : `${run} left the episode unfinished.`;
}

function showCost() {
  const cost = data.cost;
  const figures = [
    ["Simulations", count(cost.num_simulations)],
    ["Environment steps, replays included", count(cost.env_steps)],
    ["Environment resets", count(cost.resets)],
    ["Scorer calls", count(cost.scorer_calls)],
    ["Actions scored", count(cost.scored_actions)],
    ["Seconds", format(cost.seconds, 2)],
    ["Environment relaunches", count(cost.relaunches)],
    ["Diverged replays, dropped", count(cost.diverged)],
  ];
  for (const [name, value] of figures) {
    byId("cost").append(make("div", {}, make("dt", { textContent: name }), make("dd", { textContent: value })));
  }
}

function showActions() {
  const table = byId("actions");
  table.hidden = data.actions.length === 0;
  byId("no-actions").hidden = data.actions.length > 0;
  const dims = data.scores.some((score) => score.dims) ? data.dimensions : [];
  const columns = ["", "Action", "Total", ...dims.map((d) => d.name[0].toUpperCase() + d.name.slice(1))];
  table.tHead.append(make("tr", {}, ...columns.map((name) => make("th", { scope: "col", textContent: name }))));
  data.actions.forEach((action, i) => {
    const score = data.scores[i];
    const values = [score?.total, ...dims.map((_, d) => score?.dims?.[d])];
    const cells = values.map((value, c) => {
      const cell = make("td", {}, make("span", { textContent: format(value, 3) }));
      cell.dataset.label = columns[c + 2];
      return cell;
    });
    table.tBodies[0].append(
      make("tr", {}, make("td", { textContent: String(i + 1) }), make("td", { textContent: action }), ...cells));
  });
}

const STOPPED = {
  simulations: "its simulations were spent",
  budget: "its environment steps were spent",
  seconds: "its time was spent",
  "scorer calls": "its scorer calls were spent",
  exhausted: "nothing was left to visit",
  decided: "what was left could not change the first action",
  memory: "its memory was spent",
  "no candidates": "the first screen has no candidates",
};

function showStop() {
  const why = STOPPED[data.stopped_by] ?? data.stopped_by;
  byId("stopped").textContent = `Policy ${data.policy}. The search stopped: ${why}.`;
}

// One part that opens for each committed action: the sentences, then the two options side by side.
function showWhy() {
  byId("why").hidden = data.steps.length === 0;
  data.steps.forEach((step, i) => {
    const name = step.chosen === null ? "No action" : `${i + 1}. ${step.chosen.action || "(no text)"}`;
    const list = make("ul", {}, ...step.sentences.map((text) => make("li", { textContent: text })));
    const part = make("details", { open: i === 0 }, make("summary", { textContent: name }), list);
    if (step.chosen !== null && step.runner_up !== null) part.append(makeComparison(step));
    byId("steps").append(part);
  });
}

// A row for each number, the chosen one less the runner-up at its end.
function makeComparison({ chosen, runner_up: other }) {
  const table = make("table", {}, make("caption", { textContent: "The chosen action and the runner-up in numbers" }));
  const head = ["", "Chosen", "Runner-up", "Difference"];
  table.append(make("thead", {}, make("tr", {}, ...head.map((name) => make("th", { scope: "col", textContent: name })))));
  const body = make("tbody");
  const add = (name, mine, theirs, show) => {
    if (mine === null && theirs === null) return;
    const isBoth = typeof mine === "number" && typeof theirs === "number";
    const values = [show(mine), show(theirs), isBoth ? show(mine - theirs) : "\u2013"];
    const label = name[0].toUpperCase() + name.slice(1);
    const row = make("tr", {}, make("th", { scope: "row", textContent: label }), ...values.map((text) => make("td", { textContent: text })));
    row.dataset.key = name;
    body.append(row);
  };
  add("visits", chosen.visits, other.visits, count);
  for (const name of ["value", "prior", "score", "ending"]) add(name, chosen[name], other[name], (x) => format(x, 3));
  data.dimensions.forEach((d, i) => add(d.name, chosen.dims?.[i] ?? null, other.dims?.[i] ?? null, (x) => format(x, 3)));
  table.append(body);
  return table;
}

// The tree. `rows` holds the rows that stand on the page; a node's children are made when it opens.
const children = nodes.map(() => []);
const depth = nodes.map(() => 0);
const rows = new Map();
const hasDims = nodes.some((node) => node.score?.dims);
const tree = byId("tree");
const panel = byId("panel");
let selected = 0; // the node that the panel shows
let current = null; // the row that holds the keyboard

function bestFirst(a, b) {
  const total = (id) => {
    const x = nodes[id].score?.total;
    return typeof x === "number" ? x : x === "inf" ? Infinity : -Infinity;
  };
  return nodes[b].is_chosen - nodes[a].is_chosen || nodes[b].visits - nodes[a].visits
    || (total(b) > total(a)) - (total(b) < total(a)) || a - b;
}

function linkChildren() {
  nodes.forEach((node, id) => { if (id > 0) children[node.parent].push(id); });
  for (const list of children) list.sort(bestFirst);
  const queue = nodes.length ? [0] : [];
  for (const id of queue) for (const child of children[id]) { depth[child] = depth[id] + 1; queue.push(child); }
}

const nameOf = (id) => (id === 0 ? "First screen" : nodes[id].action || "(no text)");

function marksOf(node) {
  const marks = [];
  if (node.is_done) marks.push("done");
  if (node.is_greedy) marks.push("greedy");
  if (node.is_closed) marks.push("dead end");
  else if (node.is_solved && !node.is_done) marks.push("solved");
  if (node.merged_with >= 0) marks.push("merged");
  return marks;
}

function makeRow(id) {
  const node = nodes[id];
  const parent = nodes[node.parent];
  const cell = (value, label, kind = "") => {
    const element = make("span", { className: `cell ${kind}`, textContent: value });
    element.setAttribute("role", "gridcell");
    element.dataset.label = label;
    return element;
  };
  const edge = make("span", { className: "edge" }, make("span", { className: "twist" }),
    make("span", { className: "what", textContent: nameOf(id), title: nameOf(id) }));
  edge.setAttribute("role", "gridcell");
  for (const text of marksOf(node)) edge.append(make("span", { className: "tag", textContent: text }));
  const visits = cell(count(node.visits), "visits", "visits");
  visits.style.setProperty("--share", parent && parent.visits > 0 ? Math.min(1, node.visits / parent.visits) : 0);
  const row = make("div", { className: "row", tabIndex: -1 }, edge, visits,
    cell(format(node.value, 3), "value"), cell(format(node.prior, 3), "prior"),
    cell(format(node.score?.total, 3), "score"));
  if (hasDims) data.dimensions.forEach((d, i) => row.append(cell(format(node.score?.dims?.[i], 2), d.symbol, "dim")));
  row.classList.toggle("chosen", node.is_chosen);
  row.classList.toggle("unvisited", node.visits === 0);
  row.dataset.node = id;
  return finishRow(row, depth[id], children[id].length > 0);
}

function finishRow(row, level, canOpen) {
  row.setAttribute("role", "row");
  row.setAttribute("aria-level", level + 1);
  if (canOpen) row.setAttribute("aria-expanded", "false");
  row.style.setProperty("--depth", Math.min(level, 16));
  return row;
}

function makeMore(parent, from) {
  const left = children[parent].length - from;
  const edge = make("span", { className: "edge more" }, make("span", { className: "twist" }),
    make("span", { className: "what", textContent: `Show ${count(Math.min(PAGE, left))} more of ${count(left)}` }));
  edge.setAttribute("role", "gridcell");
  const row = make("div", { className: "row", tabIndex: -1 }, edge);
  Object.assign(row.dataset, { more: parent, from });
  return finishRow(row, depth[parent] + 1, false);
}

// Rows for the children of `parent` from place `from`, and below each of them that `isOpen`.
function rowsBelow(parent, from, isOpen) {
  const fragment = document.createDocumentFragment();
  const pending = [];
  const push = (id, start) => {
    const page = children[id].slice(start, start + PAGE);
    if (start + PAGE < children[id].length) pending.push({ more: id, from: start + PAGE });
    for (const child of page.reverse()) pending.push({ node: child });
  };
  push(parent, from);
  while (pending.length) {
    const next = pending.pop();
    if ("more" in next) { fragment.append(makeMore(next.more, next.from)); continue; }
    const row = makeRow(next.node);
    rows.set(next.node, row);
    fragment.append(row);
    if (children[next.node].length && isOpen(next.node)) {
      row.setAttribute("aria-expanded", "true");
      push(next.node, 0);
    }
  }
  return fragment;
}

function showTree(isOpen) {
  while (tree.lastChild !== byId("head")) tree.lastChild.remove();
  rows.clear();
  const root = makeRow(0);
  rows.set(0, root);
  tree.append(root);
  if (children[0].length && isOpen(0)) {
    root.setAttribute("aria-expanded", "true");
    tree.append(rowsBelow(0, 0, isOpen));
  }
  while (!rows.has(selected)) selected = nodes[selected].parent;
  select(rows.get(selected));
}

function toggle(row) {
  const id = Number(row.dataset.node);
  const state = row.getAttribute("aria-expanded");
  if (state === null) return;
  row.setAttribute("aria-expanded", String(state === "false"));
  if (state === "false") {
    row.after(rowsBelow(id, 0, () => false));
  } else {
    const level = Number(row.getAttribute("aria-level"));
    let holdsCurrent = false;
    for (let next = row.nextElementSibling; next && Number(next.getAttribute("aria-level")) > level;) {
      const gone = next;
      next = next.nextElementSibling;
      holdsCurrent ||= gone === current;
      rows.delete(Number(gone.dataset.node));
      gone.remove();
    }
    if (holdsCurrent) select(row);
  }
  showCount();
}

function showMore(row) {
  const [parent, from] = [Number(row.dataset.more), Number(row.dataset.from)];
  const first = children[parent][from];
  row.replaceWith(rowsBelow(parent, from, () => false));
  select(rows.get(first), true);
}

function showCount() {
  byId("count").textContent = `${count(rows.size)} of ${count(nodes.length)} nodes shown`;
}

function select(row, takesFocus = false) {
  if (current !== null) {
    current.tabIndex = -1;
    current.removeAttribute("aria-selected");
  }
  current = row;
  row.tabIndex = 0;
  row.setAttribute("aria-selected", "true");
  if (takesFocus) { row.focus({ preventScroll: true }); row.scrollIntoView({ block: "nearest" }); }
  if (row.dataset.node !== undefined) { selected = Number(row.dataset.node); showDetails(selected); }
  showCount();
}

function showDetails(id) {
  const node = nodes[id];
  const list = make("dl");
  const add = (name, value, key) => {
    const cell = make("dd", { textContent: value });
    cell.dataset.key = key;
    list.append(make("dt", { textContent: name }), cell);
  };
  add("Visits", count(node.visits), "visits");
  add("Value", format(node.value, 6), "value");
  add("Prior", format(node.prior, 6), "prior");
  if (node.score) {
    add("Score, total", format(node.score.total, 6), "total");
    node.score.dims?.forEach((x, i) => {
      const name = data.dimensions[i].name;
      add(name[0].toUpperCase() + name.slice(1), format(x, 6), name);
    });
  }
  const place = [`Node ${id}`, `depth ${depth[id]}`, `${count(children[id].length)} candidates`];
  if (node.is_chosen) place.push("on the chosen path");
  if (node.is_done) place.push("episode ends here");
  if (node.is_greedy) place.push("where the greedy walk ended");
  if (node.is_closed) place.push("leads nowhere");
  if (node.is_solved) place.push("every way on is known to its end");
  if (node.merged_with >= 0) place.push(`same screen as node ${node.merged_with}, explored there`);
  if (node.visits === 0) place.push("never visited");
  const close = make("button", { type: "button", className: "close", textContent: "Close" });
  close.addEventListener("click", () => panel.classList.remove("open"));
  const text = data.texts[node.text];
  panel.replaceChildren(close, make("h3", { textContent: nameOf(id) }),
    make("p", { className: "place", textContent: place.join(" \u00b7 ") }), list);
  if (node.screenshot !== null) {
    const image = make("img", { alt: "Screenshot of the screen that this step leads to" });
    image.src = `data:image/png;base64,${data.screenshots[node.screenshot]}`;
    panel.append(make("h4", { textContent: "Screenshot" }), image);
  }
  panel.append(make("h4", { textContent: "Screen" }),
    text ? make("pre", { textContent: text, tabIndex: 0 }) : make("p", { className: "place", textContent: "This screen was never reached." }));
  panel.scrollTop = 0;
}

function activate(row) {
  if (row.dataset.more !== undefined) { showMore(row); return; }
  select(row, true);
  panel.classList.add("open");
}

const KEYS = {
  ArrowDown: (row) => row.nextElementSibling,
  ArrowUp: (row) => (row.previousElementSibling === byId("head") ? null : row.previousElementSibling),
  Home: () => rows.get(0),
  End: () => tree.lastElementChild,
  ArrowRight: (row) => {
    if (row.getAttribute("aria-expanded") === "true") return row.nextElementSibling;
    toggle(row);
    return null;
  },
  ArrowLeft: (row) => {
    if (row.getAttribute("aria-expanded") === "true") { toggle(row); return null; }
    return rows.get(row.dataset.more === undefined ? nodes[row.dataset.node].parent : Number(row.dataset.more)) ?? null;
  },
  Enter: (row) => { activate(row); return null; },
  " ": (row) => { if (row.dataset.more === undefined) toggle(row); else showMore(row); return null; },
};

function listen() {
  tree.addEventListener("click", (event) => {
    const row = event.target.closest(".row");
    if (row === null) return;
    if (event.target.closest(".twist") && row.hasAttribute("aria-expanded")) { select(row, true); toggle(row); }
    else activate(row);
  });
  tree.addEventListener("dblclick", (event) => {
    const row = event.target.closest(".row");
    if (row !== null && !event.target.closest(".twist")) toggle(row);
  });
  tree.addEventListener("keydown", (event) => {
    const row = event.target.closest(".row");
    if (row === null || !(event.key in KEYS) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const next = KEYS[event.key](row);
    if (next) select(next, true);
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") panel.classList.remove("open"); });
  byId("show-path").addEventListener("click", () => showTree((id) => id === 0 || nodes[id].is_chosen));
  byId("expand-all").addEventListener("click", () => showTree(() => true));
  byId("collapse-all").addEventListener("click", () => showTree(() => false));
}

function start() {
  showOutcome();
  showCost();
  showActions();
  showStop();
  showWhy();
  const columns = ["Step", "Visits", "Value", "Prior", "Score", ...(hasDims ? data.dimensions.map((d) => d.symbol) : [])];
  tree.style.setProperty("--dims", data.dimensions.length);
  tree.classList.toggle("plain", !hasDims);
  columns.forEach((name, i) => {
    const cell = make("span", { textContent: name, className: i > 4 ? "dim" : "", title: i > 4 ? data.dimensions[i - 5].name : "" });
    cell.setAttribute("role", "columnheader");
    byId("head").append(cell);
  });
  if (nodes.length === 0) {
    document.querySelectorAll("#split, .controls").forEach((element) => { element.hidden = true; });
    byId("no-tree").hidden = false;
    return;
  }
  linkChildren();
  listen();
  selected = nodes.reduce((last, node, id) => (node.is_chosen && depth[id] >= depth[last] ? id : last), 0);
  showTree((id) => id === 0 || nodes[id].is_chosen);
}
start();
