// The noise explorer: Algorithm 1 computed here on standard normal activations, and measured training beside it.

// A small seeded generator of uniform numbers (mulberry32), so that a drawing depends on the sliders only.
function uniform(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function normal(next) {
  return Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
}

// Algorithm 1 for one unit: `steps` batches of `samples` activations, [steps][samples].
function noisyActivations({ n_mu, n_sigma, r_mu, r_sigma }, steps, samples) {
  const next = uniform(2018);
  const batches = [];
  for (let t = 0; t < steps; t++) {
    const mu = n_mu * (2 * next() - 1);
    const sigma = 1 + (n_sigma - 1) * next();
    const batch = [];
    for (let i = 0; i < samples; i++) {
      const a = normal(next);
      const m = mu + r_mu * (2 * next() - 1);
      const s = sigma + r_sigma * normal(next);
      batch.push(s * a + m);
    }
    batches.push(batch);
  }
  return batches;
}

const mean = (values) => values.reduce((sum, x) => sum + x, 0) / values.length;
const deviation = (values) => {
  const centre = mean(values);
  return Math.sqrt(mean(values.map((x) => (x - centre) ** 2)));
};

function render({ model, el }) {
  const panels = ["mean and spread of one activation over steps", "distribution at one step", "training accuracy"];
  const { root, controls, canvases, readout, legend } = frame(el, panels, `Measured training: ${model.get("caption")}`);
  const paper = model.get("paper");
  const two = (x) => (x === null ? "divergence" : x.toFixed(2));
  const strengths = model.get("strengths");
  const strength = slider("measured noise", strengths, model.get("start"), (x) => `${x}× paper`, () => {
    const chosen = scaled(strength.value());
    for (const name of Object.keys(paper)) knobs[name].set(chosen[name]);
    draw();
  });
  const scaled = (s) => ({
    n_mu: paper.n_mu * s,
    n_sigma: 1 + (paper.n_sigma - 1) * s,
    r_mu: paper.r_mu * s,
    r_sigma: paper.r_sigma * s,
  });
  const ranges = {
    n_mu: { min: 0, max: 2, step: 0.05 },
    n_sigma: { min: 1, max: 2, step: 0.025 },
    r_mu: { min: 0, max: 1, step: 0.05 },
    r_sigma: { min: 0, max: 1, step: 0.05 },
  };
  const signs = { n_mu: "n_μ", n_sigma: "n_σ", r_mu: "r_μ", r_sigma: "r_σ" };
  const start = scaled(model.get("start"));
  const knobs = {};
  for (const name of Object.keys(ranges)) knobs[name] = slider(signs[name], ranges[name], start[name], two, draw);
  const moment = slider("time step", { min: 0, max: 59, step: 1 }, 0, String, draw);
  const address = addressed("noise", { strength, ...knobs, moment }, {}, draw);
  controls.append(strength.element, ...Object.values(knobs).map((knob) => knob.element), moment.element, ...address.buttons);

  function draw() {
    const noise = Object.fromEntries(Object.entries(knobs).map(([name, knob]) => [name, knob.value()]));
    const batches = noisyActivations(noise, 60, 256);
    const steps = batches.map((_, t) => t);
    const means = batches.map(mean);
    const spreads = batches.map(deviation);
    plot(canvases[0], {
      title: "mean ± spread",
      xlabel: "time step",
      ylabel: "activation",
      ylim: [-4, 4],
      bands: [{ x: steps, low: means.map((m, t) => m - spreads[t]), high: means.map((m, t) => m + spreads[t]), colour: COLOURS.noisy }],
      lines: [
        { x: steps, y: means, colour: COLOURS.noisy },
        { x: steps, y: steps.map(() => 1), colour: COLOURS.batchnorm, width: 1, dash: [4, 4] },
        { x: steps, y: steps.map(() => -1), colour: COLOURS.batchnorm, width: 1, dash: [4, 4] },
      ],
    });
    const bins = 33;
    const centres = Array.from({ length: bins }, (_, i) => -5 + (10 * (i + 0.5)) / bins);
    const shares = new Array(bins).fill(0);
    for (const a of batches[moment.value()]) {
      const bin = Math.floor(((a + 5) / 10) * bins);
      if (bin >= 0 && bin < bins) shares[bin] += bins / 10 / 256;
    }
    plot(canvases[1], {
      title: `time step ${moment.value()}`,
      xlabel: "activation",
      ylabel: "density",
      ylim: [0, 0.7],
      bars: [{ x: centres, y: shares, width: 10 / bins, colour: COLOURS.noisy }],
      lines: [{ x: centres, y: centres.map((x) => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI)), colour: COLOURS.batchnorm }],
    });
    const curves = model.get("training");
    const [clean, now] = [curves["0"], curves[String(strength.value())]];
    const live = curves.live;
    const line = (curve, norm, colour, dash) => ({ x: curve.steps, y: curve[norm], colour, width: 2, dash });
    plot(canvases[2], {
      title: `accuracy, noise ${strength.value()}×`,
      xlabel: "step",
      ylabel: "training accuracy",
      ylim: [0, 1],
      lines: [
        line(clean, "batchnorm", COLOURS.batchnorm, [4, 4]),
        line(clean, "none", COLOURS.none, [4, 4]),
        line(now, "batchnorm", COLOURS.batchnorm, []),
        line(now, "none", COLOURS.none, []),
        ...(live ? [line(live, "batchnorm", COLOURS.noisy, [])] : []),
      ],
    });
    legend([
      ["with BatchNorm", COLOURS.batchnorm],
      ["without", COLOURS.none],
      ["with noise", COLOURS.noisy],
      ["dashed: without noise", "currentColor", "dash"],
    ]);
    const chosen = scaled(strength.value());
    const measured = Object.keys(noise).every((name) => Math.abs(noise[name] - chosen[name]) < 1e-6);
    const last = (curve) => curve[curve.length - 1];
    readout.textContent =
      `Over 60 steps the batch mean of this activation has a deviation of ${two(deviation(means))} and its spread runs from ` +
      `${two(Math.min(...spreads))} to ${two(Math.max(...spreads))} (BatchNorm alone: mean 0, spread 1); at time step ${moment.value()} they are ${two(means[moment.value()])} and ${two(spreads[moment.value()])}. ` +
      `Measured at ${strength.value()}× the paper's noise${measured ? "" : ", not at the sliders' present values"}: training accuracy ends at ` +
      `${two(last(now.batchnorm))} with BatchNorm and ${two(last(now.none))} without ` +
      `(no noise, dashed: ${two(last(clean.batchnorm))} and ${two(last(clean.none))}).`;
    address.note();
  }

  const button = make("button", { type: "button" }, "train with this noise now");
  const said = make("span");
  button.addEventListener("click", () => {
    button.disabled = true;
    model.send({ type: "train", noise: Object.fromEntries(Object.entries(knobs).map(([name, knob]) => [name, knob.value()])) });
  });
  root.append(make("div", { class: "bn-live" }, button, said));
  withKernel(model, root, (message) => {
    button.disabled = false;
    said.textContent = message.text;
  });
  model.on("change:training", draw);
  return redrawing(root, draw);
}

export default { render };
