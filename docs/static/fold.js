// On a phone a row of a table is a card: its first cell as the heading, the others named by their columns. Of a long row
// only the telling cells are shown until it is unfolded. Without this script tables scroll by themselves.
const TELLING = new Set(["ours", "paper", "verdict"]);
const MANY = 4;
document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll("article table")) {
    const names = [...table.querySelectorAll("thead th")].map((cell) => cell.innerText.trim());
    if (names.length < MANY) continue;
    const folds = names.includes("verdict");
    table.classList.add("cards");
    for (const row of table.querySelectorAll("tbody tr")) {
      [...row.cells].forEach((cell, column) => {
        cell.dataset.name = names[column] ?? "";
        cell.classList.toggle("rest", folds && column > 0 && !TELLING.has(names[column]));
        cell.classList.toggle("empty", column > 0 && !cell.innerText.trim());
      });
      if (!folds) continue;
      const button = document.createElement("button");
      button.className = "unfold";
      button.type = "button";
      button.textContent = "more";
      button.setAttribute("aria-expanded", "false");
      button.addEventListener("click", () => {
        const open = row.classList.toggle("open");
        button.textContent = open ? "less" : "more";
        button.setAttribute("aria-expanded", String(open));
      });
      row.cells[row.cells.length - 1].after(Object.assign(document.createElement("td"), { className: "unfold" }));
      row.lastElementChild.append(button);
    }
  }
});
