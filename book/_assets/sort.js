// Sorts the ledger by a column: a click on its head, or Enter or Space; again for the other way round.
// A cell's data-sort is what it is sorted by: a number as a number, nothing last. Selects above the table and a field for words filter its rows.
document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll(".bn-ledger")) {
    const body = table.tBodies[0];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        body.append(...[...body.rows].sort((one, other) => compare(key(one, column), key(other, column), up)));
      });
    });
  }

  function key(row, column) {
    const cell = row.cells[column];
    return cell.dataset.sort ?? cell.textContent.trim();
  }

  function compare(a, b, up) {
    if (a === "" || b === "") return (a === "") - (b === "");
    const numbers = [Number(a), Number(b)];
    const order = numbers.some(Number.isNaN) ? a.localeCompare(b, undefined, { numeric: true }) : numbers[0] - numbers[1];
    return up ? order : -order;
  }

  for (const filters of document.querySelectorAll(".bn-filters")) {
    const rows = [...filters.parentElement.querySelectorAll(".bn-ledger tbody tr")];
    const selects = [...filters.querySelectorAll("select")];
    const search = filters.querySelector("input[type=search]");
    const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()])); // before formulas are set
    const shown = filters.querySelector(".bn-shown");
    function apply() {
      const words = search.value.toLowerCase().split(/\s+/);
      for (const row of rows) {
        const other = selects.some((one) => one.value && row.dataset[one.dataset.filter] !== one.value);
        row.hidden = other || !words.every((word) => texts.get(row).includes(word));
      }
      shown.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
    }
    selects.forEach((one) => one.addEventListener("change", apply));
    search.addEventListener("input", apply);
    // A link from a caption leads to a row: it is shown, whatever the filters say.
    function reveal() {
      const row = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
      if (!row || !rows.includes(row)) return;
      [search, ...selects].forEach((one) => (one.value = ""));
      apply();
      row.querySelector("details").open = true;
      row.scrollIntoView();
    }
    addEventListener("hashchange", reveal);
    apply();
    reveal();
  }
});
