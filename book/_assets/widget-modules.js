// Loaded after require.js and before the widget manager: tells both where the
// copies under vendor/ are, so that a page needs no network.
(function () {
  const base = new URL("vendor/", document.currentScript.src).href;

  requirejs.config({
    baseUrl: base, // "anywidget" resolves to vendor/anywidget.js
    // The widget manager looks for its icon fonts beside its modules; this one
    // is the only module that is not named directly under @jupyter-widgets/.
    paths: { "@jupyter-widgets/html-manager/dist/libembed-amd": "@jupyter-widgets/libembed-amd" },
  });

  // The theme's Font Awesome replaces <i> by <svg>, which breaks the widgets
  // that hold on to their <i>; nested, both live.
  window.FontAwesomeConfig = { autoReplaceSvg: "nest" };

  // Widgets typeset their labels through the interface of MathJax 2. It is added
  // once MathJax 3 is there (on pages with mathematics) and before any widget is.
  function typeset(job) {
    job[2].classList.add("mathjax_process"); // the page's text is otherwise left alone
    MathJax.startup.promise.then(() => MathJax.typesetPromise([job[2]]));
  }
  window.addEventListener("load", () => {
    if (window.MathJax) {
      MathJax.Hub = { Queue: typeset };
    }
  });
})();
