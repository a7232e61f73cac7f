// Shows the fleet, asked of the API with the visitor's own token. The token may come in the URL's
// fragment, which browsers do not send; it is kept in this tab only.
"use strict";

const $ = (id) => document.getElementById(id);
const fromUrl = new URLSearchParams(location.hash.slice(1)).get("token");
if (fromUrl) {
  sessionStorage.setItem("token", fromUrl);
  history.replaceState(null, "", location.pathname);
}

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", $("token").value.trim());
  refresh();
});

// All text goes in as text: titles and authors are strangers' words.
function cell(row, ...children) {
  const td = row.insertCell();
  td.append(...children);
  return td;
}

function span(text, className) {
  const element = document.createElement("span");
  element.textContent = text;
  element.className = className;
  return element;
}

function render(previews) {
  const body = document.createElement("tbody");
  const counts = {};
  // What is gone comes last, and its parts say nothing that its phase does not.
  const gone = (preview) => preview.phase === "Gone";
  for (const preview of [...previews.filter((p) => !gone(p)), ...previews.filter(gone)]) {
    counts[preview.phase] = (counts[preview.phase] || 0) + 1;
    const row = body.insertRow();
    const name = document.createElement("a");
    name.textContent = preview.name;
    if (["Ready", "Updating", "Starting"].includes(preview.phase)) name.href = preview.url;
    name.rel = "noreferrer";
    cell(row, name);
    cell(row, `${preview.repository}#${preview.number} ${preview.title} · ${preview.author}`);
    const commit = document.createElement("code");
    commit.textContent = preview.head.slice(0, 7);
    const flags = Object.keys(preview.flags).filter((flag) => preview.flags[flag]);
    const chosen = [preview.tier, ...flags].filter(Boolean).join(" · ");
    cell(row, commit, ...(chosen ? [span(chosen, "plan")] : []));
    const note = preview.last_error || preview.plan;
    cell(row, span(preview.phase, `phase ${preview.phase}`), span(note || "", "plan"));
    cell(row, ...(gone(preview) ? [] : preview.conditions).map((c) => {
      const part = span("", `part ${c.status}`);
      part.title = `${c.part}: ${c.status}${c.message ? " – " + c.message : ""}`;
      return part;
    }));
    cell(row, preview.expires_at ? new Date(preview.expires_at).toLocaleString() : "");
  }
  $("fleet").tBodies[0].replaceWith(body);
  const words = Object.entries(counts).map(([phase, n]) => `${n} ${phase}`);
  $("summary").textContent = words.join(" · ") || "no previews yet";
}

async function all(token) {
  const previews = [];
  let cursor = "";
  do {
    const answer = await fetch(`/api/v1/previews?limit=200${cursor}`, {
      headers: { authorization: `Bearer ${token}` },
    });
    const page = await answer.json();
    if (!answer.ok) throw Object.assign(new Error(page.detail), { status: answer.status });
    previews.push(...page.previews);
    cursor = page.next_cursor ? `&cursor=${page.next_cursor}` : "";
  } while (cursor);
  return previews;
}

async function refresh() {
  const token = sessionStorage.getItem("token");
  $("login").hidden = Boolean(token);
  $("fleet").hidden = !token;
  if (!token) return;
  try {
    render(await all(token));
    $("error").textContent = "";
  } catch (error) {
    $("error").textContent = error.message;
    if (error.status === 401) {
      sessionStorage.removeItem("token");
      $("login").hidden = false;
    }
  }
}

// The next look waits for the last: a slow answer must not pile up questions.
async function watch() {
  await refresh();
  setTimeout(watch, 1500);
}

watch();
