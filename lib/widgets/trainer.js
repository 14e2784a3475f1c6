// A deep linear network at the paper's size, trained twice in the page, without and with normalization, each in a worker.

const LENGTHS = [0.01, 0.1, 0.3, 1, 3]; // where the landscape is probed, in step sizes
const EVERY = 25; // steps between two probes
const STEPS = 10000;
const FIRST = 1500; // steps trained when the widget comes into sight
const RANK = 0.01; // a singular value counts from this share of the data's largest on
const POWERS = [];
for (let power = -9; power <= -3; power++) for (const digit of [1, 2, 3, 5]) POWERS.push(+`${digit}e${power}`);
POWERS.splice(POWERS.indexOf(1e-3) + 1);

const PRESETS = {
  "the paper's setting": { step_size: 1e-6, layers: 25, gamma: 1, norm: "batchnorm", seed: 0 },
  "where it flips: a tenth of the step": { step_size: 1e-7, layers: 25, gamma: 1, norm: "batchnorm", seed: 0 },
  "where only BatchNorm lives": { step_size: 1e-5, layers: 25, gamma: 1, norm: "batchnorm", seed: 0 },
  "the network of five layers": { step_size: 1e-6, layers: 5, gamma: 1, norm: "batchnorm", seed: 0 },
};
const NAMES = { none: "no normalization", batchnorm: "BatchNorm", l2: "l₂" };

// One network in its worker; `told` is called with each message. Losses are kept at every step, probes at every EVERY-th.
function network(norm, told) {
  const blob = new Blob([WORKER_SOURCE], { type: "text/javascript" });
  const address = URL.createObjectURL(blob);
  const worker = new Worker(address);
  URL.revokeObjectURL(address);
  const state = { norm, steps: [], loss: [], probes: [], targets: [], step: 0, diverged: false, running: false };
  worker.onmessage = ({ data }) => {
    for (const one of data.found) {
      if (one.step % 5 === 0) {
        state.steps.push(one.step);
        state.loss.push(one.loss);
      }
      if (one.probe) state.probes.push(one);
    }
    if (data.targets) state.targets = data.targets;
    Object.assign(state, { step: data.step, diverged: data.diverged, running: data.running });
    told();
  };
  return { state, send: (message) => worker.postMessage(message), close: () => worker.terminate() };
}

const rank = (state) => {
  const last = state.probes.at(-1);
  return last ? last.sizes.filter((size) => size > RANK * state.targets[0]).length : 0;
};

function render({ model, el }) {
  const { root, controls, canvases, readout, legend } = frame(el, ["loss", "effective smoothness", "singular values, without", "singular values, with"]);
  const knobs = {
    step_size: slider("step size η", POWERS, model.get("step_size"), shortNumber, restart),
    layers: slider("layers", { min: 2, max: 40, step: 1 }, model.get("layers"), String, restart),
    gamma: slider("scale γ", { min: 0.5, max: 2, step: 0.05 }, model.get("gamma"), (x) => x.toFixed(2), restart),
    norm: slider("norm", ["batchnorm", "l2"], model.get("norm"), (x) => NAMES[x], restart),
    seed: slider("seed", { min: 0, max: 20, step: 1 }, model.get("seed"), String, restart),
  };
  let pair = [];
  let wanted = FIRST; // how far the networks are to be trained
  let pending = 0;

  const send = (message) => pair.forEach((one) => one.send(message));
  const busy = () => pair.some(({ state }) => state.running);
  const run = (until) => {
    wanted = until;
    send({ type: "run", until });
  };
  const go = make("button", { type: "button" }, "Run");
  go.addEventListener("click", () => (busy() ? send({ type: "pause" }) : run(STEPS)));
  const one = make("button", { type: "button" }, "One step");
  one.addEventListener("click", () => {
    send({ type: "pause" });
    run(Math.max(...pair.map(({ state }) => state.step)) + 1);
  });
  const address = addressed("linear", knobs, PRESETS, () => restart());
  controls.append(...Object.values(knobs).map((knob) => knob.element));
  controls.after(make("div", { class: "bn-buttons" }, go, one, ...address.buttons));

  function restart() {
    address.note();
    pair.forEach((network) => network.close());
    const settings = Object.fromEntries(Object.entries(knobs).map(([name, knob]) => [name, knob.value()]));
    pair = ["none", settings.norm].map((norm) => network(norm, soon));
    pair.forEach(({ send }, i) => send({ type: "start", settings: { ...settings, norm: ["none", settings.norm][i], every: EVERY, lengths: LENGTHS } }));
    wanted = FIRST;
    send({ type: "run", until: wanted });
  }
  // At most one drawing a frame, however many messages come.
  function soon() {
    if (!pending) pending = requestAnimationFrame(draw);
  }

  function draw() {
    pending = 0;
    const eta = knobs.step_size.value();
    const colour = (state) => COLOURS[state.norm] || COLOURS.l2;
    const states = pair.map(({ state }) => state);
    const end = Math.max(100, ...states.map(({ step }) => step));
    const span = [0, end];
    const at = (state) => state.probes.map(({ step }) => step);
    plot(canvases[0], {
      title: "loss, and where it goes along the gradient",
      xlabel: "step",
      ylabel: "sum of squared errors",
      log: true,
      ylim: lossLimits(states),
      xlim: span,
      bands: states.map((state) => ({
        x: at(state),
        low: state.probes.map(({ probe }) => Math.min(...probe.loss)),
        high: state.probes.map(({ probe }) => Math.max(...probe.loss)),
        colour: colour(state),
      })),
      lines: states.map((state) => ({ x: state.steps, y: state.loss, colour: colour(state) })),
    });
    plot(canvases[1], {
      title: "effective smoothness β",
      xlabel: "step",
      ylabel: "β (1 / step size)",
      log: true,
      xlim: span,
      lines: [
        ...states.map((state) => ({ x: at(state), y: state.probes.map(({ probe }) => probe.beta), colour: colour(state) })),
        { x: span, y: [2 / eta, 2 / eta], colour: ink().text, width: 2, dash: [6, 4] },
      ],
    });
    states.forEach((state, i) => {
      const largest = state.targets[0] || 1;
      plot(canvases[2 + i], {
        title: `rank by rank: ${NAMES[state.norm]}`,
        xlabel: "step",
        ylabel: "relative size",
        ylim: [0, 1.1],
        xlim: span,
        lines: [
          ...state.targets.map((size) => ({ x: span, y: [size / largest, size / largest], colour: ink().grey, width: 1, dash: [2, 3] })),
          ...state.targets.map((_, k) => ({ x: at(state), y: state.probes.map(({ sizes }) => sizes[k] / largest), colour: colour(state) })),
        ],
      });
    });
    legend([
      ...states.map((state) => [NAMES[state.norm], colour(state)]),
      ["2 / step size: steeper is beyond the edge of stability", ink().text, "dash"],
      ["singular values of the data; of the network: its colour; relative to the data's largest", ink().grey, "dots"],
    ]);
    go.textContent = busy() ? "Stop" : `Run to step ${STEPS.toLocaleString("en")}`;
    root.dataset.step = Math.min(...states.map(({ step, diverged }) => (diverged ? wanted : step)));
    if (!busy()) say(states, eta);
  }

  // A short text, said once training rests and not on the way.
  function say(states, eta) {
    const words = states.map((state) => {
      const name = NAMES[state.norm];
      if (state.diverged) return `${name}: diverged at step ${state.step}.`;
      const last = state.probes.at(-1);
      if (!last) return "";
      return `${name}: step ${state.step}, loss ${shortNumber(state.loss.at(-1))}, rank ${rank(state)} of 10, β is ${shortNumber((last.probe.beta * eta) / 2)} times 2/η.`;
    });
    const betas = states.map(({ probes }) => median(probes.map(({ probe }) => probe.beta)));
    const ratio = betas[0] / betas[1];
    const verdict = Number.isFinite(ratio) ? ` Median β over the run, without over with: ${shortNumber(ratio)} (${ratio > 1 ? "smoother" : "rougher"} with ${NAMES[states[1].norm]}).` : "";
    const text = words.join(" ") + verdict;
    if (readout.textContent !== text) readout.textContent = text;
  }

  // Nothing is trained before the reader can see it.
  const sight = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    sight.disconnect();
    restart();
  });
  sight.observe(root);
  const stop = redrawing(root, () => pair.length && soon());
  return () => {
    stop();
    sight.disconnect();
    pair.forEach((network) => network.close());
  };
}

// The losses of both networks with room around them: a probe far along the gradient of a rough landscape is cut.
function lossLimits(states) {
  const all = states.flatMap(({ loss }) => loss).filter((x) => Number.isFinite(x) && x > 0);
  if (!all.length) return [1, 10];
  const start = Math.max(...states.map(({ loss }) => loss[0]).filter(Number.isFinite));
  return [Math.min(...all) / 1.5, 3 * start];
}

export default { render };
