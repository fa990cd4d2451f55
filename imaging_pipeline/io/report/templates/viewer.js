"use strict";
// The page reads without this. It only lets the scans around a lesion be scrolled, all visits together.
const PIXELS = 384;
// Voxels along a side of what is sent to the page of three planes; odd, so that one lies in the middle.
const CUBE = 97;
// Visits sent to it at most: a browser draws sixteen WebGL pictures at a time, and takes the first away for one more.
const SENT = 8;
// Of each plane: which way of the patient (0 left, 1 posterior, 2 superior) its right, its down and its depth run.
const PLANES = {
  axial: { right: 0, down: 1, depth: 2, sign: 1 },
  coronal: { right: 0, down: 2, depth: 1, sign: -1 },
  sagittal: { right: 1, down: 2, depth: 0, sign: -1 },
};
const LETTERS = ["RL", "AP", "IS"];
// Mineral in the outline is tinted above this CT number, as on the key images.
const MINERAL_HU = Number(document.body.dataset.mineral);
const OUTLINE = [244, 220, 58];
const overlay = document.getElementById("overlay");
const mineral = document.getElementById("mineral");

async function unpacked(visit) {
  const bytes = Uint8Array.from(atob(visit.voxels), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const voxels = new Uint8Array(await new Response(stream).arrayBuffer());
  const width = visit.shape[2];
  // Undo the differences along each row.
  for (let index = 0; index < voxels.length; index++) if (index % width) voxels[index] += voxels[index - 1];
  const half = voxels.length / 2;
  const table = Float32Array.from({ length: 256 }, (_, code) => decoded(visit.codes, code));
  const values = Float32Array.from(voxels.subarray(0, half), (code) => table[code]);
  return { ...visit, values, inside: voxels.subarray(half) };
}

function decoded(codes, code) {
  const next = Math.max(1, codes.findIndex(([, byte]) => byte >= code));
  const [[low, first], [high, last]] = [codes[next - 1], codes[next]];
  return low + ((high - low) * (code - first)) / (last - first);
}

function moved(matrix, point) {
  return matrix.map((row) => row[0] * point[0] + row[1] * point[1] + row[2] * point[2] + row[3]);
}

// Value and share of the outline at a voxel index, interpolated between eight voxels; false outside the scan.
function sample(visit, index, found) {
  const slices = visit.shape[0], rows = visit.shape[1], columns = visit.shape[2];
  const s = index[0], r = index[1], c = index[2];
  if (s < -0.5 || r < -0.5 || c < -0.5 || s > slices - 0.5 || r > rows - 0.5 || c > columns - 0.5) return false;
  const s0 = s > 0 ? s | 0 : 0, r0 = r > 0 ? r | 0 : 0, c0 = c > 0 ? c | 0 : 0;
  const fs = s > s0 ? s - s0 : 0, fr = r > r0 ? r - r0 : 0, fc = c > c0 ? c - c0 : 0;
  // Steps to the next voxel; none at the far edge.
  const ds = s0 + 1 < slices ? rows * columns : 0, dr = r0 + 1 < rows ? columns : 0, dc = c0 + 1 < columns ? 1 : 0;
  const near = (s0 * rows + r0) * columns + c0, far = near + ds;
  found[0] = (1 - fs) * inSlice(visit.values, near, dr, dc, fr, fc) + fs * inSlice(visit.values, far, dr, dc, fr, fc);
  found[1] = (1 - fs) * inSlice(visit.inside, near, dr, dc, fr, fc) + fs * inSlice(visit.inside, far, dr, dc, fr, fc);
  return true;
}

function inSlice(of, at, dr, dc, fr, fc) {
  return (1 - fr) * ((1 - fc) * of[at] + fc * of[at + dc]) + fr * ((1 - fc) * of[at + dr] + fc * of[at + dr + dc]);
}

class Viewer {
  constructor(root, scene) {
    this.root = root;
    this.side = Math.max(...scene.sides_mm);
    this.scene = scene;
    this.window = 0;
    this.chosen = null;
    this.plane = ["sagittal", "coronal", "axial"][scene.normal];
    this.own = this.plane;
    const depth = scene.normal;
    const first = scene.visits[0].lines[0];
    this.start = [0, 0, 0];
    if (first) this.start[depth] = Math.round(first[0][depth] / scene.steps_mm[depth]) * scene.steps_mm[depth];
    this.position = [...this.start];
    this.pointed = false;
    this.screens = Array.from(root.querySelectorAll("canvas"));
    this.words = Array.from(root.querySelectorAll(".at"));
    this.slider = root.querySelector("input[type=range]");
    this.output = root.querySelector("output");
    for (const radio of root.querySelectorAll("input[type=radio]")) {
      radio.checked = radio.value === this.plane;
      radio.addEventListener("change", () => { this.plane = radio.value; this.ranged(); this.draw(); });
    }
    const select = root.querySelector("select");
    scene.visits[0].windows.forEach(([name], number) => select.append(new Option(name, number)));
    select.addEventListener("change", () => { this.window = Number(select.value); this.chosen = null; this.draw(); });
    this.slider.addEventListener("input", () => { this.position[this.depth] = this.slider.value * this.step; this.draw(); });
    this.screens.forEach((canvas, number) => this.listen(canvas, number));
    for (const box of [overlay, mineral]) box.addEventListener("change", () => this.draw());
  }

  get depth() { return PLANES[this.plane].depth; }

  get step() { return Math.max(this.scene.steps_mm[this.depth], 0.5); }

  ranged() {
    const most = Math.floor(this.scene.sides_mm[this.depth] / 2 / this.step);
    Object.assign(this.slider, { min: -most, max: most, step: 1 });
    this.slider.value = Math.round(this.position[this.depth] / this.step);
    this.position[this.depth] = this.slider.value * this.step;
  }

  listen(canvas, number) {
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.slider.value = Number(this.slider.value) + Math.sign(event.deltaY);
      this.slider.dispatchEvent(new Event("input"));
    }, { passive: false });
    const place = (event) => [event.offsetX / canvas.clientWidth, event.offsetY / canvas.clientHeight];
    let dragged = false;
    canvas.addEventListener("pointerdown", (event) => { dragged = false; canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointermove", (event) => {
      if (event.buttons) this.drag(number, event.movementX, event.movementY);
      dragged ||= event.buttons > 0 && Math.abs(event.movementX) + Math.abs(event.movementY) > 0;
      this.read(number, ...place(event));
    });
    canvas.addEventListener("click", (event) => { if (!dragged) this.point(this.under(...place(event)), true); });
    canvas.addEventListener("dblclick", () => { this.chosen = null; this.point([...this.start], false); });
    canvas.addEventListener("pointerleave", () => { this.output.textContent = ""; });
  }

  // The point all planes pass through; the cross marks it once a reader has set it.
  point(position, pointed) {
    Object.assign(this, { position, pointed });
    this.ranged();
    this.draw();
  }

  // Sideways the window's width, up and down its level, as on a workstation.
  drag(number, right, down) {
    const [, level, width] = this.windowOf(number);
    this.chosen = ["chosen", level + (down * width) / 300, Math.max(1, width * (1 + right / 150))];
    this.draw();
  }

  // A scan without the usual windows keeps its own.
  windowOf(number) {
    const { windows } = this.scene.visits[number];
    return this.chosen || windows[this.window] || windows[0];
  }

  // The box's point under a place of the picture, both from 0 to 1.
  under(right, down) {
    const plane = PLANES[this.plane];
    const point = [...this.position];
    point[plane.right] = (right - 0.5) * this.side;
    point[plane.down] = (down - 0.5) * this.side * plane.sign;
    return point;
  }

  read(number, right, down) {
    const visit = this.visits[number], found = [0, 0];
    const shown = sample(visit, moved(visit.to_index, this.under(right, down)), found);
    this.output.textContent = shown ? `${visit.label}: about ${Math.round(found[0])} ${visit.unit}`.replace("-", "−") : "";
  }

  async open() {
    this.visits = await Promise.all(this.scene.visits.map(unpacked));
    this.ranged();
    this.draw();
  }

  draw() {
    if (!this.visits || this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.visits.forEach((visit, number) => this.paint(visit, number));
    });
  }

  paint(visit, number) {
    const canvas = this.screens[number], context = canvas.getContext("2d");
    const image = context.createImageData(PIXELS, PIXELS);
    const inside = new Float32Array(PIXELS * PIXELS);
    const [name, level, width] = this.windowOf(number);
    const half = 0.5 / PIXELS;
    const corner = moved(visit.to_index, this.under(half, half));
    const along = moved(visit.to_index, this.under(half + 1 / PIXELS, half)).map((part, axis) => part - corner[axis]);
    const below = moved(visit.to_index, this.under(half, half + 1 / PIXELS)).map((part, axis) => part - corner[axis]);
    const index = [0, 0, 0], found = [0, 0];
    for (let down = 0, place = 0; down < PIXELS; down++) {
      for (let right = 0; right < PIXELS; right++, place++) {
        for (let axis = 0; axis < 3; axis++) index[axis] = corner[axis] + right * along[axis] + down * below[axis];
        image.data[4 * place + 3] = 255;
        if (!sample(visit, index, found)) continue;
        const grey = Math.min(Math.max((found[0] - level) / width + 0.5, 0), 1) * 255;
        const dense = mineral.checked && found[1] >= 127.5 && visit.unit === "HU" && found[0] > MINERAL_HU;
        image.data[4 * place] = dense ? 0.45 * grey + 140 : grey;
        image.data[4 * place + 1] = dense ? 0.45 * grey + 20 : grey;
        image.data[4 * place + 2] = dense ? 0.45 * grey + 100 : grey;
        inside[place] = found[1];
      }
    }
    if (overlay.checked) this.outline(image.data, inside);
    context.putImageData(image, 0, 0);
    if (overlay.checked) this.lines(context, visit);
    if (this.pointed) this.cross(context);
    const shown = `W ${Math.round(width)} L ${Math.round(level)}`.replace("-", "−");
    this.letters(context, visit, shown);
    const words = `${this.where(visit)} · ${name} ${shown}`;
    this.words[number].textContent = words;
    canvas.setAttribute("aria-label", `${visit.label}: ${words}`);
  }

  outline(pixels, inside) {
    for (let place = PIXELS; place < inside.length - PIXELS; place++) {
      if (inside[place] < 127.5) continue;
      const least = Math.min(inside[place - 1], inside[place + 1], inside[place - PIXELS], inside[place + PIXELS]);
      if (least < 127.5) for (let part = 0; part < 3; part++) pixels[4 * place + part] = OUTLINE[part];
    }
  }

  // The measured lines, where this slice is the one they were measured in.
  lines(context, visit) {
    if (this.plane !== this.own) return;
    const plane = PLANES[this.plane], depth = this.depth;
    context.strokeStyle = "#57c8ff";
    context.lineWidth = 1.5;
    visit.lines.forEach(([start, end], number) => {
      if (Math.abs((start[depth] + end[depth]) / 2 - this.position[depth]) > this.scene.steps_mm[depth] / 2 + 0.1) return;
      const at = (point) => [point[plane.right], point[plane.down] * plane.sign].map((mm) => (mm / this.side + 0.5) * PIXELS);
      context.setLineDash(number ? [5, 4] : []);
      context.beginPath();
      context.moveTo(...at(start));
      context.lineTo(...at(end));
      context.stroke();
    });
    context.setLineDash([]);
  }

  cross(context) {
    const plane = PLANES[this.plane];
    const [x, y] = [this.position[plane.right], this.position[plane.down] * plane.sign].map((mm) => (mm / this.side + 0.5) * PIXELS);
    context.strokeStyle = "#ff9f4a";
    context.lineWidth = 1;
    context.beginPath();
    // Open in the middle, so that it does not cover what it marks.
    for (const [from, to] of [[0, -12], [12, PIXELS]]) {
      context.moveTo(from ? x + from : 0, y);
      context.lineTo(to > 0 ? to : x + to, y);
      context.moveTo(x, from ? y + from : 0);
      context.lineTo(x, to > 0 ? to : y + to);
    }
    context.stroke();
  }

  letters(context, visit, words) {
    const { right, down, sign } = PLANES[this.plane], edge = 6, middle = PIXELS / 2;
    const bar = [100, 50, 20, 10, 5].find((length) => length <= this.side / 4);
    Object.assign(context, { font: "600 17px sans-serif", fillStyle: "#fff", strokeStyle: "#000", lineWidth: 3, textBaseline: "middle" });
    const write = (text, align, x, y) => { context.textAlign = align; context.strokeText(text, x, y); context.fillText(text, x, y); };
    write(LETTERS[right][0], "left", edge, middle);
    write(LETTERS[right][1], "right", PIXELS - edge, middle);
    write(LETTERS[down][sign > 0 ? 0 : 1], "center", middle, 14);
    write(LETTERS[down][sign > 0 ? 1 : 0], "center", middle, PIXELS - 12);
    write(`${bar} mm`, "left", 10, PIXELS - 28);
    write(this.scene.name, "left", edge, 14);
    write(visit.date, "right", PIXELS - edge, 14);
    write(words, "right", PIXELS - edge, PIXELS - 12);
    context.fillRect(10, PIXELS - 16, (bar / this.side) * PIXELS, 2);
  }

  // Where the middle of the picture lies in this visit's own scan.
  where(visit) {
    const place = moved(visit.to_lps, this.position)[this.depth];
    const words = `${this.plane} ${LETTERS[this.depth][place >= 0 ? 1 : 0]} ${Math.abs(place).toFixed(1)} mm`;
    if (this.plane !== this.own || !visit.slices.length) return words;
    const [first, every, count] = visit.slices;
    return `slice ${Math.round(first + every * moved(visit.to_index, this.position)[0]) + 1} of ${count}, ${words}`;
  }
}

/** A visit's scan and outline in a cube of the baseline's frame; its axes run to the patient's right, forward and up. */
function cube(visit, side) {
  const values = new Float32Array(CUBE ** 3).fill(visit.codes[0][0]), inside = new Uint8Array(CUBE ** 3);
  const at = (number) => ((number + 0.5) / CUBE - 0.5) * side;
  const found = [0, 0];
  for (let up = 0, place = 0; up < CUBE; up++) {
    for (let forward = 0; forward < CUBE; forward++) {
      for (let right = 0; right < CUBE; right++, place++) {
        if (!sample(visit, moved(visit.to_index, [-at(right), -at(forward), at(up)]), found)) continue;
        values[place] = found[0];
        inside[place] = found[1] >= 127.5 ? 1 : 0;
      }
    }
  }
  return { label: visit.label, date: visit.date, windows: visit.windows, unit: visit.unit, values, inside };
}

/** Of many visits the first and the latest. */
function few(visits) {
  return visits.filter((_, number) => number === 0 || number > visits.length - SENT);
}

/** Opens the page of three planes beside the results, and sends it this lesion when it says that it is there. */
function threePlanes({ scene, side, visits }) {
  const page = window.open(`${location.href.slice(0, location.href.lastIndexOf("/cases/"))}/viewer/niivue.html`);
  addEventListener("message", function answer({ source }) {
    if (source !== page) return;
    removeEventListener("message", answer);
    page.postMessage({ name: scene.name, side, of: visits.length, visits: few(visits).map((visit) => cube(visit, side)) }, "*");
  });
}

for (const root of document.querySelectorAll(".viewer")) {
  const button = root.querySelector("button"), stage = root.querySelector(".stage");
  let viewer = null;
  root.hidden = false;
  button.addEventListener("click", () => {
    stage.hidden = !stage.hidden;
    button.setAttribute("aria-expanded", String(!stage.hidden));
    if (viewer || stage.hidden) return;
    viewer = new Viewer(root, JSON.parse(document.getElementById(root.dataset.scene).textContent));
    viewer.open();
    root.querySelector(".planes")?.addEventListener("click", () => threePlanes(viewer));
  });
}
