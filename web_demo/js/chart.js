/** Latency by text length as an SVG: a line for each number of threads, with a bar from p50 to p90. */

const WIDTH = 400, HEIGHT = 240, LEFT = 44, RIGHT = 12, TOP = 32, BOTTOM = 40;
const STEPS = 5;

/**
 * @param {object[]} rows as in statistics.latencyRow
 * @returns {SVGElement}
 */
export function latencyChart(rows) {
  const most = niceCeiling(Math.max(...rows.map(row => row.p90_ms)));
  const longest = Math.max(...rows.map(row => row.tokens));
  const x = tokens => LEFT + tokens / longest * (WIDTH - LEFT - RIGHT);
  const y = ms => HEIGHT - BOTTOM - ms / most * (HEIGHT - TOP - BOTTOM);
  const chart = element("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: "chart"});
  const title = `Latency in milliseconds by tokens: ${rows.map(row =>
    `${row.tokens} tokens, ${row.threads} threads: ${row.p50_ms.toFixed(2)}`).join("; ")}`;
  chart.append(element("title", {}, title));
  for (let step = 0; step <= STEPS; step++) {
    const ms = most * step / STEPS;
    chart.append(element("line", {x1: LEFT, x2: WIDTH - RIGHT, y1: y(ms), y2: y(ms), class: "grid"}));
    chart.append(element("text", {x: LEFT - 8, y: y(ms) + 4, "text-anchor": "end"}, String(+ms.toPrecision(3))));
  }
  for (const tokens of new Set(rows.map(row => row.tokens))) {
    chart.append(element("text", {x: x(tokens), y: HEIGHT - BOTTOM + 18, "text-anchor": "middle"}, String(tokens)));
  }
  chart.append(element("text", {x: (LEFT + WIDTH) / 2, y: HEIGHT - 4, "text-anchor": "middle"}, "tokens"));
  chart.append(element("text", {x: LEFT - 8, y: 14, "text-anchor": "end"}, "ms"));
  [...new Set(rows.map(row => row.threads))].forEach((threads, series) => {
    const own = rows.filter(row => row.threads === threads);
    const points = own.map(row => `${x(row.tokens)},${y(row.p50_ms)}`).join(" ");
    const group = element("g", {class: `series series-${series}`});
    group.append(element("polyline", {points}));
    for (const row of own) {
      const at = x(row.tokens);
      group.append(element("line", {x1: at, x2: at, y1: y(row.p50_ms), y2: y(row.p90_ms)}));
      group.append(element("circle", {cx: at, cy: y(row.p50_ms), r: 3.5}));
    }
    const name = `${threads} thread${threads > 1 ? "s" : ""}`;
    group.append(element("text", {x: LEFT + 90 * series, y: 14}, name));
    chart.append(group);
  });
  return chart;
}

/** 1, 2 or 5 times a power of ten that is not below the value. */
function niceCeiling(value) {
  const power = 10 ** Math.floor(Math.log10(value || 1));
  return power * [1, 2, 5, 10].find(step => step * power >= value);
}

function element(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  if (text !== undefined) made.textContent = text;
  return made;
}
