for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent.trim();
      const numbers = head.classList.contains("n");
      const compared = (a, b) => numbers ? Number(a || 0) - Number(b || 0) : a < b ? -1 : a > b ? 1 : 0;
      const body = table.tBodies[0];
      const rows = [...body.rows].sort((a, b) => compared(value(a), value(b)) * (down ? -1 : 1));
      body.append(...rows);
    });
  });
}
