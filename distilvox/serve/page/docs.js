// openapi.json as a page: each path with its fields, its answer and its faults.

const made = (kind, text = "") => Object.assign(document.createElement(kind), { textContent: text });
const said = await (await fetch("openapi.json")).json();
const schema = (one) => (one?.$ref ? said.components.schemas[one.$ref.split("/").at(-1)] : one ?? {});
const kind = (one) => one.$ref?.split("/").at(-1) ?? (one.anyOf ? one.anyOf.map(kind).join(" or ") : one.format === "binary" ? "file" : one.items ? `list of ${kind(one.items)}` : one.type ?? "");

function table(heads, rows) {
  const all = made("table"), first = made("tr");
  first.append(...heads.map((text) => made("th", text)));
  all.append(first, ...rows.map((cells) => { const row = made("tr"); row.append(...cells.map((text) => made("td", text))); return row; }));
  return all;
}

document.getElementById("about").textContent = said.info.description;
for (const [path, verbs] of Object.entries(said.paths)) {
  for (const [verb, what] of Object.entries(verbs)) {
    const part = made("section"), form = what.requestBody?.content["multipart/form-data"]?.schema;
    part.append(made("h2", `${verb.toUpperCase()} ${path}`), made("p", what.summary));
    if (form) {
      const words = form.required.map((name) => (name === "file" ? "-F file=@a.wav" : `-F ${name}=...`)).join(" ");
      part.append(made("pre", `curl ${words} ${location.origin}${path}`));
      part.append(table(["field", "what", ""], Object.entries(form.properties).map(([name, one]) =>
        [name + (form.required.includes(name) ? "" : " (may be left out)"), kind(one), one.description ?? one.items?.description ?? ""])));
    }
    const answer = schema(what.responses["200"].content["application/json"].schema);
    part.append(table(["answer", "what", answer.description ?? ""], Object.entries(answer.properties ?? {}).map(([name, one]) => [name, kind(one), ""])));
    const faults = Object.entries(what.responses).filter(([status]) => status !== "200").map(([status, one]) => [status, one.description, ""]);
    if (faults.length) part.append(table(["fault", "when", ""], faults));
    document.getElementById("paths").append(part);
  }
}
