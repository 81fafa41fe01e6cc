// The operator's page: state and pictures in, what the operator asks for out. Texts of the graph are only ever text.

import { ArmView } from "./arm.js";
import { Pointing } from "./pointing.js";

const TELL_MS = 50; // an intent while something is held, at least so often
const REST_MS = 100; // and while nothing is
const CONFIRM_MS = 300; // an emergency stop that is not confirmed after so long is warned of
const STALE_MS = 300;
const KEYS = { KeyW: [0, 1], KeyS: [0, -1], KeyA: [1, 1], KeyD: [1, -1], KeyR: [2, 1], KeyF: [2, -1], ArrowUp: [0, 1], ArrowDown: [0, -1],
  ArrowLeft: [1, 1], ArrowRight: [1, -1], KeyJ: [3, 1], KeyL: [3, -1], KeyK: [4, 1], KeyM: [4, -1], KeyQ: [5, 1], KeyE: [5, -1] };
const $ = (id) => document.getElementById(id);
const text = (id, value) => { const element = $(id); if (element && element.textContent !== value) element.textContent = value; };

// The connection.

const link = { socket: null, told: 0, toldAt: 0, tries: 0 };
let state = null, me = { engaged: false, has_arm: false, notice: "" };

function connect() {
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/console/operator`);
  link.socket = socket;
  socket.onopen = () => { link.tries = 0; letGo(); };
  socket.onmessage = (event) => { if (socket === link.socket) hear(JSON.parse(event.data)); };
  socket.onclose = () => {
    if (socket !== link.socket) return;
    letGo();
    pointing.lost();
    link.told = 0;
    setTimeout(connect, Math.min(3000, 200 * 2 ** link.tries++));
  };
}

function say(message) {
  if (link.socket?.readyState !== WebSocket.OPEN) return false;
  link.socket.send(JSON.stringify(message));
  return true;
}

function hear(message) {
  link.told = message.t;
  link.toldAt = performance.now();
  for (const answer of message.answers ?? []) heardAnswer(answer);
  if (message.state) {
    state = message.state;
    me = message.me;
    if (stop.pressed && state.phase === "ESTOP") confirmed();
    for (const point of message.points) traces.push({ at: performance.now() - 1000 * point[0], name: point[1], values: point[2] });
    for (const item of message.events) addEvent(item);
    show();
  }
}

function heardAnswer(answer) {
  if (pointing.heard(answer)) return;
  if (answer.to === "instruct") text("instruct-answer", answer.ok ? "in force" : `refused: ${answer.text}`);
  else if (answer.to === "estop") { if (!answer.ok) unconfirmed(answer.text); }
  else note(answer.ok ? answer.text : `refused: ${answer.text}`);
}

let noted = { text: "", at: 0 };
function note(words) { noted = { text: words, at: performance.now() }; showNotice(); }

// The emergency stop: by the connection, and by a request of its own where that is lost or slow.

const stop = { pressed: 0, timer: 0 };

function estop() {
  letGo();
  if (!stop.pressed) stop.pressed = performance.now();
  if (!say({ type: "estop" })) post();
  clearInterval(stop.timer);
  stop.timer = setInterval(() => { unconfirmed(""); say({ type: "estop" }); post(); }, CONFIRM_MS);
}

function post() {
  fetch("/console/estop", { method: "POST", keepalive: true, cache: "no-store" }).then(async (response) => {
    const answer = await response.json();
    if (!answer.ok) unconfirmed(answer.text ?? answer.refused);
  }).catch(() => unconfirmed("the console does not answer"));
}

function unconfirmed(why) {
  if (!stop.pressed) return;
  $("alarm").hidden = false;
  text("alarm", `EMERGENCY STOP NOT CONFIRMED${why ? `: ${why}` : ""}. Use the arm's own emergency stop.`);
}

function confirmed() {
  stop.pressed = 0;
  clearInterval(stop.timer);
  $("alarm").hidden = true;
}

// What the operator holds: keys, pads, gamepad. Losing sight of the page is letting go.

const held = { keys: new Set(), deadman: false, button: false, pads: new Map(), gripper: 0, sequence: 0, sent: 0, wasHeld: false };
const gamepad = { index: null, id: null, neutral: false, buttons: [], motion: [0, 0, 0, 0, 0, 0], held: false, present: false };

function letGo() {
  held.keys.clear();
  held.deadman = held.button = false;
  for (const pad of held.pads.values()) pad.drop();
  gamepad.neutral = gamepad.held = false;
  rearmRelease();
  tell();
}

const holding = () => held.deadman || held.button || gamepad.held || [...held.pads.values()].some((pad) => pad.active);

function motion() {
  const sum = [...gamepad.motion];
  if (held.deadman || held.button) for (const key of held.keys) sum[KEYS[key][0]] += KEYS[key][1];
  for (const pad of held.pads.values()) pad.add(sum);
  return sum.map((value) => Math.max(-1, Math.min(1, value)));
}

function tell() {
  if (!link.told) return;
  held.sent = performance.now();
  held.wasHeld = holding();
  say({ type: "intent", seq: ++held.sequence, as_of: link.told, held: held.wasHeld, motion: held.wasHeld ? motion() : [0, 0, 0, 0, 0, 0],
    speed: Number($("speed")?.value ?? 50) / 100, frame: $("frame")?.value ?? "base", gripper: held.gripper });
}

const typing = (target) => target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)
  && target.type !== "range");

addEventListener("keydown", (event) => {
  if (event.code === "Escape") { event.preventDefault(); if (!event.repeat) estop(); return; }
  if (typing(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.body.dataset.page !== "live") return;
  if (event.code === "Space") { event.preventDefault(); if (!event.repeat) { held.deadman = true; tell(); } return; }
  if (event.code in KEYS) {
    event.preventDefault();
    if (!event.repeat && !held.keys.has(event.code)) { held.keys.add(event.code); tell(); if (!holding()) note("hold Space as well: the arm is yours while you hold it"); }
    return;
  }
  if (event.repeat) return;
  if (event.code === "KeyG") { event.preventDefault(); toggleGripper(); }
  else if (event.code === "KeyH") { event.preventDefault(); handBack(); }
}, { capture: true });

addEventListener("keyup", (event) => {
  if (event.code === "Space") { held.deadman = false; if (!typing(event.target)) event.preventDefault(); tell(); }
  else if (held.keys.delete(event.code)) tell();
}, { capture: true });

for (const name of ["blur", "pagehide"]) addEventListener(name, letGo);
document.addEventListener("freeze", letGo); // which reaches no window
document.addEventListener("visibilitychange", () => { if (document.hidden) letGo(); });
addEventListener("contextmenu", (event) => { if (event.target.closest?.(".pad, .take, .rearm")) event.preventDefault(); });

function toggleGripper() {
  held.gripper += 1;
  tell();
  if (!holding()) note("hold Space, or a pad, as well: then the gripper follows");
}

function handBack() { letGo(); say({ type: "hand_back" }); }

class Pad {
  constructor(element, axes) {
    this.element = element;
    this.knob = element.querySelector("i");
    this.axes = axes; // [horizontal: axis and sign, vertical: axis and sign]
    this.active = false;
    this.x = this.y = 0;
    element.addEventListener("pointerdown", (event) => { event.preventDefault(); element.setPointerCapture(event.pointerId); this.pointer = event.pointerId;
      this.active = true; this.move(event); });
    element.addEventListener("pointermove", (event) => { if (this.active && event.pointerId === this.pointer) this.move(event); });
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) element.addEventListener(name, () => { if (this.active) { this.drop(); tell(); } });
  }
  move(event) {
    const box = this.element.getBoundingClientRect();
    const share = (at, begin, size) => Math.max(-1, Math.min(1, (at - begin - size / 2) / (size / 2 - 20)));
    const dead = (value) => Math.abs(value) < 0.12 ? 0 : value;
    this.x = this.axes[0] ? dead(share(event.clientX, box.left, box.width)) : 0;
    this.y = dead(share(event.clientY, box.top, box.height));
    this.place(box);
    tell();
  }
  drop() { this.active = false; this.x = this.y = 0; this.place(this.element.getBoundingClientRect()); }
  place(box) { this.knob.style.transform = `translate(${this.x * (box.width / 2 - 24)}px, ${this.y * (box.height / 2 - 24)}px)`; }
  add(sum) {
    if (!this.active) return;
    if (this.axes[0]) sum[this.axes[0][0]] += this.axes[0][1] * this.x;
    sum[this.axes[1][0]] += this.axes[1][1] * this.y;
  }
}

function readGamepad() {
  const pads = navigator.getGamepads ? [...navigator.getGamepads()].filter((pad) => pad && pad.mapping === "standard") : [];
  const pad = pads[0];
  if (!pad) {
    if (gamepad.present) { gamepad.present = gamepad.held = gamepad.neutral = false; gamepad.motion.fill(0); tell(); }
    text("gamepad", window.isSecureContext ? "no gamepad" : "gamepads need https or this machine");
    return;
  }
  if (!gamepad.present || gamepad.index !== pad.index || gamepad.id !== pad.id) {
    // A hand that holds it already took hold of nothing here; but browsers show a gamepad by its first press, which may be the stop.
    Object.assign(gamepad, { present: true, index: pad.index, id: pad.id, neutral: false, buttons: pad.buttons.map((button, index) => index !== 1 && button.pressed) });
  }
  const dead = (value) => Math.abs(value) < 0.12 ? 0 : value;
  const down = (index) => pad.buttons[index]?.pressed ?? false;
  const pull = (index) => pad.buttons[index]?.value ?? 0;
  const moved = [-dead(pad.axes[1]), -dead(pad.axes[0]), pull(7) - pull(6), 0, dead(pad.axes[3]) * -1, -dead(pad.axes[2])];
  const fresh = (index) => down(index) && !gamepad.buttons[index];
  if (!gamepad.neutral) gamepad.neutral = !down(5) && moved.every((value) => Math.abs(value) < 0.2);
  if (fresh(1)) estop();
  if (fresh(9)) handBack();
  if (fresh(0)) toggleGripper();
  gamepad.buttons = pad.buttons.map((button) => button.pressed);
  const before = gamepad.held;
  gamepad.held = gamepad.neutral && down(5) && document.hasFocus();
  gamepad.motion = gamepad.held ? moved : [0, 0, 0, 0, 0, 0];
  if (before !== gamepad.held) tell();
  text("gamepad", `${pad.id.split("(")[0].trim().slice(0, 24)}: hold the right shoulder button`);
}

// Re-arm: a press that is held.

const rearm = { since: 0, timer: 0 };
function rearmPress() {
  if (rearm.timer) return;
  rearm.since = performance.now();
  rearm.timer = setInterval(() => { say({ type: "rearm", held: true }); $("rearm-fill").style.width = `${Math.min(100, (performance.now() - rearm.since) / 10)}%`; }, 100);
}
function rearmRelease() {
  if (!rearm.timer) return;
  clearInterval(rearm.timer);
  rearm.timer = 0;
  $("rearm-fill").style.width = "0";
  say({ type: "rearm", held: false });
}

// What is shown.

const traces = [];
const SVG = "http://www.w3.org/2000/svg";

function show() {
  for (const id of ["phase", "bar-phase"]) text(id, state.phase);
  $("phase-card").dataset.phase = $("bar-phase").dataset.phase = state.phase;
  text("reason", state.reason);
  text("holder", state.holder ? (me.has_arm ? `you (${state.holder})` : state.holder) : state.phase === "AUTONOMOUS" ? "the policy" : "nobody");
  const wanted = state.instruction;
  text("instruction", wanted?.text ? `“${wanted.text}”${wanted.by ? ` · ${wanted.by}` : ""}` : "none");
  text("policy", state.policy || "–");
  const episode = state.episode;
  text("episode", episode?.task ? `${episode.task} ${episode.variant} ${episode.layout}, step ${episode.step} of ${episode.max_steps}${episode.success ? ", success" : ""}` : "–");
  text("recording", state.recording?.name ? `● ${state.recording.name}` : "–");
  $("rearm").hidden = !["ESTOP", "FAULT"].includes(state.phase);
  if ($("rearm").hidden) rearmRelease();
  $("take").classList.toggle("on", me.engaged);
  $("hand-back").disabled = state.phase !== "TELEOP";
  text("me", me.has_arm ? "you have the arm" : `you are ${me.name.split("@")[0]}, one of ${state.pages} page${state.pages === 1 ? "" : "s"}`);
  showNotice();
  showAges();
  showCounts();
  drawOverlay();
  text("stages", state.stages.length ? state.stages.map(([name, ms]) => `${name} ${ms.toFixed(0)} ms`).join(" · ") : "–");
}

function showNotice() {
  const fresh = performance.now() - noted.at < 6000;
  text("notice", me.notice || (fresh ? noted.text : ""));
}

function showAges() {
  const rows = $("ages");
  for (const [index, age] of state.ages.entries()) {
    let row = rows.children[index];
    if (!row) {
      row = document.createElement("div");
      row.className = "age";
      row.append(document.createElement("span"), document.createElement("div"), document.createElement("span"));
      row.children[1].className = "track";
      row.children[1].append(document.createElement("i"));
      rows.append(row);
    }
    row.children[0].textContent = age.name;
    const share = age.ms === null || !age.limit_ms ? 0 : age.ms / age.limit_ms;
    const bar = row.children[1].firstChild;
    bar.style.width = `${Math.min(100, 100 * share)}%`;
    bar.className = share > 1 ? "over" : share > 0.7 ? "near" : "";
    const long = (ms) => ms < 10000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(0)} s`;
    row.children[2].textContent = age.ms === null ? "none yet" : long(age.ms) + (age.limit_ms ? ` / ${age.limit_ms.toFixed(0)}` : "");
  }
}

let countsShown = "";
function showCounts() {
  const now = JSON.stringify([state.counters, state.counts]);
  if (now === countsShown) return;
  countsShown = now;
  const counters = $("counters");
  counters.replaceChildren();
  for (const [name, value] of Object.entries(state.counters)) {
    const item = document.createElement("span"), count = document.createElement("b");
    count.textContent = value;
    item.append(count, ` ${name}`);
    counters.append(item);
  }
  const table = $("counts");
  table.replaceChildren();
  for (const [name, value] of Object.entries(state.counts).sort((a, b) => b[1] - a[1]).slice(0, 12)) {
    const row = table.insertRow();
    row.insertCell().textContent = name;
    row.insertCell().textContent = value;
  }
}

function addEvent([age, kind, words]) {
  const list = $("events"), item = document.createElement("li");
  item.dataset.kind = kind;
  for (const part of [new Date(Date.now() - 1000 * age).toLocaleTimeString(), kind, words]) {
    const span = document.createElement("span");
    span.textContent = part;
    item.append(span);
  }
  list.prepend(item);
  while (list.children.length > 100) list.lastChild.remove();
}

const layers = new Set(["path", "target", "boxes"]);
function drawOverlay() {
  const svg = $("overlay"), drawn = state.overlay ?? {};
  svg.replaceChildren();
  if (pictures.name === "marks") { pointing.draw([]); return; } // a frame of the past, with its own marks
  pointing.draw(layers.has("boxes") ? state.found : []);
  const line = ([x1, y1, x2, y2], colour, width) => {
    const element = document.createElementNS(SVG, "line");
    for (const [name, value] of Object.entries({ x1, y1, x2, y2, stroke: colour, "stroke-width": width, "stroke-linecap": "round" })) element.setAttribute(name, value);
    svg.append(element);
  };
  if (layers.has("workspace")) for (const edge of drawn.workspace ?? []) line(edge, "#8fd0ff", 1.5);
  if (layers.has("path")) for (const piece of drawn.path ?? []) line(piece, "#ffb020", 4);
  if (layers.has("target")) for (const [name, colour] of [["measured", "#3fb950"], ["target", "#ff4d6d"]]) {
    const at = drawn[name];
    if (!at) continue;
    const tall = 0.02 * ($("pixels").width / $("pixels").height);
    line([at[0] - 0.02, at[1], at[0] + 0.02, at[1]], colour, 3);
    line([at[0], at[1] - tall, at[0], at[1] + tall], colour, 3);
  }
}

const AXES = ["x mm", "y mm", "z mm", "roll mrad", "pitch mrad", "yaw mrad", "gripper"];
const COLOURS = { asked: "#e5484d", commanded: "#4da3ff", executed: "#3fb950" };
function drawTraces() {
  const canvas = $("traces");
  if (!canvas || document.hidden || document.body.dataset.page !== "live") return;
  const now = performance.now(), seconds = 30;
  while (traces.length && now - traces[0].at > 1000 * seconds) traces.shift();
  const scale = devicePixelRatio || 1, width = canvas.clientWidth, height = 380;
  if (canvas.width !== Math.round(width * scale)) { canvas.width = Math.round(width * scale); canvas.height = height * scale; canvas.style.height = `${height}px`; }
  const context = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = "12px system-ui, sans-serif";
  const tall = height / AXES.length, left = 78;
  AXES.forEach((name, axis) => {
    const unit = axis < 6 ? 1000 : 1, middle = tall * (axis + 0.5);
    const most = axis < 6 ? Math.max(5, ...traces.map((point) => Math.abs(point.values[axis]) * unit)) : 1;
    const y = (value) => axis < 6 ? middle - (value * unit / most) * (tall / 2 - 4) : tall * (axis + 1) - 4 - value * (tall - 8);
    context.fillStyle = style.getPropertyValue("--muted");
    context.fillText(name, 0, middle);
    context.fillText(axis < 6 ? `±${most.toFixed(0)}` : "0…1", 0, middle + 14);
    context.strokeStyle = style.getPropertyValue("--line");
    context.lineWidth = 1;
    context.beginPath(); context.moveTo(left, y(0)); context.lineTo(width, y(0)); context.stroke();
    for (const series of ["executed", "commanded", "asked"]) {
      context.strokeStyle = context.fillStyle = COLOURS[series];
      context.lineWidth = 1.6;
      context.beginPath();
      let last = null;
      for (const point of traces) {
        if (point.name !== series) continue;
        const x = left + (width - left) * (1 - (now - point.at) / (1000 * seconds)), at = y(point.values[axis]);
        if (series === "asked") context.fillRect(x - 1.5, at - 1.5, 3, 3);
        else { if (last === null || point.at - last > 1500) context.moveTo(x, at); else context.lineTo(x, at); }
        last = point.at;
      }
      if (series !== "asked") context.stroke();
    }
  });
}

// Pictures: the next one is asked for when the last one is on the screen, so none ever waits.

const pictures = { name: "camera", socket: null, tries: 0, stamp: null };
window.consoleTimes = { shown: 0, lags: [] };

function look(name) {
  pictures.name = name;
  pictures.stamp = null;
  for (const other of document.querySelectorAll("#source button")) other.classList.toggle("on", other.dataset.value === name);
  watch();
}

// The model that points is asked about frames that it saw itself: while one points, the model's frame is shown.
const pointing = new Pointing({ say, instruct: (words) => { $("instruct-text").value = words; $("instruct-text").focus(); },
  shown: () => ({ name: pictures.name, stamp: pictures.stamp }), look });

function watch() {
  pictures.socket?.close();
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/console/pictures/${pictures.name}`);
  pictures.socket = socket;
  socket.binaryType = "arraybuffer";
  socket.onopen = () => { pictures.tries = 0; socket.send("next"); };
  socket.onclose = () => { if (socket === pictures.socket) setTimeout(watch, Math.min(3000, 300 * 2 ** pictures.tries++)); };
  socket.onmessage = async (event) => {
    try {
      const stamp = new DataView(event.data).getBigInt64(0, true);
      const bitmap = await createImageBitmap(new Blob([new Uint8Array(event.data, 16)], { type: "image/jpeg" }));
      const canvas = $("pixels");
      if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
        canvas.width = bitmap.width;
        canvas.height = bitmap.height;
        $("picture").style.setProperty("--aspect", bitmap.width / bitmap.height);
      }
      canvas.getContext("2d").drawImage(bitmap, 0, 0);
      bitmap.close();
      pictures.stamp = String(stamp);
      const times = window.consoleTimes;
      times.shown += 1;
      times.lags.push(Date.now() - Number(stamp) / 1e6);
      if (times.lags.length > 600) times.lags.shift();
    } finally {
      if (document.hidden) setTimeout(() => socket.readyState === WebSocket.OPEN && socket.send("next"), 1000);
      else requestAnimationFrame(() => socket.readyState === WebSocket.OPEN && socket.send("next"));
    }
  };
}

function showLink() {
  const silent = performance.now() - link.toldAt, open = link.socket?.readyState === WebSocket.OPEN && link.told;
  $("link").className = `dot ${!open ? "" : silent > STALE_MS ? "slow" : "up"}`;
  const lost = !open || silent > 1000;
  $("warning").hidden = !lost;
  if (lost) {
    text("warning", "no connection to the console: what is shown is old, and nothing that you hold reaches the arm");
    for (const id of ["phase", "bar-phase"]) text(id, "NO CONNECTION");
    $("phase-card").dataset.phase = $("bar-phase").dataset.phase = "NONE";
  }
  const age = state?.pictures?.[pictures.name];
  const old = age === null || age === undefined || (age > 1500 && pictures.name !== "marks") || lost;
  $("no-picture").hidden = !old;
  text("no-picture", age === null || age === undefined ? "no picture yet" : lost ? "no connection" : `NO PICTURE FOR ${(age / 1000).toFixed(0)} s`);
  text("picture-age", old ? "" : `${age} ms`);
}

// Instructions: the latest ones are kept in this browser.

const HISTORY = "magma-instructions";
const known = () => { try { return JSON.parse(localStorage.getItem(HISTORY) ?? "[]").filter((item) => typeof item === "string").slice(0, 8); } catch { return []; } };
function showKnown() {
  const fixed = JSON.parse($("presets").dataset.presets ?? "[]"), all = [...new Set([...fixed, ...known()])];
  $("presets").replaceChildren(...all.map((words) => {
    const button = document.createElement("button");
    button.textContent = words;
    button.onclick = () => { $("instruct-text").value = words; $("instruct-text").focus(); };
    return button;
  }));
}
function instruct(words) {
  text("instruct-answer", say({ type: "instruct", text: words }) ? "asked for …" : "no connection");
  if (words.trim()) localStorage.setItem(HISTORY, JSON.stringify([words.trim(), ...known().filter((item) => item !== words.trim())].slice(0, 8)));
  showKnown();
}

function theme(value) {
  document.documentElement.dataset.theme = value;
  localStorage.setItem("magma-theme", value);
  window.Quasar?.Dark?.set(value === "dark");
}

function openPage(name) {
  if (name !== "live") letGo();
  document.body.dataset.page = name;
  for (const button of document.querySelectorAll(".tabs button")) button.classList.toggle("here", button.dataset.page === name);
}

function begin() {
  theme(localStorage.getItem("magma-theme") ?? (matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark"));
  openPage("live");
  for (const button of document.querySelectorAll(".tabs button")) button.onclick = () => openPage(button.dataset.page);
  $("theme").onclick = () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  $("estop").addEventListener("pointerdown", (event) => { event.preventDefault(); estop(); });
  $("estop").addEventListener("click", (event) => { if (event.detail === 0) estop(); }); // by a keyboard
  for (const button of document.querySelectorAll("#source button")) button.onclick = () => { pointing.end(); look(button.dataset.value); };
  pointing.begin();
  for (const button of document.querySelectorAll("#layers button")) button.onclick = () => {
    button.classList.toggle("on");
    layers[button.classList.contains("on") ? "add" : "delete"](button.dataset.value);
    if (state) drawOverlay();
  };
  const take = $("take");
  take.addEventListener("pointerdown", (event) => { event.preventDefault(); take.setPointerCapture(event.pointerId); held.button = true; tell(); });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) take.addEventListener(name, () => { held.button = false; tell(); });
  $("hand-back").onclick = handBack;
  $("gripper").onclick = toggleGripper;
  $("speed").oninput = () => { text("speed-text", `${$("speed").value} %`); tell(); };
  $("frame").onchange = () => { letGo(); $("frame").blur(); };
  held.pads.set("xy", new Pad($("pad-xy"), [[1, -1], [0, -1]]));
  held.pads.set("z", new Pad($("pad-z"), [null, [2, -1]]));
  held.pads.set("turn", new Pad($("pad-turn"), [[5, -1], [4, -1]]));
  $("rearm").addEventListener("pointerdown", (event) => { event.preventDefault(); $("rearm").setPointerCapture(event.pointerId); rearmPress(); });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) $("rearm").addEventListener(name, rearmRelease);
  $("instruct").onsubmit = (event) => { event.preventDefault(); instruct($("instruct-text").value); $("instruct-text").blur(); };
  $("instruct-none").onclick = () => instruct("");
  showKnown();
  connect();
  watch();
  setInterval(() => { if (holding() || held.wasHeld || performance.now() - held.sent >= REST_MS) tell(); }, TELL_MS);
  setInterval(readGamepad, TELL_MS);
  setInterval(showLink, 200);
  setInterval(drawTraces, 200);
  const arm = new ArmView();
  arm.begin();
  setInterval(() => arm.draw(state), 100);
}

const waiting = setInterval(() => { if ($("traces") && $("estop")) { clearInterval(waiting); begin(); } }, 30);
