// Shows the book's own widgets on a page that has no others: what of the widget manager they use, in a hundredth of its size.
// A widget is a module that exports render({ model, el }); its model here is the state that the page carries, with no kernel behind it.
document.addEventListener("DOMContentLoaded", () => {
  const MIME = "application/vnd.jupyter.widget";
  const parsed = (kind) => [...document.querySelectorAll(`script[type="${MIME}-${kind}+json"]`)].map((script) => [script, JSON.parse(script.textContent)]);
  const states = Object.assign({}, ...parsed("state").map(([, { state }]) => state));
  const models = {};

  for (const [script, { model_id: id }] of parsed("view")) {
    const el = document.createElement("div");
    const area = document.createElement("div");
    area.className = "widget-subarea";
    area.append(el);
    script.before(area);
    show(id, el).catch((error) => {
      console.error(error);
      el.textContent = "This explorable does not work in this browser.";
    });
  }

  async function show(id, el) {
    const model = (models[id] ??= modelOf(states[id]));
    const address = URL.createObjectURL(new Blob([model.get("_esm")], { type: "text/javascript" }));
    const module = await import(address);
    URL.revokeObjectURL(address);
    await module.default.render({ model, el });
  }

  function modelOf({ state, buffers = [] }) {
    for (const { path, data } of buffers) {
      const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
      const last = path.pop();
      path.reduce((inside, name) => inside[name], state)[last] = new DataView(bytes.buffer);
    }
    const heard = {};
    return {
      get: (name) => state[name],
      set(name, value) {
        state[name] = value;
        (heard[`change:${name}`] ?? []).forEach((told) => told());
      },
      save_changes() {},
      send() {}, // nobody answers
      on: (name, told) => (heard[name] ??= []).push(told),
    };
  }
});
