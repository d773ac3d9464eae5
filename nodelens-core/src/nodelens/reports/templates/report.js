"use strict";

// Sorting: a click on a heading sorts by it, a second click turns the order round.
function sortBy(heading) {
  const body = heading.closest("table").tBodies[0];
  const downwards = heading.getAttribute("aria-sort") === "ascending";
  const numeric = heading.classList.contains("number");
  const keyed = Array.from(body.rows, (row) => {
    const cell = row.cells[heading.cellIndex];
    const missing = numeric && !("key" in cell.dataset);
    return { row, missing, key: numeric ? Number(cell.dataset.key) : cell.textContent };
  });
  keyed.sort((a, b) => {
    if (a.missing || b.missing) return a.missing - b.missing;
    const order = numeric ? a.key - b.key : a.key.localeCompare(b.key, "en", { numeric: true });
    return downwards ? -order : order;
  });
  for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", downwards ? "descending" : "ascending");
  body.append(...keyed.map((item) => item.row));
}

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => sortBy(button.closest("th")));
}

// Printing: folded tables open for the paper and close again.
let opened = [];
addEventListener("beforeprint", () => {
  opened = Array.from(document.querySelectorAll("details:not([open])"));
  for (const details of opened) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of opened) details.open = false;
});

// Contents: the section in view is marked.
const links = new Map();
for (const link of document.querySelectorAll("nav a")) {
  links.set(document.getElementById(link.hash.slice(1)), link);
}
const watcher = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      links.get(entry.target).ariaCurrent = entry.isIntersecting ? "true" : null;
    }
  },
  { rootMargin: "-20% 0px -75% 0px" },
);
for (const section of links.keys()) watcher.observe(section);
