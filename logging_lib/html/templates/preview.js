"use strict";
// Everything that comes from logs is put into the page as text (textContent), never as HTML.
(() => {
  const pageData = JSON.parse(document.getElementById("given").textContent);
  const live = pageData.views === null;
  const names = ["model", "version", "role", "service", "feature", "period", "from", "to"];
  const words = { model: "Model", version: "Version", role: "Role", service: "Service", feature: "Feature",
    period: "Time", from: "From (UTC)", to: "To (UTC)" };
  let available = pageData.choices;
  let drawn = 0;
  let views = [];

  const byId = (id) => document.getElementById(id);
  const make = (tag, text, attributes = {}) => {
    const element = document.createElement(tag);
    if (text !== undefined && text !== null) element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };

  // What is chosen is in the address, so that it can be sent on and the back button works.
  const readValues = () => {
    const [, query = ""] = location.hash.split("?");
    const values = Object.fromEntries(new URLSearchParams(query));
    for (const name of names) values[name] ??= name === "period" ? pageData.period : "";
    return values;
  };
  const current = () => {
    const id = location.hash.slice(1).split("?")[0];
    return pageData.dashboards.find((dashboard) => dashboard.id === id) ?? pageData.dashboards[0];
  };
  const address = (dashboard, values) => {
    const set = Object.entries(values).filter(([name, value]) =>
      names.includes(name) && value && !(name === "period" && value === pageData.period));
    const query = new URLSearchParams(set).toString();
    return `#${dashboard}${query ? "?" + query : ""}`;
  };

  const options = (name, values) => {
    const modelVersions = available.models[values.model];
    if (name === "model") return Object.keys(available.models);
    if (name === "version") return modelVersions ? Object.keys(modelVersions) : [];
    if (name === "role") {
      const roles = modelVersions
        ? (values.version ? [modelVersions[values.version] ?? []] : Object.values(modelVersions))
        : Object.values(available.models).flatMap((versions) => Object.values(versions));
      return [...new Set(roles.flat())].sort();
    }
    if (name === "service") return available.services;
    if (name === "feature") return available.features[values.model] ?? [];
    return pageData.periods;
  };
  const periodWord = (period) => period === "all" ? "all data" : `last ${period}`;

  const controls = () => {
    const form = byId("controls");
    const values = readValues();
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
          const label = name === "period" ? periodWord(value) : value;
          select.append(new Option(label.length > 60 ? label.slice(0, 59) + "…" : label, value));
        }
        select.value = values[name];
        if (select.selectedIndex < 0) select.selectedIndex = 0;
        box.append(select);
      }
      form.append(box);
    }
    if (live) {
      const box = make("div");
      box.append(make("button", "Reload", { type: "button", id: "again" }));
      box.firstChild.addEventListener("click", reload);
      form.append(box);
    }
    if (focused) byId(focused)?.focus();
  };

  const reload = async () => {
    available = await (await fetch("api/choices")).json();
    controls();
    show();
  };

  const applyChange = (event) => {
    const values = readValues();
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
          button.addEventListener("click", () => go(view.drilldown, { ...readValues(), [control]: value }));
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
    for (const old of views.filter((drawing) => box.contains(drawing.box))) old.result.finalize();
    views = views.filter((drawing) => !box.contains(drawing.box));
    box.replaceChildren();
    box.hidden = view.kind === "hidden";
    box.className = `panel ${view.kind}`;
    if (box.hidden) { box.removeAttribute("aria-busy"); return; }
    if (view.kind === "text") {
      const text = make("div");
      text.innerHTML = view.html; // our own Markdown file, with HTML off
      for (const link of text.querySelectorAll('a[href^="#"]')) {
        const target = link.getAttribute("href").slice(1);
        link.addEventListener("click", (event) => { event.preventDefault(); go(target, readValues()); });
      }
      box.append(text);
      box.hidden = !view.html;
      box.removeAttribute("aria-busy");
      return;
    }
    const more = view.more ? make("p", `${view.more} more rows are not in this table.`, { class: "note" }) : null;
    const [title, ...good] = panel.title.split(" · ");
    const heading = make("h3", title);
    if (good.length) heading.append(make("span", good.join(" · "), { class: "good" }));
    box.append(heading);
    const about = panel.description ? make("details") : null;
    about?.append(make("summary", "About this panel"), make("p", panel.description, { class: "note" }));
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
            if (live && panel.chart === "bins" && feature) go(current().id, { ...readValues(), feature });
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

  // The page opens on the models that need attention; a click leads to the inputs of one.
  const showAttention = (dashboard, values) => {
    const section = byId("attention");
    section.hidden = dashboard !== pageData.dashboards[0] || values.model || !pageData.attention.length;
    section.querySelector("ul").replaceChildren(...pageData.attention.map((entry) => {
      const item = make("li", null, { class: entry.level });
      const target = pageData.dashboards.find((other) => other.id === "inputs") ?? dashboard;
      const link = make("a", null, { href: address(target.id, { model: entry.model }) });
      link.append(make("bdi", `${entry.model} ${entry.version}`.slice(0, 120)));
      item.append(link, make("strong", entry.headline), make("span", entry.sentence));
      return item;
    }));
  };

  const load = async (dashboard, place, values) => {
    if (!live) {
      const key = ["model", "version", "role", "period"].map((name) => values[name] ?? "").join("\n");
      const dashboardViews = pageData.views[key];
      return dashboardViews?.[pageData.dashboards.indexOf(dashboard)][place]
        ?? { kind: "empty", note: "This page does not contain this combination." };
    }
    const query = new URLSearchParams({ dashboard: dashboard.id, panel: place });
    for (const name of names) if (values[name]) query.set(name, values[name]);
    const answer = await fetch(`api/panel?${query}`);
    return answer.json();
  };

  const show = async () => {
    const round = ++drawn;
    const dashboard = current();
    const values = readValues();
    document.title = `${dashboard.title} · Models in production`;
    byId("title").textContent = dashboard.title;
    byId("description").textContent = dashboard.description;
    const minute = (instant) => instant.slice(0, 16).replace("T", " ");
    byId("span").textContent = available.first
      ? `Predictions from ${minute(available.first)} to ${minute(available.last)} UTC.`
      : "This store holds no predictions yet; index some with: logging-lib index SPOOL --store …";
    byId("dashboards").replaceChildren(...pageData.dashboards.map((entry) => {
      const shortTitle = entry.title.replace(/:.*/, "").replace(/^ML \d+ · /, "");
      const link = make("a", shortTitle, { href: address(entry.id, values) });
      if (entry === dashboard) link.setAttribute("aria-current", "page");
      const item = make("li");
      item.append(link);
      return item;
    }));
    showAttention(dashboard, values);
    const place = byId("panels");
    if (place.dataset.of !== dashboard.id) {
      for (const drawing of views) drawing.result.finalize();
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

  byId("controls").addEventListener("change", applyChange);
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", () => { controls(); show(); });
  document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); byId("main").focus(); });
  controls();
  show();
})();
