import { draw, readable, record } from "./sound.js";

const at = (id) => document.getElementById(id);
const slots = {};

// ---- the service ---------------------------------------------------------------------------------

async function ask(method, path, fields) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields ?? {})) [value].flat().forEach((one) => body.append(name, one));
  const headers = at("key").value ? { "X-API-Key": at("key").value } : {};
  const response = await fetch(path, { method, headers, body: fields ? body : undefined });
  const said = await response.json();
  if (!response.ok) throw new Error([said.what, said.got && `got: ${said.got}`, said.remedy].filter(Boolean).join(" — "));
  return said;
}

// ---- small things --------------------------------------------------------------------------------

function made(kind, text = "", name = "") {
  const element = document.createElement(kind);
  element.textContent = text;
  element.className = name;
  return element;
}

function show(place, ...parts) { place.replaceChildren(...parts); }

async function trying(place, work) {
  show(place, made("p", "…", "quiet"));
  try { show(place, ...(await work())); } catch (error) { show(place, made("p", error.message, "fault")); }
}

const percent = (share) => `${(100 * share).toPrecision(3)} %`;

// Score, threshold and what they mean, in words; the service says the rest.
function verdict({ decision, words }) {
  const { accept, score, threshold, probability } = decision;
  const said = accept === null ? "Undecided: this model has no threshold" : accept ? "Accepted" : "Rejected";
  const scale = made("div", "", "scale"), bar = made("i"), mark = made("b");
  bar.style.width = `${50 * (1 + score)}%`;
  scale.append(bar);
  if (threshold !== null) { mark.style.left = `${50 * (1 + threshold)}%`; scale.append(mark); }
  scale.setAttribute("role", "img");
  scale.setAttribute("aria-label", `score ${score.toFixed(3)} of -1 to 1`);
  const figures = [`score ${score.toFixed(3)}`];
  if (threshold !== null) figures.push(`threshold ${threshold.toFixed(3)} (the line)`);
  if (probability !== null) figures.push(`one speaker with a probability of ${percent(probability)}, at even odds`);
  const lines = words.split("\n").map((line) => made("p", line.trim(), "quiet"));
  return [made("p", said, `verdict ${accept === null ? "" : accept ? "yes" : "no"}`), scale, made("p", figures.join(" · ")), ...lines];
}

// ---- a slot: record, or drop and choose files ----------------------------------------------------

function slot(place) {
  const { slot: name, title } = place.dataset;
  const button = made("button", "Record"), input = made("input"), canvas = made("canvas"), text = made("p", "or drop a file here", "quiet");
  const label = made("label", "or choose a file "), heading = made("h3", title);
  Object.assign(input, { type: "file", accept: "audio/*", multiple: name === "new" });
  button.setAttribute("aria-label", `Record: ${title}`);
  text.setAttribute("role", "status");
  label.append(input);
  place.append(heading, button, label, canvas, text);
  const own = (slots[name] = { files: [] });
  let end = null;

  const take = (files) => trying(text, async () => {
    own.files = await Promise.all([...files].map(readable));
    const told = (await ask("POST", "embed", { file: own.files[0] })).recording;
    draw(canvas, told);
    const more = own.files.length > 1 ? ` and ${own.files.length - 1} more` : "";
    return [made("p", `${told.name}${more}: ${told.summary}`), ...told.notes.map((note) => made("p", note, "quiet"))];
  });

  button.onclick = async () => {
    try {
      if (end) {
        const stop = end;
        end = null;
        button.textContent = "Record";
        await take([await stop()]);
      } else {
        end = await record();
        button.textContent = "Stop";
      }
    } catch (error) { show(text, made("p", error.message, "fault")); }
    button.setAttribute("aria-pressed", String(end !== null));
  };
  input.onchange = () => input.files.length && take(input.files);
  place.ondragover = (event) => { event.preventDefault(); place.classList.add("over"); };
  place.ondragleave = () => place.classList.remove("over");
  place.ondrop = (event) => {
    event.preventDefault();
    place.classList.remove("over");
    if (event.dataTransfer.files.length) take(event.dataTransfer.files);
  };
}

function recordings(name) {
  if (!slots[name].files.length) throw new Error("Record something first, or choose a file.");
  return slots[name].files;
}

// ---- what the buttons do -------------------------------------------------------------------------

async function people() {
  const lines = (await ask("GET", "people")).map((one) => {
    const line = made("li"), remove = made("button", "Remove");
    line.append(made("span", `${one.name} (${one.recordings})`), remove);
    remove.setAttribute("aria-label", `Remove ${one.name}`);
    remove.onclick = () => trying(at("enrolled"), async () => {
      await ask("DELETE", `people?name=${encodeURIComponent(one.name)}`);
      await people();
      return [made("p", `${one.name} is removed.`)];
    });
    return line;
  });
  show(at("list"), ...lines);
}

at("compare").onclick = () => trying(at("compared"), async () =>
  verdict(await ask("POST", "verify", { file: recordings("first")[0], other: recordings("second")[0] })));

at("enrol").onclick = () => trying(at("enrolled"), async () => {
  const said = await ask("POST", "enrol", { name: at("name").value, file: recordings("new") });
  await people();
  return [made("p", `${said.name}: ${said.added} added, ${said.count} in all.`)];
});

at("identify").onclick = () => trying(at("identified"), async () => {
  const said = await ask("POST", "identify", { file: recordings("unknown")[0] });
  const [first, ...others] = said.people.map((one) => `${one.name} ${one.score.toFixed(3)}`);
  const rest = others.length ? [made("p", `then ${others.join(", ")}`, "quiet")] : [];
  return [made("p", `Nearest: ${first}`), ...rest, ...verdict(said)];
});

// ---- at the start --------------------------------------------------------------------------------

document.querySelectorAll(".slot").forEach(slot);
at("key").onchange = () => trying(at("enrolled"), async () => { await people(); return []; });
trying(at("about"), async () => {
  const said = await ask("GET", "health");
  at("keyed").hidden = !said.needs_key;
  if (!said.needs_key) await people();
  const decides = said.calibrated ? "calibrated" : said.threshold ? "with a threshold" : "without a threshold: it gives scores alone";
  return [document.createTextNode(`Model ${said.model}, ${decides}. ` +
    `Recordings of up to ${said.most_seconds} s; people are ${said.keeps ? "kept in a book" : "forgotten when the service ends"}.`)];
});
