// Pointing at the picture: clicks or boxes become names, a proposal and, after a yes, an instruction. Names are only ever text.

const $ = (id) => document.getElementById(id);
const COLOURS = ["#ff4d6d", "#4da3ff", "#3fb950", "#ffb020", "#b46cf0"];
const DRAG = 0.02; // share of the picture: less is a click

export class Pointing {
  constructor(page) {
    this.page = page; // say, instruct, shown, look
    this.on = false;
    this.before = "camera";
    this.places = [];
    this.asked = false;
    this.proposal = 0;
    this.answered = []; // marks of the last answer to this page, until it is done with them
    this.drag = null;
    this.drawn = "";
  }

  begin() {
    $("point").onclick = () => (this.on ? this.end() : this.start());
    $("point-again").onclick = () => this.again();
    $("point-yes").onclick = () => { $("point-yes").hidden = true; this.ask({ type: "confirm", proposal: this.proposal }, "asked for …"); };
    $("point-name").onclick = () => this.refer();
    $("find").onsubmit = (event) => { event.preventDefault(); $("find-text").blur(); this.find($("find-text").value.trim()); };
    $("describe").onclick = () => this.find("");
    const picture = $("picture");
    picture.addEventListener("pointerdown", (event) => {
      if (!this.on || this.asked || this.proposal || event.button !== 0) return;
      event.preventDefault();
      picture.setPointerCapture(event.pointerId);
      this.drag = this.share(event);
    });
    picture.addEventListener("pointercancel", () => { this.drag = null; });
    picture.addEventListener("pointerup", (event) => {
      if (!this.drag) return;
      const [x, y] = this.drag, [u, v] = this.share(event);
      this.drag = null;
      this.add(Math.max(Math.abs(u - x), Math.abs(v - y)) < DRAG ? [x, y, x, y] : [Math.min(x, u), Math.min(y, v), Math.max(x, u), Math.max(y, v)]);
    });
  }

  share(event) {
    const box = $("picture").getBoundingClientRect(), inside = (value) => Math.max(0, Math.min(1, value));
    return [inside((event.clientX - box.left) / box.width), inside((event.clientY - box.top) / box.height)];
  }

  start() {
    this.on = true;
    this.before = this.page.shown().name;
    if (this.before !== "frame") this.page.look("frame");
    $("point").setAttribute("aria-pressed", "true");
    $("picture").classList.add("pointing");
    $("pointing").hidden = false;
    this.again();
  }

  end() {
    if (!this.on) return;
    this.on = false;
    this.again();
    $("point").setAttribute("aria-pressed", "false");
    $("picture").classList.remove("pointing");
    $("pointing").hidden = true;
    if (this.before !== "frame") this.page.look(this.before);
  }

  again() {
    this.places = [];
    this.answered = [];
    this.proposal = 0;
    this.asked = false;
    $("point-yes").hidden = $("point-name").hidden = true;
    this.tell("Click on what to take (or draw a box around it), then on where to put it.");
  }

  tell(words) { $("pointing-text").textContent = words; }

  add(place) {
    if (this.page.shown().stamp === null) return this.tell("There is no picture to point at yet.");
    this.places.push(place);
    this.answered = [];
    $("point-name").hidden = this.places.length !== 1;
    if (this.places.length === 2) this.refer();
    else this.tell("Now click on where to put it, or have this named.");
  }

  refer() {
    $("point-name").hidden = true;
    this.ask({ type: "refer", stamp: this.page.shown().stamp, places: this.places }, "looking …");
  }

  ask(message, words) {
    this.asked = this.page.say(message);
    this.tell(this.asked ? words : "no connection");
  }

  find(words) {
    const question = words.endsWith("?");
    const message = words && !question ? { type: "ground", phrases: words, all: false } : { type: "describe", question: words };
    $("find-answer").textContent = this.page.say(message) ? "looking …" : "no connection";
  }

  // Takes an answer; whether it was one to a question of here.
  heard(answer) {
    if (answer.to === "ground" || answer.to === "describe") {
      const nowhere = (answer.nowhere ?? []).map((phrase) => `no ${phrase.replace(/^the /, "")} found`);
      const found = (answer.marks ?? []).map((mark) => mark.phrase);
      $("find-answer").textContent = !answer.ok ? `refused: ${answer.text}` : answer.to === "describe" ? answer.text
        : [found.length ? `found: ${found.join(", ")}` : "", ...nowhere].filter(Boolean).join("; ");
      return true;
    }
    if (answer.to !== "refer" && answer.to !== "confirm") return false;
    if (!this.on || !this.asked) return true; // taken back meanwhile
    this.asked = false;
    this.places = [];
    this.answered = answer.marks ?? [];
    if (answer.to === "confirm") {
      this.again();
      this.tell(answer.ok ? "in force" : `refused: ${answer.text}`);
    } else if (!answer.ok) {
      this.tell(`${answer.text}. Click again.`);
    } else if (answer.proposal) {
      this.proposal = answer.proposal;
      this.tell(`“${answer.instruction}”?`);
      $("point-yes").hidden = false;
    } else {
      const name = this.answered[0]?.phrase ?? "";
      this.tell(`That is “${name}”: in the instruction's line.`);
      this.page.instruct(name);
    }
    return true;
  }

  // The connection is lost, and with it whatever was to be answered.
  lost() {
    if (!this.on || !this.asked) return;
    this.again();
    this.tell("The connection was lost: point again.");
  }

  // Draws what was found, and where one has clicked.
  draw(found) {
    const marks = this.answered.length ? this.answered : found;
    const all = [...marks.map((mark) => [mark.phrase, mark.box]), ...this.places.map((box) => ["", box])];
    const now = JSON.stringify(all);
    if (now === this.drawn) return;
    this.drawn = now;
    const named = [...new Set(all.map(([phrase]) => phrase))];
    $("marks").replaceChildren(...all.map(([phrase, [x1, y1, x2, y2]]) => {
      const mark = document.createElement("div"), percent = (value) => `${100 * value}%`;
      mark.className = `mark${x1 === x2 && y1 === y2 ? " spot" : ""}${y1 < 0.08 ? " high" : ""}`;
      mark.style.setProperty("--mark", COLOURS[named.indexOf(phrase) % COLOURS.length]);
      Object.assign(mark.style, { left: percent(x1), top: percent(y1) });
      if (!mark.classList.contains("spot")) Object.assign(mark.style, { width: percent(x2 - x1), height: percent(y2 - y1) });
      if (phrase) { const label = document.createElement("span"); label.textContent = phrase; mark.append(label); }
      return mark;
    }));
  }
}
