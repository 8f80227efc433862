"""How the page looks: palette, CSS, the JavaScript that draws. Colours live in CSS alone.

Figures name colours as "@c0", "@ink", …: CSS variables, resolved in the browser, so that a change between
light and dark repaints everything. The palette is Okabe and Ito's ("Color Universal Design", 2008), darkened
or lightened until it reads on its paper.
"""

from __future__ import annotations

COLOURS = 7
"""c0 … c6; beyond, lines are dashed."""

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
DASH_ARRAYS = ("none", "6 3", "2 3", "6 3 2 3", "11 3", "11 3 2 3")

SYMBOLS = ("circle", "square", "diamond")


def colour(k: int) -> str:
    return f"@c{k % COLOURS}"


def dash(k: int) -> str:
    return DASHES[k // COLOURS % len(DASHES)]


def dash_array(k: int) -> str:
    """The same dash, for SVG."""
    return DASH_ARRAYS[k // COLOURS % len(DASH_ARRAYS)]


CSS = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --wash: #f5f7fa; --card: #ffffff; --line: #dfe4ea; --grid: #e8ecf1;
  --ink: #18202b; --soft: #566273; --accent: #0067a3; --warn: #8a4b00; --warn-wash: #fff6e5;
  --c0: #0072b2; --c1: #d55e00; --c2: #008f68; --c3: #b9558d; --c4: #b87f00; --c5: #3d9fdb; --c6: #6b7280;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #10141a; --wash: #10141a; --card: #181e27; --line: #2b3441; --grid: #29313d;
    --ink: #e7ecf2; --soft: #9ba8b8; --accent: #6cbcf0; --warn: #f3c077; --warn-wash: #2a2113;
    --c0: #4fa8e0; --c1: #f5854a; --c2: #2cc295; --c3: #e49ac4; --c4: #f0b840; --c5: #a5d8fa; --c6: #a3adba;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body {
  margin: 0; background: var(--wash); color: var(--ink);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif;
}
main, header > div { max-width: 1200px; margin: 0 auto; padding: 0 24px; }
header { background: var(--paper); border-bottom: 1px solid var(--line); padding: 44px 0 28px; }
.kicker { color: var(--accent); font-size: 13px; font-weight: 600; letter-spacing: .04em; margin: 0 0 6px; }
h1 { font-size: clamp(26px, 4vw, 38px); line-height: 1.2; letter-spacing: -.015em; margin: 0 0 14px; }
h2 { font-size: 21px; line-height: 1.3; letter-spacing: -.01em; margin: 0 0 4px; }
h3 { font-size: 14px; font-weight: 600; margin: 0 0 2px; }
h1, h2, h3, p, li, td, code { overflow-wrap: anywhere; }
p { margin: 0 0 12px; }
.lead { font-size: 17px; max-width: 76ch; }
.caption { color: var(--soft); font-size: 14.5px; max-width: 84ch; margin-bottom: 14px; }
nav { display: flex; flex-wrap: wrap; gap: 6px 18px; font-size: 14.5px; margin-top: 18px; }
a { color: var(--accent); text-decoration: none; } a:hover { text-decoration: underline; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(172px, 1fr)); gap: 12px;
  margin-top: 22px; }
.tile { background: var(--wash); border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; }
.tile b { display: block; white-space: nowrap; font-size: 25px; line-height: 1.25; font-weight: 650;
  font-variant-numeric: tabular-nums; }
.tile span { display: block; color: var(--soft); font-size: 13px; line-height: 1.4; overflow-wrap: anywhere; }
.tile.first { border-color: var(--accent); }
section {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 22px 24px; margin: 22px 0; min-width: 0; scroll-margin-top: 12px;
}
.pair { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 22px; }
.pair section { margin: 0; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(300px, 100%), 1fr));
  gap: 14px 22px; }
.grid > div { min-width: 0; }
.plot { width: 100%; min-width: 0; }
.notes { background: var(--warn-wash); border-left: 4px solid var(--warn); border-radius: 6px;
  padding: 12px 18px; margin: 22px 0 0; }
.notes ul { margin: 0; padding-left: 18px; } .notes h2 { color: var(--warn); font-size: 14px; margin: 0 0 2px; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 0 0 12px; padding: 0;
  font-size: 14px; }
.legend li { display: flex; align-items: center; gap: 7px; min-width: 0; } .legend svg { flex: none; }
.scroll { overflow-x: auto; -webkit-overflow-scrolling: touch; margin: 0 -24px; padding: 0 24px; }
table { border-collapse: collapse; font-size: 14px; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 8px 10px 8px 0; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
th { white-space: normal; color: var(--soft); font-weight: 600; font-size: 13px; vertical-align: bottom; }
td.text, th.text { text-align: left; }
td.text:not(:first-child), th.text:not(:first-child) { padding-left: 6px; }
th:last-child, td:last-child { padding-right: 0; }
th:first-child, td:first-child { position: sticky; left: 0; background: var(--card); }
tbody th { color: var(--ink); font-weight: 400; font-size: 14px; text-align: left; white-space: nowrap;
  vertical-align: baseline; }
tr.best th { font-weight: 650; }
details { margin: 10px 0 0; } summary { cursor: pointer; color: var(--accent); font-size: 14.5px; }
details[open] summary { margin-bottom: 6px; }
select { font: inherit; color: var(--ink); background: var(--wash); border: 1px solid var(--line);
  border-radius: 7px; padding: 1px 6px; max-width: 100%; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.skip { position: absolute; left: -9999px; } .skip:focus { left: 12px; top: 8px; }
tbody tr:last-child > * { border-bottom: 0; } tr.best td { font-weight: 650; }
code, pre { font: 13px/1.55 ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace; }
pre { background: var(--wash); border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px;
  overflow-x: auto; margin: 0 0 16px; }
.none { color: var(--soft); padding: 18px 0 6px; } .none.small { font-size: 13px; padding: 0; margin: 0 0 4px; }
section h3 { margin-top: 10px; } .grid h3 { margin-top: 0; }
footer { color: var(--soft); font-size: 13px; text-align: center; padding: 6px 24px 40px; }
@media (max-width: 860px) { .pair { grid-template-columns: minmax(0, 1fr); } }
@media (max-width: 560px) {
  main, header > div { padding: 0 14px; }
  header { padding: 28px 0 20px; }
  section { padding: 16px 14px; margin: 14px 0; }
  th:first-child, td:first-child { white-space: normal; min-width: 6.5em; }
  .pair { gap: 14px; } .scroll { margin: 0 -14px; padding: 0 14px; }
  .tiles { grid-template-columns: 1fr 1fr; } .tile { padding: 10px 12px; } .tile b { font-size: 22px; }
}
@media print { body { background: none; } section { break-inside: avoid; } nav { display: none; } }
"""

SCRIPT = """
(function () {
  "use strict";
  var figures = JSON.parse(document.getElementById("figures").textContent);
  var dark = window.matchMedia("(prefers-color-scheme: dark)");
  var touch = window.matchMedia("(hover: none)").matches;
  var config = {responsive: true, displaylogo: false, typesetMath: false,
    displayModeBar: touch ? false : "hover",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"]};
  function painted(value, key, style) {
    if (Array.isArray(value)) return value.map(function (item) { return painted(item, key, style); });
    if (value && typeof value === "object") {
      var copy = {};
      Object.keys(value).forEach(function (name) { copy[name] = painted(value[name], name, style); });
      return copy;
    }
    var named = typeof value === "string" && value[0] === "@" && /color$/.test(key);
    return named ? style.getPropertyValue("--" + value.slice(1)).trim() : value;
  }
  function show(figure) {
    var fresh = painted(figure.choices ? figure.choices[figure.chosen || 0] : figure, "",
      getComputedStyle(document.documentElement));
    if (touch) fresh.layout.dragmode = false;
    Plotly.react(figure.id, fresh.data, fresh.layout, config);
  }
  function draw() { figures.forEach(show); }
  draw();
  document.querySelectorAll("select[data-figure]").forEach(function (select) {
    select.value = "0";
    select.addEventListener("change", function () {
      var figure = figures.find(function (one) { return one.id === select.dataset.figure; });
      figure.chosen = Number(select.value);
      show(figure);
    });
  });
  dark.addEventListener("change", draw);
  document.documentElement.dataset.drawn = String(figures.length);
})();
"""
