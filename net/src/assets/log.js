// Shows what a job prints while it prints it, with its colours; text stays text. Without this script the end of the log
// stands on the page as it was when the page was made.
const LINES = 5000;
const LENGTH = 16384;
const CONTROL = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]/g;
// A colour, another sequence of a terminal, a line's end, a return to its beginning, or text.
const TOKEN = /\x1b\[([\d;]*)m|\x1b\[[0-?]*[ -\/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[^[\]]?|\r*\n|\r|[^\x1b\r\n]+/g;
// What the next piece may complete.
const OPEN = /(?:\x1b(?:\[[0-?]{0,32}[ -\/]{0,4}|\][^\x07\x1b]{0,256})?|\r+)$/;

class Printer {
  constructor(pre) {
    this.pre = pre;
    this.held = "";
    this.back = false;
    this.style = new Map();
    this.begin();
  }

  begin() {
    this.line = document.createElement("span");
    this.length = 0;
    this.pre.append(this.line);
  }

  write(text) {
    const end = this.pre.scrollTop + this.pre.clientHeight >= this.pre.scrollHeight - 8;
    text = this.held + text;
    this.held = OPEN.exec(text)?.[0] ?? "";
    text = text.slice(0, text.length - this.held.length);
    for (const [token, colours] of text.matchAll(TOKEN)) {
      if (colours !== undefined) this.colour(colours);
      else if (token.endsWith("\n")) this.end();
      else if (token === "\r") this.back = true;
      else if (token[0] !== "\x1b") this.put(token.replace(CONTROL, "\ufffd"));
    }
    while (this.pre.childElementCount > LINES) this.pre.firstElementChild.remove();
    if (end) this.pre.scrollTop = this.pre.scrollHeight;
  }

  end() {
    this.line.append("\n");
    this.back = false;
    this.begin();
  }

  put(text) {
    if (this.back) this.line.replaceChildren();
    this.back = false;
    for (let at = 0; at < text.length; at += LENGTH) {
      if (this.length > LENGTH) this.begin();
      const piece = text.slice(at, at + LENGTH);
      this.length += piece.length;
      if (this.style.size === 0) {
        this.line.append(piece);
        continue;
      }
      const span = document.createElement("span");
      span.className = [...this.style.values()].join(" ");
      span.textContent = piece;
      this.line.append(span);
    }
  }

  colour(parameters) {
    const numbers = parameters.split(";").map(Number);
    while (numbers.length > 0) {
      const n = numbers.shift();
      if (n === 0) this.style.clear();
      else if (n === 1) this.style.set("bold", "ansi-1");
      else if (n === 3) this.style.set("italic", "ansi-3");
      else if (n === 4) this.style.set("under", "ansi-4");
      else if (n === 22) this.style.delete("bold");
      else if (n === 23) this.style.delete("italic");
      else if (n === 24) this.style.delete("under");
      else if (n === 38 || n === 48) {
        const colour = numbers.shift() === 5 ? numbers.shift() : (numbers.splice(0, 3), NaN);
        if (colour < 8) this.colour(String(colour + n - 8));
        else if (colour < 16) this.colour(String(colour - 8 + n + 52));
      } else if ((n >= 30 && n < 38) || (n >= 90 && n < 98)) this.style.set("text", `ansi-${n}`);
      else if (n === 39) this.style.delete("text");
      else if ((n >= 40 && n < 48) || (n >= 100 && n < 108)) this.style.set("ground", `ansi-${n}`);
      else if (n === 49) this.style.delete("ground");
    }
  }
}

const rest = (time) => new Promise((done) => setTimeout(done, time));

async function visible() {
  while (document.hidden) await new Promise((done) => document.addEventListener("visibilitychange", done, { once: true }));
}

async function follow(pre) {
  let at = Number(pre.dataset.from);
  let printer = null;
  let pause = 500;
  const decoder = new TextDecoder();
  while (pre.isConnected) {
    await visible();
    try {
      const asked = performance.now();
      const signal = AbortSignal.timeout(40000);
      const answer = await fetch(`${pre.dataset.follow}&from=${at}&wait=20s`, { signal });
      if (!answer.ok) throw new Error(answer.statusText);
      const bytes = await answer.arrayBuffer();
      at += bytes.byteLength;
      if (printer === null) {
        const end = pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 8;
        pre.replaceChildren();
        printer = new Printer(pre);
        printer.write(decoder.decode(bytes, { stream: true }));
        if (end) pre.scrollTop = pre.scrollHeight;
      } else {
        printer.write(decoder.decode(bytes, { stream: true }));
      }
      if (answer.headers.get("log-more") !== "true") return;
      // A master with too many watchers holds no question.
      if (bytes.byteLength === 0 && performance.now() - asked < 500) await rest(500);
      pause = 500;
    } catch {
      await rest(pause);
      pause = Math.min(pause * 2, 10000);
    }
  }
}

const followed = new WeakSet();

function followAll() {
  for (const pre of document.querySelectorAll("[data-follow]")) {
    if (followed.has(pre)) continue;
    followed.add(pre);
    follow(pre);
  }
}

document.addEventListener("exchanged", followAll);
followAll();
