"use strict";
// One lesion's scans, sent by the report that opened this page: three planes of every visit through one point of the patient.
const { Niivue, NVImage, SLICE_TYPE, DRAG_MODE, SHOW_RENDER, MULTIPLANAR_TYPE } = niivue;
const OPTIONS = {
  isRadiologicalConvention: true, sagittalNoseLeft: true, showAllOrientationMarkers: true, fontColor: [1, 1, 1, 1], backColor: [0, 0, 0, 1],
  multiplanarShowRender: SHOW_RENDER.NEVER, multiplanarLayout: MULTIPLANAR_TYPE.ROW, crosshairColor: [0.34, 0.78, 1, 0.8], crosshairWidth: 0.4, crosshairGap: 16, multiplanarPadPixels: 6,
  dragMode: DRAG_MODE.windowing, dragAndDropEnabled: false, logLevel: "error",
};
// The outlines' yellow, as in the report.
const YELLOW = { R: [0, 244], G: [0, 220], B: [0, 58], A: [0, 255], I: [0, 255] };
const TINT = 0.3;
const FLOAT32 = 16, UINT8 = 2;
// Voxels a key moves the point: to the patient's right, forward, up.
const KEYS = { ArrowLeft: [1, 0, 0], ArrowRight: [-1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0], PageUp: [0, 0, 1], PageDown: [0, 0, -1] };
const $ = (id) => document.getElementById(id);
const views = [];

/** Voxels of a cube whose axes run to the patient's right, forward and up, as NiiVue takes a volume. */
function volume(voxels, datatype, side, options) {
  const count = Math.round(Math.cbrt(voxels.length)), step = side / count, first = (step - side) / 2;
  const affine = [step, 0, 0, first, 0, step, 0, first, 0, 0, step, first, 0, 0, 0, 1];
  const bytes = NVImage.createNiftiArray([count, count, count], [step, step, step], affine, datatype, voxels);
  return NVImage.loadFromFile({ file: new File([bytes], "scan.nii"), name: "scan.nii", ...options });
}

/** A scan without the usual windows keeps its own. */
function windowOf(visit, number) {
  const [, level, width] = visit.windows[number] || visit.windows[0];
  return { cal_min: level - width / 2, cal_max: level + width / 2 };
}

async function shown(visit, side) {
  const figure = $("visit").content.cloneNode(true).firstElementChild;
  $("planes").append(figure);
  figure.querySelector("strong").textContent = visit.label;
  figure.querySelector(".date").textContent = visit.date;
  const canvas = figure.querySelector("canvas");
  canvas.setAttribute("aria-label", `${visit.label}: axial, coronal and sagittal`);
  const view = new Niivue(OPTIONS);
  await view.attachToCanvas(canvas);
  view.addVolume(await volume(visit.values, FLOAT32, side, windowOf(visit, 0)));
  view.addColormap("yellow", YELLOW);
  view.addVolume(await volume(visit.inside, UINT8, side, { colormap: "yellow", opacity: TINT, cal_min: 0, cal_max: 1 }));
  view.setSliceType(SLICE_TYPE.MULTIPLANAR);
  view.onLocationChange = view.onIntensityChange = () => tell(view, visit, figure.querySelector("output"));
  // NiiVue tells the other views of a window that is dragged, but not its own.
  canvas.addEventListener("pointermove", ({ buttons }) => { if (buttons) requestAnimationFrame(view.onIntensityChange); });
  view.onLocationChange();
  views.push(view);
}

/** Window, place and value, as they are on the screen. */
function tell(view, visit, output) {
  const { cal_min: low, cal_max: high } = view.volumes[0];
  const [right, anterior, superior] = view.frac2mm(view.scene.crosshairPos);
  const place = [right < 0 ? "L" : "R", anterior < 0 ? "P" : "A", superior < 0 ? "I" : "S"]
    .map((letter, axis) => `${letter} ${Math.abs([right, anterior, superior][axis]).toFixed(1)}`).join(" ");
  const value = view.volumes[0].getValue(...view.frac2vox(view.scene.crosshairPos));
  output.textContent = `W ${Math.round(high - low)} L ${Math.round((high + low) / 2)} · ${place} mm from the middle: about ${Math.round(value)} ${visit.unit}`.replaceAll("-", "−");
}

async function show({ name, side, of, visits }) {
  document.title = $("name").textContent = name;
  for (const visit of visits) await shown(visit, side);
  // Signals of MR have no common scale: there each visit keeps its own window.
  const common = visits.every((visit) => visit.unit === "HU");
  for (const view of views) view.broadcastTo(views.filter((other) => other !== view), { "2d": true, crosshair: true, cal_min: common, cal_max: common });
  visits[0].windows.forEach(([called], number) => $("window").append(new Option(called, number)));
  $("window").addEventListener("change", () => views.forEach((view, place) => {
    Object.assign(view.volumes[0], windowOf(visits[place], $("window").value));
    view.updateGLVolume();
    view.onIntensityChange();
  }));
  $("outline").addEventListener("change", () => views.forEach((view) => view.setOpacity(1, $("outline").checked ? TINT : 0)));
  addEventListener("keydown", (event) => {
    if (!KEYS[event.key] || event.target === $("window")) return;
    event.preventDefault();
    views[0].moveCrosshairInVox(...KEYS[event.key]);
  });
  $("told").textContent = `Each picture is ${side} mm wide, in the baseline's frame through the registration, resampled; the report shows the slices as acquired.`
    + (of > visits.length ? ` These are the first and the latest ${visits.length - 1} of ${of} visits.` : "");
}

async function received({ source, data }) {
  if (source !== window.opener) return;
  removeEventListener("message", received);
  if (document.createElement("canvas").getContext("webgl2")) await show(data);
  else $("told").textContent = "These pictures need WebGL 2, which this browser has not. The report's own viewer does without it.";
  document.body.dataset.done = "";
}

addEventListener("message", received);
window.opener?.postMessage("ready", "*");
