// Text from the server is only ever set as text. What is signed is signed by the server; this page only asks.

// ---- Talking to the server

const given = location.hash.slice(1);
if (given && !given.startsWith("/")) {
  sessionStorage.setItem("token", given);
  history.replaceState(null, "", "#/");
}
const token = sessionStorage.getItem("token") || "";

class Refusal extends Error {
  constructor(answer, status) {
    const problem = answer.problem;
    super(problem ? `${problem.found}; ${problem.remedy} (${problem.code})` : `refused: ${answer.refused || status}`);
    this.code = problem ? problem.code : "";
  }
}

async function ask(path, body) {
  const options = { headers: { "X-Review-Token": token }, cache: "no-store" };
  if (body !== undefined) {
    options.method = "POST";
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const response = await fetch(`/api/${path}`, options);
  if (!response.ok) throw new Refusal(await response.json(), response.status);
  const bytes = response.headers.get("Content-Type") === "application/octet-stream";
  return bytes ? response.arrayBuffer() : response.json();
}

// ---- Building the page

const $ = (id) => document.getElementById(id);

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

const chip = (text, tone = "") => element("span", { className: `chip ${tone}` }, text);

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad-text", bad);
}

function fail(error) {
  say(error.message, true);
}

function head(...columns) {
  return element("thead", {}, element("tr", {}, ...columns.map((text) => (text ? element("th", { scope: "col" }, text) : element("td")))));
}

function fill(table, columns, rows) {
  table.replaceChildren(...(columns.length ? [head(...columns)] : []), element("tbody", {}, ...rows));
}

const row = (first, ...rest) =>
  element("tr", {}, element("th", { scope: "row" }, first), ...rest.map((cell) => element("td", {}, cell)));

function show(template) {
  $("main").replaceChildren($(template).content.cloneNode(true));
}

// ---- Worklist

// What a problem is called in two or three words: its own name here, else its code's words spelled out.
const WHY = {
  "W-SEG-CONFIDENCE": "doubtful outline",
  "W-REPORTED-CONTRADICTION": "reports contradict",
  "W-REPORTED-DIFFERS": "report differs",
  "W-METHOD-CHANGED": "other modality",
  "W-GEOM-MAGNIFICATION": "magnified radiograph",
  "W-REVIEW-STALE": "stale review",
  "W-REVIEW-REJECTED": "rejected outline",
  "W-HU-JUMP": "density jumps",
  "W-MEASURE-REFERENCE": "no healthy vertebra",
  "W-MEASURE-MUSCLE": "no muscle beside it",
  "W-MEASURE-HEIGHTS": "no vertebral heights",
  "W-MEASURE-WALL": "no vertebral wall",
  "W-MEASURE-SIGNAL": "no signal ratio",
  "W-MEASURE-UPTAKE": "no uptake ratio",
  "W-MEASURE-PIXELS": "no millimetres",
  "W-TARGETS-MANY": "too many targets",
  "W-TARGET-SMALL": "target below measurable size",
  "W-TARGET-UNMEASURED": "target without a size",
  "W-ROLE-NOT-MEASURABLE": "target not measurable",
  "W-PD-UNDATED": "progression without a date",
  "W-STATED-NOT-VERIFIABLE": "stated, not verifiable",
  "W-BASELINE-AGE": "baseline too old",
  "W-CR-LOST": "complete response lost",
  "W-SERIES-MIXED": "mixed series",
  "E-REG-AMBIGUOUS": "registration in doubt",
  "E-SEG-EMPTY": "no outline",
  "E-SEG-LEAK": "outline leaks",
  "E-GEOM-GAP": "slices missing",
};
const SPELLED = {
  COMPARE: "other", DICOM: "DICOM", DUPTAG: "repeated tag", FS: "folder", GEOM: "geometry", HU: "CT numbers", KVP: "tube voltage", META: "header",
  NIFTI: "NIfTI", NM: "scintigraphy", NRRD: "NRRD", ORIENT: "orientation", PAT: "patient", PDF: "PDF", PHI: "identifying", PIX: "pixels", POS: "positions",
  PREAMBLE: "header", REG: "registration", SEG: "outline", SYNTAX: "encoding", TS: "encoding", UID: "UID",
};

function calledShort(code) {
  return WHY[code] || code.split("-").slice(1).map((word) => SPELLED[word] || word.toLowerCase()).join(" ") || code;
}

async function worklist() {
  const list = await ask("worklist");
  open = null;
  show("worklist-template");
  $("title").textContent = "Review";
  document.title = "Review";
  $("back").hidden = true;
  const sees = list.adjudicates ? "adjudicator, sees all readers" : "sees only own acts";
  $("reader").textContent = `${list.reader} · ${sees}`;
  const rows = list.cases.map((each) => [each.case.toLowerCase(), caseRow(each)]);
  $("rows").replaceChildren(...rows.map(([, made]) => made));
  $("find").addEventListener("input", () => {
    const wanted = $("find").value.trim().toLowerCase();
    for (const [name, made] of rows) made.hidden = !name.includes(wanted) && !made.textContent.toLowerCase().includes(wanted);
  });
  say(`${list.cases.length} ${list.cases.length === 1 ? "case" : "cases"}`);
}

function caseRow(each) {
  const pressing = (code) => /^E-|CONFIDENCE/.test(code);
  const worst = Object.entries(each.why).sort(([one], [other]) => pressing(other) - pressing(one));
  const why = worst.map(([code, count]) =>
    chip(`${calledShort(code)}${count > 1 ? ` × ${count}` : ""}`, pressing(code) ? "bad" : "open"));
  return row(
    element("a", { href: `#/case/${each.case}` }, each.case),
    element("span", {}, ...states(each)),
    element("span", {}, ...(why.length ? why : ["nothing"])),
    each.acts ? `${each.signed} of ${each.visits}` : "none",
    String(each.acts),
  );
}

function states(each) {
  const found = [];
  if (each.refused) found.push(chip(each.refused.code === "E-JOURNAL-TORN" ? "torn journal" : "cannot be read", "bad"));
  if (each.stale) found.push(chip(`${each.stale} stale`, "bad"));
  if (each.disputed) found.push(chip(`readers differ × ${each.disputed}`, "open"));
  if (each.done && !each.stale) found.push(chip("signed", "good"));
  else if (!found.length) found.push(each.acts ? chip("in progress") : chip("to review", "open"));
  return found;
}

// ---- One case

const SIGNS = { open: "·", accepted: "✓", adjusted: "✎", added: "+", rejected: "✕", stale: "!" };
const WORDS = {
  accept: "accepted", adjust: "corrected", reject: "rejected", add: "added", sign: "signed the visit",
};

let open = null; // the case on the page: its document, where the reader is, and what was drawn but not saved

const cellAt = (lesion, visit) => open.document.cells[lesion][visit];
const here = () => cellAt(open.lesion, open.visit);
const visitName = (visit) => `${visit.label} (${visit.date})`;
const shortName = (visit) => (visit === open.document.visits[0] ? "BL" : `V${open.document.visits.indexOf(visit)}`);
const visitOf = (number) => open.document.visits.find((visit) => visit.number === number);

async function showCase(name) {
  let documented;
  try {
    documented = await ask(`cases/${name}`);
  } catch (error) {
    refuseCase(name, error);
    return;
  }
  show("case-template");
  $("title").textContent = name;
  document.title = `${name} · review`;
  $("back").hidden = false;
  open = { name, document: documented, lesion: 0, visit: 0, tool: "look", computing: false, again: false, adding: false };
  open.now = new Picture($("picture"), true);
  open.then = new Picture($("earlier"), false);
  wire();
  say("");
  const first = nextOpen(-1) || [0, 0];
  await go(...first);
}

function refuseCase(name, error) {
  open = null;
  $("back").hidden = false;
  $("title").textContent = name;
  const section = element("section", {}, element("h2", {}, "This case cannot be shown"), element("p", {}, error.message));
  if (error.code === "E-JOURNAL-TORN") {
    const button = element("button", { type: "button" }, "Keep the torn line in a file of its own and go on");
    button.addEventListener("click", async () => {
      await ask(`cases/${name}/mend`, {});
      await showCase(name);
    });
    section.append(button);
  }
  $("main").replaceChildren(section);
}

/** The next lesion and visit nobody has settled, lesion by lesion, after a place; doubtful outlines first. */
function nextOpen(after) {
  const places = [];
  open.document.cells.forEach((visits, lesion) => visits.forEach((cell, visit) => {
    if (cell && cell.view && ["open", "stale"].includes(cell.standing)) places.push([lesion, visit, cell.problems.length > 0]);
  }));
  const index = ([lesion, visit]) => lesion * open.document.visits.length + visit;
  const doubtful = places.filter((place) => place[2]);
  if (after < 0) return (doubtful[0] || places[0] || null);
  return places.find((place) => index(place) > after) || places[0] || null;
}

async function go(lesion, visit) {
  if (open.now.edited && !confirmLeaving()) return;
  open.lesion = lesion;
  open.visit = visit;
  open.adding = false;
  open.window = null;
  open.now.forget();
  $("comment").value = "";
  $("finding").value = "";
  render();
  await pictures();
}

function confirmLeaving() {
  return window.confirm("What you drew is not saved. Leave it?");
}

async function pictures() {
  const { lesion, visit } = open;
  const cell = here();
  $("picture").parentElement.hidden = !(cell && cell.view);
  // Beside a follow-up lies the baseline, where the lesion was first marked.
  const earlier = visit ? open.document.cells[lesion].slice(0, visit).findIndex((each) => each && each.view) : -1;
  $("then").hidden = earlier < 0;
  document.querySelector(".pictures").classList.toggle("alone", earlier < 0);
  if (cell && cell.view) await open.now.load(open.name, cell);
  if (open.lesion !== lesion || open.visit !== visit) return;
  if (earlier >= 0) {
    await open.then.load(open.name, open.document.cells[lesion][earlier]);
    const at = open.document.visits[earlier];
    $("earlier").setAttribute("aria-label", `${open.document.lesions[lesion].id} at ${visitName(at)}, for comparison`);
    open.then.date = visitName(at);
  }
  windows();
  useTool(cell && cell.view ? open.tool : "look");
  drawAll();
}

function windows() {
  if (!open.now.view) return;
  const chosen = $("window").value;
  $("window").replaceChildren(...open.now.view.windows.map((each, index) =>
    element("option", { value: each.name, selected: index === 0 }, `${each.name} W ${Math.round(each.width)} L ${Math.round(each.level)}`)));
  if (open.now.view.windows.some((each) => each.name === chosen) && open.keptWindow) $("window").value = chosen;
}

function drawAll() {
  open.now.draw();
  open.then.draw();
  const picture = open.now;
  if (!picture.view) return;
  $("slice").max = picture.view.shape[0] - 1;
  $("slice").value = picture.slice;
  $("picture-words").textContent = picture.words();
  if (open.then.view) $("earlier-words").textContent = `${open.then.date} · ${open.then.words()}`;
  $("picture").setAttribute("aria-label", `${$("subject").textContent}, ${picture.words()}`);
  $("undo").disabled = !picture.history.length;
  $("save").disabled = !picture.edited || open.adding;
  $("add-save").disabled = !(open.adding && picture.edited);
  $("live").textContent = picture.news();
}

// ---- What stands around the picture

function render() {
  const { document: shown, lesion, visit } = open;
  const cell = here();
  const { id, label: called } = shown.lesions[lesion];
  $("subject").textContent = `${called.startsWith(id) ? called : `${id}, ${called}`} · ${visitName(shown.visits[visit])}`;
  const { role, site } = shown.lesions[lesion];
  $("about").textContent = [role, site, cell && cell.outcome !== "measured" && cell.outcome, cell && cell.confidence]
    .filter(Boolean).join(" · ");
  const doubts = cell ? cell.problems : [];
  $("doubts-section").hidden = !doubts.length;
  $("doubts").replaceChildren(...doubts.map((each) => element("li", {},
    element("strong", {}, `▲ ${calledShort(each.code)}`), `: ${each.found}. → ${each.remedy}.`)));
  matrix();
  responses();
  signatures();
  const followed = visit > 0;
  fill($("numbers"), ["", "Now", ...(followed ? ["Change"] : [])], (cell ? cell.numbers : []).map((each) => row(
    each.label,
    element("span", {}, each.value, element("span", { className: "interval" }, each.interval)),
    ...(followed ? [each.change] : []),
  )));
  if (!cell || !cell.numbers.length) $("numbers").replaceChildren(element("caption", {}, cell ? cell.outcome : "not looked for"));
  const options = shown.visits[visit].series.map((series, index) =>
    series && element("option", { value: String(index), selected: cell !== null && cell.series === index }, series.name));
  $("series").replaceChildren(...options.filter(Boolean));
  $("accept").disabled = !cell;
  $("reject").disabled = !cell;
  journal();
}

function matrix() {
  const { document: shown } = open;
  const rows = shown.lesions.map((each, lesion) => element("tr", {},
    element("th", { scope: "row" }, each.id, element("span", { className: "muted" }, each.role)),
    ...shown.visits.map((visit, index) => element("td", {}, cellButton(each, lesion, visit, index)))));
  const visits = shown.visits.map((visit) => element("th", { scope: "col", title: visitName(visit) }, shortName(visit)));
  $("matrix").replaceChildren(
    element("thead", {}, element("tr", {}, element("td", {}), ...visits)), element("tbody", {}, ...rows));
  $("legend").textContent = "· open  ▲ doubtful  ✓ accepted  ✎ corrected  + added  ✕ rejected  ! stale";
}

function cellButton(lesion, index, visit, place) {
  const cell = cellAt(index, place);
  if (!cell) return "";
  const doubtful = cell.standing === "open" && (cell.problems.length || !cell.view);
  const words = [lesion.id, visitName(visit), cell.standing, doubtful ? "doubtful" : "", cell.disputed ? "readers differ" : ""];
  const button = element("button", {
    type: "button",
    className: `cell ${cell.standing} ${doubtful ? "doubt" : ""}`,
    title: words.filter(Boolean).join(", "),
    "aria-label": words.filter(Boolean).join(", "),
    "aria-current": String(index === open.lesion && place === open.visit),
  }, `${doubtful ? "▲" : SIGNS[cell.standing]}${cell.disputed ? "≠" : ""}`);
  button.addEventListener("click", () => go(index, place).catch(fail));
  return button;
}

function responses() {
  const told = open.document.responses.filter((each) => each.overall || each.sum);
  $("responses").replaceChildren(...[...new Set(told.map((each) => each.criterion))].map((criterion) =>
    judgements(criterion, told.filter((each) => each.criterion === criterion))));
}

/** One criterion, visit by visit: the response, its sum, and which other response it may as well be. */
function judgements(criterion, judged) {
  const sums = judged.some((each) => each.sum);
  const rows = judged.flatMap((each) => {
    const visit = visitOf(each.visit);
    const response = each.overall ? element("span", { className: `chip ${each.tone}`, title: [each.words, ...each.reasons].join("; ") }, each.overall) : "";
    const made = row(shortName(visit), response, ...(sums ? [each.sum, each.from_baseline, each.from_nadir] : []));
    made.setAttribute("aria-current", String(visit === open.document.visits[open.visit]));
    const sure = each.certainty.map((sentence) => element("div", {}, sentence));
    return sure.length ? [made, element("tr", { className: "certainty" }, element("td", {}), element("td", { colSpan: sums ? 4 : 1 }, ...sure))] : [made];
  });
  const table = element("table");
  fill(table, sums ? ["Visit", "", "Sum mm", "From BL", "From nadir"] : [], rows);
  table.prepend(element("caption", {}, criterion));
  return table;
}

function signatures() {
  $("signatures").replaceChildren(...open.document.visits.map((visit, index) => {
    const cells = open.document.cells.map((visits) => visits[index]).filter(Boolean);
    const settled = cells.filter((cell) => !["open", "stale"].includes(cell.standing)).length;
    const button = element("button", { type: "button" }, visit.signed && !visit.signed.stale ? "Sign again" : "Sign");
    button.setAttribute("aria-label", `Sign ${visitName(visit)}`);
    button.addEventListener("click", () => confirmSignature(visit, index, settled, cells.length));
    const state = !visit.signed ? chip("not signed", "open")
      : visit.signed.stale ? chip(`stale: signed by ${visit.signed.by} for other numbers`, "bad")
        : chip(`signed by ${visit.signed.by}`, "good");
    return element("li", {}, element("div", { className: "row spread" }, visitName(visit), button),
      element("div", {}, state, element("span", { className: "muted small" }, `${settled} of ${cells.length} judged`)));
  }));
}

function confirmSignature(visit, index, settled, total) {
  if (open.computing) {
    say("The numbers are being computed; sign them when they are up to date.");
    return;
  }
  const rest = total - settled;
  $("confirm-words").textContent = `${$("reader").textContent.split(" · ")[0]} signs ${visitName(visit)} with the numbers shown. `
    + (rest ? `${rest} of ${total} lesions are not judged yet; the signature covers them as they are.` : `All ${total} lesions are judged.`);
  $("confirm-yes").onclick = () => {
    $("confirm").close();
    act({ act: "sign", visit: index, judged: visit.judged }, `Signed ${visitName(visit)}`).catch(fail);
  };
  $("confirm").showModal();
}

function journal() {
  const acts = [...open.document.acts].reverse();
  fill($("acts"), ["When", "Reader", "Act", "Reason", "Standing"], acts.map((each) => row(
    each.time.replace("T", " ").replace("Z", " UTC"),
    each.reader,
    [each.name, each.name ? WORDS[each.act] : WORDS[each.act], each.what, each.finding && `(${each.finding})`, "·",
      visitOf(each.visit) ? visitOf(each.visit).label : `visit ${each.visit}`].filter(Boolean).join(" "),
    each.comment,
    element("span", {}, each.stale ? chip("stale: what it judged has changed", "bad")
      : each.pending ? chip("not yet in the numbers", "open") : chip("in force", "good")),
  )));
  if (!acts.length) $("acts").replaceChildren(element("caption", {}, "nothing signed yet"));
}

function differences(answer) {
  $("difference").hidden = false;
  const name = (change) => visitOf(change.visit) ? visitOf(change.visit).label : change.visit;
  fill($("changes"), answer.changes.length ? ["What", "Before", "After"] : [], answer.changes.map((change) => row(
    `${change.subject} ${change.what} · ${name(change)}`,
    element("span", { className: "was" }, change.before || "none"),
    element("strong", {}, change.after || "none"),
  )));
  const nothing = answer.changes.length ? "" : "No number and no response changed. ";
  $("timing").textContent = `${nothing}Computed again in ${answer.seconds} s.`;
}

// ---- Acts

/** Signs an act; it is in the journal when this is done. Its numbers follow by themselves. */
async function act(request, done) {
  say("Signing …");
  await ask(`cases/${open.name}/acts`, request);
  say(`${done}. Computing …`);
  open.now.forget();
  open.adding = false;
  $("comment").value = "";
  $("finding").value = "";
  await refresh(await ask(`cases/${open.name}`));
  compute(done);
}

/** Computes again after the last act; acts that come meanwhile are computed together once more. */
async function compute(done) {
  if (open.computing) {
    open.again = true;
    return;
  }
  const { name } = open;
  open.computing = true;
  try {
    do {
      open.again = false;
      const answer = await ask(`cases/${name}/recompute`, {});
      if (!open || open.name !== name) return;
      await refresh(answer.case);
      differences(answer);
    } while (open.again);
    say(`${done}. The numbers are up to date.`);
  } catch (error) {
    say(`${done} and kept in the journal, but the case could not be computed again: ${error.message}`, true);
  } finally {
    if (open && open.name === name) open.computing = false;
  }
}

async function refresh(documented) {
  const before = here();
  open.document = documented;
  if (open.lesion >= documented.lesions.length) open.lesion = 0;
  const after = here();
  render();
  // What is being drawn is not taken away by numbers that arrive.
  const same = before && after && before.judged === after.judged && JSON.stringify(before.lines) === JSON.stringify(after.lines);
  if (!open.now.edited && !same) await pictures();
  else drawAll();
}

function judgement(kind) {
  return {
    act: kind,
    visit: open.visit,
    lesion: open.lesion,
    judged: here().judged,
    finding: $("finding").value,
    comment: $("comment").value,
  };
}

function needReason() {
  if ($("comment").value.trim()) return true;
  say("Say why, in a few words.", true);
  $("comment").focus();
  return false;
}

const subjectHere = () => `${open.document.lesions[open.lesion].id} at ${open.document.visits[open.visit].label}`;

async function accept() {
  if (!here() || (open.now.edited && !confirmLeaving())) return;
  open.now.forget();
  const place = open.lesion * open.document.visits.length + open.visit;
  await act(judgement("accept"), `Accepted ${subjectHere()}`);
  const next = nextOpen(place);
  if (next && !open.now.edited) await go(...next);
}

async function reject() {
  if (here() && needReason()) await act(judgement("reject"), `Rejected ${subjectHere()}`);
}

async function save() {
  const picture = open.now;
  if (!picture.edited || open.adding || !needReason()) return;
  const request = judgement("adjust");
  if (picture.edited === "outline") request.painted = picture.packed();
  else Object.assign(request, { quantity: picture.edited, points_lps: picture.lines[picture.edited] });
  await act(request, `Corrected ${subjectHere()}`);
}

async function fromFile() {
  const file = $("file").files[0];
  if (!file) throw new Error("Choose a file first.");
  const format = (/\.(nii\.gz|nii|nrrd)$/i.exec(file.name) || [".dcm"])[0].toLowerCase();
  const content = base64(new Uint8Array(await file.arrayBuffer()));
  return { format, content, label: $("label").value || "1", series: Number($("series").value) };
}

async function upload() {
  if (!needReason()) return;
  await act({ ...judgement("adjust"), uploaded: await fromFile() }, `Replaced the outline of ${subjectHere()}`);
}

function newLesion() {
  const request = { act: "add", visit: open.visit, name: $("name").value, kind: $("kind").value, finding: "new", comment: $("comment").value };
  return request;
}

async function addFromFile() {
  if (!needReason()) return;
  const uploaded = await fromFile();
  const judged = open.document.visits[open.visit].series[uploaded.series].digest;
  await act({ ...newLesion(), judged, uploaded }, `Added ${$("name").value}`);
}

function paintNew() {
  open.adding = true;
  open.now.empty();
  useTool("paint");
  say("Paint the new lesion, slice by slice, then choose “Add what is painted”.");
  drawAll();
}

async function addPainted() {
  if (!needReason()) return;
  const judged = open.document.visits[open.visit].series[here().series].digest;
  await act({ ...newLesion(), judged, painted: open.now.packed() }, `Added ${$("name").value}`);
}

function base64(bytes) {
  const parts = [];
  for (let start = 0; start < bytes.length; start += 32768) parts.push(String.fromCharCode(...bytes.subarray(start, start + 32768)));
  return btoa(parts.join(""));
}

// ---- The picture

class Picture {
  constructor(canvas, active) {
    this.canvas = canvas;
    this.active = active;
    this.view = null;
    this.zoom = 1;
    this.slice = 0;
    this.chosen = null; // the end of an axis that keys move
    this.brush = null; // where the brush is, in (row, column)
    this.forget();
  }

  forget() {
    this.edited = ""; // "", "outline", or the quantity whose line was moved
    this.history = [];
  }

  async load(name, cell) {
    const { view } = cell;
    const [pixels, outline] = await Promise.all([
      ask(`cases/${name}/pixels/${view.digest}`), ask(`cases/${name}/outlines/${view.digest}/${view.outline}`)]);
    const moved = !this.view || this.view.digest !== view.digest;
    this.view = view;
    this.pixels = view.pixels === "int16" ? new Int16Array(pixels) : new Float32Array(pixels);
    this.outline = unpacked(new Uint8Array(outline), view.shape[0] * view.shape[1] * view.shape[2]);
    this.lines = structuredClone(cell.lines);
    this.saved = structuredClone(cell.lines);
    this.inverse = inverted(view.affine);
    this.forget();
    this.chosen = null;
    this.brush = [view.shape[1] / 2, view.shape[2] / 2];
    if (moved) {
      this.zoom = 1;
      this.slice = this.measuredSlice();
    }
  }

  measuredSlice() {
    const line = this.lines.longest_diameter;
    if (line) return Math.round(this.toIndex(line[0])[0]);
    let best = 0, most = -1;
    for (let slice = 0; slice < this.view.shape[0]; slice++) {
      const count = this.inSlice(slice).reduce((sum, voxel) => sum + voxel, 0);
      if (count > most) [best, most] = [slice, count];
    }
    return best;
  }

  inSlice(slice) {
    const size = this.view.shape[1] * this.view.shape[2];
    return this.outline.subarray(slice * size, (slice + 1) * size);
  }

  toIndex(point) {
    return apply(this.inverse, point);
  }

  /** Where the picture lies on the canvas: pixels per millimetre, and the canvas place of (row 0, column 0). */
  placed() {
    const [, rows, columns] = this.view.shape;
    const [, rowMm, columnMm] = this.view.spacing_mm;
    const side = this.canvas.width;
    // The earlier picture is narrower, not smaller: a lesion that shrank must look it.
    const alone = this.active || open.now.canvas.parentElement.hidden;
    const perMm = alone ? (side / Math.max(rows * rowMm, columns * columnMm)) * this.zoom : open.now.placed().perMm;
    const centre = this.centre();
    const down = perMm * rowMm, right = perMm * columnMm;
    return { down, right, perMm, top: side / 2 - (centre[0] + 0.5) * down, left: side / 2 - (centre[1] + 0.5) * right };
  }

  centre() {
    const line = this.saved.longest_diameter;
    if ((this.active && this.zoom === 1) || !line) return [(this.view.shape[1] - 1) / 2, (this.view.shape[2] - 1) / 2];
    const [one, other] = line.map((point) => this.toIndex(point));
    return [(one[1] + other[1]) / 2, (one[2] + other[2]) / 2];
  }

  toCanvas(row, column) {
    const at = this.placed();
    return [at.left + (column + 0.5) * at.right, at.top + (row + 0.5) * at.down];
  }

  fromCanvas(x, y) {
    const at = this.placed();
    return [(y - at.top) / at.down - 0.5, (x - at.left) / at.right - 0.5];
  }

  draw() {
    if (!this.view) return;
    const ratio = window.devicePixelRatio || 1;
    const side = Math.round(this.canvas.clientWidth * ratio);
    if (!side) return;
    this.canvas.width = this.canvas.height = side;
    const context = this.canvas.getContext("2d");
    context.fillRect(0, 0, side, side);
    this.drawScan(context);
    const unit = ratio * Math.min(Math.max(this.canvas.clientWidth / 560, 0.8), 1.2);
    if ($("overlay").checked) {
      this.drawOutline(context, unit);
      this.drawLines(context, unit);
    }
    if (this.active && ["paint", "erase"].includes(open.tool)) this.drawBrush(context, unit);
    this.drawFrame(context, unit, side);
  }

  drawScan(context) {
    const [, rows, columns] = this.view.shape;
    const { level, width } = this.window();
    const size = rows * columns;
    const image = new ImageData(columns, rows);
    const values = this.pixels.subarray(this.slice * size, (this.slice + 1) * size);
    for (let index = 0; index < size; index++) {
      const grey = ((values[index] - level) / width + 0.5) * 255;
      image.data[4 * index] = image.data[4 * index + 1] = image.data[4 * index + 2] = grey;
      image.data[4 * index + 3] = 255;
    }
    const sheet = new OffscreenCanvas(columns, rows);
    sheet.getContext("2d").putImageData(image, 0, 0);
    const at = this.placed();
    context.imageSmoothingQuality = "high";
    context.drawImage(sheet, at.left, at.top, columns * at.right, rows * at.down);
  }

  window() {
    if (open.window) return open.window;
    const wanted = $("window").value;
    return this.view.windows.find((each) => each.name === wanted) || this.view.windows[0];
  }

  drawOutline(context, unit) {
    const [, rows, columns] = this.view.shape;
    const marked = this.inSlice(this.slice);
    const at = this.placed();
    const path = new Path2D();
    const edge = (row, column, toRow, toColumn) => {
      path.moveTo(at.left + column * at.right, at.top + row * at.down);
      path.lineTo(at.left + toColumn * at.right, at.top + toRow * at.down);
    };
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        if (!marked[row * columns + column]) continue;
        if (!row || !marked[(row - 1) * columns + column]) edge(row, column, row, column + 1);
        if (row === rows - 1 || !marked[(row + 1) * columns + column]) edge(row + 1, column, row + 1, column + 1);
        if (!column || !marked[row * columns + column - 1]) edge(row, column, row + 1, column);
        if (column === columns - 1 || !marked[row * columns + column + 1]) edge(row, column + 1, row + 1, column + 1);
      }
    }
    haloed(context, path, this.edited === "outline" ? "#ff9f4a" : "#f4dc3a", unit);
  }

  drawLines(context, unit) {
    let number = 0;
    for (const [quantity, line] of Object.entries(this.lines)) {
      const ends = line.map((point) => this.toIndex(point));
      number += 2;
      if (Math.round(ends[0][0]) !== this.slice) continue;
      const places = ends.map(([, row, column]) => this.toCanvas(row, column));
      const path = new Path2D();
      path.moveTo(...places[0]);
      path.lineTo(...places[1]);
      context.setLineDash(quantity === "longest_diameter" ? [] : [6 * unit, 4 * unit]);
      haloed(context, path, this.edited === quantity ? "#ff9f4a" : "#57c8ff", unit);
      context.setLineDash([]);
      if (this.active && open.tool === "axis") places.forEach((place, end) => this.drawHandle(context, unit, place, number - 1 + end, quantity, end));
    }
  }

  drawHandle(context, unit, [x, y], number, quantity, end) {
    const path = new Path2D();
    path.arc(x, y, 6 * unit, 0, 7);
    const chosen = this.chosen && this.chosen.quantity === quantity && this.chosen.end === end;
    context.fillStyle = chosen ? "#ff9f4a" : "#000000aa";
    context.fill(path);
    haloed(context, path, "#ffffff", unit);
    label(context, String(number), x + 13 * unit, y - 9 * unit, unit, "center");
  }

  drawBrush(context, unit) {
    const path = new Path2D();
    const [x, y] = this.toCanvas(...this.brush);
    path.arc(x, y, Number($("brush").value) * this.placed().perMm, 0, 7);
    haloed(context, path, open.tool === "paint" ? "#ffffff" : "#ff8a7a", unit);
  }

  drawFrame(context, unit, side) {
    const { left, right, top, bottom } = this.view.letters;
    label(context, left, 12 * unit, side / 2, unit, "center");
    label(context, right, side - 12 * unit, side / 2, unit, "center");
    label(context, top, side / 2, 16 * unit, unit, "center");
    label(context, bottom, side / 2, side - 10 * unit, unit, "center");
    const perMm = this.placed().perMm;
    const length = [100, 50, 20, 10, 5, 1].find((mm) => mm * perMm <= side / 4) || 1;
    const path = new Path2D();
    path.moveTo(14 * unit, side - 14 * unit);
    path.lineTo(14 * unit + length * perMm, side - 14 * unit);
    haloed(context, path, "#ffffff", unit);
    label(context, `${length} mm`, 14 * unit, side - 22 * unit, unit, "left");
  }

  words() {
    const { name, level, width } = this.window();
    return `${this.view.plane}, ${this.view.slices[this.slice]}, ${name} window W ${Math.round(width)} L ${Math.round(level)}`;
  }

  /** What was drawn and is not saved. */
  news() {
    if (this.edited === "outline") return "Outline changed, not saved yet.";
    if (!this.edited) return "";
    const [was, is] = [this.saved, this.lines].map((lines) => lengthOf(lines[this.edited]).toFixed(1));
    return `${this.edited.replaceAll("_", " ")}: ${was} → ${is} mm, not saved yet.`;
  }

  // ---- Editing

  remember(kind) {
    // One act corrects one thing: moving another line or painting starts from what is saved.
    if (this.edited && this.edited !== kind) this.undoAll();
    this.history.push(kind === "outline" ? { kind, slice: this.slice, voxels: this.inSlice(this.slice).slice() }
      : { kind, line: structuredClone(this.lines[kind]) });
    this.edited = kind;
  }

  undo() {
    const last = this.history.pop();
    if (!last) return;
    if (last.kind !== "outline") this.lines[last.kind] = last.line;
    else if (last.whole) this.outline = last.whole;
    else {
      this.slice = last.slice;
      this.inSlice(last.slice).set(last.voxels);
    }
    if (!this.history.length) this.edited = "";
  }

  undoAll() {
    while (this.history.length) this.undo();
  }

  empty() {
    this.undoAll();
    this.history.push({ kind: "outline", whole: this.outline });
    this.outline = new Uint8Array(this.outline.length);
  }

  /** Voxels whose centres lie under the brush. */
  dab(row, column, value) {
    const [, rows, columns] = this.view.shape;
    const [, rowMm, columnMm] = this.view.spacing_mm;
    const radius = Number($("brush").value);
    const marked = this.inSlice(this.slice);
    for (let r = Math.max(0, Math.floor(row - radius / rowMm)); r <= Math.min(rows - 1, Math.ceil(row + radius / rowMm)); r++) {
      for (let c = Math.max(0, Math.floor(column - radius / columnMm)); c <= Math.min(columns - 1, Math.ceil(column + radius / columnMm)); c++) {
        if (Math.hypot((r - row) * rowMm, (c - column) * columnMm) <= radius) marked[r * columns + c] = value;
      }
    }
    const [r, c] = [Math.round(row), Math.round(column)];
    if (r >= 0 && r < rows && c >= 0 && c < columns) marked[r * columns + c] = value;
  }

  stroke(from, to, value) {
    const steps = Math.max(1, Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1])));
    for (let step = 0; step <= steps; step++) {
      this.dab(from[0] + ((to[0] - from[0]) * step) / steps, from[1] + ((to[1] - from[1]) * step) / steps, value);
    }
  }

  ends() {
    return Object.keys(this.lines).flatMap((quantity) => [0, 1].map((end) => ({ quantity, end })));
  }

  endNear(x, y) {
    const reach = 16 * (window.devicePixelRatio || 1);
    const near = this.ends().map((each) => {
      const [slice, row, column] = this.toIndex(this.lines[each.quantity][each.end]);
      const [left, top] = this.toCanvas(row, column);
      return { ...each, away: Math.round(slice) === this.slice ? Math.hypot(left - x, top - y) : Infinity };
    });
    near.sort((one, other) => one.away - other.away);
    return near.length && near[0].away <= reach ? near[0] : null;
  }

  moveEnd({ quantity, end }, row, column) {
    const [, rows, columns] = this.view.shape;
    const [slice] = this.toIndex(this.lines[quantity][end]);
    const inside = [Math.min(Math.max(row, 0), rows - 1), Math.min(Math.max(column, 0), columns - 1)];
    this.lines[quantity][end] = apply(this.view.affine, [slice, ...inside]);
  }

  packed() {
    const bytes = new Uint8Array(Math.ceil(this.outline.length / 8));
    this.outline.forEach((voxel, index) => { if (voxel) bytes[index >> 3] |= 1 << (index & 7); });
    return { view: this.view.digest, bits: base64(bytes) };
  }
}

function unpacked(bytes, count) {
  return Uint8Array.from({ length: count }, (_, index) => (bytes[index >> 3] >> (index & 7)) & 1);
}

function apply(matrix, point) {
  return [0, 1, 2].map((row) => matrix[row][0] * point[0] + matrix[row][1] * point[1] + matrix[row][2] * point[2] + matrix[row][3]);
}

/** The inverse of an affine whose columns stand at right angles, as those of every scan shown here do nearly, by Cramer's rule. */
function inverted(m) {
  const minor = (r, c) => {
    const [r0, r1] = [0, 1, 2].filter((each) => each !== r), [c0, c1] = [0, 1, 2].filter((each) => each !== c);
    return (m[r0][c0] * m[r1][c1] - m[r0][c1] * m[r1][c0]) * ((r + c) % 2 ? -1 : 1);
  };
  const determinant = m[0][0] * minor(0, 0) + m[0][1] * minor(0, 1) + m[0][2] * minor(0, 2);
  return [0, 1, 2].map((row) => {
    const entries = [0, 1, 2].map((column) => minor(column, row) / determinant);
    return [...entries, -(entries[0] * m[0][3] + entries[1] * m[1][3] + entries[2] * m[2][3])];
  });
}

const lengthOf = ([one, other]) => Math.hypot(one[0] - other[0], one[1] - other[1], one[2] - other[2]);

/** A line with a dark edge, so that it stands out from bright bone. */
function haloed(context, path, colour, unit) {
  context.lineCap = context.lineJoin = "round";
  context.strokeStyle = "#000000b0";
  context.lineWidth = 3.4 * unit;
  context.stroke(path);
  context.strokeStyle = colour;
  context.lineWidth = 1.6 * unit;
  context.stroke(path);
}

function label(context, text, x, y, unit, align) {
  context.font = `600 ${14 * unit}px system-ui, sans-serif`;
  context.textAlign = align;
  context.textBaseline = "middle";
  context.lineWidth = 3.5 * unit;
  context.strokeStyle = "#000000c0";
  context.strokeText(text, x, y);
  context.fillStyle = "#ffffff";
  context.fillText(text, x, y);
}

// ---- Hands on the picture

function useTool(tool) {
  open.tool = tool;
  for (const button of document.querySelectorAll("[data-tool]")) button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
  $("picture").style.cursor = { look: "default", axis: "crosshair", paint: "none", erase: "none" }[tool];
  drawAll();
}

function scroll(by) {
  const picture = open.now;
  if (!picture.view) return;
  picture.slice = Math.min(Math.max(picture.slice + by, 0), picture.view.shape[0] - 1);
  drawAll();
}

function onCanvas(event) {
  const box = $("picture").getBoundingClientRect();
  const scale = $("picture").width / box.width;
  return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
}

function press(event) {
  const picture = open.now;
  const at = onCanvas(event);
  if (open.tool === "axis") {
    const end = picture.endNear(...at);
    if (!end) return;
    picture.chosen = end;
    picture.remember(end.quantity);
    open.drag = (x, y) => picture.moveEnd(end, ...picture.fromCanvas(x, y));
  } else if (open.tool !== "look") {
    picture.remember("outline");
    const value = open.tool === "paint" ? 1 : 0;
    let from = picture.fromCanvas(...at);
    open.drag = (x, y) => {
      const to = picture.fromCanvas(x, y);
      picture.stroke(from, to, value);
      from = to;
    };
    open.drag(...at);
  } else {
    const { level, width } = picture.window();
    // Sideways the window's width, up and down its level, as on a workstation.
    open.drag = (x, y) => {
      const [right, down] = [(x - at[0]) / picture.canvas.width, (y - at[1]) / picture.canvas.width];
      open.window = { name: "chosen", level: level + down * width, width: Math.max(1, width * (1 + 2 * right)) };
    };
  }
  $("picture").setPointerCapture(event.pointerId);
  drawAll();
}

function drag(event) {
  const at = onCanvas(event);
  open.now.brush = open.now.fromCanvas(...at);
  if (open.drag) open.drag(...at);
  if (open.drag || ["paint", "erase"].includes(open.tool)) drawAll();
}

function release() {
  open.drag = null;
}

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** Keys on the picture; true when the key was one of them. */
function pictureKey(event) {
  const picture = open.now;
  const arrow = ARROWS[event.key];
  if (event.key === "PageUp" || event.key === "PageDown") scroll(event.key === "PageUp" ? 1 : -1);
  else if (open.tool === "axis" && /^[1-4]$/.test(event.key)) picture.chosen = picture.ends()[Number(event.key) - 1] || null;
  else if (open.tool === "axis" && arrow && picture.chosen) {
    const { quantity, end } = picture.chosen;
    if (picture.edited !== quantity) picture.remember(quantity);
    const [slice, row, column] = picture.toIndex(picture.lines[quantity][end]);
    picture.slice = Math.round(slice);
    picture.moveEnd(picture.chosen, row + arrow[0] / 2, column + arrow[1] / 2);
  } else if (["paint", "erase"].includes(open.tool) && arrow) picture.brush = picture.brush.map((place, axis) => place + arrow[axis]);
  else if (["paint", "erase"].includes(open.tool) && event.key === " ") {
    picture.remember("outline");
    picture.dab(...picture.brush, open.tool === "paint" ? 1 : 0);
  } else if (arrow && arrow[0]) scroll(-arrow[0]);
  else return false;
  event.preventDefault();
  drawAll();
  return true;
}

function zoom(factor) {
  open.now.zoom = Math.min(Math.max(open.now.zoom * factor, 1), 6);
  drawAll();
}

function undo() {
  open.now.undo();
  drawAll();
}

function resize(by) {
  $("brush").value = Number($("brush").value) + by;
  $("brush-size").textContent = `${$("brush").value} mm`;
  drawAll();
}

const KEYS = {
  v: () => useTool("look"), x: () => useTool("axis"), b: () => useTool("paint"), e: () => useTool("erase"),
  a: accept, s: save, r: reject, z: undo, n: nextPlace, "[": () => resize(-1), "]": () => resize(1), "+": () => zoom(1.5), "-": () => zoom(1 / 1.5),
  o: () => { $("overlay").checked = !$("overlay").checked; drawAll(); },
};

async function nextPlace() {
  const next = nextOpen(open.lesion * open.document.visits.length + open.visit);
  if (next) await go(...next);
  else say("Every lesion is judged at every visit.");
}

function pressed(event) {
  if (!open || event.ctrlKey || event.metaKey || event.altKey || $("confirm").open) return;
  // Letters typed into a field are text.
  if (event.target.matches("input:not([type=range], [type=checkbox]), select, textarea")) return;
  if (event.target === $("picture") && pictureKey(event)) return;
  const action = KEYS[event.key.toLowerCase()];
  if (!action) return;
  event.preventDefault();
  Promise.resolve(action()).catch(fail);
}

function wire() {
  const clicks = {
    accept, reject, save, upload, undo, next: nextPlace, "add-painted": paintNew, "add-file": addFromFile, "add-save": addPainted,
    "zoom-in": () => zoom(1.5), "zoom-out": () => zoom(1 / 1.5), "confirm-no": () => $("confirm").close(),
  };
  for (const [id, action] of Object.entries(clicks)) {
    $(id).addEventListener("click", () => Promise.resolve().then(action).catch(fail));
  }
  for (const button of document.querySelectorAll("[data-tool]")) button.addEventListener("click", () => useTool(button.dataset.tool));
  $("overlay").addEventListener("change", drawAll);
  $("window").addEventListener("change", () => { open.keptWindow = true; open.window = null; drawAll(); });
  $("brush").addEventListener("input", () => resize(0));
  $("slice").addEventListener("input", () => scroll(Number($("slice").value) - open.now.slice));
  const canvas = $("picture");
  canvas.addEventListener("pointerdown", press);
  canvas.addEventListener("pointermove", drag);
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("dblclick", () => { open.window = null; drawAll(); });
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); scroll(event.deltaY < 0 ? 1 : -1); }, { passive: false });
  $("brush-size").textContent = `${$("brush").value} mm`;
}

async function route() {
  const match = /^#\/case\/([A-Za-z0-9_-]+)$/.exec(location.hash);
  try {
    await (match ? showCase(match[1]) : worklist());
    $("title").focus();
  } catch (error) {
    fail(error);
  }
}

document.addEventListener("keydown", pressed);
window.addEventListener("resize", () => { if (open) drawAll(); });
window.addEventListener("hashchange", route);
window.addEventListener("beforeunload", (event) => { if (open && open.now.edited) event.preventDefault(); });
route();
