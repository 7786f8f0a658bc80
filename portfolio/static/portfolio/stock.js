// Draws a stock's bars and indicators, and draws them again when new prices have come.
(() => {
  const chart = document.getElementById("chart");
  const state = document.getElementById("chart-state");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let drawn = null; // the version of the prices that are drawn
  let columns = null;
  let months = 6; // the range of days that is shown; 0: all stored days
  let query = ""; // the shorter ranges are in the first answer
  const ranges = document.querySelector(".ranges");

  function style(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function line(name, label, colour, axis, dash) {
    return {
      type: "scatter", mode: "lines", name: label, x: columns.date, y: columns[name], yaxis: axis,
      line: { color: colour, width: 1.5, dash: dash }, connectgaps: false, hovertemplate: "%{y:.4~g}",
    };
  }

  function traces() {
    const up = style("--up"), down = style("--down"), accent = style("--accent"), wait = style("--wait"), muted = style("--muted");
    const rises = columns.close.map((close, at) => at === 0 || close >= columns.close[at - 1]);
    return [
      {
        type: "candlestick", name: "Price", x: columns.date,
        // A bar of which only the close is known is a dash.
        open: columns.open.map((open, at) => open ?? columns.close[at]),
        high: columns.high.map((high, at) => high ?? columns.close[at]),
        low: columns.low.map((low, at) => low ?? columns.close[at]),
        close: columns.close,
        increasing: { line: { color: up } }, decreasing: { line: { color: down } },
      },
      line("sma_20", "SMA 20", accent, "y"),
      line("sma_50", "SMA 50", wait, "y", "dash"),
      line("sma_200", "SMA 200", muted, "y", "dot"),
      { type: "bar", name: "Volume", x: columns.date, y: columns.volume, yaxis: "y2", marker: { color: rises.map((rise) => (rise ? up : down)), opacity: 0.6 }, showlegend: false },
      { ...line("rsi_14", "RSI 14", accent, "y3"), showlegend: false },
      { type: "bar", name: "MACD histogram", x: columns.date, y: columns.macd_histogram, yaxis: "y4", marker: { color: columns.macd_histogram.map((value) => (value >= 0 ? up : down)), opacity: 0.6 }, showlegend: false },
      { ...line("macd", "MACD", accent, "y4"), showlegend: false },
      { ...line("macd_signal", "Signal", wait, "y4", "dash"), showlegend: false },
    ];
  }

  function layout() {
    const text = style("--text"), grid = style("--line"), muted = style("--muted");
    const axis = (title, domain) => ({ title: { text: title, font: { size: 12 } }, domain: domain, gridcolor: grid, zerolinecolor: grid, fixedrange: true });
    const trades = columns.date.some((date) => [0, 6].includes(new Date(date).getUTCDay()));
    const limit = (value) => ({ type: "line", xref: "paper", x0: 0, x1: 1, yref: "y3", y0: value, y1: value, line: { color: muted, width: 1, dash: "dot" } });
    return {
      font: { color: text, family: "system-ui, sans-serif" }, paper_bgcolor: "transparent", plot_bgcolor: "transparent",
      margin: { l: 56, r: 8, t: 8, b: 32 }, hovermode: "x unified", hoverlabel: { bgcolor: style("--sheet"), font: { color: text } },
      legend: { orientation: "h", y: 1.06 }, dragmode: "zoom",
      xaxis: {
        type: "date", anchor: "y4", gridcolor: grid, rangeslider: { visible: false },
        rangebreaks: trades ? [] : [{ bounds: ["sat", "mon"] }],
        range: shown(),
      },
      yaxis: axis("Price", [0.5, 1]), yaxis2: axis("Volume", [0.36, 0.48]),
      yaxis3: { ...axis("RSI", [0.2, 0.33]), range: [0, 100], tickvals: [30, 50, 70] }, yaxis4: axis("MACD", [0, 0.17]),
      shapes: [limit(30), limit(70)],
    };
  }

  // The range of days, from the first stored bar at the earliest. Half a day more at each end shows whole bars.
  function shown() {
    const [oldest, last] = [columns.date[0], columns.date.at(-1)].map((day) => new Date(day));
    const begin = new Date(last);
    begin.setUTCMonth(begin.getUTCMonth() - months);
    const first = months && begin > oldest ? begin : oldest;
    first.setUTCHours(-12);
    last.setUTCHours(12);
    return [first, last].map((time) => time.toISOString().slice(0, 16).replace("T", " "));
  }

  function draw() {
    if (columns === null) return;
    chart.hidden = ranges.hidden = columns.date.length === 0;
    if (columns.date.length === 0) {
      Plotly.purge(chart);
      state.textContent = "No prices yet.";
      return;
    }
    for (const button of ranges.children) button.setAttribute("aria-pressed", Number(button.dataset.months) === months);
    Plotly.react(chart, traces(), layout(), { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d"] });
    state.textContent = `${columns.date.length} days until ${columns.date.at(-1)}, adjusted for splits and dividends. Drag to zoom, double-click for all.`;
  }

  async function load() {
    const version = document.getElementById("figures").dataset.version + query;
    if (version === drawn) return;
    drawn = version;
    try {
      const answer = await fetch(chart.dataset.address + query, { headers: { Accept: "application/json" } });
      if (!answer.ok || answer.redirected) throw new Error(String(answer.status));
      columns = await answer.json();
      draw();
    } catch {
      drawn = null;
      state.textContent = "The chart could not be loaded. Reload the page to try again.";
    }
  }

  ranges.addEventListener("click", (event) => {
    if (event.target.dataset.months === undefined) return;
    months = Number(event.target.dataset.months);
    if (months === 0) query = "?all=1";
    draw();
    load();
  });
  document.addEventListener("live:changed", load);
  dark.addEventListener("change", draw);
  load();
})();
