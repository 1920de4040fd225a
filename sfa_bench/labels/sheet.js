"use strict";
// Every text of the data is set as text, never as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const by = id => document.getElementById(id);
const SAID = { accept: "label becomes ", relabel: "label becomes ", reject: "label stays ", drop: "image is dropped" };
const KEYS = { a: "accept", r: "reject", d: "drop" };
let decisions = {}; // index → { decision, label }
let current = 0, unsaved = false;

function element(name, text, classes) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (classes) made.className = classes;
  return made;
}

function option(select, value, text) {
  const made = element("option", text);
  made.value = value;
  select.append(made);
}

function note(text) {
  by("note").textContent = text;
  by("note").hidden = !text;
}

// ---- what the browser keeps

function recall() {
  try {
    const kept = JSON.parse(localStorage.getItem(data.key) || "{}");
    for (const [index, one] of Object.entries(kept)) if (one.decision in SAID) decisions[index] = one;
  } catch (error) {
    note(`This browser keeps nothing (${error.name}): save before you close the page.`);
  }
}

function keep() {
  unsaved = true;
  try {
    localStorage.setItem(data.key, JSON.stringify(decisions));
  } catch (error) {
    note(`This browser keeps nothing (${error.name}): save before you close the page.`);
  }
}

// ---- cards

function card(row, position) {
  const made = element("button", undefined, "card");
  made.type = "button";
  made.dataset.position = position;
  const image = element("img");
  image.src = row.image;
  image.alt = `${row.path || `sample ${row.index}`}, observed as ${row.given}, suggested ${row.suggested}`;
  image.loading = "lazy";
  made.append(image, element("b", `${row.given} → ${row.suggested}`));
  const clean = row.clean_probability.toFixed(3), suggested = row.suggested_probability.toFixed(3);
  made.append(element("span", `clean ${clean} · suggested ${suggested}`, "quiet"));
  made.append(element("span", row.path || `sample ${row.index}`, "quiet"), element("span", "", "said"));
  made.addEventListener("click", () => go(position));
  return made;
}

const cards = data.rows.map(card);

function paint(position) {
  const one = decisions[data.rows[position].index], made = cards[position];
  if (one) made.dataset.decision = one.decision; else delete made.dataset.decision;
  made.querySelector(".said").textContent = one ? SAID[one.decision] + one.label : "";
  const done = data.rows.filter(row => decisions[row.index]).length;
  by("count").textContent = `${done} of ${data.rows.length} decided`;
}

const visible = () => cards.map((_, position) => position).filter(position => !cards[position].hidden);

function filter() {
  const wanted = by("class").value, open = by("show").value === "open";
  data.rows.forEach((row, position) => {
    const other = wanted !== "" && row.given !== data.classes[wanted];
    cards[position].hidden = other || (open && row.index in decisions);
  });
  const shown = visible();
  if (shown.length) go(shown.includes(current) ? current : shown[0]);
}

function go(position) {
  cards[current].removeAttribute("aria-current");
  current = position;
  cards[current].setAttribute("aria-current", "true");
  cards[current].focus();
}

function step(direction) {
  const shown = visible();
  const next = direction > 0 ? shown.find(position => position > current) : shown.findLast(position => position < current);
  if (next !== undefined) go(next);
}

function decide(decision, label) {
  const row = data.rows[current];
  if (cards[current].hidden) return;
  if (decision === null) delete decisions[row.index];
  else decisions[row.index] = { decision, label };
  keep();
  paint(current);
  if (decision !== null) step(1);
}

function act(decision) {
  const row = data.rows[current];
  decide(decision, { accept: row.suggested, reject: row.given, drop: "" }[decision]);
}

// ---- the file

function cell(text) {
  const safe = /^[=+\-@\t\r']/.test(text) ? `'${text}` : text; // a spreadsheet would compute it
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function csv() {
  const lines = [["index", "path", "given", "suggested", "decision", "label"]];
  for (const row of data.rows) {
    const one = decisions[row.index];
    if (one) lines.push([String(row.index), row.path, row.given, row.suggested, one.decision, one.label]);
  }
  return lines.map(line => line.map(cell).join(",") + "\n").join("");
}

function save() {
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  link.download = "decisions.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  unsaved = false;
}

// ---- start

by("title").textContent = data.title;
by("cards").append(...cards);
option(by("class"), "", "all");
data.classes.forEach((name, k) => {
  const count = data.rows.filter(row => row.given === name).length;
  if (count) option(by("class"), k, `${name} (${count})`);
  option(by("others"), k, name);
});
recall();
cards.forEach((_, position) => paint(position));
by("class").addEventListener("change", filter);
by("show").addEventListener("change", filter);
by("save").addEventListener("click", save);
// At once: the event of closing comes later, perhaps after the next key.
by("other").querySelector("form").addEventListener("submit", event => {
  if (event.submitter.value === "set") decide("relabel", data.classes[by("others").value]);
});
by("other").addEventListener("close", () => cards[current].focus());
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || by("other").open || event.target.matches("select")) return;
  const key = event.key.toLowerCase();
  if (key === "arrowright") step(1);
  else if (key === "arrowleft") step(-1);
  else if (key in KEYS) act(KEYS[key]);
  else if (key === "u") decide(null);
  else if (key === "s") save();
  else if (key === "o") {
    by("others").value = data.classes.indexOf(data.rows[current].suggested);
    by("other").showModal();
  } else return;
  event.preventDefault();
});
addEventListener("beforeunload", event => {
  let kept = null;
  try { kept = localStorage.getItem(data.key); } catch { /* what it keeps is then unknown: ask */ }
  if (unsaved && kept === null) event.preventDefault();
});
if (cards.length) go(0);
