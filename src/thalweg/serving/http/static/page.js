"use strict";
// Everything that comes from a model or an answer goes in as text, never as markup.
(() => {
  const make = (tag, text = "", name = "") => {
    const found = document.createElement(tag);
    found.textContent = text;
    if (name) found.className = name;
    return found;
  };
  const drawn = (tag, facts) => {
    const found = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(facts)) found.setAttribute(name, value);
    return found;
  };
  const named = (text) => make("bdi", text);
  const written = (value) => {
    if (typeof value !== "number") return value === null ? "–" : JSON.stringify(value).replace(/^"|"$/g, "");
    const size = Math.abs(value);
    if (size && (size < 1e-4 || size >= 1e12)) return value.toExponential(2);
    return value.toLocaleString("en", { maximumSignificantDigits: size >= 1e4 ? 7 : 4 }).replace("-", "−");
  };
  const share = (value) => (value > 0 && value < 0.001 ? "< 0.1%" : value < 1 && value > 0.999 ? "> 99.9%" : `${(100 * value).toFixed(1)}%`);
  const bar = (from, to, name) => drawn("rect", { x: `${from}%`, width: `${Math.max(to - from, 0.4)}%`, height: "100%", rx: 1, class: name });
  const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

  const probabilities = (row, model) => {
    const found = Object.entries(row).filter(([name]) => name.startsWith("probability_"));
    if (found.length > 2) found.sort((one, other) => other[1] - one[1]);
    const list = make("ul", "", "bars");
    list.setAttribute("aria-label", "Probabilities");
    const given = [].concat(row.prediction).map(String);
    for (const [name, value] of found.slice(0, 12)) {
      const label = name.slice("probability_".length);
      const line = make("li", "", given.includes(label) ? "own" : "");
      const who = make("span", "", "who");
      who.append(named(label));
      const svg = drawn("svg", { "aria-hidden": "true" });
      svg.append(bar(0, 100, "track"), bar(0, 100 * value, "up"));
      line.append(who, svg, make("span", share(value), "much"));
      list.append(line);
    }
    const rest = found.slice(12);
    if (rest.length) list.append(make("li", `and ${rest.length} more, ${share(rest.reduce((sum, one) => sum + one[1], 0))} together`));
    return found.length ? [list] : [];
  };

  const why = (row, asked) => {
    if (!row.contributions) return [];
    const part = make("div", "", "why");
    const entries = Object.entries(row.contributions).sort((one, other) => Math.abs(other[1]) - Math.abs(one[1]));
    const total = entries.reduce((sum, one) => sum + one[1], row.baseline);
    const what = row.explains || "prediction";
    const chance = what.startsWith("probability_");
    const said = chance ? `the probability of ${what.slice(12)}` : what.replaceAll("_", " ");
    const largest = Math.max(...entries.map((one) => Math.abs(one[1])));
    const places = Math.min(Math.max(2 - Math.floor(Math.log10(largest || 1)), 0), 12);
    const fixed = (value) => (chance ? `${(100 * value).toFixed(1)}%` : value.toLocaleString("en", { minimumFractionDigits: places, maximumFractionDigits: places }));
    const signed = (value) => (value > 0 ? "+" : "") + fixed(value).replace("-", "−");
    const whole = chance ? share : written;
    part.append(make("h4", "Why"));
    part.append(make("p", `What each column adds to ${said}: ${whole(row.baseline)} for a typical row, ${whole(total)} for this one.`, "note"));
    const list = make("ul", "", "bars added");
    list.setAttribute("aria-label", "Contributions");
    const shown = entries.filter((one, place) => place < 10 && one[1] !== 0);
    const rest = entries.slice(shown.length).filter((one) => one[1] !== 0);
    if (rest.length) shown.push([null, rest.reduce((sum, one) => sum + one[1], 0)]);
    const least = Math.min(0, ...shown.map((one) => one[1]));
    const most = Math.max(0, ...shown.map((one) => one[1]));
    const at = (value) => (100 * (value - least)) / (most - least || 1);
    for (const [name, value] of shown) {
      const line = make("li", "", name === null ? "rest" : "");
      const who = make("span");
      if (name === null) who.textContent = `${rest.length} more`;
      else {
        const cell = make("small");
        cell.append(named(written(asked[name] === undefined ? null : asked[name]).slice(0, 60)));
        who.append(named(name), cell);
      }
      const svg = drawn("svg", { "aria-hidden": "true" });
      svg.append(value < 0 ? bar(at(value), at(0), "down") : bar(at(0), at(value), "up"));
      svg.append(drawn("rect", { x: `${at(0)}%`, y: "-40%", width: 1, height: "180%", class: "axis" }));
      line.append(who, svg, make("span", signed(value), "much"));
      list.append(line);
    }
    part.append(list);
    if (!shown.length) part.append(make("p", "This is the typical row itself: change a cell.", "note"));
    return [part];
  };

  const answered = (row, asked, model) => {
    if (row.error) return [make("p", row.error, "failed")];
    const parts = [];
    parts.push(make("p", model.target === null ? "this row is" : `${model.target} is`, "what"));
    const big = make("p", "", "big");
    big.append(named(written(row.prediction)));
    parts.push(big);
    if (row.prediction_low !== undefined) parts.push(make("p", `90% interval: ${written(row.prediction_low)} to ${written(row.prediction_high)}`));
    if (row.anomaly_score !== undefined) parts.push(make("p", `Score ${written(row.anomaly_score)}; an ordinary row is as odd with a chance of ${share(row.anomaly_probability)}. Oddest: ${row.because}.`));
    parts.push(...probabilities(row, model));
    if (row.warnings) {
      const list = make("ul", "", "warned");
      list.append(...row.warnings.map((one) => make("li", one)));
      parts.push(list);
    }
    parts.push(...why(row, asked));
    return parts;
  };

  const bytes = async (file) => {
    const raw = new Uint8Array(await file.arrayBuffer());
    let text = "";
    for (let at = 0; at < raw.length; at += 32768) text += String.fromCharCode(...raw.subarray(at, at + 32768));
    return btoa(text);
  };
  const read = async (input, field) => {
    if (input.type === "file") return input.files.length ? bytes(input.files[0]) : null;
    const text = input.value;
    if (text.trim() === "") return null;
    if (field.type === "boolean") return text === "true";
    const number = Number(text);
    if (field.type === "number" || field.type === "either") return Number.isFinite(number) ? number : text;
    if (field.type !== "array") return text;
    try {
      const found = JSON.parse(text);
      return Array.isArray(found) ? found : [found];
    } catch {
      return text.split(",").map((one) => one.trim());
    }
  };
  const put = (input, cell) => {
    if (input.type === "file") return;
    input.value = cell === null ? "" : Array.isArray(cell) ? JSON.stringify(cell) : String(cell);
  };
  const any = (some) => some[Math.floor(Math.random() * some.length)];

  const bind = (section, model) => {
    const form = section.querySelector("form");
    const place = section.querySelector(".said");
    const inputs = model.fields.map((_, at) => form.querySelector(`[data-field="${at}"]`));
    const key = document.getElementById("key");
    const ask = async () => {
      const button = form.querySelector("button.main");
      button.disabled = true;
      place.setAttribute("aria-busy", "true");
      try {
        const row = {};
        for (const [at, field] of model.fields.entries()) row[field.name] = await read(inputs[at], field);
        const explain = form.querySelector("[data-explain]").checked;
        const headers = { "content-type": "application/json" };
        if (key && key.value) headers.authorization = `Bearer ${key.value}`;
        const began = performance.now();
        const told = await fetch(`${model.path}${explain ? "?explain=true" : ""}`, { method: "POST", headers, body: JSON.stringify(row), credentials: "omit" });
        const text = await told.text();
        const took = performance.now() - began;
        let found = null;
        try { found = JSON.parse(text); } catch { found = { error: `${told.status} ${told.statusText}` }; }
        const parts = told.ok && found.predictions ? answered(found.predictions[0], row, model) : [make("p", found.error || `${told.status}`, "failed")];
        const more = make("details");
        const raw = make("pre");
        raw.append(make("code", JSON.stringify(found, null, 2)));
        const version = told.headers.get("x-thalweg-version");
        more.append(make("summary", `As JSON · ${told.status} · ${took.toFixed(1)} ms here${version ? ` · ${version}` : ""}`), raw);
        place.replaceChildren(...parts, more);
      } catch (error) {
        place.replaceChildren(make("p", `The server cannot be reached: ${error.message}`, "failed"));
      }
      place.removeAttribute("aria-busy");
      button.disabled = false;
    };
    form.addEventListener("submit", (event) => { event.preventDefault(); ask(); });
    form.querySelector("[data-another]").addEventListener("click", () => {
      for (const [at, field] of model.fields.entries()) put(inputs[at], field.choices.length && Math.random() < 0.6 ? any(field.choices) : field.typical);
      ask();
    });
    form.querySelector("[data-typical]").addEventListener("click", () => {
      for (const [at, field] of model.fields.entries()) put(inputs[at], field.typical);
    });
  };

  const copy = (button) => button.addEventListener("click", async () => {
    const text = button.closest("figure").querySelector("code").textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Without TLS there is no clipboard: the text is chosen, for the person to copy.
      getSelection().selectAllChildren(button.closest("figure").querySelector("code"));
      return;
    }
    button.textContent = "Copied";
    await pause(1.5);
    button.textContent = "Copy";
  });

  const begin = (data) => {
    for (const [at, model] of JSON.parse(data).entries()) bind(document.getElementById(`model-${at}`), model);
    document.querySelectorAll("[data-copy]").forEach(copy);
    if (!location.protocol.startsWith("http")) return;
    document.querySelectorAll("[data-here]").forEach((code) => { code.textContent = code.textContent.replaceAll(code.dataset.here, location.origin); });
    document.querySelectorAll("[data-host]").forEach((code) => { code.textContent = code.textContent.replaceAll(code.dataset.host, location.host); });
  };

  // Where keys are needed, the page comes without the models: whoever has a key fetches the rest.
  const unlock = (form) => form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const said = form.querySelector(".failed");
    const key = document.getElementById("key").value;
    try {
      const told = await fetch(location.pathname, { headers: { authorization: `Bearer ${key}` }, credentials: "omit", cache: "no-store" });
      const whole = new DOMParser().parseFromString(await told.text(), "text/html");
      const data = whole.getElementById("models");
      if (!told.ok || !data) {
        said.textContent = told.status === 429 ? "Too many tries: wait a little." : "The key is not known here.";
        said.hidden = false;
        return;
      }
      document.title = whole.title;
      for (const part of ["main", "nav"]) document.querySelector(part).replaceWith(document.adoptNode(whole.querySelector(part)));
      document.getElementById("key").value = key;
      begin(data.textContent);
    } catch (error) {
      said.textContent = `The server cannot be reached: ${error.message}`;
      said.hidden = false;
    }
  });

  document.documentElement.classList.add("js");
  const locked = document.getElementById("unlock");
  if (locked) unlock(locked);
  else begin(document.getElementById("models").textContent);
})();
