// Theorems 4.1 and 4.2 for one unit and two or three samples; the formulas are those of lib/theory/formulas.py at eps = 0.

const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
const mean = (a) => a.reduce((sum, value) => sum + value, 0) / a.length;

// y, g, h: m numbers each (h: the diagonal of the Hessian), gamma a number. null where y is constant.
export function compute(y, g, h, gamma) {
  const m = y.length;
  const mu = mean(y);
  const sigma = Math.sqrt(mean(y.map((value) => (value - mu) ** 2)));
  if (sigma < 1e-9) return null;
  const yhat = y.map((value) => (value - mu) / sigma);
  const inner = dot(g, yhat);
  const total = dot(g, g);
  const ones = g.reduce((sum, value) => sum + value, 0);
  const meanTerm = ones ** 2 / m;
  const correlation = inner ** 2 / m;
  const kept = g.map((value, i) => value - ones / m - (yhat[i] * inner) / m);
  const scale = gamma / sigma;
  const v = kept.map((value) => scale * value);
  const form = (a) => dot(a.map((value, i) => value * h[i]), a);
  const left = dot(v, v);
  const removed = (gamma / (m * sigma ** 2)) * inner * left;
  // The left side of Theorem 4.2 from the Hessian itself, equation (42): P H P and the norm's own curvature.
  const centred = g.map((value) => value - ones / m);
  const project = (a) => {
    const along = dot(a, yhat);
    const average = mean(a);
    return a.map((value, i) => value - average - (yhat[i] * along) / m);
  };
  const along = dot(v, yhat);
  const average = mean(v);
  const curvature =
    2 * dot(v, centred) * along - ((3 * inner) / m) * along ** 2 + inner * (left - m * average ** 2);
  const quadratic = scale ** 2 * form(project(v)) - (gamma / (m * sigma ** 2)) * curvature;
  return {
    sigma, yhat, v, kept, inner, total, meanTerm, correlation, scale, left, quadratic,
    keptShare: total > 0 ? dot(kept, kept) / total : 0,
    printed41: scale ** 2 * (total - meanTerm - inner ** 2 / Math.sqrt(m)),
    corrected41: scale ** 2 * (total - meanTerm - correlation),
    first42: scale ** 2 * form(v) - removed,
    second42: scale ** 2 * form(g) - removed,
    formBn: form(v),
    formPlain: form(g),
  };
}

// Orthonormal directions of the plane orthogonal to 1; with two samples it is a line.
const AXES = {
  2: [[Math.SQRT1_2, -Math.SQRT1_2], [0, 0]],
  3: [[Math.SQRT1_2, -Math.SQRT1_2, 0], [1, 1, -2].map((value) => value / Math.sqrt(6))],
};
const SIZE = 320;
const UNIT = 36;
const LIMIT = 3;
const REACH = 14; // around a handle's middle: on a phone, too, more than 24 pixels across
const NUDGE = 0.1; // what an arrow key moves a handle by, in units of the plane; ten times as far with Shift
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

const LOOKS = `
.bn-projection .bn-panels { display: flex; flex-wrap: wrap; gap: 6px 18px; align-items: flex-start; }
.bn-projection .bn-picture { flex: 0 1 320px; min-width: 0; }
.bn-projection .bn-side { flex: 1 1 290px; min-width: 0; }
.bn-projection .bn-controls { grid-template-columns: repeat(auto-fit, minmax(240px, 1fr)); }
.bn-projection .bn-slider { grid-template-columns: 4.6em minmax(60px, 1fr) 3.2em; min-height: 27px; }
.bn-projection svg { display: block; width: 100%; max-width: 320px; height: auto; }
.bn-projection svg text { font-size: 13px; fill: currentColor; }
.bn-projection .bn-handle { cursor: grab; touch-action: none; outline: none; }
.bn-projection .bn-handle:focus-visible .bn-knob { stroke: currentColor; stroke-width: 4; }
.bn-projection fieldset { border: 1px solid currentColor; border-radius: 6px; margin: 0 0 6px; padding: 0 10px 4px; min-width: 0; }
.bn-projection legend { padding: 0 6px; margin: 0; float: none; width: auto; font-size: 14px; }
.bn-projection output { text-align: right; font-variant-numeric: tabular-nums; }
.bn-projection table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 4px 0; background: none; color: inherit; }
.bn-projection tr, .bn-projection td, .bn-projection th { background: none; color: inherit; border: 0; }
.bn-projection th { text-align: left; font-weight: 600; padding: 6px 12px 2px 0; }
.bn-projection td { padding: 2px 12px 2px 0; text-align: left; }
.bn-projection td:nth-child(2) { text-align: right; white-space: nowrap; }
.bn-projection .bn-false { font-weight: 700; text-decoration: underline; }
.bn-projection .bn-bar { display: flex; height: 20px; border: 1px solid currentColor; border-radius: 3px; overflow: hidden; max-width: 318px; }
.bn-projection .bn-key { display: inline-block; width: 12px; height: 12px; margin: 0 4px 0 10px; border-radius: 2px; }
`;

// g, what reaches y, what the projection keeps, yhat's direction, the mean: brighter on a dark page.
const paints = () =>
  dark()
    ? { g: "#56B4E9", v: "#FF8A3D", kept: "#2CC9A0", inner: "#E69F00", mean: "#CC79A7" }
    : { g: "#0072B2", v: "#D55E00", kept: "#00845F", inner: "#A06A00", mean: "#B3558A" };

const show = (value) => {
  const rounded = Math.abs(value) < 5e-4 ? 0 : value;
  return Math.abs(rounded) >= 1000 ? rounded.toPrecision(4) : rounded.toFixed(3);
};

function picture(values, y, g, m) {
  const paint = paints();
  const plane = (a) => AXES[m].map((axis, i) => dot(a, axis) * UNIT * (i ? -1 : 1));
  const tips = ["g", "v", "kept", "inner"].map((name) =>
    `<marker id="bn-tip-${name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="5" markerHeight="5" orient="auto"><path d="M0 0L8 4L0 8z" fill="${paint[name]}"/></marker>`).join("");
  const arrow = (name, [x, y], dash = "") =>
    Math.hypot(x, y) < 0.5 ? "" : `<line x1="0" y1="0" x2="${x}" y2="${y}" stroke="${paint[name]}" stroke-width="3" stroke-dasharray="${dash}" marker-end="url(#bn-tip-${name})"/>`;
  const line = ([x1, y1], [x2, y2], dash) =>
    `<line x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}" stroke="currentColor" stroke-dasharray="${dash}" opacity="0.7"/>`;
  const handle = (name, [x, y], shift) =>
    `<g class="bn-handle" data-handle="${name}" tabindex="0" role="slider" aria-roledescription="handle in a plane" aria-valuenow="${Math.round(100 * x) / 100}"
       aria-valuetext="${said[name].map(show).join(", ")}" aria-label="${name}: drag it, or move it by arrow keys">
       <circle cx="${x}" cy="${y}" r="${REACH}" fill="transparent"/><circle class="bn-knob" cx="${x}" cy="${y}" r="9" fill="${paint[name === "y" ? "inner" : "g"]}"/></g>
     <text x="${x + 12}" y="${y + shift}" aria-hidden="true">${name}</text>`;
  const said = { y, g };
  const [yhat, centred, kept, v] = [values.yhat, g, values.kept, values.v].map(plane);
  const far = yhat.map((value) => (value * 5) / Math.sqrt(m));
  return `<defs>${tips}</defs>
    <circle r="${Math.sqrt(m) * UNIT}" fill="none" stroke="currentColor" stroke-dasharray="3 4" opacity="0.6"/>
    ${line(far.map((value) => -value), far, "2 5")} ${arrow("inner", yhat)} ${arrow("g", centred)}
    ${arrow("kept", kept)} ${arrow("v", v, "6 3")} ${line(centred, kept, "4 3")}
    ${handle("y", plane(y), -8)} ${handle("g", centred, 18)}
    <text x="${6 - SIZE / 2}" y="${16 - SIZE / 2}">curvature: gᵀHg = ${show(values.formPlain)}, vᵀHv = ${show(values.formBn)}</text>
    <text x="${6 - SIZE / 2}" y="${SIZE / 2 - 8}">circle: |ŷ| = √${m}</text>`;
}

function readout(values, m) {
  const row = (label, value, remark) => `<tr><td>${label}</td><td>${value}</td><td>${remark}</td></tr>`;
  const slack = 1e-9 * (1 + Math.abs(values.left) + Math.abs(values.quadratic));
  const compare = (left, right) =>
    left <= right + slack ? (Math.abs(left - right) <= slack ? "equal" : "holds") : '<span class="bn-false">false here</span>';
  const removed = values.total > 0 ? (100 * (values.meanTerm + values.correlation)) / values.total : 0;
  const condition = values.formBn <= values.formPlain + slack ? "met" : '<span class="bn-false">not met</span>';
  return `<table><tbody>
    <tr><th colspan="3">Theorem 4.1</th></tr>
    ${row("|∂L̂/∂y|²", show(values.left), "")}
    ${row(`printed, 1/√${m}`, show(values.printed41), compare(values.left, values.printed41))}
    ${row(`corrected, 1/${m}`, show(values.corrected41), compare(values.left, values.corrected41))}
    <tr><th colspan="3">Theorem 4.2</th></tr>
    ${row("form with BatchNorm", show(values.quadratic), "")}
    ${row("first display", show(values.first42), compare(values.quadratic, values.first42))}
    ${row("second display", show(values.second42), compare(values.quadratic, values.second42))}
    ${row("vᵀHv ≤ gᵀHg", `${show(values.formBn)}, ${show(values.formPlain)}`, condition)}
  </tbody></table>
  <div>The two terms remove ${removed.toFixed(1)} % of |g|²; γ/σ = ${show(values.scale)}; ∂L̂/∂γ = ⟨g, ŷ⟩ = ${show(values.inner)}.</div>`;
}

function legend(values) {
  const paint = paints();
  const key = (name, label) => `<span class="bn-key" style="background:${paint[name]}"></span>${label}`;
  const share = (part) => (values.total > 0 ? (100 * part) / values.total : 0);
  const parts = [
    ["mean", values.meanTerm, "its mean (β)"],
    ["inner", values.correlation, "along ŷ (γ)"],
    ["kept", values.total * values.keptShare, "kept"],
  ];
  const blocks = parts.map(([name, part]) => `<div style="width:${share(part)}%;background:${paint[name]}"></div>`);
  return `<div>${key("g", "g, centred")}${key("v", "∂L̂/∂y, dashed")}</div>
    <div>|g|²:${parts.map(([name, , label]) => key(name, label)).join("")}</div>
    <div class="bn-bar">${blocks.join("")}</div>`;
}

function render({ model, el }) {
  const { root, controls, readout: line } = frame(el, []);
  root.classList.add("bn-projection");
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `${-SIZE / 2} ${-SIZE / 2} ${SIZE} ${SIZE}`);
  svg.setAttribute("role", "group"); // of handles that have names of their own
  svg.setAttribute("aria-label", "The plane orthogonal to 1: y, g, what is left of g, and the gradient that reaches y");
  const key = make("div");
  const text = make("div", { class: "bn-readout", "aria-live": "polite" });
  const panels = make("div", { class: "bn-panels" }, make("div", { class: "bn-picture" }, svg, key), make("div", { class: "bn-side" }, controls, text));
  line.remove();
  root.firstChild.after(make("style", {}, LOOKS), panels);

  const set = (name, value) => {
    model.set(name, value);
    model.save_changes();
  };
  const sliders = [];
  const group = (title, ...lines) => {
    controls.append(make("fieldset", {}, make("legend", {}, title), ...lines.map((line) => line.element)));
  };
  const single = (name, label, range) => {
    const made = slider(label, range, model.get(name), String, () => set(name, made.value()));
    sliders.push({ made, read: () => model.get(name), sample: -1 });
    return made;
  };
  const entry = (name, i) => {
    const range = { min: -LIMIT, max: LIMIT, step: 0.05 };
    const write = () => set(name, model.get(name).map((old, k) => (k === i ? made.value() : old)));
    const made = slider(`${name} ${i + 1}`, range, model.get(name)[i], String, write);
    sliders.push({ made, read: () => model.get(name)[i], sample: i });
    return made;
  };
  group("layer", single("samples", "samples", [2, 3]), single("gamma", "γ", { min: -2, max: 2, step: 0.05 }));
  for (const [name, title] of [["y", "y, before the norm"], ["g", "g, the gradient after it"], ["h", "H, its diagonal"]]) {
    group(title, ...[0, 1, 2].map((i) => entry(name, i)));
  }

  const update = () => {
    const m = model.get("samples");
    const [y, g, h] = ["y", "g", "h"].map((name) => model.get(name).slice(0, m));
    for (const { made, read, sample } of sliders) {
      made.element.style.display = sample >= m ? "none" : "";
      made.set(read());
    }
    const values = compute(y, g, h, model.get("gamma"));
    const held = svg.contains(document.activeElement) && document.activeElement.dataset.handle;
    svg.innerHTML = values ? picture(values, y, g, m) : "";
    if (held) svg.querySelector(`[data-handle=${held}]`)?.focus();
    key.innerHTML = values ? legend(values) : "";
    text.innerHTML = values ? readout(values, m) : "All samples are equal: the unit cannot be normalized. Move one y.";
  };

  // Puts y or g at a place of the plane; their means stay.
  const move = (name, across, up) => {
    const m = model.get("samples");
    const old = model.get(name);
    const average = mean(old.slice(0, m));
    const place = (i) => average + across * AXES[m][0][i] + up * AXES[m][1][i];
    const held = (value) => Math.max(-LIMIT, Math.min(LIMIT, Math.round(value * 20) / 20));
    set(name, old.map((value, i) => (i < m ? held(place(i)) : value)));
  };
  let dragged = null;
  svg.addEventListener("pointerdown", (event) => {
    dragged = event.target.closest("[data-handle]")?.dataset.handle;
    if (dragged) svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", (event) => {
    if (!dragged) return;
    const box = svg.getBoundingClientRect();
    const unit = (box.width * UNIT) / SIZE;
    move(dragged, (event.clientX - box.left - box.width / 2) / unit, (box.top + box.height / 2 - event.clientY) / unit);
  });
  svg.addEventListener("keydown", (event) => {
    const name = event.target.dataset.handle;
    if (!name || !ARROWS[event.key]) return;
    event.preventDefault();
    const m = model.get("samples");
    const values = model.get(name).slice(0, m);
    const [across, up] = AXES[m].map((axis) => dot(values, axis));
    const by = NUDGE * (event.shiftKey ? 10 : 1);
    move(name, across + by * ARROWS[event.key][0], up + by * ARROWS[event.key][1]);
  });
  for (const name of ["pointerup", "pointercancel"]) svg.addEventListener(name, () => { dragged = null; });
  for (const name of ["samples", "y", "g", "h", "gamma"]) model.on(`change:${name}`, update);
  return redrawing(root, update);
}

export default { render };
