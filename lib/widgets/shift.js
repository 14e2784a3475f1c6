// The covariate-shift explorer: one layer over training, and all layers at one step.

function render({ model, el }) {
  const names = { none: "no normalization", batchnorm: "BatchNorm" };
  const titles = ["distance over training", "direction over training", "distance by layer", "direction by layer"];
  const { root, controls, canvases, readout, legend } = frame(el, titles, model.get("caption"));
  const next = unpacking(model.get("values"));
  const runs = model.get("runs").map((run) => {
    const size = run.seeds * run.steps.length * run.layers;
    // [seed, step, layer] each.
    const curves = Object.fromEntries(Object.keys(names).map((norm) => [norm, { distance: next(size), direction: next(size) }]));
    return { ...run, curves };
  });
  const count = runs[0].layers;
  const numbers = Array.from({ length: count }, (_, i) => i + 1);
  const steps = [...new Set(runs.flatMap((run) => run.steps))].sort((a, b) => a - b);
  const size = slider("step size", runs.map((run) => run.label), model.get("start"), (x) => x, draw);
  const layer = slider("layer", numbers, numbers[count >> 1], (x) => `${x} of ${count}`, draw);
  const moment = slider("training step", steps, steps[steps.length >> 1], String, draw);
  const seeds = ["all", ...Array.from({ length: runs[0].seeds }, (_, i) => i)];
  const seed = slider("seed", seeds, "all", (x) => (x === "all" ? "median" : `seed ${x}`), draw);
  const presets = { "at the first step": { moment: steps[0] }, "the first layer": { layer: 1 }, "the last layer": { layer: count } };
  const address = addressed("shift", { size, layer, moment, seed }, presets, draw);
  controls.append(size.element, layer.element, moment.element, seed.element);
  controls.after(make("div", { class: "bn-buttons" }, ...address.buttons));
  linked(canvases.slice(0, 2), moment, () => steps, draw);
  linked(canvases.slice(2), layer, () => numbers, draw);

  function draw() {
    const run = runs.find((one) => one.label === size.value());
    const chosen = seed.value() === "all" || seed.value() >= run.seeds ? [...Array(run.seeds).keys()] : [seed.value()];
    const at = run.steps.indexOf(nearest(run.steps, moment.value()));
    // The median over seeds of a quantity at the step and the layer of these indices.
    const value = (norm, what, step, place) =>
      median(chosen.map((one) => run.curves[norm][what][(one * run.steps.length + step) * count + place]));
    const lines = (x, y) => Object.keys(names).map((norm) => ({ x, y: x.map((_, i) => y(norm, i)), colour: COLOURS[norm] }));
    const whats = [["distance", "|G − G′|", true, undefined], ["direction", "cos(G, G′)", false, [-1.05, 1.05]]];
    whats.forEach(([what, ylabel, log, ylim], i) => {
      plot(canvases[i], {
        title: `${what}, layer ${layer.value()}`, xlabel: "step", ylabel, log, ylim, mark: moment.value(),
        lines: lines(run.steps, (norm, step) => value(norm, what, step, layer.value() - 1)),
      });
      plot(canvases[2 + i], {
        title: `${what}, step ${run.steps[at]}`, xlabel: "layer", ylabel, log, ylim, mark: layer.value(),
        lines: lines(numbers, (norm, place) => value(norm, what, at, place)),
      });
    });
    legend(Object.entries(names).map(([norm, name]) => [name, COLOURS[norm]]));
    const said = Object.entries(names).map(([norm, name]) => {
      const [distance, direction] = ["distance", "direction"].map((what) => value(norm, what, at, layer.value() - 1));
      return `${name}: |G − G′| ${shortNumber(distance)}, cosine ${shortNumber(direction)}`;
    });
    readout.textContent = `Step size ${run.label}, layer ${layer.value()}, step ${run.steps[at]}: ${said.join("; ")}.`;
    address.note();
  }
  draw();
  return redrawing(root, draw);
}

export default { render };
