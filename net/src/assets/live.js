// Keeps a page live: fetches it again while it is visible, and exchanges every element with an id and data-live.
// Without this script the page is whole; it only grows old.
const PERIOD = 2000;

function busy(element) {
  const selection = document.getSelection();
  const reading = selection && !selection.isCollapsed && element.contains(selection.anchorNode);
  return reading || (element.contains(document.activeElement) && document.activeElement.matches("input, select"));
}

function exchange(old, fresh) {
  const open = [...old.querySelectorAll("details[open][id]")].map((d) => d.id);
  const log = old.querySelector(".tail");
  const scroll = log && { top: log.scrollTop, end: log.scrollTop + log.clientHeight >= log.scrollHeight - 8 };
  // What is followed is newer here than on the page.
  const followed = new Map([...fresh.querySelectorAll("[data-follow]")].map((f) => [f.dataset.follow, f]));
  for (const kept of old.querySelectorAll("[data-follow]")) followed.get(kept.dataset.follow)?.replaceWith(kept);
  old.replaceChildren(...fresh.childNodes);
  if (!fresh.hasAttribute("data-live")) old.removeAttribute("data-live");
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  const tail = old.querySelector(".tail");
  if (tail && scroll) tail.scrollTop = scroll.end ? tail.scrollHeight : scroll.top;
  document.dispatchEvent(new Event("exchanged"));
}

async function refresh() {
  const live = [...document.querySelectorAll("[data-live][id]")];
  if (live.length === 0) return;
  if (!document.hidden && !live.every(busy)) {
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, signal: AbortSignal.timeout(10000) });
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        for (const old of live) {
          const fresh = page.getElementById(old.id);
          if (fresh && !busy(old)) exchange(old, fresh);
        }
      }
      document.body.toggleAttribute("data-stale", !answer.ok);
    } catch {
      document.body.toggleAttribute("data-stale", true);
    }
  }
  setTimeout(refresh, PERIOD);
}

for (const tail of document.querySelectorAll(".tail")) tail.scrollTop = tail.scrollHeight;
setTimeout(refresh, PERIOD);
