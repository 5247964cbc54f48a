"use strict";
// What a page does beyond being read: its tables are sorted and filtered, its colours are chosen.
(() => {
  const collator = new Intl.Collator(undefined, { numeric: true });

  // A cell's number is what it shows where nothing else is said; what is no number is none.
  const keyOf = (row, column, isNumber) => {
    const cell = row.cells[column];
    const text = cell.textContent.trim();
    return isNumber ? Number(cell.dataset.value ?? (text || NaN)) : text;
  };

  const sort = (table, heading) => {
    const isNumber = heading.dataset.sort === "number";
    const first = isNumber ? "descending" : "ascending"; // the largest are what one looks for, and the first of names
    const other = isNumber ? "ascending" : "descending";
    const order = heading.getAttribute("aria-sort") === first ? other : first;
    const sign = order === "ascending" ? 1 : -1;
    const body = table.tBodies[0];
    const keyed = [...body.rows].map((row) => [keyOf(row, heading.cellIndex, isNumber), row]);
    const compare = (one, two) => {
      if (!isNumber) return sign * collator.compare(one, two);
      if (Number.isNaN(one) || Number.isNaN(two)) return Number.isNaN(one) - Number.isNaN(two); // nothing is last
      return sign * (one - two);
    };
    keyed.sort(([one], [two]) => compare(one, two));
    body.append(...keyed.map(([, row]) => row));
    for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", order);
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    if (table.tBodies[0].rows.length < 2) continue;
    for (const heading of table.tHead.rows[0].cells) {
      if (!heading.textContent) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      button.addEventListener("click", () => sort(table, heading));
      heading.append(button);
    }
  }

  for (const filter of document.querySelectorAll(".filter")) {
    const [field, output] = [filter.querySelector("input"), filter.querySelector("output")];
    const rows = [...filter.parentElement.querySelector("tbody").rows];
    const texts = rows.map((row) => row.textContent.toLowerCase());
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      rows.forEach((row, number) => {
        row.hidden = !words.every((word) => texts[number].includes(word));
        shown += row.hidden ? 0 : 1;
      });
      output.value = words.length ? `${shown} of ${rows.length}` : "";
    });
    filter.hidden = false;
  }

  // A choice of colours is kept for the next page, where the browser lets a file keep anything.
  const theme = document.getElementById("theme");
  const root = document.documentElement;
  const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
  const show = () => {
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : systemIsDark.matches;
    theme.setAttribute("aria-pressed", String(isDark));
  };
  const kept = (change) => {
    try {
      return change(localStorage);
    } catch {
      return null;
    }
  };
  const chosen = kept((storage) => storage.getItem("nightshift-theme"));
  if (chosen === "dark" || chosen === "light") root.dataset.theme = chosen;
  theme.addEventListener("click", () => {
    root.dataset.theme = theme.getAttribute("aria-pressed") === "true" ? "light" : "dark";
    kept((storage) => storage.setItem("nightshift-theme", root.dataset.theme));
    show();
  });
  systemIsDark.addEventListener("change", show);
  theme.hidden = false;
  show();
})();
