"use strict";
// The theme: as the system has it, or as chosen; kept where the browser allows it.
const root = document.documentElement;
const toggle = document.getElementById("theme");
const store = {
  get() { try { return localStorage.getItem("labelrepair-theme"); } catch { return null; } },
  set(value) { try { localStorage.setItem("labelrepair-theme", value); } catch { /* a file: page */ } },
};
const isDark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
const show = () => {
  toggle.textContent = isDark() ? "Light" : "Dark";
  toggle.setAttribute("aria-label", `Switch to the ${isDark() ? "light" : "dark"} theme`);
};
const saved = store.get();
if (saved === "dark" || saved === "light") root.dataset.theme = saved;
toggle.hidden = false;
toggle.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  store.set(root.dataset.theme);
  show();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
show();
// Tables that sort by a click, or by Enter, on a column's name.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") !== "descending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent.trim();
      const order = (a, b) => value(a).localeCompare(value(b), undefined, { numeric: true });
      const number = (a, b) => value(a) - value(b);
      const rows = [...table.tBodies[0].rows];
      rows.sort(rows.every((row) => row.cells[column].dataset.v !== undefined) ? number : order);
      if (down) rows.reverse();
      table.tBodies[0].append(...rows);
    });
  });
}
