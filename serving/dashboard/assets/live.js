/* Tells the page when something new was stored, and keeps what is looked at in the address.
 *
 * One shared worker holds the event stream for all tabs: a browser grants six connections to a host, so a stream a tab
 * would leave the seventh tab without any. Where there is no such worker the page asks every two seconds. An arrival only
 * says that there is something new; what is shown is read afresh, at most once in the page's own time, so that a fast
 * stream costs a page no more than a slow one. A page that waits for something (a first reading, a database that can be
 * read, a model) is read again as a whole, and so is every page once a lost connection is back. */
(() => {
  "use strict";
  const POLL_MS = 2000;
  const WORDS = { open: "Live", lost: "Connection lost, trying again", paused: "Paused", waiting: "Connecting" };
  let connection = "waiting";
  let paused = false;
  let news = false; // there is something new that is not shown
  let stale = false; // the page as a whole is to be read again
  let shown = 0;
  let timer = 0;
  let later = 0;
  let count = 0;

  const root = () => document.getElementById("page-root");
  const set = (id, props) => window.dash_clientside.set_props(id, props);

  function tell() {
    const state = paused && connection === "open" ? "paused" : connection;
    const element = document.getElementById("connection");
    if (element && element.dataset.state !== state) {
      set("connection", { children: WORDS[state], className: `connection ${state}`, "data-state": state });
    }
  }

  function again() {
    stale = true;
    if (paused || document.hidden) return;
    stale = news = false;
    set("again", { data: ++count });
  }

  function show() {
    timer = 0;
    if (stale) return again();
    if (!news || paused || document.hidden || !root()) return;
    news = false;
    shown = performance.now();
    set("tick", { data: ++count });
  }

  function arrived() {
    news = true;
    if (timer || !root()) return;
    timer = setTimeout(show, Math.max(0, shown + Number(root().dataset.refreshMs) - performance.now()));
  }

  function connected(state) {
    const back = connection === "lost" && state === "open";
    connection = state;
    tell();
    if (back) again();
    else if (state === "open") arrived(); // whatever was missed meanwhile
  }

  function poll() {
    setInterval(() => {
      if (paused || document.hidden) return;
      fetch("/healthz", { cache: "no-store" })
        .then((answer) => connected(answer.ok ? "open" : "lost"))
        .catch(() => connected("lost"));
    }, POLL_MS);
  }

  function listen() {
    if (!window.SharedWorker) return poll();
    const worker = new SharedWorker("/assets/stream-worker.js", "meterwatch");
    worker.onerror = poll;
    worker.port.onmessage = ({ data }) => (data === "new" ? arrived() : connected(data));
    worker.port.start();
    worker.port.postMessage("hello");
    addEventListener("pagehide", () => worker.port.postMessage("bye"));
    addEventListener("pageshow", (event) => event.persisted && worker.port.postMessage("hello"));
  }

  function query(search, changes) {
    const wanted = new URLSearchParams(search);
    for (const [name, value] of Object.entries(changes)) {
      if (value === null) wanted.delete(name);
      else wanted.set(name, value);
    }
    return wanted.size ? `?${wanted}` : "";
  }

  /* A typed time as the address holds it; as it is there where it was not typed anew. */
  function typed(text, search, name) {
    const held = new URLSearchParams(search).get(name);
    const plain = (time) => {
      const minute = (time || "").trim().replace("T", " ").slice(0, 16);
      return minute.length === 10 ? `${minute} 00:00` : minute;
    };
    return held && plain(text) === plain(held) ? held : (text || "").trim() || null;
  }

  const clock = (text) => String(text).replace(" ", "T").slice(0, 19);

  window.dash_clientside = Object.assign({}, window.dash_clientside, {
    meterwatch: {
      /* A page was drawn: name it, let its state be known, and come back if it waits for something. */
      drawn(page) {
        const wait = Number(page.props["data-again-ms"]);
        document.title = `${page.props["data-name"]} · meterwatch`;
        paused = false; // a new page has a new button, or none
        tell();
        clearTimeout(later);
        if (wait) later = setTimeout(again, wait);
        return "false";
      },
      /* Another text was searched for among all meters: from the first page on. */
      searched(text, search) {
        const none = window.dash_clientside.no_update;
        const before = new URLSearchParams(search).get("q") || "";
        if (!document.getElementById("now-body") || (text || "").trim() === before) return none;
        return query(search, { q: (text || "").trim() || null, page: null });
      },
      /* The address may say another text than the field: after the browser's back button. */
      said(search) {
        const field = document.getElementById("now-search");
        const none = window.dash_clientside.no_update;
        return !field || field === document.activeElement ? none : new URLSearchParams(search).get("q") || "";
      },
      /* Other events were asked for: from the first page on. */
      narrowed(kind, start, end, search) {
        const wanted = query(search, { kind: kind || null, start: typed(start, search, "start"), end: typed(end, search, "end") });
        const same = wanted === query(search, {});
        return same || !document.getElementById("events-body") ? window.dash_clientside.no_update : query(wanted, { page: null });
      },
      /* Another meter was chosen: the range stays, a fixed window of the old meter stays too. */
      choose(meter, search) {
        const none = window.dash_clientside.no_update;
        if (!root() || (meter || "") === root().dataset.meter) return none;
        return query(search, { meter: meter || null });
      },
      /* The reader dragged across the chart: the address takes the range, and the picture is read anew for it. */
      zoomed(change, search) {
        const none = window.dash_clientside.no_update;
        if (!change || change["xaxis.range[0]"] === undefined || !root()) return none;
        const [start, end] = [clock(change["xaxis.range[0]"]), clock(change["xaxis.range[1]"])];
        return query(search, { meter: root().dataset.meter, range: null, start, end });
      },
      /* Both ends of a range were typed. */
      spanned(start, end, search) {
        const none = window.dash_clientside.no_update;
        if (!(start || "").trim() || !(end || "").trim() || !document.getElementById("live-chart")) return none;
        const wanted = { start: typed(start, search, "start"), end: typed(end, search, "end") };
        if (query(search, wanted) === query(search, {})) return none;
        return query(search, { ...wanted, meter: root().dataset.meter, range: null });
      },
      /* A reading was clicked: the address names it. The point carries its time in UTC. */
      clicked(click, search) {
        const none = window.dash_clientside.no_update;
        const graph = document.querySelector("#live-chart .js-plotly-plot");
        const point = click && click.points.find(({ curveNumber }) => graph._fullData[curveNumber].name === "Actual");
        if (!point) return none;
        const seconds = graph._fullData[point.curveNumber].customdata[point.pointNumber];
        const at = new Date(seconds * 1000).toISOString().slice(0, 19);
        return query(search, { meter: root().dataset.meter, at: `${at}Z` });
      },
      /* The address names a reading: the service says why it was judged so. */
      async explained(search) {
        const at = new URLSearchParams(search).get("at");
        if (!at || !root() || !root().dataset.meter) return null;
        const path = `/v1/meters/${encodeURIComponent(root().dataset.meter)}/explain`;
        try {
          const answer = await fetch(`${path}?${new URLSearchParams({ at })}`);
          return { ok: answer.ok, ...(await answer.json()) };
        } catch (error) {
          return { ok: false, detail: `The service does not answer (${error.message}).` };
        }
      },
      pause(clicks) {
        paused = clicks % 2 === 1;
        tell();
        if (!paused) show();
        return [paused ? "Go on" : "Pause", String(paused)];
      },
    },
  });

  /* A finger that moves over a chart scrolls the page, as anywhere else: the chart would keep the gesture for itself. */
  document.addEventListener("touchstart", (event) => event.target.closest(".draglayer") && event.stopPropagation(), {
    capture: true,
    passive: true,
  });

  document.addEventListener("stale", again);
  document.addEventListener("labelled", () => {
    news = true;
    show();
  });

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) show();
  });
  listen();
})();
