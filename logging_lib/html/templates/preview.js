"use strict";
// Everything that comes from logs is put into the page as text (textContent), never as HTML.
(() => {
  const given = JSON.parse(document.getElementById("given").textContent);
  const live = given.views === null;
  const names = ["model", "version", "role", "service", "feature", "period", "from", "to"];
  const words = { model: "Model", version: "Version", role: "Role", service: "Service", feature: "Feature",
    period: "Time", from: "From (UTC)", to: "To (UTC)" };
  let known = given.choices;
  let drawn = 0;
  let views = [];

  const byId = (id) => document.getElementById(id);
  const make = (tag, text, attributes = {}) => {
    const element = document.createElement(tag);
    if (text !== undefined && text !== null) element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };

  // What is chosen stands in the address, so that it can be sent on and the back button works.
  const chosen = () => {
    const [, rest = ""] = location.hash.split("?");
    const found = Object.fromEntries(new URLSearchParams(rest));
    for (const name of names) found[name] ??= name === "period" ? given.period : "";
    return found;
  };
  const current = () => {
    const id = location.hash.slice(1).split("?")[0];
    return given.dashboards.find((one) => one.id === id) ?? given.dashboards[0];
  };
  const address = (dashboard, values) => {
    const set = Object.entries(values).filter(([name, value]) =>
      names.includes(name) && value && !(name === "period" && value === given.period));
    const query = new URLSearchParams(set).toString();
    return `#${dashboard}${query ? "?" + query : ""}`;
  };

  const options = (name, values) => {
    const of = known.models[values.model];
    if (name === "model") return Object.keys(known.models);
    if (name === "version") return of ? Object.keys(of) : [];
    if (name === "role") {
      const roles = of ? (values.version ? [of[values.version] ?? []] : Object.values(of))
        : Object.values(known.models).flatMap((versions) => Object.values(versions));
      return [...new Set(roles.flat())].sort();
    }
    if (name === "service") return known.services;
    if (name === "feature") return known.features[values.model] ?? [];
    return given.periods;
  };
  const periodWord = (period) => period === "all" ? "all there is" : `last ${period}`;

  const controls = () => {
    const form = byId("controls");
    const values = chosen();
    const focused = document.activeElement?.id;
    form.replaceChildren();
    for (const name of names) {
      if (!live && !["model", "version", "role", "period"].includes(name)) continue;
      const box = make("div");
      box.append(make("label", words[name], { for: `choose-${name}` }));
      if (name === "from" || name === "to") {
        const input = make("input", null, { id: `choose-${name}`, type: "datetime-local", name });
        input.value = values[name];
        box.append(input);
      } else {
        const select = make("select", null, { id: `choose-${name}`, name });
        if (name !== "period") select.append(new Option("all", ""));
        for (const value of options(name, values)) {
          const shown = name === "period" ? periodWord(value) : value;
          select.append(new Option(shown.length > 60 ? shown.slice(0, 59) + "…" : shown, value));
        }
        select.value = values[name];
        if (select.selectedIndex < 0) select.selectedIndex = 0;
        box.append(select);
      }
      form.append(box);
    }
    if (live) {
      const box = make("div");
      box.append(make("button", "Load again", { type: "button", id: "again" }));
      box.firstChild.addEventListener("click", again);
      form.append(box);
    }
    if (focused) byId(focused)?.focus();
  };

  const again = async () => {
    known = await (await fetch("api/choices")).json();
    controls();
    show();
  };

  const changed = (event) => {
    const values = chosen();
    values[event.target.name] = event.target.value;
    if (event.target.name === "model") Object.assign(values, { version: "", role: "", feature: "" });
    if (event.target.name === "version") values.role = "";
    if (event.target.name === "period") Object.assign(values, { from: "", to: "" });
    go(current().id, values);
  };
  const go = (dashboard, values) => { location.hash = address(dashboard, values); };

  const table = (view, panel) => {
    const scroll = make("div", null, { class: "scroll", role: "region", tabindex: "0", "aria-label": `${panel.title}: numbers` });
    const element = make("table", null, view.kind === "table" && view.columns.length > 3 ? { class: "stacked" } : {});
    const head = element.createTHead().insertRow();
    if (view.wholes) head.append(make("th", "event", { scope: "col" }));
    view.columns.forEach((name, i) => {
      const cell = make("th", name, { scope: "col" });
      if (view.numeric?.[i]) cell.className = "n";
      head.append(cell);
    });
    const body = element.createTBody();
    view.rows.forEach((row, at) => {
      const line = body.insertRow();
      if (view.wholes) {
        const button = make("button", "Whole event", { type: "button", "aria-expanded": "false" });
        line.insertCell().append(button);
        button.addEventListener("click", () => {
          const open = button.getAttribute("aria-expanded") === "true";
          button.setAttribute("aria-expanded", String(!open));
          if (open) { line.nextSibling.remove(); return; }
          const cell = body.insertRow(line.sectionRowIndex + 1).insertCell();
          cell.colSpan = row.length + 1;
          cell.append(make("pre", view.wholes[at]));
        });
      }
      row.forEach((value, i) => {
        const cell = line.insertCell();
        cell.dataset.name = view.columns[i];
        cell.className = view.numeric?.[i] ? "n" : value.length <= 40 ? "short" : value.length > 80 ? "long" : "";
        const control = view.links?.[i];
        if (control) {
          const button = make("button", value, { type: "button" });
          button.addEventListener("click", () => go(view.drilldown, { ...chosen(), [control]: value }));
          cell.append(button);
        } else {
          const text = make("bdi", value);
          cell.append(text);
        }
      });
    });
    scroll.append(element);
    return scroll;
  };

  // Values of a tooltip are text, too; vega's own would write HTML.
  const tip = make("div", null, { class: "tip", "aria-hidden": "true" });
  document.body.append(tip);
  const tooltip = (_, event, __, value) => {
    if (value === null || value === undefined || value === "") { tip.style.display = "none"; return; }
    tip.textContent = typeof value === "object"
      ? Object.entries(value).map(([name, text]) => `${name}: ${String(text).slice(0, 120)}`).join("\n") : String(value);
    tip.style.display = "block";
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 12, innerWidth - width - 4))}px`;
    tip.style.top = `${Math.max(4, Math.min(event.clientY + 12, innerHeight - height - 4))}px`;
  };

  const fill = async (box, panel, view) => {
    for (const old of views.filter((one) => box.contains(one.box))) old.result.finalize();
    views = views.filter((one) => !box.contains(one.box));
    box.replaceChildren();
    box.hidden = false;
    box.className = `panel ${view.kind}`;
    if (view.kind === "text") {
      const text = make("div");
      text.innerHTML = view.html; // our own Markdown file, with HTML off
      for (const link of text.querySelectorAll('a[href^="#"]')) {
        const target = link.getAttribute("href").slice(1);
        link.addEventListener("click", (event) => { event.preventDefault(); go(target, chosen()); });
      }
      box.append(text);
      box.hidden = !view.html;
      box.removeAttribute("aria-busy");
      return;
    }
    const more = view.more ? make("p", `${view.more} rows more are not in this table.`, { class: "note" }) : null;
    const [title, ...good] = panel.title.split(" · ");
    const heading = make("h3", title);
    if (good.length) heading.append(make("span", good.join(" · "), { class: "good" }));
    box.append(heading);
    const about = panel.description ? make("details") : null;
    about?.append(make("summary", "What this is"), make("p", panel.description, { class: "note" }));
    if (about && view.kind !== "numbers") box.append(about);
    if (view.kind === "numbers") {
      for (const [name, text] of view.numbers) {
        const number = make("p", text, { class: "big" });
        if (name) number.append(make("small", name));
        box.append(number);
      }
      if (about) box.append(about);
    } else if (view.kind === "table") {
      box.append(table(view, panel));
      if (more) box.append(more);
    } else if (view.kind === "charts") {
      const drawn = make("div", null, { class: "drawn" });
      box.append(drawn);
      for (const spec of view.specs) {
        const place = make("div", null, { class: "chart", role: "img", "aria-label": `${panel.title}. The numbers are in the table below.` });
        drawn.append(place);
        try {
          const result = await vegaEmbed(place, spec, { actions: false, renderer: "svg", ast: true, tooltip, mode: "vega-lite" });
          views.push({ box: place, result });
          for (const svg of place.querySelectorAll("svg")) svg.setAttribute("aria-hidden", "true");
          result.view.addEventListener("click", (_, item) => {
            const feature = item?.datum?.feature;
            if (live && panel.chart === "bins" && feature) go(current().id, { ...chosen(), feature });
          });
        } catch (error) {
          place.replaceChildren(make("p", `This chart could not be drawn: ${error.message}`, { class: "error" }));
        }
      }
      const numbers = make("details");
      numbers.append(make("summary", "Numbers"), table(view, panel));
      if (more) numbers.append(more);
      box.append(numbers);
    } else {
      box.append(make("p", view.note, { class: view.kind }));
    }
    box.removeAttribute("aria-busy");
  };

  const load = async (dashboard, place, values) => {
    if (!live) {
      const found = given.views[["model", "version", "role", "period"].map((name) => values[name] ?? "").join("\n")];
      return found?.[given.dashboards.indexOf(dashboard)][place]
        ?? { kind: "empty", note: "This page does not hold this choice." };
    }
    const query = new URLSearchParams({ dashboard: dashboard.id, panel: place });
    for (const name of names) if (values[name]) query.set(name, values[name]);
    const answer = await fetch(`api/panel?${query}`);
    return answer.json();
  };

  const show = async () => {
    const round = ++drawn;
    const dashboard = current();
    const values = chosen();
    document.title = `${dashboard.title} · Models in production`;
    byId("title").textContent = dashboard.title;
    byId("description").textContent = dashboard.description;
    byId("span").textContent = known.first
      ? `Predictions from ${known.first.slice(0, 16).replace("T", " ")} to ${known.last.slice(0, 16).replace("T", " ")} UTC.`
      : "This store holds no predictions yet; index some with: logging-lib index SPOOL --store …";
    byId("dashboards").replaceChildren(...given.dashboards.map((one) => {
      const link = make("a", one.title.replace(/:.*/, "").replace(/^ML \d+ · /, ""), { href: address(one.id, values) });
      if (one === dashboard) link.setAttribute("aria-current", "page");
      const item = make("li");
      item.append(link);
      return item;
    }));
    const place = byId("panels");
    if (place.dataset.of !== dashboard.id) {
      for (const one of views) one.result.finalize();
      views = [];
      place.replaceChildren(...dashboard.panels.map((panel) => {
        const box = make("section", null, { class: "panel", "aria-label": panel.title });
        box.style.setProperty("--span", panel.width);
        return box;
      }));
      place.dataset.of = dashboard.id;
    }
    const boxes = [...place.children];
    boxes.forEach((box) => box.setAttribute("aria-busy", "true"));
    const status = byId("status");
    document.body.dataset.ready = "no";
    let failed = "";
    for (let i = 0; i < boxes.length; i++) {
      let view;
      try { view = await load(dashboard, i, values); } catch (error) { failed = error.message; view = { kind: "error", note: `Not loaded: ${error.message}` }; }
      if (round !== drawn) return;
      await fill(boxes[i], dashboard.panels[i], view);
    }
    status.textContent = failed ? `Some panels could not be loaded: ${failed}` : "";
    document.body.dataset.ready = "yes";
  };

  byId("controls").addEventListener("change", changed);
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", () => { controls(); show(); });
  document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); byId("main").focus(); });
  controls();
  show();
})();
