// The arm in three dimensions, as lines between its joints, on a plain canvas: drag to turn the view, wheel to come nearer.

const $ = (id) => document.getElementById(id);

export class ArmView {
  constructor() {
    this.turn = 0.9;
    this.tilt = 0.35;
    this.near = 1;
    this.drag = null;
    this.drawn = "";
  }

  begin() {
    const canvas = $("arm");
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); this.drag = [event.clientX, event.clientY]; });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.drag) return;
      this.turn -= (event.clientX - this.drag[0]) * 0.01;
      this.tilt = Math.max(-0.2, Math.min(1.5, this.tilt + (event.clientY - this.drag[1]) * 0.01));
      this.drag = [event.clientX, event.clientY];
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { this.drag = null; });
    canvas.addEventListener("wheel", (event) => { event.preventDefault(); this.near = Math.max(0.4, Math.min(3, this.near * Math.exp(-event.deltaY * 0.001))); }, { passive: false });
  }

  // From metres in the base frame, seen from the side that `turn` and `tilt` say, to pixels.
  place([x, y, z], width, height) {
    const [sin, cos, up, ahead] = [Math.sin(this.turn), Math.cos(this.turn), Math.sin(this.tilt), Math.cos(this.tilt)];
    const across = -sin * (x - 0.3) + cos * y, away = cos * (x - 0.3) + sin * y, high = z - 0.35;
    const depth = 3 - (away * ahead + high * up), scale = (1.9 * this.near * Math.min(width, 1.4 * height)) / Math.max(0.5, depth);
    return [width / 2 + across * scale, height / 2 - (high * ahead - away * up) * scale];
  }

  draw(state) {
    const canvas = $("arm"), arm = state?.arm ?? {};
    $("arm-card").hidden = !(arm.measured || arm.wanted);
    if ($("arm-card").hidden || document.hidden || document.body.dataset.page !== "live") return;
    const scale = devicePixelRatio || 1, width = canvas.clientWidth, height = 300, theme = document.documentElement.dataset.theme;
    const now = JSON.stringify([arm, state.workspace, this.turn, this.tilt, this.near, width, theme]);
    if (now === this.drawn) return;
    this.drawn = now;
    Object.assign(canvas, { width: Math.round(width * scale), height: height * scale });
    const context = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.lineCap = "round";
    const line = (from, to, colour, wide, dash = []) => {
      context.strokeStyle = colour; context.lineWidth = wide; context.setLineDash(dash);
      context.beginPath(); context.moveTo(...this.place(from, width, height)); context.lineTo(...this.place(to, width, height)); context.stroke();
    };
    for (let at = -5; at <= 5; at += 1) {
      const grey = style.getPropertyValue("--line"), far = at / 5 + 0.3;
      line([far, -1, 0], [far, 1, 0], grey, 1);
      line([-0.7, at / 5, 0], [1.3, at / 5, 0], grey, 1);
    }
    for (const [end, colour] of [[[0.15, 0, 0], "#e5484d"], [[0, 0.15, 0], "#3fb950"], [[0, 0, 0.15], "#4da3ff"]]) line([0, 0, 0], end, colour, 2);
    for (const edge of state.workspace ?? []) line(edge.slice(0, 3), edge.slice(3), style.getPropertyValue("--accent"), 1, [3, 4]);
    for (const part of arm.measured ?? []) {
      line(part.slice(0, 3), part.slice(3), style.getPropertyValue("--ok"), 7);
      line([part[0], part[1], 0], [part[3], part[4], 0], "#0003", 5); // its shadow tells how high it is
    }
    for (const part of arm.wanted ?? []) line(part.slice(0, 3), part.slice(3), style.getPropertyValue("--warn"), 2.5, [6, 5]);
    context.setLineDash([]);
  }
}
