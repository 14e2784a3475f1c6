// What the widgets share: colours that follow the page, sliders, a small plot.

// Each network's colour on a light and on a dark page, as in lib/figures/style.py.
const PALETTE = {
  none: ["#0072b2", "#56b4e9"],
  batchnorm: ["#d55e00", "#ff8a3d"],
  noisy: ["#00845f", "#2cc295"],
  l2: ["#8a6100", "#e0b040"],
};
const COLOURS = {};
for (const [name, pair] of Object.entries(PALETTE)) Object.defineProperty(COLOURS, name, { get: () => pair[+dark()] });

function dark() {
  const theme = document.documentElement.dataset.theme;
  if (theme === "dark" || theme === "light") return theme === "dark";
  if (document.body.dataset.jpThemeLight) return document.body.dataset.jpThemeLight === "false";
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

function ink() {
  return dark()
    ? { text: "#e6e6e6", grid: "#ffffff2a", ground: "#14181e", grey: "#9a9a9a" }
    : { text: "#222222", grid: "#00000018", ground: "#ffffff", grey: "#777777" };
}

// An element with attributes and children.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// An id that no other widget of the page has, each of which has its own copy of this module.
const own = Math.random().toString(36).slice(2);
let count = 0;
const freshId = (kind) => `bn-${kind}-${own}-${count++}`;

// A labelled slider over `stops` (a list: index-valued) or {min, max, step}; `format` shows a value.
function slider(label, range, start, format, changed) {
  const stops = Array.isArray(range) ? range : null;
  const { min, max, step } = stops ? { min: 0, max: stops.length - 1, step: 1 } : range;
  const id = freshId("slider");
  const input = make("input", { type: "range", id, min, max, step });
  input.value = stops ? stops.indexOf(start) : start;
  const shown = make("output", { for: id });
  const value = () => (stops ? stops[+input.value] : +input.value);
  const update = () => {
    shown.textContent = format(value());
    input.setAttribute("aria-valuetext", shown.textContent);
  };
  input.addEventListener("input", () => {
    update();
    changed();
  });
  update();
  return {
    element: make("div", { class: "bn-slider" }, make("label", { for: id }, label), input, shown),
    value,
    set(next) {
      if (stops && !stops.includes(next)) return; // an address may say anything
      input.value = stops ? stops.indexOf(next) : next;
      update();
    },
  };
}

const STYLE = `
.bn-widget { font: 14px/1.4 system-ui, sans-serif; max-width: 960px; }
.bn-widget .bn-controls { display: grid; grid-template-columns: repeat(auto-fit, minmax(270px, 1fr)); gap: 2px 18px; }
.bn-widget .bn-slider { display: grid; grid-template-columns: 8.5em minmax(80px, 1fr) 5.6em; gap: 8px; align-items: center; min-height: 32px; }
.bn-widget .bn-slider input { width: 100%; height: 28px; }
.bn-widget :is(button, select) { min-height: 30px; padding: 2px 10px; font: inherit; }
.bn-widget :is(button, select, input):focus-visible { outline: 3px solid #0072B2; outline-offset: 1px; }
.bn-widget .bn-controls > button { justify-self: start; }
.bn-widget .bn-buttons { display: flex; flex-wrap: wrap; gap: 6px; margin: 6px 0; }
.bn-widget .bn-plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(205px, 1fr)); gap: 8px; margin: 6px 0; }
.bn-widget canvas { width: 100%; height: 230px; display: block; }
.bn-widget .bn-readout { min-height: 3em; margin: 4px 0; }
.bn-widget .bn-caption { font-size: 12px; opacity: 0.8; }
.bn-widget .bn-plots:has(:nth-child(4)) { grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); }
.bn-widget .bn-legend span { margin-right: 1em; }
.bn-widget .bn-legend i { display: inline-block; width: 1.8em; border-top: 3px solid; margin-right: 0.4em; vertical-align: middle; }
.bn-widget .bn-live { display: none; gap: 8px; align-items: center; flex-wrap: wrap; }
.bn-widget.bn-has-kernel .bn-live { display: flex; }
@media (max-width: 600px) {
  .bn-widget:has(.bn-plots canvas) { display: flex; flex-direction: column; }
  .bn-widget .bn-plots:has(canvas) { order: -1; position: sticky; top: var(--pst-header-height, 0px); z-index: 5; gap: 2px; background: var(--pst-color-background, Canvas); }
  .bn-widget canvas { height: 128px; }
  .bn-widget .bn-plots:has(:nth-child(4)) { grid-template-columns: 1fr 1fr; }
  .bn-widget .bn-controls { grid-template-columns: 1fr; }
  .bn-widget .bn-slider { grid-template-columns: 7em minmax(60px, 1fr) 5.6em; }
}
`;

// The widget's frame: style, controls, plots, legend (filled by `legend(entries)`, at each drawing), readout and, if there is one, a caption.
function frame(el, plots, caption) {
  const root = make("div", { class: "bn-widget" });
  const controls = make("div", { class: "bn-controls" });
  const canvases = plots.map((name) => make("canvas", { role: "img", "aria-label": name }));
  const readout = make("p", { class: "bn-readout", "aria-live": "polite" });
  const key = make("p", { class: "bn-legend" });
  root.append(make("style", {}, STYLE), controls, make("div", { class: "bn-plots" }, ...canvases), key, readout);
  if (caption) root.append(make("p", { class: "bn-caption" }, caption));
  el.append(root);
  return { root, controls, canvases, readout, legend: (entries) => legendOf(key, entries) };
}

// Fills a legend with entries [name, colour, kind]: a line (if no kind is said), a "dash" or "dots"; as it stands if nothing changed.
function legendOf(key, entries) {
  const marks = { dash: "dashed", dots: "dotted" };
  const wanted = JSON.stringify(entries);
  if (key.dataset.entries === wanted) return;
  key.dataset.entries = wanted;
  key.replaceChildren();
  for (const [name, colour, kind] of entries) {
    key.append(make("span", {}, make("i", { style: `border-color:${colour};border-top-style:${marks[kind] || "solid"}` }), name), " ");
  }
}

// Calls `draw` now and whenever the widget is resized or the page's theme changes; returns a clean-up.
function redrawing(root, draw) {
  const sizes = new ResizeObserver(draw);
  sizes.observe(root);
  const themes = new MutationObserver(draw);
  themes.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  themes.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  const media = matchMedia("(prefers-color-scheme: dark)");
  media.addEventListener("change", draw);
  return () => {
    sizes.disconnect();
    themes.disconnect();
    media.removeEventListener("change", draw);
  };
}

function shortNumber(x) {
  if (x === 0) return "0";
  const size = Math.abs(x);
  if (size < 1e4 && size >= 1e-2) return String(+x.toPrecision(3));
  return x.toExponential(2).replace(/\.?0*e\+?/, "e");
}

// Positions and labels of an axis; on a log axis `low` and `high` are powers of ten.
function ticks(low, high, log, count = 5) {
  if (log && high - low > 0.9) {
    const every = Math.ceil((high - low) / 5);
    const digits = high - low > 3 ? [1] : high - low > 1.5 ? [1, 3] : [1, 2, 5];
    const found = [];
    for (let power = Math.floor(low); power <= high; power += every) {
      for (const digit of digits) found.push([power + Math.log10(digit), shortNumber(digit * 10 ** power)]);
    }
    return found.filter(([place]) => place >= low && place <= high);
  }
  const [first, last] = log ? [10 ** low, 10 ** high] : [low, high];
  const raw = (last - first) / count;
  const unit = 10 ** Math.floor(Math.log10(raw));
  const step = unit * [1, 2, 5, 10].find((factor) => factor * unit >= raw);
  const found = [];
  for (let x = Math.ceil(first / step) * step; x <= last + 1e-9 * step; x += step) {
    const value = Math.abs(x) < 1e-9 * step ? 0 : +x.toPrecision(12);
    if (!log || value > 0) found.push([log ? Math.log10(value) : value, shortNumber(value)]);
  }
  return found;
}

// Draws, on named axes, bands {x, low, high, colour}, lines {x, y, colour, width, dash}, bars {x, y, width, colour} and an upright
// line at `mark`, if there is one. Values that are not finite (or not positive on a log axis) are gaps.
// Leaves at the canvas `place`, which says where on the horizontal axis a point lies, from its distance to the canvas's left side.
function plot(canvas, { title, xlabel, ylabel, bands = [], lines = [], bars = [], log = false, xlim, ylim, mark }) {
  const colours = ink();
  const width = canvas.clientWidth || 300;
  const height = canvas.clientHeight || 230;
  const ratio = devicePixelRatio || 1;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const g = canvas.getContext("2d");
  g.scale(ratio, ratio);
  g.fillStyle = colours.ground;
  g.fillRect(0, 0, width, height);
  const scale = (y) => (log ? (y > 0 ? Math.log10(y) : NaN) : y);
  const all = [...bands.flatMap((b) => [...b.low, ...b.high]), ...lines.flatMap((l) => [...l.y]), ...bars.flatMap((b) => [...b.y])]
    .map(scale)
    .filter(Number.isFinite);
  const across = [...bands, ...lines, ...bars].flatMap((item) => [...item.x]);
  let [low, high] = ylim ? ylim.map(scale) : [lowest(all), highest(all)];
  if (!(high > low)) [low, high] = [(low || 0) - 0.5, (high || 0) + 0.5];
  if (!ylim) [low, high] = [low - 0.05 * (high - low), high + 0.05 * (high - low)];
  const [left, right] = xlim || [lowest(across), highest(across)];
  const box = { x: 66, y: 26, w: width - 80, h: height - 66 };
  const px = (x) => box.x + ((x - left) / (right - left || 1)) * box.w;
  const py = (y) => box.y + box.h - ((scale(y) - low) / (high - low)) * box.h;
  canvas.place = (offset) => left + ((offset - box.x) / box.w) * (right - left);

  g.font = "12px system-ui, sans-serif";
  g.fillStyle = colours.text;
  g.strokeStyle = colours.grid;
  g.textAlign = "right";
  let free = Infinity; // labels would hide one another on a low canvas
  for (const [tick, label] of ticks(low, high, log)) {
    const y = box.y + box.h - ((tick - low) / (high - low)) * box.h;
    if (y > free - 13) continue;
    free = y;
    g.beginPath();
    g.moveTo(box.x, y);
    g.lineTo(box.x + box.w, y);
    g.stroke();
    g.fillText(label, box.x - 5, y + 4);
  }
  g.textAlign = "center";
  for (const [tick, label] of ticks(left, right, false, Math.max(2, box.w / 50))) g.fillText(label, px(tick), box.y + box.h + 16);
  g.fillText(xlabel, box.x + box.w / 2, height - 6);
  if (ylabel) {
    g.save();
    g.translate(13, box.y + box.h / 2);
    g.rotate(-Math.PI / 2);
    g.fillText(ylabel, 0, 0, box.h + 12);
    g.restore();
  }
  g.textAlign = "left";
  g.font = "600 13px system-ui, sans-serif";
  g.fillText(title, 6, 16, width - 8);
  canvas.setAttribute("aria-label", `${title}: ${ylabel || ""} by ${xlabel}`);

  g.save();
  g.beginPath();
  g.rect(box.x, box.y, box.w, box.h);
  g.clip();
  for (const { x, y, width: bar, colour } of bars) {
    g.fillStyle = colour + "99";
    const wide = Math.abs(px(bar) - px(0));
    for (let i = 0; i < x.length; i++) g.fillRect(px(x[i]) - wide / 2, py(y[i]), wide, box.y + box.h - py(y[i]));
  }
  for (const { x, low: bottom, high: top, colour } of bands) {
    g.fillStyle = colour + "55";
    for (let i = 0; i + 1 < x.length; i++) {
      const corners = [py(bottom[i]), py(bottom[i + 1]), py(top[i + 1]), py(top[i])];
      if (!corners.every(Number.isFinite)) continue;
      g.beginPath();
      g.moveTo(px(x[i]), corners[0]);
      g.lineTo(px(x[i + 1]), corners[1]);
      g.lineTo(px(x[i + 1]), corners[2]);
      g.lineTo(px(x[i]), corners[3]);
      g.fill();
    }
    lines = [...lines, { x, y: top, colour, width: 1 }, { x, y: bottom, colour, width: 1 }];
  }
  for (const { x, y, colour, width: stroke = 2, dash = [] } of lines) {
    g.strokeStyle = colour;
    g.lineWidth = stroke;
    g.setLineDash(dash);
    g.beginPath();
    let down = false;
    for (let i = 0; i < x.length; i++) {
      const height = py(y[i]);
      if (Number.isFinite(height)) down ? g.lineTo(px(x[i]), height) : g.moveTo(px(x[i]), height);
      down = Number.isFinite(height);
    }
    g.stroke();
  }
  if (mark !== undefined) {
    g.strokeStyle = colours.grey;
    g.lineWidth = 1;
    g.setLineDash([]);
    g.beginPath();
    g.moveTo(px(mark), box.y);
    g.lineTo(px(mark), box.y + box.h);
    g.stroke();
  }
  g.restore();
}

// A pointer over one of the plots, or a finger on it, moves `knob` to the nearest of `stops()`, places on their horizontal axis, and
// calls `changed`: so what is marked in one panel is marked in all.
function linked(canvases, knob, stops, changed) {
  for (const canvas of canvases) {
    for (const kind of ["pointerdown", "pointermove"]) {
      canvas.addEventListener(kind, (event) => {
        const next = nearest(stops(), canvas.place(event.offsetX));
        if (next === knob.value()) return;
        knob.set(next);
        changed();
      });
    }
  }
}

// Reads arrays of float32 one after the other, as `packed` of lib/widgets/__init__.py wrote them.
function unpacking(view) {
  let at = view.byteOffset;
  return (size) => {
    at += 4 * size;
    return new Float32Array(view.buffer.slice(at - 4 * size, at));
  };
}

// Of `stops`, the one nearest to x.
const nearest = (stops, x) => stops.reduce((best, stop) => (Math.abs(stop - x) < Math.abs(best - x) ? stop : best), stops[0]);

// Of arrays too long to be the arguments of Math.min; Infinity if empty.
const lowest = (values) => values.reduce((low, x) => Math.min(low, x), Infinity);
const highest = (values) => values.reduce((high, x) => Math.max(high, x), -Infinity);

// The median; what is not a number (a network that has diverged) counts as infinitely large.
const median = (values) => {
  const sorted = [...values].map((x) => (Number.isNaN(x) ? Infinity : x)).sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

// Asks the kernel whether it is there; a static page has none and nothing happens.
function withKernel(model, root, received) {
  model.on("msg:custom", (message) => {
    if (message.type === "here") root.classList.add("bn-has-kernel");
    else received(message);
  });
  try {
    model.send({ type: "hello" });
  } catch {
    // no kernel: a static page
  }
}

// Keeps the sliders of a widget in the page's address, "#bn?name.slider=value&...", and takes them from there at the start.
// Returns `note()`, to be called when a slider has moved, and buttons for the presets and for "Reset", after which `changed` is called.
function addressed(name, knobs, presets, changed) {
  const initial = Object.fromEntries(Object.entries(knobs).map(([key, knob]) => [key, knob.value()]));
  const apply = (values) => {
    for (const [key, value] of Object.entries(values)) knobs[key]?.set(value);
  };
  const inAddress = () => new URLSearchParams(location.hash.startsWith("#bn?") ? location.hash.slice(4) : "");
  const started = {};
  for (const [key, knob] of Object.entries(knobs)) {
    const text = inAddress().get(`${name}.${key}`);
    if (text !== null && text !== "") started[key] = typeof knob.value() === "number" && !Number.isNaN(+text) ? +text : text;
  }
  apply(started);
  // JupyterLab's address is its own.
  const ours = !document.body.dataset.jpThemeLight;
  const note = () => {
    if (!ours) return;
    const all = inAddress();
    for (const [key, knob] of Object.entries(knobs)) {
      if (knob.value() === initial[key]) all.delete(`${name}.${key}`);
      else all.set(`${name}.${key}`, knob.value());
    }
    const hash = all.size ? `#bn?${all}` : "";
    if (hash !== location.hash && (hash || location.hash.startsWith("#bn?"))) history.replaceState(null, "", hash || location.pathname + location.search);
  };
  const button = (label, values) => {
    const made = make("button", { type: "button" }, label);
    made.addEventListener("click", () => {
      apply(values);
      note();
      changed();
    });
    return made;
  };
  const buttons = Object.entries(presets).map(([label, values]) => button(label, values));
  return { note, buttons: [...buttons, button("Reset", initial)] };
}
