"use strict";
// Cards carry one class for each value that they can be filtered by; a box or an option names one.
// Within a row of boxes any may fit, and every row has to.
const form = document.querySelector(".filters");
const cards = [...document.querySelectorAll("article.item")];
const search = document.getElementById("search");
const group = document.getElementById("group");
const words = new Map();

function wordsOf(card) {
  if (!words.has(card)) words.set(card, card.textContent.toLowerCase());
  return words.get(card);
}

function chosen() {
  const rows = [...form.querySelectorAll("fieldset:not([hidden])")]
    .map((row) => [...row.querySelectorAll("input[type=checkbox]:checked")].map((box) => box.value))
    .filter((names) => names.length);
  if (group && group.value) rows.push([group.value]);
  return rows;
}

function show() {
  const mode = form.querySelector("input[name=mode]:checked");
  for (const row of form.querySelectorAll("fieldset[data-mode]")) {
    row.hidden = Boolean(mode) && row.dataset.mode !== mode.value;
  }
  const rows = chosen();
  const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const card of cards) {
    const fits = rows.every((names) => names.some((name) => card.classList.contains(name)))
      && (!wanted.length || wanted.every((word) => wordsOf(card).includes(word)));
    card.hidden = !fits;
    count += fits;
  }
  document.getElementById("none").hidden = count > 0;
  const total = cards.length.toLocaleString("en");
  document.getElementById("count").textContent =
    count === cards.length ? `${total} items` : `${count.toLocaleString("en")} of ${total} items`;
}

form.addEventListener("input", show);
form.addEventListener("reset", () => setTimeout(show));
form.addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== search) {
    event.preventDefault();
    search.focus();
  }
});
form.hidden = false;
show();
