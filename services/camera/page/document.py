"""The page itself: one HTML document with its style and script. It holds nothing of the camera's."""

import base64
import hashlib
from typing import Final

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2024; --dim: #5b6570; --paper: #fbfbfa; --line: #d8dce0; --mask: #b5127f;
  --bad: #b42318; --card: #ffffff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eaed; --dim: #9aa4ae; --paper: #14171a; --line: #333a41; --mask: #ff5cc4; --bad: #f97066; --card: #1b1f23; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
header { display: flex; justify-content: space-between; align-items: baseline; gap: 1rem; flex-wrap: wrap; }
h1 { font-size: 1.1rem; margin: 0 0 1rem; }
h2 { font-size: .8rem; font-weight: 600; color: var(--dim); margin: 0 0 .5rem; }
main { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 1rem; align-items: start; }
main > div { display: grid; gap: 1rem; }
@media (max-width: 44rem) { main { grid-template-columns: minmax(0, 1fr); } }
section { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 1rem; min-width: 0; }
canvas { width: 100%; aspect-ratio: 1; image-rendering: pixelated; background: #000; border-radius: 3px; display: block; }
svg { width: 100%; display: block; background: var(--paper); border: 1px solid var(--line); border-radius: 3px; }
svg rect { fill: var(--mask); fill-opacity: .25; stroke: var(--mask); stroke-width: 20; }
dl { display: grid; grid-template-columns: auto 1fr; gap: .2rem 1rem; margin: 0; }
svg + dl { margin-top: 1rem; }
dt { color: var(--dim); }
dd { margin: 0; text-align: right; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
ul { margin: 0; padding-left: 1.1rem; color: var(--bad); overflow-wrap: anywhere; }
label { display: flex; gap: .6rem; align-items: center; margin-top: .8rem; color: var(--dim); }
input[type=range] { flex: 1; accent-color: var(--mask); }
form { display: flex; gap: .5rem; flex-wrap: wrap; }
input[type=password] { flex: 1; min-width: 14rem; font: inherit; padding: .4rem .6rem; border: 1px solid var(--line);
  border-radius: 4px; background: var(--paper); color: var(--ink); }
button { font: inherit; padding: .4rem 1rem; border: 1px solid var(--line); border-radius: 4px; background: var(--card);
  color: var(--ink); cursor: pointer; }
#link { color: var(--dim); }
#link.bad { color: var(--bad); }
[hidden] { display: none !important; }
"""

_SCRIPT: Final = """
"use strict";
const $ = id => document.getElementById(id);
const small = document.createElement("canvas");
let token = location.hash.slice(1) || sessionStorage.getItem("picofleet-camera") || "";
let bare = 0, stopped = null, newest = null, drawing = false, running = false;
history.replaceState(null, "", location.pathname);

function say(text, bad) { $("link").textContent = text; $("link").className = bad ? "bad" : ""; }
function number(value, digits, unit) { return value === null ? "\\u2013" : value.toFixed(digits) + unit; }

async function picture(base64) {
  const bytes = Uint8Array.from(atob(base64), letter => letter.charCodeAt(0));
  return createImageBitmap(new Blob([bytes], {type: "image/png"}));
}

async function draw(frame) {
  const [window_, mask] = await Promise.all([frame.window, frame.mask].map(each => each === null ? null : picture(each)));
  const shown = window_ || mask, canvas = $("window");
  if (shown === null) return;
  canvas.width = small.width = shown.width;
  canvas.height = small.height = shown.height;
  const context = canvas.getContext("2d");
  if (window_ !== null) context.drawImage(window_, 0, 0);
  if (mask !== null) overlay(context, mask);
}

function overlay(context, mask) {
  const under = small.getContext("2d", {willReadFrequently: true});
  under.drawImage(mask, 0, 0, small.width, small.height);
  const cells = under.getImageData(0, 0, small.width, small.height), across = 4 * small.width;
  const alpha = 2.55 * $("opacity").value, is_set = cells.data.map(value => value > 127);
  for (let at = 0; at < is_set.length; at += 4) {
    // The outline is drawn in full, so that the mask is found on any ground. Beyond the window's border counts as set.
    const is_inside = [at - 4, at + 4, at - across, at + across].every(beside => is_set[beside] !== 0);
    cells.data.set([255, 47, 179, is_set[at] ? (is_inside ? alpha : alpha && 255) : 0], at);
  }
  under.putImageData(cells, 0, 0);
  context.drawImage(small, 0, 0);
}

async function redraw() {
  if (drawing || newest === null) return;
  drawing = true;
  const frame = newest;
  try { await draw(frame); } finally { drawing = false; }
  if (newest !== frame) redraw();
}

function figures(told) {
  $("package").textContent = told.package || "none";
  $("golden").textContent = told.golden;
  $("step").textContent = told.step || "none";
  $("rate").textContent = number(told.frames_per_s, 1, " / s");
  $("sensor").setAttribute("viewBox", "0 0 " + told.sensor.join(" "));
  $("errors").replaceChildren(...told.errors.map(text => Object.assign(document.createElement("li"), {textContent: text})));
  $("no-errors").hidden = told.errors.length > 0;
  const frame = told.frame;
  if (frame === null) return;
  $("dnn").textContent = number(frame.dnn_ms, 2, " ms");
  $("dsp").textContent = number(frame.dsp_ms, 2, " ms");
  $("area").textContent = frame.area === null ? "no answer" : number(100 * frame.area, 1, " % of the window");
  $("network").textContent = frame.network || "\\u2013";
  const [x, y, width, height] = frame.roi;
  for (const [name, value] of Object.entries({x, y, width, height})) $("roi").setAttribute(name, value);
  $("where").textContent = width + " x " + height + " at " + x + ", " + y;
  bare = frame.window === null ? bare + 1 : 0;
  $("no-pixels").hidden = bare < 10;  // the first frames come without
  newest = frame;
  redraw();
}

async function watch(signal) {
  const answer = await fetch("/events", {headers: {Authorization: "Bearer " + token}, signal, cache: "no-store"});
  if (answer.status === 401) return ask("wrong token");
  if (!answer.ok) throw new Error((await answer.json()).detail);
  sessionStorage.setItem("picofleet-camera", token);
  $("door").hidden = true;
  $("room").hidden = false;
  say("live", false);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = "";;) {
    const {value, done} = await reader.read();
    if (done) throw new Error("the camera hung up");
    const parts = (rest + value).split("\\n\\n");
    rest = parts.pop();
    for (const part of parts) figures(JSON.parse(part.slice("data: ".length)));
  }
}

function ask(why) {
  sessionStorage.removeItem("picofleet-camera");
  token = "";
  say(why, why !== "");
  $("door").hidden = false;
  $("room").hidden = true;
  $("token").focus();
}

async function run() {
  if (running) return;
  running = true;
  while (token !== "" && !document.hidden) {
    try { stopped = new AbortController(); await watch(stopped.signal); }
    catch (error) {
      if (document.hidden) break;
      say(error.message + "; trying again", true);
      await new Promise(resolve => setTimeout(resolve, 2000));
    }
  }
  running = false;
}

$("door").addEventListener("submit", event => { event.preventDefault(); token = $("token").value.trim(); $("token").value = "";
  if (token !== "") run(); });
$("opacity").addEventListener("input", redraw);
// Nobody looks: the camera need not draw.
document.addEventListener("visibilitychange", () => { if (document.hidden) { if (stopped) stopped.abort(); } else run(); });
token === "" ? ask("") : run();
"""

_BODY: Final = """
<header><h1>Picofleet camera</h1><span id="link" role="status"></span></header>
<form id="door" hidden><input id="token" type="password" autocomplete="off" aria-label="Token" placeholder="Token of the page">
<button>Show</button></form>
<main id="room" hidden>
<section><h2>What the network sees, and its mask</h2><canvas id="window" width="96" height="96" role="img"
  aria-label="Window with the mask over it"></canvas>
<p id="no-pixels" hidden>The sensor gives no pixels: the mask alone is shown.</p>
<label>Mask <input id="opacity" type="range" min="0" max="100" value="55" aria-label="Opacity of the mask"></label></section>
<div><section><h2>Where the sensor looks</h2><svg id="sensor" viewBox="0 0 4056 3040" role="img"
  aria-label="Region of the sensor">
<rect id="roi" x="0" y="0" width="0" height="0"/></svg>
<dl><dt>Region</dt><dd id="where"></dd><dt>Frames</dt><dd id="rate"></dd><dt>DNN</dt><dd id="dnn"></dd><dt>DSP</dt>
<dd id="dsp"></dd><dt>Mask</dt><dd id="area"></dd></dl></section>
<section><h2>What runs</h2><dl><dt>Package</dt><dd id="package"></dd><dt>Golden frames</dt><dd id="golden"></dd>
<dt>Network</dt><dd id="network"></dd><dt>Installation</dt><dd id="step"></dd></dl></section>
<section><h2>What is wrong</h2><ul id="errors"></ul><span id="no-errors">Nothing.</span></section></div>
</main>
"""


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


CONTENT_SECURITY_POLICY: Final = (
    f"default-src 'none'; script-src {_source(_SCRIPT)}; style-src {_source(_STYLE)}; connect-src 'self'; img-src blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
DOCUMENT: Final = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Picofleet camera</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    f"<style>{_STYLE}</style></head><body>{_BODY}<script>{_SCRIPT}</script></body></html>"
).encode()
