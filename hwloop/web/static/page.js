// What pages do beyond links and forms: they copy, tell the cost, and follow a job. All of them work without it.
"use strict";

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.closest(".code").querySelector("pre").textContent.trimEnd() + "\n");
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}

const form = document.getElementById("compose");
if (form) {
  const place = document.querySelector("[data-cost]");
  let asked = 0, waiting = 0;
  const cost = async () => {
    const mine = ++asked;
    place.setAttribute("aria-busy", "true");
    if (!place.textContent.trim()) place.textContent = "Finding out ...";
    const answer = await fetch("/cost", { method: "POST", body: new FormData(form) }).catch(() => null);
    if (mine !== asked) return;
    place.innerHTML = answer && answer.ok ? await answer.text() : "";
    place.removeAttribute("aria-busy");
  };
  const update = () => form.requestSubmit(form.querySelector("button[value=update]"));
  form.addEventListener("change", event => {
    if (event.target.hasAttribute("data-update")) return update();
    clearTimeout(waiting);
    waiting = setTimeout(cost, 700);
  });
  form.addEventListener("keydown", event => {  // Enter in a field means the first button, which runs
    if (event.key === "Enter" && event.target.matches("input:not([type=checkbox])")) { event.preventDefault(); update(); }
  });
  cost();
}

const job = document.body.dataset.job;
if (job) {
  const place = document.getElementById("live");
  let after = document.body.dataset.after, source = null;
  const show = text => {
    const opened = [...place.querySelectorAll("details")].map(one => one.open);
    const active = document.activeElement, held = place.contains(active) ? active.textContent : null;
    place.innerHTML = text;
    place.querySelectorAll("details").forEach((one, at) => { if (opened[at]) one.open = true; });
    if (held !== null) [...place.querySelectorAll("button, a, summary")].find(one => one.textContent === held)?.focus();
    hideFailed();
    const status = place.querySelector("[data-status]");
    if (status) document.title = document.title.replace(/: .* - /, `: ${status.dataset.status} - `);
  };
  const hideFailed = () => {  // of a file that holds nothing to draw yet
    for (const image of place.querySelectorAll("[data-growing]"))
      image.addEventListener("error", () => { image.closest("figure").hidden = true; });
  };
  hideFailed();
  const follow = () => {
    if (source || document.hidden) return;
    source = new EventSource(`/jobs/${job}/events?after=${after}`);
    source.addEventListener("line", event => { after = event.lastEventId || after; });
    source.addEventListener("live", event => show(event.data));
    source.addEventListener("end", () => { source.close(); source = null; document.removeEventListener("visibilitychange", seen); });
    source.addEventListener("error", () => {
      if (source && source.readyState === EventSource.CLOSED) { source = null; setTimeout(follow, 2000); }
      const status = place.querySelector(".livehead .quiet-text");
      if (status) status.textContent = "The server does not answer; the job goes on. Trying again ...";
    });
  };
  const seen = () => {  // a page that nobody sees holds no line open; what it missed comes when it is seen again
    if (document.hidden) { source?.close(); source = null; } else follow();
  };
  document.addEventListener("visibilitychange", seen);
  follow();
  setInterval(() => {  // the clock goes on during a long step
    const clock = place.querySelector("[data-clock]");
    if (!clock || clock.dataset.clock === "") return;
    const passed = ++clock.dataset.clock, parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
    const at = parts.findIndex(([unit]) => passed >= unit);
    if (at < 0) return;
    const [unit, name] = parts[at], [next, nextName] = parts[at + 1] ?? [0, ""];
    const rest = next ? Math.floor((passed % unit) / next) : 0;
    clock.textContent = `${Math.floor(passed / unit)}${name}${rest ? ` ${rest}${nextName}` : ""}`;
  }, 1000);
}

if (document.body.hasAttribute("data-refresh")) {
  const again = async () => {
    if (!document.hidden && !document.activeElement?.matches("input, select, textarea")) {
      const answer = await fetch(location.href).catch(() => null);
      if (answer && answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const held = document.activeElement?.closest("main") ? document.activeElement.textContent : null;
        const ticked = new Set([...document.querySelectorAll("input:checked")].map(one => one.value));
        document.querySelector("main").replaceWith(page.querySelector("main"));
        for (const one of document.querySelectorAll("input[type=checkbox]")) one.checked = ticked.has(one.value);
        if (held) [...document.querySelectorAll("main a, main button")].find(one => one.textContent === held)?.focus();
        if (!page.body.hasAttribute("data-refresh")) return;
      }
    }
    setTimeout(again, 2000);
  };
  setTimeout(again, 1200);
}
