// The judge's slider: verdicts and totals as bounds, seeds, level and readings change.

const LEVELS = [0.8, 0.9, 0.95, 0.99, 0.999];
const VERDICTS = ["reproduced", "partly", "not reproduced", "not testable"];
const MARKS = { reproduced: "✓", partly: "◐", "not reproduced": "✗", "not testable": "–" };
const OWN_LOOKS = `
.bn-judge select { max-width: 100%; }
.bn-judge label { display: inline-flex; align-items: center; gap: 4px; min-height: 28px; margin-right: 12px; }
.bn-judge label input[type=checkbox] { width: 24px; height: 24px; }
.bn-judge .bn-choice { display: flex; flex-wrap: wrap; align-items: center; gap: 6px; margin: 4px 0; }
.bn-judge table { border-collapse: collapse; margin: 6px 0; background: none; color: inherit; }
.bn-judge :is(td, th) { padding: 3px 12px 3px 0; text-align: left; background: none; color: inherit; border: 0; }
.bn-judge td + td { font-variant-numeric: tabular-nums; }
`;

function render({ model, el }) {
  const rows = model.get("rows");
  const { root, controls, canvases, readout, legend } = frame(el, ["values of the seeds, their interval and the bound"]);
  root.classList.add("bn-judge");
  root.prepend(make("style", {}, OWN_LOOKS));
  const changes = new Map(rows.map((row) => [row.id, { bound: row.bound, reading: 0 }])); // what the reader changed in a row
  const dropped = new Set();

  const select = (label, options, changed) => {
    const made = make("select", { id: freshId("select") });
    for (const [value, text] of options) made.append(make("option", { value }, text));
    made.addEventListener("change", changed);
    return { made, element: make("div", { class: "bn-choice" }, make("label", { for: made.id }, label), made) };
  };
  const phases = [...new Set(rows.map((row) => row.phase))];
  const phase = select("measured in", [["", "any phase"], ...phases.map((name) => [name, name])], () => {
    list();
    open();
  });
  const claim = select("claim", [], () => open());
  const reading = select("reading", [], () => {
    changes.get(claim.made.value).reading = +reading.made.value;
    draw();
  });
  const level = slider("level", LEVELS, 0.95, (x) => `${+(100 * x).toFixed(1)} %`, draw);
  // Its range is the claim's; as a share from 0 to 1000 of it, so that one slider serves all claims.
  const bound = slider("bound", { min: 0, max: 1000, step: 1 }, 500, (x) => shown(chosen(), x === shareOf(own()) ? own() : fromShare(x)), () => {
    changes.get(chosen().id).bound = fromShare(bound.value());
    draw();
  });
  const seeds = [...new Set(rows.flatMap((row) => row.readings.flatMap((one) => one.seeds)))].sort((a, b) => a - b);
  const boxes = make("div", { class: "bn-choice", role: "group", "aria-label": "seeds that count" }, "seeds:");
  for (const seed of seeds) {
    const box = make("input", { type: "checkbox" });
    box.checked = true;
    box.addEventListener("change", () => {
      box.checked ? dropped.delete(seed) : dropped.add(seed);
      draw();
    });
    boxes.append(make("label", {}, box, String(seed)));
  }
  const reset = make("button", { type: "button" }, "Reset");
  reset.addEventListener("click", () => {
    rows.forEach((row) => Object.assign(changes.get(row.id), { bound: row.bound, reading: 0 }));
    dropped.clear();
    boxes.querySelectorAll("input").forEach((box) => (box.checked = true));
    level.set(0.95);
    open();
  });
  const totals = make("table");
  controls.before(phase.element, claim.element, reading.element);
  controls.append(bound.element, level.element);
  controls.after(boxes, make("div", { class: "bn-buttons" }, reset));
  root.append(totals);

  function chosen() {
    return rows.find((row) => row.id === claim.made.value) || rows[0];
  }
  function shown(row, value) {
    return shortNumber(row.log ? 10 ** value : value) + (row.log ? "×" : "");
  }
  function range(row) {
    const all = [row.bound, ...row.readings.flatMap((one) => one.values)].filter((x) => x !== null);
    const room = 0.25 * (highest(all) - lowest(all)) || 0.5;
    return [lowest(all) - room, highest(all) + room];
  }
  function fromShare(share) {
    const [low, high] = range(chosen());
    return low + (share / 1000) * (high - low);
  }
  function shareOf(value) {
    const [low, high] = range(chosen());
    return Math.round((1000 * (value - low)) / (high - low));
  }
  function own() {
    return changes.get(chosen().id).bound;
  }
  function values(row) {
    const one = row.readings[changes.get(row.id).reading];
    return one.values.filter((_, i) => !dropped.has(one.seeds[i]));
  }
  const judge = (row) => verdict({ ...row, bound: changes.get(row.id).bound }, values(row), row.enough, level.value());

  function list() {
    const before = claim.made.value;
    const some = rows.filter((row) => !phase.made.value || row.phase === phase.made.value);
    claim.made.replaceChildren(...some.map((row) => make("option", { value: row.id }, row.text)));
    if (some.some((row) => row.id === before)) claim.made.value = before;
  }
  function open() {
    const row = chosen();
    reading.made.replaceChildren(...row.readings.map((one, i) => make("option", { value: i }, one.name)));
    reading.made.value = changes.get(row.id).reading;
    draw();
  }

  function draw() {
    const row = chosen();
    const own = changes.get(row.id);
    const [low, high] = range(row);
    bound.set(shareOf(own.bound));
    const all = values(row);
    const [mean, from, to] = interval(all, level.value());
    const colours = ink();
    // Seeds one above the other, then the interval, on the axis of the measure.
    const dots = all.map((x, i) => ({ x: [x, x], y: [i + 1.3, i + 1.7], colour: COLOURS.none, width: 6 }));
    plot(canvases[0], {
      title: "what the seeds say",
      xlabel: row.log ? "factor, in powers of ten" : "value",
      ylabel: "seeds",
      xlim: [low, high],
      ylim: [0, Math.max(3, all.length + 1.5)],
      lines: [
        ...dots,
        { x: [from, to], y: [0.6, 0.6], colour: COLOURS.batchnorm, width: 4 },
        { x: [mean, mean], y: [0.2, 1], colour: COLOURS.batchnorm, width: 4 },
        { x: [own.bound, own.bound], y: [0, all.length + 1.5], colour: colours.text, width: 2, dash: [6, 4] },
      ],
    });
    legend([["a seed", COLOURS.none], ["mean and interval", COLOURS.batchnorm], ["the bound", "currentColor", "dash"]]);
    const now = judge(row);
    const ends = Number.isFinite(from) ? ` [${shown(row, from)}, ${shown(row, to)}]` : "";
    const flips = row.readings.filter((one) => verdict(row, one.values, row.enough) !== row.verdict).map((one) => one.name);
    readout.textContent =
      `${MARKS[now] || ""} ${now}${now === row.verdict ? "" : ` (the ledger: ${row.verdict})`}: ${row.what}, ` +
      `${Number.isFinite(mean) ? shown(row, mean) : "no number"}${ends}, ${all.length} seeds; the rule: ${row.side} ${shown(row, own.bound)}. ` +
      (flips.length ? `Another reading flips it: ${flips.join("; ")}.` : row.readings.length > 1 ? "No other reading flips it." : "");
    const counted = rows.filter((one) => one.counted);
    const verdicts = counted.map(judge);
    totals.replaceChildren(make("tr", {}, make("th", { scope: "col" }, "verdict"), make("th", { scope: "col" }, "ledger"), make("th", { scope: "col" }, "now")));
    for (const name of VERDICTS) {
      const before = counted.filter((one) => one.verdict === name).length;
      const after = verdicts.filter((one) => one === name).length;
      totals.append(make("tr", {}, make("th", { scope: "row" }, `${MARKS[name]} ${name}`), make("td", {}, String(before)), make("td", {}, String(after))));
    }
  }
  list();
  if (rows.some((row) => row.id === model.get("start"))) claim.made.value = model.get("start");
  open();
  return redrawing(root, draw);
}

export default { render };
