// The step-size explorer: landscape bands over training, for measured step sizes and a range of step lengths.


// Bands and medians of one norm: lowest and highest loss and gradient change and largest beta over lengths a..b.
function bands(curve, seeds, steps, lengths, first, last, stepSize) {
  const result = { lossLow: [], lossHigh: [], changeLow: [], changeHigh: [], beta: [] };
  for (let step = 0; step < steps; step++) {
    const perSeed = { lossLow: [], lossHigh: [], changeLow: [], changeHigh: [], beta: [] };
    for (const seed of seeds) {
      const at = (seed * steps + step) * lengths.length;
      const slice = (array) => Array.from(array.subarray(at + first, at + last + 1));
      const loss = slice(curve.loss);
      const change = slice(curve.change);
      const norm = curve.norm[seed * steps + step];
      perSeed.lossLow.push(Math.min(...loss));
      perSeed.lossHigh.push(Math.max(...loss));
      perSeed.changeLow.push(Math.min(...change));
      perSeed.changeHigh.push(Math.max(...change));
      perSeed.beta.push(Math.max(...change.map((c, i) => c / (lengths[first + i] * stepSize * norm))));
    }
    for (const name of Object.keys(result)) result[name].push(median(perSeed[name]));
  }
  return result;
}

// A quantity (0: loss band, 1: gradient change, 2: beta) without BatchNorm over with it, for lengths first..last:
// the geometric mean over seeds of the medians over all probed steps, of which the plots show some.
function ratio(run, seeds, first, last, quantity) {
  const count = run.lengths.length;
  const logs = seeds.map((seed) => run.logRatios[((quantity * run.seeds + seed) * count + first) * count + last]);
  return 10 ** (logs.reduce((sum, x) => sum + x, 0) / logs.length);
}

function render({ model, el }) {
  const names = { none: "no normalization", batchnorm: "BatchNorm" };
  const panels = ["loss along the gradient", "change of the gradient", "effective smoothness"];
  const { root, controls, canvases, readout, legend } = frame(el, panels, model.get("caption"));
  const buttons = make("div", { class: "bn-buttons" });
  controls.after(buttons);
  let runs = [];
  const lengths = () => model.get("step_lengths");
  let step, from, to, seed, moment, address;
  let moments = []; // the steps that the marker can stand at
  linked(canvases, { value: () => moment.value(), set: (x) => moment.set(x) }, () => moments, draw);

  function load() {
    runs = model.get("runs").map((run) => ({ ...run, lengths: lengths(), curves: {} }));
    const next = unpacking(model.get("values"));
    for (const run of runs) {
      for (const norm of Object.keys(names)) {
        const points = run.seeds * run.steps.length;
        // [seed, step, length], and the gradient's norm [seed, step].
        run.curves[norm] = { loss: next(points * lengths().length), change: next(points * lengths().length), norm: next(points) };
      }
      run.logRatios = next(3 * run.seeds * lengths().length ** 2);
    }
    controls.replaceChildren();
    const sizes = runs.map((run) => run.label);
    const ends = lengths();
    const seeds = ["all", ...Array.from({ length: runs[0].seeds }, (_, i) => i)];
    step = slider("step size", sizes, model.get("start"), (x) => x, draw);
    from = slider("shortest length", ends, ends[0], (x) => `${x}×`, () => {
      if (from.value() > to.value()) to.set(from.value());
      draw();
    });
    to = slider("longest length", ends, ends[ends.length - 1], (x) => `${x}×`, () => {
      if (to.value() < from.value()) from.set(to.value());
      draw();
    });
    seed = slider("seed", seeds, "all", (x) => (x === "all" ? "median" : `seed ${x}`), draw);
    moments = [...new Set(runs.flatMap((run) => run.steps))].sort((a, b) => a - b);
    moment = slider("training step", moments, moments[moments.length >> 1], String, draw);
    // By what it shows: a page may have one of VGG and one of the deep networks.
    address = addressed(`landscape-${runs[0].title.split(" ")[0].toLowerCase()}`,
      { step, moment, from, to, seed }, presets(), draw);
    controls.append(step.element, moment.element, from.element, to.element, seed.element);
    buttons.replaceChildren(...address.buttons);
    draw();
  }

  // The first probe, at every length; and one step of training, as far as gradient descent itself goes.
  function presets() {
    const [all, one] = [{ from: lengths()[0], to: lengths().at(-1), seed: "all" }, nearest(lengths(), 1)];
    return { "at the first step": { ...all, moment: moments[0] }, "one step of training": { from: one, to: one, seed: "all" } };
  }

  function draw() {
    const run = runs.find((one) => one.label === step.value());
    const [first, last] = [lengths().indexOf(from.value()), lengths().indexOf(to.value())];
    const seeds = seed.value() === "all" || seed.value() >= run.seeds ? [...Array(run.seeds).keys()] : [seed.value()];
    const found = {};
    for (const norm of Object.keys(names)) {
      found[norm] = bands(run.curves[norm], seeds, run.steps.length, lengths(), first, last, run.step_size);
    }
    const mark = moment.value();
    const panel = (low, high) =>
      Object.keys(names).map((norm) => ({ x: run.steps, low: found[norm][low], high: found[norm][high], colour: COLOURS[norm] }));
    plot(canvases[0], { title: "loss along the gradient", xlabel: "step", ylabel: "lowest to highest loss", log: true, mark, bands: panel("lossLow", "lossHigh") });
    plot(canvases[1], { title: "change of the gradient", xlabel: "step", ylabel: "distance of gradients", log: true, mark, bands: panel("changeLow", "changeHigh") });
    plot(canvases[2], {
      title: "effective β-smoothness",
      xlabel: "step",
      ylabel: "β (1 / step size)",
      log: true,
      mark,
      lines: [
        ...Object.keys(names).map((norm) => ({ x: run.steps, y: found[norm].beta, colour: COLOURS[norm] })),
        { x: run.steps, y: run.steps.map(() => 2 / run.step_size), colour: ink().text, width: 2, dash: [6, 4] },
      ],
    });
    legend([...Object.entries(names).map(([norm, name]) => [name, COLOURS[norm]]), ["2 / step size", "currentColor", "dash"]]);
    const factor = (quantity) => shortNumber(ratio(run, seeds, first, last, quantity));
    const diverged = Object.keys(names).map((norm) => {
      const lost = seeds.filter((one) => !Number.isFinite(run.curves[norm].norm[(one + 1) * run.steps.length - 1]));
      return lost.length ? ` ${lost.length} of ${seeds.length} seeds with ${names[norm]} diverged.` : "";
    });
    const at = run.steps.indexOf(nearest(run.steps, mark));
    const there = Object.entries(names).map(([norm, name]) => {
      const [low, high, change, beta] = ["lossLow", "lossHigh", "changeHigh", "beta"].map((what) => shortNumber(found[norm][what][at]));
      return `${name}: loss ${low} to ${high}, gradient changed by up to ${change}, β ${beta}`;
    });
    readout.textContent =
      `${run.title}, step size ${run.label}, ${from.value()} to ${to.value()} step sizes along the gradient. ` +
      `At step ${run.steps[at]}: ${there.join("; ")}; 2 / step size is ${shortNumber(2 / run.step_size)}. ` +
      `Without BatchNorm over with it, median over training: loss band ${first === last ? "—" : factor(0)}, ` +
      `gradient change ${factor(1)}, β ${factor(2)}. ` +
      diverged.join("");
    address.note();
  }

  const size = make("input", { type: "number", value: "5e-7", step: "any", min: "0", "aria-label": "step size to measure" });
  const button = make("button", { type: "button" }, "measure this step size now");
  button.addEventListener("click", () => {
    button.disabled = true;
    model.send({ type: "measure", step_size: +size.value });
  });
  const said = make("span");
  if (model.get("measurable")) root.append(make("div", { class: "bn-live" }, size, button, said));
  withKernel(model, root, (message) => {
    button.disabled = false;
    said.textContent = message.text;
  });
  model.on("change:values", load);
  load();
  return redrawing(root, draw);
}

export default { render };
