"use strict";
// The page's program. Every value from a run reaches the document as a text node or an attribute, never as markup.
(async () => {
const index = JSON.parse(document.getElementById("index").textContent);
const byId = (id) => document.getElementById(id);
const STEP = 200; // rows shown at a time
const TABLES = 50; // tables shown, and packed, together
const MISSING = "–";

// ---- elements, numbers, columns

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}
function svg(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const fixed = (value, decimals) => (isNumber(value) ? value.toFixed(decimals) : MISSING);
function show(value) {
  if (value === null || value === undefined) return "null";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
const naturally = new Intl.Collator("en", { numeric: true }).compare;
function once(answer) { // the answer for each key, found once
  const known = new Map();
  return (key) => { if (!known.has(key)) known.set(key, answer(key)); return known.get(key); };
}
const plural = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;

// The three forms of a column, see encode.py.
function at(column, row) {
  if (!column) return undefined;
  if ("all" in column) return column.all;
  if ("each" in column) return column.each[row];
  return column.at[row] < 0 ? undefined : column.of[column.at[row]];
}
function section(columns, row) {
  const found = {};
  for (const key of Object.keys(columns || {})) {
    const value = at(columns[key], row);
    if (value !== undefined) found[key] = value;
  }
  return found;
}

// ---- packed parts, unpacked when a run or a cell is opened

const unpacked = new Map();
function unpack(id) {
  if (!unpacked.has(id)) unpacked.set(id, inflate(byId(id).textContent).then(JSON.parse));
  return unpacked.get(id);
}
async function inflate(text) {
  if (typeof DecompressionStream === "undefined") throw new Error("this browser cannot unpack details (it has no DecompressionStream)");
  const characters = atob(text), bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}
// Of many runs the leaderboard, hashes and tables are packed, too.
if (byId("large")) {
  try {
    Object.assign(index, await unpack("large"));
  } catch (error) {
    byId("facts").textContent = `${error.message}.`;
    return;
  }
}
function chunkOf(position) {
  let low = 0, high = index.chunks.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (index.chunks[middle] <= position) low = middle; else high = middle - 1;
  }
  return { number: low, place: position - index.chunks[low] };
}

// ---- the leaderboard

const CHOICE = ["method", "plugin", "classifier"];
const board = index.board;
const cells = board.names.map((name, position) => {
  const cell = { position, name, fields: section(board.fields, position), ...section(board.numbers, position) };
  return cell;
});
let first = 0;
for (const cell of cells) { cell.first = first; first += cell.runs; }
const finished = first;
const cellByName = new Map(cells.map((cell) => [cell.name, cell]));
// What an external record does not have, or calls external, is no difference between rows.
const varying = once((key) => new Set(cells.filter(({ external, fields }) => !external || (fields[key] !== MISSING && fields[key] !== "external")).map((cell) => cell.fields[key])).size > 1);
// What each data set has one value of (its epochs, its batch size) tells no rows of one data set apart, and needs no column.
const FOLLOWING = ["model", "recipe", "epochs", "batch_size", "lr"];
const follows = once((key) => FOLLOWING.includes(key) && varying(key) &&
  new Set(cells.filter((cell) => !cell.external).map(({ fields }) => JSON.stringify([fields.dataset, fields[key]]))).size === new Set(cells.filter((cell) => !cell.external).map(({ fields }) => fields.dataset)).size);
const settingColumns = index.setting.filter((key) => varying(key) && !follows(key));
// What a reader is told of a run: what it has, unless it is what everybody takes for granted.
const told = (fields, key) => fields[key] !== undefined && fields[key] !== MISSING && fields[key] !== index.usual[key];
const choiceColumns = CHOICE.filter((key) => key !== "classifier" || varying(key));
const LABELS = { final: "Final accuracy (%)", many: "Many (%)", medium: "Medium (%)", few: "Few (%)", worst: "Worst class (%)",
  auc: "Selection AUC", seconds: "Time (s)", noise_ratio: "noise ratio", imb_factor: "imbalance factor", plugin: "plug-in", dataset: "data set", batch_size: "batch size", lr: "learning rate" };
const label = (name) => LABELS[name] || name;

const columns = [
  ...choiceColumns.map((key) => ({ name: key, get: (cell) => cell.fields[key] })),
  ...(cells.some((cell) => cell.extra) ? [{ name: "extra", title: "further settings", get: (cell) => cell.extra }] : []),
  ...settingColumns.map((key) => ({ name: key, get: (cell) => cell.fields[key] })),
  ...index.columns.map(({ name, decimals }) => ({ name, decimals, number: true, get: (cell) => cell[name] })),
  { name: "knows", title: "told", get: (cell) => cell.knows },
];
for (const column of columns) column.title = column.title || label(column.name);

const text = (cell) => columns.filter((column) => !column.number).map((column) => show(column.get(cell) ?? "")).join(" ").toLowerCase() + (cell.external ? " external " + cell.external.toLowerCase() : "");
const textOf = once(text);
const order = { column: null, down: false };
const filters = new Map();
let shownRows = STEP;
let matching = cells;

function compare(a, b) {
  const empty = (value) => value === null || value === undefined || value === "" || value === MISSING;
  if (empty(a) || empty(b)) return empty(a) - empty(b); // what is missing comes last, whatever the direction
  const direction = order.down ? -1 : 1;
  if (isNumber(a) && isNumber(b)) return direction * (a - b);
  return direction * naturally(String(a), String(b));
}
function refresh() {
  const words = (filters.get("") || "").toLowerCase().split(/\s+/).filter(Boolean);
  matching = cells.filter((cell) => words.every((word) => textOf(cell).includes(word)) &&
    [...filters].every(([key, value]) => key === "" || value === "" || show(cell.fields[key]) === value));
  if (order.column) matching.sort((a, b) => compare(order.column.get(a), order.column.get(b)) || a.position - b.position);
  const rows = matching.slice(0, shownRows).map(boardRow);
  byId("board").tBodies[0].replaceChildren(...rows);
  byId("count").textContent = matching.length === 0 ? "No row matches the filters." :
    `${matching.length === cells.length ? "" : `${matching.length.toLocaleString("en")} of `}${plural(cells.length, "row")}` +
    (rows.length < matching.length ? `, the first ${rows.length} shown` : "");
  byId("more").hidden = rows.length >= matching.length;
  byId("more").textContent = `Show ${Math.min(STEP, matching.length - rows.length)} more`;
  byId("reset").hidden = !order.column;
  for (const head of byId("board").tHead.rows[0].cells) {
    const mine = order.column && head.dataset.column === order.column.name;
    head.setAttribute("aria-sort", mine ? (order.down ? "descending" : "ascending") : "none");
  }
}
function boardRow(cell) {
  const row = el("tr", { class: cell.external ? "go external" : "go", "data-cell": cell.name });
  columns.forEach((column, place) => {
    if (place === 0) {
      row.append(el("th", { scope: "row" }, el("a", { href: "#cell=" + cell.name }, show(cell.fields.method ?? "none")),
        cell.external ? el("span", { class: "badge", title: cell.external }, "external") : null));
    } else if (column.number) row.append(numberCell(cell, column));
    else {
      const value = column.get(cell);
      const empty = value === undefined || value === "";
      row.append(el("td", { class: column.name === "extra" ? "keys" : isNumber(value) ? "number" : null }, empty ? MISSING : breakable(show(value))));
    }
  });
  row.addEventListener("click", (event) => {
    if (!event.target.closest("a") && !String(getSelection())) location.hash = "#cell=" + cell.name;
  });
  return row;
}
// A long path breaks after its dots and signs.
const breakable = (words) => words.split(/(?<=[.=])/).flatMap((part, i) => (i ? [document.createElement("wbr"), part] : [part]));
function numberCell(cell, column) {
  const value = fixed(cell[column.name], column.decimals);
  const n = cell[column.name + "_n"];
  const node = el("td", { class: "number" });
  if (column.name !== index.columns[0].name) {
    node.append(value, value !== MISSING && n !== cell.runs ? el("span", { class: "spread" }, ` (${n})`) : "");
    return node;
  }
  node.append(cell.mark ? el(cell.mark === "best" ? "b" : "u", {}, value) : value);
  if (value !== MISSING) {
    const std = cell[column.name + "_std"];
    node.append(el("span", { class: "spread" }, `${isNumber(std) ? ` ± ${fixed(std, column.decimals)}` : ""} (${n})`));
  }
  return node;
}
function sortBy(column) {
  if (order.column === column) order.down = !order.down;
  else Object.assign(order, { column, down: Boolean(column.number) && column.name !== "seconds" });
  shownRows = STEP;
  refresh();
}
function makeBoard() {
  const head = columns.map((column) => el("th", { scope: "col", "data-column": column.name, "aria-sort": "none",
    class: column.number || (settingColumns.includes(column.name) && cells.every((cell) => typeof cell.fields[column.name] === "number")) ? "number" : null },
    el("button", { type: "button", onclick: () => sortBy(column) }, column.title)));
  byId("board").append(el("caption", { class: "hidden" }, "Leaderboard: one row for each configuration, replicates averaged"),
    el("thead", {}, el("tr", {}, head)), el("tbody"));
  const form = byId("filters");
  form.addEventListener("submit", (event) => event.preventDefault());
  const change = (key) => (event) => { filters.set(key, event.target.value); shownRows = STEP; refresh(); };
  form.append(el("label", {}, "Search", el("input", { type: "search", name: "text", placeholder: "words, e.g. dividemix sfa", autocomplete: "off", oninput: change("") })));
  for (const key of [...new Set(["dataset", "method", "plugin", "noise", "noise_ratio", "imb_factor", "classifier", ...settingColumns])].filter(varying)) {
    const values = [...new Set(cells.map((cell) => show(cell.fields[key])))].sort(naturally);
    form.append(el("label", {}, label(key), el("select", { name: key, onchange: change(key) },
      el("option", { value: "" }, "all"), values.map((value) => el("option", { value }, value)))));
  }
  form.append(el("button", { type: "button", onclick: () => { form.reset(); filters.clear(); shownRows = STEP; refresh(); } }, "Clear"));
  byId("more").addEventListener("click", () => { shownRows += STEP; refresh(); });
  byId("reset").addEventListener("click", () => { order.column = null; refresh(); byId("board").querySelector("button").focus(); });
  const typical = cells.find((cell) => !cell.external) || cells[0];
  const same = [...index.setting, ...CHOICE].filter((key) => !varying(key) && told(typical.fields, key));
  const following = index.setting.filter(follows);
  byId("constant").textContent = (same.length ? `The same in all rows${cells.some((cell) => cell.external) ? " but external ones" : ""}: ${same.map((key) => `${key}=${show(typical.fields[key])}`).join(", ")}. ` : "") +
    (following.length ? `One value for each data set: ${following.join(", ")}.` : "");
  byId("meaning").textContent = "One row is one configuration, its runs differ in nothing but seeds. Final accuracy is the mean ± sample standard deviation (n runs).";
  byId("marks").textContent = `Final accuracy: ${index.which}. The other numbers are means over the same runs, or over (n) of them. ` +
    "Many, medium, few: mean accuracy of the classes with many, medium and few training images. Selection AUC: how well the last selection told clean labels from noisy ones (0 to 1). Time: mean total time of a run. Told: what a method was told beyond the noisy labels. " +
    "Bold: the best among rows on the same data and recipe, and those with three or more runs in common with it whose paired 95 % interval to it contains 0; underlined: the next. " +
    "Rows that were told clean labels or are external are out of competition.";
}

// ---- header, tables by setting, unfinished runs

function makeHeader() {
  const facts = index.facts;
  const commits = facts.commits.map(([commit, modified, n]) => `${/^[0-9a-f]{40}$/.test(commit) ? commit.slice(0, 10) : commit}${modified ? " (modified)" : ""}${facts.commits.length > 1 ? ` (${plural(n, "run")})` : ""}`);
  byId("facts").textContent = [
    `${plural(facts.runs, "finished run")} of ${plural(facts.cells, "configuration")} (seeds apart)`,
    facts.external ? `${facts.external.toLocaleString("en")} of them external (results of other people's code)` : "",
    `${facts.datasets.length === 1 ? "data set" : "data sets"} ${facts.datasets.join(", ")}`,
    commits.length ? `commit${commits.length > 1 ? "s" : ""} ${commits.slice(0, 5).join(", ")}${commits.length > 5 ? ` and ${commits.length - 5} more` : ""}` : "",
    facts.others ? `not finished and not counted: ${facts.others}` : "",
    facts.unreadable ? `left out, record unreadable: ${plural(facts.unreadable, "folder")}` : "",
  ].filter(Boolean).join("; ") + ".";
  if (index.notes.length) {
    const notes = byId("notes");
    notes.hidden = false;
    notes.open = index.notes.length < 3;
    notes.querySelector("summary").textContent = plural(index.notes.length, "note");
    notes.querySelector("ul").append(...index.notes.map((note) => el("li", { class: "note" }, note)));
  }
}
function settingName(setting) {
  const dropped = Object.keys(setting).filter((key) => !varying(key) && key !== "dataset");
  return Object.entries(setting).filter(([key, value]) => !dropped.includes(key) && value !== MISSING)
    .map(([key, value]) => (key === "dataset" ? value : `${key}=${value}`)).join(" · ");
}
function makeTables() {
  const place = byId("tables");
  let shown = 0;
  const button = el("button", { type: "button" });
  const more = () => {
    for (const end = Math.min(shown + TABLES, index.tables.length); shown < end; shown++) place.insertBefore(setting(index.tables[shown], shown), button);
    button.hidden = shown >= index.tables.length;
    button.textContent = `Show more of ${plural(index.tables.length, "setting")}`;
  };
  button.addEventListener("click", more);
  place.append(button);
  more();
  if (index.tables.length === 0) place.prepend(el("p", {}, "No table: all runs are external."));
}
function setting(table, position) {
  const details = el("details", {}, el("summary", {}, settingName(table.setting), table.refused ? el("span", { class: "small" }, " (no table)") : null));
  let opened = false;
  details.addEventListener("toggle", async () => {
    if (opened) return;
    opened = true;
    const whole = byId("large") ? (await unpack("tables-" + Math.floor(position / TABLES)))[position % TABLES] : table;
    details.append(whole.refused ? el("p", {}, `No table: ${whole.refused}.`) : figure(whole));
  });
  return details;
}
function figure(table) {
  const marked = new Map(table.marks.map(([line, column, mark]) => [`${line} ${column}`, mark]));
  const cell = (value, line, column) => {
    if (column < table.keys) return el("th", { scope: "row" }, value);
    const mark = marked.get(`${line} ${column}`);
    return el("td", {}, mark ? el(mark === "best" ? "b" : "u", {}, value) : value);
  };
  const body = el("table", {}, el("thead", {}, el("tr", {}, table.head.map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, table.rows.map((row, line) => el("tr", {}, row.map((value, column) => cell(value, line, column))))));
  return el("figure", {}, el("figcaption", {}, table.caption), scroll("Table", body),
    table.notes.length ? el("ul", {}, table.notes.map((note) => el("li", { class: "note" }, note))) : null);
}
const scroll = (name, child) => el("div", { class: "scroll", role: "region", "aria-label": name, tabindex: "0" }, child);

function makeUnfinished() {
  if (!index.others.length) return;
  const part = byId("unfinished"), table = part.querySelector("table"), button = part.querySelector("button");
  part.hidden = false;
  const keys = ["dataset", "method", "plugin", "noise_ratio", "imb_factor"];
  const body = el("tbody");
  table.append(el("thead", {}, el("tr", {}, ["run", "state", ...keys.map(label), "why, last line"].map((name) => el("th", { scope: "col" }, name)))), body);
  const more = () => {
    for (const run of index.others.slice(body.rows.length, body.rows.length + STEP)) {
      body.append(el("tr", {}, el("th", { scope: "row" }, el("a", { href: "#run=" + encodeURIComponent(run.hash), class: "code" }, run.hash)),
        el("td", {}, run.state), keys.map((key) => el("td", {}, show(run[key]))), el("td", { class: "wrap" }, run.error || MISSING)));
    }
    button.hidden = body.rows.length >= index.others.length;
    button.textContent = `Show more of ${index.others.length}`;
  };
  button.addEventListener("click", more);
  more();
}

// ---- views: a cell, a run

const SILENT = { plugin: "none", classifier: "joint" };
const titleOf = (fields) => CHOICE.filter((key) => told(fields, key) && fields[key] !== SILENT[key]).map((key) => show(fields[key])).join(" + ");
const cellTitle = (cell) => titleOf(cell.fields);
const settingOf = (fields) => index.setting.filter((key) => told(fields, key)).map((key) => (key === "dataset" ? show(fields[key]) : `${key}=${show(fields[key])}`));
const cellSetting = (cell) => [...settingOf(cell.fields), cell.extra].filter(Boolean).join(" · ");
function crumbs(...parts) {
  const nodes = [el("a", { href: "#" }, "All runs")];
  for (const part of parts) nodes.push(" › ", part);
  return el("nav", { class: "crumbs", "aria-label": "Where this is" }, nodes);
}
const heading = (...children) => el("h2", { tabindex: "-1" }, ...children);
const badge = (external) => (external ? el("span", { class: "badge" }, `external: ${external}`) : null);
const metricOf = (part, metric) => {
  const [head, ...rest] = metric.split("/");
  return head === "selection" ? part.selection[rest.join("/")] : head === "cost" ? part.cost[rest.join(".")] : part.metrics[metric];
};
// The details of a run, and their row among those of its chunk; null where they are left out for lack of space.
async function parts(position) {
  const { number, place } = chunkOf(position);
  const { kept, ...details } = await unpack("details-" + number);
  const row = kept ? kept.indexOf(place) : place;
  return row < 0 ? null : { row, number, ...Object.fromEntries(Object.entries(details).map(([name, columns]) => [name, section(columns, row)])) };
}

async function cellView(cell) {
  const runs = await Promise.all(Array.from({ length: cell.runs }, (_, i) => parts(cell.first + i)));
  const numbers = index.columns.filter(({ name }) => cell[name] !== null);
  const head = ["run", "seed", "data seed", ...numbers.map(({ name }) => label(name))];
  const body = runs.map((run, i) => {
    const hash = index.hashes[cell.first + i];
    const row = el("tr", { class: "go", "data-run": hash }, el("th", { scope: "row" }, el("a", { href: "#run=" + encodeURIComponent(hash), class: "code" }, hash)),
      run ? null : el("td", { colspan: String(head.length - 1) }, "Details are left out of this file."),
      run && [el("td", { class: "number" }, show(run.run.seed)), el("td", { class: "number" }, show(run.run.data_seed)),
        numbers.map(({ metric, decimals }) => el("td", { class: "number" }, fixed(metricOf(run, metric), decimals)))].flat());
    row.addEventListener("click", (event) => { if (!event.target.closest("a") && !String(getSelection())) location.hash = "#run=" + encodeURIComponent(hash); });
    return row;
  });
  const mean = el("tr", {}, el("th", { scope: "row", colspan: "3" }, "mean"), numbers.map(({ name, decimals }) => {
    const n = cell[name + "_n"];
    return el("td", { class: "number" }, fixed(cell[name], decimals), n === cell.runs ? "" : ` (${n})`);
  }));
  const std = cell[index.columns[0].name + "_std"];
  return [crumbs(cellTitle(cell)), heading(cellTitle(cell), badge(cell.external)), el("p", {}, cellSetting(cell)),
    el("p", { class: "small" }, `${plural(cell.runs, "run")}. Final accuracy: ${fixed(cell.final, 2)} %` +
      (isNumber(std) ? `, sample standard deviation ${fixed(std, 2)} points over ${cell.final_n} runs.` : cell.final_n === 1 ? "; one run, hence no spread." : ".")),
    cell.knows ? el("p", { class: "small" }, `Told: ${cell.knows}.`) : null,
    scroll("Runs of this configuration", el("table", {}, el("thead", {}, el("tr", {}, head.map((name, i) => el("th", { scope: "col", class: i ? "number" : null }, name)))), el("tbody", {}, body, mean)))];
}

const AGAIN = { done: "Command that makes this run again", interrupted: "Command that goes on with this run",
  running: "Command that this run was started by", failed: "Command that tries this run again" };
async function runView(position) {
  const hash = index.hashes[position];
  const run = await parts(position);
  const cell = position < finished ? cells.findLast((candidate) => candidate.first <= position) : null;
  if (!run) return [crumbs(cell ? el("a", { href: "#cell=" + cell.name }, cellTitle(cell)) : "Not finished", el("span", { class: "code" }, hash)),
    heading(cell ? cellTitle(cell) : "Run", " ", el("span", { class: "code" }, hash)), cell ? el("p", {}, cellSetting(cell)) : null,
    el("p", {}, "The details of this run are left out to keep the file small; they are in its folder, and on a page of fewer runs (--where).")];
  const curves = (await unpack("curves-" + run.number))[run.row];
  const title = cell ? cellTitle(cell) : titleOf(run.config);
  const trail = cell ? crumbs(el("a", { href: "#cell=" + cell.name }, title), el("span", { class: "code" }, hash)) : crumbs("Not finished", el("span", { class: "code" }, hash));
  // Results are recorded at the end: until then the last epoch says how far it is.
  const soFar = cell ? [] : [["epoch", `${curves ? curves.last : curves === 0 ? MISSING : 0} of ${show(run.config.epochs)}`], ["accuracy of its last epoch (%)", fixed(latest(curves, "accuracy"), 1)]];
  const tiles = [["state", run.run.state], ...soFar, ["seed / data seed", `${show(run.run.seed)} / ${show(run.run.data_seed)}`],
    ...index.columns.map(({ name, metric, decimals }) => [label(name), fixed(metricOf(run, metric), decimals)]).filter(([, value]) => value !== MISSING),
    ["told", run.run.knows || (cell ? "nothing" : MISSING)]];
  return [trail, heading(title, " ", el("span", { class: "code" }, hash), badge(run.run.external)),
    el("p", {}, cell ? cellSetting(cell) : settingOf(run.config).join(" · ")),
    el("dl", { class: "tiles" }, tiles.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    run.run.error ? [el("h3", {}, run.run.state === "interrupted" ? "Interrupted by" : "Error"), el("pre", { class: "error", tabindex: "0" }, run.run.error)] : null,
    command(run.run.command, AGAIN[run.run.state]),
    curvesPart(curves, run.run.folder),
    classesPart(run),
    el("div", { class: "pair" }, selectionPart(run, curves), costPart(run)),
    await imagesPart(run),
    configPart(run.config),
    el("details", {}, el("summary", {}, "Environment"), pairs(run.environment)),
    el("details", {}, el("summary", {}, "Data"), pairs(run.data)),
    Object.keys(run.metrics).length ? el("details", {}, el("summary", {}, "All metrics"), pairs({ ...run.metrics, ...Object.fromEntries(Object.entries(run.selection).map(([key, value]) => ["selection/" + key, value])) })) : null,
    el("p", { class: "small" }, "Folder: ", el("span", { class: "code" }, run.run.folder), ". Results here are rounded to 5 significant digits; run.json has them in full.")].flat();
}

function command(line, title) {
  const button = el("button", { type: "button", onclick: async () => {
    let copied = true;
    try { await navigator.clipboard.writeText(line); } catch {
      const range = document.createRange();
      range.selectNodeContents(block);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      copied = document.execCommand("copy");
    }
    button.textContent = copied ? "Copied" : "Selected: press Ctrl+C";
    byId("status").textContent = copied ? "The command is copied." : "The command is selected.";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  } }, "Copy");
  const block = el("pre", { id: "command" }, line);
  return [el("h3", {}, title), block, el("p", { class: "buttons" }, button)];
}
function pairs(values) {
  return scroll("Values", el("table", {}, el("tbody", {}, Object.entries(values).map(([key, value]) => el("tr", {}, el("th", { scope: "row", class: "code" }, key), el("td", { class: "wrap" }, show(value)))))));
}

// ---- charts: SVG in the width that there is

const charts = new Map(); // node -> function that draws it again
const watch = new ResizeObserver((entries) => { for (const { target } of entries) charts.get(target)?.(); });
function chart(name, height, draw) {
  const node = svg("svg", { role: "img", "aria-label": name, height });
  let width = 0;
  charts.set(node, () => {
    const now = Math.round(node.getBoundingClientRect().width);
    if (now > 0 && now !== width) { width = now; node.setAttribute("viewBox", `0 0 ${now} ${height}`); node.replaceChildren(...draw(now, height)); }
  });
  watch.observe(node);
  return node;
}
function nice(top, n) { // round steps that reach `top` in about n
  const raw = top / n, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw) || raw;
  return Array.from({ length: Math.floor(top / step + 1e-9) + 1 }, (_, i) => +(i * step).toPrecision(12));
}
const DASHES = ["", "7 3", "2 3", "8 3 2 3"];
function lineChart({ name, series, epochs, warmup, top, unit, decimals }) {
  const out = el("p", { class: "readout", "aria-hidden": "true" });
  const left = 36, right = 10, above = 22, below = 34;
  const last = epochs[epochs.length - 1];
  const draw = (width, height) => {
    const x = (epoch) => left + (last > 1 ? (epoch - 1) / (last - 1) : 0.5) * (width - left - right);
    const y = (value) => height - below - (value / top) * (height - above - below);
    const nodes = [];
    if (warmup > 0) {
      nodes.push(svg("rect", { class: "shade", x: left, y: above, width: Math.max(x(Math.min(warmup + 0.5, last)) - left, 1), height: height - above - below }));
      nodes.push(svg("text", { class: "tick", x: left + 2, y: above - 5 }, `warm-up to epoch ${warmup}`));
    }
    for (const tick of nice(top, 5)) {
      nodes.push(svg("line", { class: "grid", x1: left, x2: width - right, y1: y(tick), y2: y(tick) }));
      nodes.push(svg("text", { class: "tick", x: left - 5, y: y(tick) + 4, "text-anchor": "end" }, String(tick)));
    }
    for (const tick of new Set([1, ...nice(last, Math.min(last, width / 80)).filter((t) => Number.isInteger(t) && t > 1)]))
      nodes.push(svg("text", { class: "tick", x: x(tick), y: height - below + 16, "text-anchor": "middle" }, String(tick)));
    nodes.push(svg("text", { class: "tick", x: (left + width - right) / 2, y: height - 3, "text-anchor": "middle" }, "epoch"));
    series.forEach(({ values, style }) => {
      let path = "", pen = false;
      values.forEach((value, i) => {
        if (!isNumber(value)) { pen = false; return; }
        path += `${pen ? "L" : "M"}${x(epochs[i]).toFixed(1)} ${y(value).toFixed(1)}`;
        if (!pen && !isNumber(values[i + 1])) path += "h0.01"; // a point alone
        pen = true;
      });
      nodes.push(svg("path", { class: `curve c${style + 1}`, d: path, "stroke-dasharray": DASHES[style], "stroke-linecap": "round" }));
    });
    const cursor = svg("line", { class: "cursor", y1: above, y2: height - below, visibility: "hidden" });
    const area = svg("rect", { x: left, y: above, width: Math.max(width - left - right, 1), height: height - above - below, fill: "transparent" });
    area.addEventListener("pointermove", (event) => {
      const box = node.getBoundingClientRect();
      const wanted = event.clientX - box.left;
      let nearest = 0;
      epochs.forEach((epoch, i) => { if (Math.abs(x(epoch) - wanted) < Math.abs(x(epochs[nearest]) - wanted)) nearest = i; });
      for (const [key, value] of Object.entries({ x1: x(epochs[nearest]), x2: x(epochs[nearest]), visibility: "visible" })) cursor.setAttribute(key, value);
      out.textContent = `epoch ${epochs[nearest]}: ` + series.map((s) => `${s.name} ${fixed(s.values[nearest], decimals)}${isNumber(s.values[nearest]) ? unit : ""}`).join(", ");
    });
    area.addEventListener("pointerleave", () => { cursor.setAttribute("visibility", "hidden"); out.textContent = ""; });
    return [...nodes, cursor, area];
  };
  const node = chart(name, 240, draw);
  const key = el("ul", { class: "key" }, series.map(({ name: text, style }) => el("li", {},
    svg("svg", { viewBox: "0 0 28 12", "aria-hidden": "true" }, svg("line", { x1: 1, x2: 27, y1: 6, y2: 6, class: `curve c${style + 1}`, "stroke-dasharray": DASHES[style] })), text)));
  return el("figure", {}, el("figcaption", {}, name), key, node, out);
}
// The last value of a series that there is, in its own unit; undefined without.
function latest(curves, name) {
  const last = ((curves && curves[name]) || []).findLast((value) => value !== null);
  return last === undefined ? undefined : last / index.series[name];
}
function curvesPart(curves, folder) {
  const title = el("h3", {}, "Learning curves");
  if (curves === 0) return [title, el("p", {}, "The curves of this run are left out to keep the file small; they are in metrics.jsonl of ", el("span", { class: "code" }, folder), ".")];
  if (!curves) return [title, el("p", {}, "This run has no metrics.jsonl with a whole line.")];
  const epochs = curves.epochs || Array.from({ length: curves.last }, (_, i) => i + 1);
  const values = (name) => curves[name].map((value) => (value === null ? null : value / index.series[name]));
  const made = [];
  if (curves.accuracy) made.push(lineChart({ name: "Test accuracy by epoch (%), rounded to 0.1", epochs, warmup: curves.warmup, top: 100, unit: " %", decimals: 1, series: [{ name: "accuracy", values: values("accuracy"), style: 0 }] }));
  const selection = ["precision", "recall", "auc"].filter((name) => curves[name]);
  if (selection.length) made.push(lineChart({ name: "Selection of clean labels by epoch (0 to 1)", epochs, warmup: curves.warmup, top: 1, unit: "", decimals: 3,
    series: selection.map((name, i) => ({ name: name === "auc" ? "AUC" : name, values: values(name), style: i })) }));
  const names = ["accuracy", ...selection].filter((name) => curves[name]);
  const numbers = el("details", {}, el("summary", {}, "Curves as numbers"));
  numbers.addEventListener("toggle", () => {
    if (numbers.childElementCount > 1) return;
    numbers.append(scroll("Curves as numbers", el("table", {}, el("thead", {}, el("tr", {}, ["epoch", ...names.map((n) => (n === "accuracy" ? "accuracy (%)" : n))].map((n) => el("th", { scope: "col", class: "number" }, n)))),
      el("tbody", {}, epochs.map((epoch, i) => el("tr", {}, el("th", { scope: "row", class: "number" }, `${epoch}${epoch <= curves.warmup ? " warm-up" : ""}`),
        names.map((n) => el("td", { class: "number" }, fixed(values(n)[i], n === "accuracy" ? 1 : 3)))))))));
  });
  return [title, made.length ? el("div", { class: "pair" }, made) : el("p", {}, "No accuracy was recorded."), numbers];
}
function classesPart(run) {
  const accuracy = run.metrics["test/per_class"], counts = run.data.clean_counts, observed = run.data.observed_counts;
  if (!Array.isArray(accuracy)) return null;
  const n = accuracy.length, named = Array.isArray(run.data.classes) && run.data.classes.length === n;
  const label = (k) => (named ? run.data.classes[k] : String(k));
  const hasCounts = Array.isArray(counts) && counts.length === n;
  const left = 44, gap = 34, tall = 130, low = hasCounts ? 90 : 0;
  const top = hasCounts ? Math.max(...counts, ...(observed || []), 1) : 1;
  const draw = (width) => {
    const slot = (width - left) / n, thick = Math.max(slot * 0.7, 1);
    const nodes = [];
    const panel = (above, height, max, ticks) => {
      const y = (value) => above + height - (value / max) * height;
      for (const tick of ticks) {
        nodes.push(svg("line", { class: "grid", x1: left, x2: width, y1: y(tick), y2: y(tick) }));
        nodes.push(svg("text", { class: "tick", x: left - 5, y: y(tick) + 4, "text-anchor": "end" }, tick.toLocaleString("en")));
      }
      return y;
    };
    const tip = (k) => svg("title", {}, `class ${label(k)}: ${fixed(accuracy[k], 1)} %` + (hasCounts ? `, ${counts[k]} training images of this class, ${observed ? observed[k] : "?"} labelled so` : ""));
    const bar = (k, y, value, bottom, kind) => {
      const height = Math.max(bottom - y(value), 0);
      return svg("rect", { class: kind, x: left + k * slot + (slot - thick) / 2, y: bottom - height, width: thick, height }, tip(k));
    };
    nodes.push(svg("text", { x: 0, y: 12 }, "test accuracy (%)"));
    let y = panel(20, tall, 100, [0, 50, 100]);
    for (let k = 0; k < n; k++) if (isNumber(accuracy[k])) nodes.push(bar(k, y, accuracy[k], 20 + tall, "bar"));
    if (hasCounts) {
      const above = 20 + tall + gap;
      nodes.push(svg("text", { x: 0, y: above - 12 }, "training images (bar: true class, line: label)"));
      y = panel(above, low, top, nice(top, 2));
      for (let k = 0; k < n; k++) {
        nodes.push(bar(k, y, counts[k], above + low, "count"));
        if (observed && isNumber(observed[k])) nodes.push(svg("line", { class: "observed", x1: left + k * slot + slot * 0.08, x2: left + (k + 1) * slot - slot * 0.08, y1: y(observed[k]), y2: y(observed[k]) }, tip(k)));
      }
    }
    const every = Math.max(1, Math.ceil(26 / slot));
    const bottom = 20 + tall + (hasCounts ? gap + low : 0) + 15;
    for (let k = 0; k < n; k += every) nodes.push(svg("text", { class: "tick", x: left + (k + 0.5) * slot, y: bottom, "text-anchor": "middle" }, String(k)));
    nodes.push(svg("text", { class: "tick", x: (left + width) / 2, y: bottom + 16, "text-anchor": "middle" }, "class"));
    return nodes;
  };
  const name = "Test accuracy by class, over the same last epochs as the final accuracy" + (hasCounts ? "; below, training images" : "");
  const numbers = el("details", {}, el("summary", {}, "Classes as numbers"), scroll("Classes as numbers", el("table", {},
    el("thead", {}, el("tr", {}, ["class", "accuracy (%)", ...(hasCounts ? ["images of the class", "images labelled so"] : [])].map((h, i) => el("th", { scope: "col", class: i || !named ? "number" : null }, h)))),
    el("tbody", {}, accuracy.map((value, k) => el("tr", {}, el("th", { scope: "row", class: named ? null : "number" }, label(k)), el("td", { class: "number" }, fixed(value, 1)),
      hasCounts ? [el("td", { class: "number" }, show(counts[k])), el("td", { class: "number" }, observed ? show(observed[k]) : MISSING)] : []))))));
  return [el("h3", {}, "Classes"), el("figure", {}, el("figcaption", {}, name), chart(name, 20 + tall + (hasCounts ? gap + low : 0) + 36, draw)), numbers];
}
function selectionPart(run, curves) {
  const scores = [["precision", "precision"], ["recall", "recall"], ["f1", "F1"], ["auc", "AUC"], ["ap", "average precision"]];
  const has = (group) => scores.some(([score]) => isNumber(run.selection[group ? `${score}/${group}` : score]));
  const groups = ["", "many", "medium", "few", "head", "mid", "tail"].filter(has);
  const title = el("h3", {}, "Selection of clean labels, last one");
  const last = ["precision", "recall", "auc"].filter((name) => isNumber(latest(curves, name)));
  if (!groups.length && run.run.state !== "done") return el("div", {}, title, el("p", {}, last.length
    ? `So far: ${last.map((name) => `${name === "auc" ? "AUC" : name} ${fixed(latest(curves, name), 3)}`).join(", ")}. The figures by group are recorded at the end of the run.`
    : "Nothing is selected so far, or it was not measured; the figures are recorded at the end of the run."));
  if (!groups.length) return el("div", {}, title, el("p", {}, "This run selects no samples, or its selection was not measured."));
  const rows = groups.map((group) => el("tr", {}, el("th", { scope: "row" }, group || "all"), scores.map(([score]) => el("td", { class: "number" }, fixed(run.selection[group ? `${score}/${group}` : score], 3)))));
  const others = ["pseudo_label_acc", "memorised", "imbalance_ratio", "tv_to_clean_prior"].filter((key) => isNumber(run.selection[key]));
  const names = { pseudo_label_acc: "correct pseudo-labels among the rejected", memorised: "noisy labels predicted (share)", imbalance_ratio: "largest / smallest selected class", tv_to_clean_prior: "total variation to the clean prior" };
  return el("div", {}, title, scroll("Selection by group", el("table", {}, el("thead", {}, el("tr", {}, ["classes", ...scores.map(([, name]) => name)].map((name, i) => el("th", { scope: "col", class: i ? "number" : null }, name)))), el("tbody", {}, rows))),
    others.length ? el("p", { class: "small" }, others.map((key) => `${names[key]} ${fixed(run.selection[key], 3)}`).join("; ") + ".") : null);
}
function costPart(run) {
  const units = { total_seconds: "total time (s)", steps: "steps", flops: "operations, estimated (GFLOP)", flops_per_forward: "… one forward pass (MFLOP)", parameters: "parameters", images_per_second: "images per second", "peak_memory.host": "peak memory, host (MB)", "peak_memory.device": "peak memory, device (MB)" };
  const rows = Object.entries(run.cost).map(([key, value]) => {
    const name = units[key] || key.replace(/^seconds\.(.*)$/, "$1 (s)").replace(/^samples\.(.*)$/, "samples $1");
    const scale = key.startsWith("peak_memory") || key === "flops_per_forward" ? 1e6 : key === "flops" ? 1e9 : 1;
    const number = isNumber(value) ? (value / scale).toLocaleString("en", { maximumFractionDigits: 3, maximumSignificantDigits: scale > 1 ? 4 : 21, roundingPriority: "lessPrecision" }) : show(value);
    return el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "number" }, number));
  });
  return el("div", {}, el("h3", {}, run.run.state === "done" ? "Cost" : "Cost so far"), rows.length ? scroll("Cost", el("table", {}, el("tbody", {}, rows))) : el("p", {}, "No cost was recorded."));
}
async function imagesPart(run) {
  const { sheet, observed, clean, probability, index: places } = run.images;
  if (!sheet) return null;
  const { across, down, count } = index.sheets[sheet];
  const png = "url(data:image/png;base64," + byId("sheet-" + sheet).textContent + ")";
  const items = Array.from({ length: count }, (_, i) => {
    const says = `labelled ${observed[i]}, is ${clean[i] < 0 ? "unknown" : clean[i]}`;
    const image = el("div", { class: "image", role: "img", "aria-label": `image ${places ? places[i] : i}, ${says}` });
    image.style.backgroundImage = png;
    image.style.backgroundSize = `${100 * across}% ${100 * down}%`;
    image.style.backgroundPosition = `${across > 1 ? (100 * (i % across)) / (across - 1) : 0}% ${down > 1 ? (100 * Math.floor(i / across)) / (down - 1) : 0}%`;
    return el("li", {}, image, el("div", {}, says), probability && isNumber(probability[i]) ? el("div", { class: "small" }, `P(clean) ${fixed(probability[i], 2)}`) : null);
  });
  return [el("h3", {}, "Mislabelled images"), el("p", { class: "small" }, `${plural(count, "training image")} with a noisy label: the label that training saw, the true class${probability ? ", and the probability of a clean label that the method gave (a good selection gives a low one)" : ""}.`), el("ul", { class: "images" }, items)];
}
function configPart(config) {
  const groups = new Map(); // the first part of the path -> its rows; what has no path comes first
  for (const [key, value] of Object.entries(config).sort(([a], [b]) => (a < b ? -1 : 1))) {
    const group = key.includes(".") ? key.slice(0, key.indexOf(".")) : "";
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group).push({ text: `${key}=${show(value)}`.toLowerCase(), row: el("tr", {}, el("th", { scope: "row", class: "code" }, key), el("td", { class: "code" }, show(value))) });
  }
  const parts = [...groups].sort(([a], [b]) => (a < b ? -1 : 1)).map(([group, rows]) =>
    ({ rows, node: el("section", {}, el("h4", {}, group || "choices and common keys"), el("table", { class: "config" }, el("tbody", {}, rows.map(({ row }) => row)))) }));
  const total = Object.keys(config).length;
  const status = el("p", { class: "small", role: "status" }, plural(total, "key"));
  const search = el("input", { type: "search", name: "config", autocomplete: "off", placeholder: "key or value", oninput: (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    let n = 0;
    for (const { rows, node } of parts) {
      for (const { text: line, row } of rows) { row.hidden = !words.every((word) => line.includes(word)); n += !row.hidden; }
      node.hidden = rows.every(({ row }) => row.hidden);
    }
    status.textContent = n === total ? plural(n, "key") : `${n} of ${plural(total, "key")}`;
  } });
  return [el("h3", {}, "Configuration"), el("form", { role: "search", onsubmit: (event) => event.preventDefault() }, el("label", {}, "Search the configuration", search)), status,
    el("div", { class: "groups" }, parts.map(({ node }) => node))];
}

// ---- where we are: the address's fragment

let scrolled = 0, opener = null, turn = 0;
async function route() {
  const mine = ++turn;
  const found = /^#(cell|run)=(.+)$/.exec(location.hash);
  const list = byId("list"), view = byId("view");
  if (location.hash === "#main") return;
  if (!found) {
    const back = list.hidden;
    charts.clear();
    watch.disconnect();
    view.replaceChildren();
    view.hidden = true;
    list.hidden = false;
    document.title = "Runs – sfa_bench";
    if (back) { scrollTo(0, scrolled); [...list.querySelectorAll("a")].find((link) => link.getAttribute("href") === opener)?.focus({ preventScroll: true }); }
    return;
  }
  let nodes;
  try {
    const name = decodeURIComponent(found[2]);
    if (found[1] === "cell" && cellByName.has(name)) nodes = await cellView(cellByName.get(name));
    else if (found[1] === "run" && index.hashes.includes(name)) nodes = await runView(index.hashes.indexOf(name));
    else nodes = [crumbs(), heading("Not on this page"), el("p", {}, `There is no ${found[1]} ${name} on this page.`)];
  } catch (error) {
    nodes = [crumbs(), heading("Cannot be shown"), el("p", {}, `${error.message}.`)];
  }
  if (mine !== turn) return; // another address was opened meanwhile
  if (!list.hidden) { scrolled = scrollY; opener = location.hash; }
  charts.forEach((_, node) => { if (!nodes.some((part) => part?.contains?.(node))) charts.delete(node); });
  list.hidden = true;
  view.hidden = false;
  view.replaceChildren(...nodes.filter(Boolean));
  const title = view.querySelector("h2");
  document.title = `${title.textContent} – sfa_bench`;
  scrollTo(0, 0);
  title.focus({ preventScroll: true });
}

// ---- light and dark

function makeTheme() {
  const root = document.documentElement, button = byId("theme"), system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try { chosen = localStorage.getItem("sfa_bench-theme"); } catch { /* a browser may keep nothing for files */ }
  const dark = () => (chosen ? chosen === "dark" : system.matches);
  const apply = () => {
    if (chosen) root.dataset.theme = chosen; else delete root.dataset.theme;
    button.textContent = dark() ? "Light" : "Dark"; // what a click gives
    button.setAttribute("aria-label", `Switch to ${dark() ? "light" : "dark"}`);
  };
  button.addEventListener("click", () => {
    const wanted = dark() ? "light" : "dark";
    chosen = (wanted === "dark") === system.matches ? null : wanted; // the system's own is followed again
    try { chosen ? localStorage.setItem("sfa_bench-theme", chosen) : localStorage.removeItem("sfa_bench-theme"); } catch { /* as above */ }
    apply();
  });
  system.addEventListener("change", apply);
  apply();
}

makeTheme();
makeHeader();
makeBoard();
makeTables();
makeUnfinished();
refresh();
history.scrollRestoration = "manual"; // route() knows better
addEventListener("hashchange", route);
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); byId("main").focus(); });
route();
})();
