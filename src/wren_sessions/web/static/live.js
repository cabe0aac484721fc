// Keeps a page up to date and filters as you type. Without it the pages work too.
//
// The page is asked for again with the tag of what is shown; the answer is empty (304) as long as
// it would be the same. What is new is put in: parts marked data-swap are replaced by those of the
// new page, and in them what has the same data-key and data-digest stays as it is, with what was
// unfolded or typed there. Where there is no new page, such as of a session that was deleted, or while
// the store does not answer, a line says why.
"use strict";

const EVERY_MS = 2000;
let tag = null;
let asked = 0;

function keep(old, fresh) {
  const known = new Map();
  for (const each of old.querySelectorAll("[data-key]")) {
    known.set(each.dataset.key + " " + each.dataset.digest, each);
  }
  for (const each of fresh.querySelectorAll("[data-key]")) {
    const same = known.get(each.dataset.key + " " + each.dataset.digest);
    if (same) each.replaceWith(same);
  }
}

function show(text) {
  const page = new DOMParser().parseFromString(text, "text/html");
  for (const old of document.querySelectorAll("[data-swap]")) {
    const fresh = page.getElementById(old.id);
    if (!fresh) continue;
    const focused = document.activeElement && old.contains(document.activeElement)
      ? document.activeElement : null;
    const href = focused && focused.getAttribute("href");
    keep(old, fresh);
    old.replaceChildren(...fresh.childNodes);
    if (href && document.activeElement !== focused) {
      const again = old.querySelector('a[href="' + CSS.escape(href) + '"]');
      if (again) again.focus({ preventScroll: true });
    }
  }
}

// Says why what is shown may be out of date; nothing once it is not.
function warn(why) {
  const place = document.getElementById("stale");
  const says = why && why + " What is shown here was so before.";
  if (place.textContent !== says) place.textContent = says;  // else it would be read out again
}

function reason(text) {
  const page = new DOMParser().parseFromString(text, "text/html");
  const fault = page.querySelector("main .fault bdi");
  if (!fault) return text.trim();  // a refusal in plain text, or one of a proxy
  return page.querySelector("h1").textContent + ": " + fault.textContent + ".";
}

async function look(address) {
  const turn = ++asked;
  const headers = tag ? { "If-None-Match": tag } : {};
  let answer;
  try {
    answer = await fetch(address, { headers, cache: "no-store" });
  } catch {
    if (turn === asked) warn("The server of this page does not answer.");
    return;
  }
  if (turn !== asked) return;
  if (answer.status === 304) return warn("");
  if (answer.status === 401) document.body.removeAttribute("data-live");
  const text = await answer.text();
  if (turn !== asked) return;
  if (!answer.ok) return warn(reason(text));
  warn("");
  tag = answer.headers.get("ETag");
  show(text);
}

async function watch() {
  if (document.body.hasAttribute("data-live") && !document.hidden) await look(location.href);
  setTimeout(watch, EVERY_MS);
}

function filter(form) {
  let waiting = 0;
  const go = () => {
    const given = new URLSearchParams(new FormData(form));
    for (const [name, value] of [...given]) if (!value) given.delete(name);
    const address = given.size ? "./?" + given : "./";
    history.replaceState(null, "", address);
    tag = null;
    look(location.href);
  };
  for (const kind of ["input", "change"]) {
    form.addEventListener(kind, () => {
      clearTimeout(waiting);
      waiting = setTimeout(go, 150);
    });
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(waiting);
    go();
  });
}

document.addEventListener("keydown", (event) => {
  const box = document.querySelector("input[type=search]");
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
  if (event.key === "/" && box && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    box.focus();
  } else if (event.key === "Escape") {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  }
});

for (const form of document.querySelectorAll("[data-filter]")) filter(form);
setTimeout(watch, EVERY_MS);
