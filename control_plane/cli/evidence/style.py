"""How the page of an optimization looks, by day and by night."""

from __future__ import annotations

CSS = """
:root {
  color-scheme: light dark;
  --ground: #f6f7f9; --card: #ffffff; --ink: #16202c; --soft: #5b6877; --rule: #e1e6ec; --grid: #e9edf1;
  --accent: #0b7a75; --accent-soft: #d9f0ee; --other: #7b8ba0; --warn: #9a5b00; --warn-soft: #fdf0d8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #10151b; --card: #182029; --ink: #e7edf3; --soft: #9aa8b7; --rule: #2a3541; --grid: #25303b;
    --accent: #3fd0c6; --accent-soft: #12403d; --other: #8496aa; --warn: #f0b45a; --warn-soft: #40300f;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
main { max-width: 1040px; margin: 0 auto; padding: 44px 24px 72px; }
header p { margin: 0; }
.kicker { color: var(--soft); font-size: 13px; letter-spacing: .02em; }
h1 { font-size: 30px; line-height: 1.2; margin: 6px 0 14px; letter-spacing: -.015em; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 44px 0 4px; letter-spacing: -.005em; }
.lede { font-size: 18px; max-width: 62ch; }
.hint { color: var(--soft); margin: 6px 0 0; max-width: 82ch; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(148px, 1fr)); gap: 12px; margin: 28px 0 0; }
.tile { background: var(--card); border: 1px solid var(--rule); border-radius: 12px; padding: 14px 16px; }
.tile dt { color: var(--soft); font-size: 13px; }
.tile dd { margin: 0; }
.tile .number { font-size: 25px; line-height: 1.3; font-weight: 620; white-space: nowrap; }
.tile .detail { color: var(--soft); font-size: 13px; overflow-wrap: anywhere; }
.tile.good .number { color: var(--accent); }
figure, .card {
  background: var(--card); border: 1px solid var(--rule); border-radius: 12px; margin: 12px 0 0; padding: 18px 20px;
}
.card { overflow-x: auto; }
figure svg { display: block; width: 100%; height: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { text-align: left; padding: 8px 14px 8px 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
thead th { color: var(--soft); font-weight: 500; font-size: 13px; white-space: nowrap; }
tbody tr:last-child > * { border-bottom: 0; }
tbody th { font-weight: 600; white-space: nowrap; }
.num { text-align: right; white-space: nowrap; }
.facts tbody th { color: var(--soft); font-weight: 500; width: 1%; white-space: nowrap; padding-right: 26px; }
.facts td { overflow-wrap: anywhere; }
tr.chosen th, tr.chosen .num { color: var(--accent); }
.reason { color: var(--soft); min-width: 180px; max-width: 340px; overflow-wrap: anywhere; }
.pill { display: inline-block; border-radius: 99px; padding: 0 10px; font-size: 12.5px; border: 1px solid var(--rule); }
.pill.chosen { background: var(--accent-soft); color: var(--accent); border-color: transparent; font-weight: 600; }
.pill.rejected { background: var(--warn-soft); color: var(--warn); border-color: transparent; }
.pill.skipped { color: var(--soft); }
code, pre { font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre { margin: 10px 0 0; white-space: pre-wrap; overflow-wrap: anywhere; }
summary { cursor: pointer; color: var(--soft); }
text { font: 12.5px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: var(--ink); }
text.axis { font-size: 11.5px; fill: var(--soft); font-variant-numeric: tabular-nums; }
text.value { font-weight: 620; font-variant-numeric: tabular-nums; }
line.grid { stroke: var(--grid); }
line.one { stroke: var(--soft); stroke-dasharray: 4 4; }
line.floor { stroke: var(--warn); stroke-dasharray: 6 4; }
g.other { --mark: var(--other); }
g.chosen { --mark: var(--accent); }
g.chosen text.label, g.chosen text.value { fill: var(--accent); font-weight: 620; }
.interval { stroke: var(--mark); stroke-width: 2; }
.dot { fill: var(--mark); stroke: var(--card); stroke-width: 1.5; }
g.again .dot { fill: var(--card); stroke: var(--mark); stroke-width: 2.5; }
.sample { fill: var(--mark); opacity: .5; }
.box { fill: var(--mark); opacity: .28; }
.median { stroke: var(--mark); stroke-width: 3; }
footer { color: var(--soft); font-size: 13px; margin-top: 40px; }
@media print { body { background: #fff; } figure, .card, .tile { break-inside: avoid; } }
"""
