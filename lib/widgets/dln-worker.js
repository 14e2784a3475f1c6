
// The worker's side, which stands behind dln.js: trains in slices, posts what it found, and listens in between.
// Messages in: {type: "start", settings}, {type: "run", until}, {type: "pause"}. Out: {found, step, diverged, running, ...}.
let training = null;
let until = 0;
const SLICE_MS = 60;
const channel = new MessageChannel();

function slice() {
  const found = [];
  const end = performance.now() + SLICE_MS;
  while (training.step < until && !training.diverged && performance.now() < end) found.push(training.advance());
  const running = training.step < until && !training.diverged;
  if (!running) until = training.step;
  postMessage({ found, step: training.step, diverged: training.diverged, running });
  if (running) channel.port2.postMessage(null); // comes back after the messages that wait: setTimeout would lose 4 ms a slice
}

channel.port1.onmessage = () => {
  if (training && training.step < until) slice();
};
onmessage = ({ data }) => {
  if (data.type === "start") {
    training = new Training(data.settings);
    until = 0;
    postMessage({ found: [], targets: training.targetSizes, step: 0, diverged: false, running: false });
  }
  if (data.type === "run") {
    const idle = training.step >= until;
    until = data.until;
    if (idle) slice();
  }
  if (data.type === "pause" && training.step < until) {
    until = training.step;
    postMessage({ found: [], step: until, diverged: training.diverged, running: false });
  }
};
