"use strict";
const make = (tag, text, kind) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (kind) node.className = kind;
  return node;
};
const token = () => document.getElementById("token").value.trim();

function columns(api) {
  const wanted = api.components.schemas.Row.$ref;
  const row = wanted ? api.components.schemas[wanted.split("/").pop()] : null;
  if (!row || !row.properties) return null;
  const box = make("details");
  const head = make("summary");
  head.append(make("code", "Row"), make("span", "the columns of the default model", "quiet"));
  const table = make("table");
  const titles = make("tr");
  for (const title of ["column", "needed", "about", "example"]) titles.append(make("th", title));
  table.append(titles);
  for (const [name, column] of Object.entries(row.properties)) {
    const line = make("tr");
    const needed = row.required.includes(name) ? "yes" : "";
    for (const cell of [name, needed, column.description, JSON.stringify(column.examples[0])]) line.append(make("td", cell));
    table.append(line);
  }
  box.append(head, table);
  return box;
}

function route(path, method, operation) {
  const box = make("details");
  const head = make("summary");
  head.append(make("span", method.toUpperCase(), "method"), make("code", path), make("span", operation.summary || "", "quiet"));
  box.append(head);
  if (operation.description) box.append(make("p", operation.description));
  const fields = {};
  for (const parameter of operation.parameters || []) {
    const label = make("label", parameter.name + " ");
    fields[parameter.name] = make("input");
    label.append(fields[parameter.name]);
    box.append(label);
  }
  const content = operation.requestBody ? operation.requestBody.content : null;
  let kind = null;
  let body = null;
  if (content) {
    kind = make("select");
    for (const type of Object.keys(content)) kind.append(make("option", type));
    body = make("textarea");
    const show = () => {
      const example = content[kind.value].example;
      body.value = typeof example === "string" ? example : JSON.stringify(example, null, 2);
    };
    kind.addEventListener("change", show);
    show();
    box.append(kind, body);
  }
  const button = make("button", "Try it");
  const answer = make("pre");
  answer.hidden = true;
  button.addEventListener("click", async () => {
    const url = location.origin + path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(fields[name].value));
    const headers = {};
    if (token()) headers.Authorization = "Bearer " + token();
    if (kind) headers["Content-Type"] = kind.value;
    answer.hidden = false;
    answer.textContent = "…";
    try {
      const reply = await fetch(url, { method: method.toUpperCase(), headers, body: body ? body.value : undefined, credentials: "omit" });
      const text = await reply.text();
      let shown = text;
      try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: shown as it is */ }
      answer.textContent = reply.status + " " + reply.statusText + "\n" + shown;
    } catch (error) {
      answer.textContent = String(error);
    }
  });
  box.append(button, answer);
  return box;
}

async function draw() {
  const main = document.getElementById("routes");
  const reply = await fetch(location.origin + "/openapi.json", token() ? { headers: { Authorization: "Bearer " + token() } } : {});
  if (!reply.ok) {
    main.replaceChildren(make("p", "Enter a token with the scope `read` above, then press Enter."));
    return;
  }
  const api = await reply.json();
  document.getElementById("about").textContent = api.info.description + " (emlyn " + api.info.version + ")";
  const drawn = [columns(api)].filter(Boolean);
  for (const [path, operations] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(operations)) drawn.push(route(path, method, operation));
  }
  main.replaceChildren(...drawn);
}
document.getElementById("token").addEventListener("change", draw);
draw();
