// The training curve. Numbers come from the JSON element; names become text, never markup.
(function () {
  "use strict";
  const colours = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#1a1a1a"];
  const holder = document.getElementById("curve");
  const source = document.getElementById("curve-data");
  if (holder && source) {
    const data = JSON.parse(source.textContent);
    const isLoss = (name) => / loss/.test(name);
    const series = data.names.slice(1).map((name, i) => ({
      label: name,
      scale: isLoss(name) ? "loss" : "score",
      stroke: colours[i % colours.length],
      width: /^validation/.test(name) ? 2 : 1,
      spanGaps: true,
      points: { show: /^validation/.test(name), size: 5 },
      value: (_, v) => (v == null ? "–" : v.toPrecision(4)),
    }));
    const has = (scale) => series.some((s) => s.scale === scale);
    const axes = [{ label: "step" }];
    if (has("loss")) axes.push({ scale: "loss", label: "loss", size: 62 });
    if (has("score")) {
      axes.push({ scale: "score", label: "score", side: has("loss") ? 1 : 3, size: 62,
        grid: { show: !has("loss") } });
    }
    const chart = new uPlot({
      width: holder.clientWidth || 900,
      height: 300,
      scales: { x: { time: false } },
      series: [{ label: "step" }, ...series],
      axes: axes,
    }, data.columns, holder);
    new ResizeObserver(() => {
      if (holder.clientWidth > 0 && holder.clientWidth !== chart.width) {
        chart.setSize({ width: holder.clientWidth, height: 300 });
      }
    }).observe(holder);
  }
  document.documentElement.dataset.ready = "true";
})();
