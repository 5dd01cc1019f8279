"""How the data card looks: the style sheet inside its HTML."""

STYLE = """
:root { --ink: #1c2430; --soft: #5b6675; --line: #dfe4ea; --paper: #fff; --wash: #f5f7f9; --bar: #3b7a8f;
  --track: #e6ecef; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e3e8ee; --soft: #9aa7b5; --line: #2d3742; --paper: #141a21; --wash: #1b232c; --bar: #5aa6bd;
    --track: #26313b; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 2rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
h1 { margin: 0 0 .5rem; font-size: 2rem; line-height: 1.2; }
h2 { margin: 3rem 0 .75rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); font-size: 1.35rem; }
h3 { margin: 1.75rem 0 .5rem; font-size: 1rem; }
p { margin: .5rem 0; max-width: 46rem; }
small, em { color: var(--soft); font-size: .85rem; font-style: normal; }
code, pre { font: .85rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre { margin: .75rem 0; padding: 1rem; overflow-x: auto; background: var(--wash); border-radius: .4rem; }
pre i { color: var(--soft); font-style: normal; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; font-size: .9rem; }
a { color: var(--bar); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem; margin: 1.5rem 0; }
.tiles div { padding: .8rem 1rem; background: var(--wash); border-radius: .5rem; }
.tiles strong { display: block; font-size: 1.35rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.tiles span { color: var(--soft); font-size: .85rem; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 0 2.5rem; }
.wide { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: .92rem; }
th { color: var(--soft); font-weight: 500; text-align: left; white-space: nowrap; }
th, td { padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th.n, td.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.bar { display: block; min-width: 5rem; height: .55rem; margin-top: .45rem;
  background: var(--track); border-radius: .3rem; }
.bar i { display: block; height: 100%; min-width: 2px; background: var(--bar); border-radius: .3rem; }
.reason { display: grid; grid-template-columns: minmax(12rem, 26rem) 5rem 1fr; gap: .75rem; max-width: none; margin: 0;
  padding: .3rem 0; }
.reason b { font-weight: 500; overflow-wrap: anywhere; }
.reason .n { text-align: right; font-variant-numeric: tabular-nums; }
summary { cursor: pointer; }
summary.reason b::before { content: "+ "; color: var(--soft); }
details[open] > summary.reason b::before { content: "\\2212\\00a0"; }
summary.reason { list-style: none; }
summary.reason::-webkit-details-marker { display: none; }
ul { margin: 0 0 1rem; padding: 0; list-style: none; }
li { padding: .5rem 0; }
li small { overflow-wrap: anywhere; }
q { display: block; margin-top: .2rem; padding: .4rem .7rem; background: var(--wash);
  border-left: 3px solid var(--line);
  font-size: .9rem; overflow-wrap: anywhere; white-space: pre-line; quotes: none; }
td q { min-width: 14rem; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 0 1rem; padding: .75rem 0;
  border-bottom: 1px solid var(--line); }
.pair > * { min-width: 0; overflow-wrap: anywhere; }
.pair p { grid-column: 1 / -1; margin: 0; font-size: .92rem; }
@media (max-width: 40rem) {
  .pair { grid-template-columns: 1fr; }
  .reason { grid-template-columns: 1fr auto; }
  .reason .bar { grid-column: 1 / -1; margin-top: 0; }
}
@media print { details > * { display: block; } nav { display: none; } }
"""
