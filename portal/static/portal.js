// The map: parcels from the OGC API, drawn in the storage CRS as they are stored.
"use strict";

(() => {
  const place = document.getElementById("map");
  const config = JSON.parse(place.dataset.config);
  const vi = config.language === "vi";
  const say = (english, values = {}) =>
    (config.sentences[english] ?? english).replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const decimal = (value, places) => value.toFixed(places).replace(".", vi ? "," : ".");
  const find = (id) => document.getElementById(id);

  const PARCELS_FROM = 6; // metres a pixel: coarser, parcels are specks, so communes stand for them
  const NUMBERS_FROM = 1.6;
  const PAGE = 1000;
  const MOST = 20000; // what a screen can show with sense; beyond it the map says so

  // -- the storage CRS, with the datum operation that the store has pinned

  proj4.defs(config.crs.code, config.crs.proj);
  ol.proj.proj4.register(proj4);
  const projection = ol.proj.get(config.crs.code);

  // An EPSG code whose first axis is north is answered in that order.
  const swap = (flat) => {
    for (let i = 0; i + 1 < flat.length; i += 2) [flat[i], flat[i + 1]] = [flat[i + 1], flat[i]];
    return flat;
  };
  const toMap = (geometry) => {
    if (config.crs.northFirst && geometry) geometry.applyTransform((flat) => swap(flat));
    return geometry;
  };
  const box = (extent) => {
    const [w, s, e, n] = extent;
    return (config.crs.northFirst ? [s, w, n, e] : [w, s, e, n]).join(",");
  };

  // -- what is asked

  let asOf = "";
  let era = 0; // answers to an earlier as-of are thrown away
  let waiting = 0;

  const query = (address, extra) => {
    const url = new URL(address, location.href);
    for (const [name, value] of Object.entries(extra)) if (value) url.searchParams.set(name, value);
    return url;
  };

  const getJson = async (url) => {
    const answer = await fetch(url, { headers: { Accept: "application/geo+json, application/json" } });
    const told = await answer.json().catch(() => ({}));
    if (answer.ok) return told;
    const error = new Error(told.error ? told.error.message : String(answer.status));
    error.status = answer.status;
    error.hint = told.error && told.error.hint;
    throw error;
  };

  const geojson = new ol.format.GeoJSON();
  const readAll = (page) => geojson.readFeatures(page).map((feature) => {
    toMap(feature.getGeometry());
    return feature;
  });

  const loadParcels = async (extent, resolution, _, success, failure) => {
    const mine = era;
    waiting += 1;
    tell();
    try {
      let url = query(config.items, {
        f: "json", limit: PAGE, crs: config.crs.uri, bbox: box(extent), "bbox-crs": config.crs.uri, datetime: asOf,
      });
      while (url) {
        const page = await getJson(url);
        if (mine !== era) return;
        parcels.addFeatures(readAll(page));
        if (parcels.getFeatures().length > MOST) {
          parcels.removeLoadedExtent(extent);
          notice(say("Too many parcels to draw them all; zoom in to see every one."));
          break;
        }
        const next = (page.links || []).find((link) => link.rel === "next");
        url = next ? next.href : null;
      }
      success();
    } catch (error) {
      if (mine !== era) return;
      parcels.removeLoadedExtent(extent);
      notice(`${say("Parcels can't be loaded.")} ${error.message}`, true);
      failure();
    } finally {
      waiting -= 1;
      tell();
    }
  };

  // -- how it looks

  const colours = getComputedStyle(document.documentElement);
  const colour = (name) => colours.getPropertyValue(`--${name}`).trim();
  const INK = colour("ink");
  const FONT = getComputedStyle(document.body).fontFamily;
  const halo = new ol.style.Stroke({ color: "rgba(255, 255, 255, .85)", width: 3 });
  const thin = new ol.style.Stroke({ color: "#6f7d78", width: 0.8 });
  const hair = new ol.style.Stroke({ color: "rgba(111, 125, 120, .55)", width: 0.4 });
  const cache = new Map();

  const themeOf = (feature) => {
    const uses = feature.get("land_use") || [];
    return uses.length ? config.themes[uses[0].code] || "public" : "idle";
  };
  const shape = (theme, stroke) => {
    const key = theme + (stroke === hair);
    if (!cache.has(key)) {
      cache.set(key, new ol.style.Style({ fill: new ol.style.Fill({ color: colour(`use-${theme}`) }), stroke }));
    }
    return cache.get(key);
  };
  const ink = new ol.style.Fill({ color: INK });
  const soft = new ol.style.Fill({ color: colour("soft") });
  const text = (written, spot, size, more) => new ol.style.Style({
    geometry: spot,
    text: new ol.style.Text({ text: written, font: `${size} ${FONT}`, fill: ink, stroke: halo, overflow: true, ...more }),
  });

  // Where a label goes and how broad the parcel is there, kept with the feature.
  const middle = (feature) => {
    if (!feature.middle) {
      const geometry = feature.getGeometry();
      const parts = geometry.getType() === "MultiPolygon" ? geometry.getPolygons() : [geometry];
      const part = parts.reduce((a, b) => (b.getArea() > a.getArea() ? b : a));
      const inside = part.getInteriorPoint().getCoordinates();
      const ring = part.getLinearRing(0).getCoordinates();
      let length = 0;
      for (let i = 1; i < ring.length; i += 1) length += Math.hypot(ring[i][0] - ring[i - 1][0], ring[i][1] - ring[i - 1][1]);
      feature.middle = { at: [inside[0], inside[1]], across: inside[2], breadth: (2 * part.getArea()) / (length || 1) };
    }
    return feature.middle;
  };

  // As Vietnamese sheets write it: number over area, the land-use code to the left.
  const parcelStyle = (feature, resolution) => {
    const drawn = [shape(themeOf(feature), resolution > 2 ? hair : thin)];
    if (resolution > NUMBERS_FROM) return drawn;
    const { at, across, breadth } = middle(feature);
    const room = breadth / resolution;
    const number = feature.get("number") || "";
    const area = feature.get("area");
    const codes = (feature.get("land_use") || []).map((use) => use.code).join("+");
    const wide = Math.max(number.length, area == null ? 0 : decimal(area, 1).length) * 6.6 + 4;
    if (room > 17 && across / resolution > wide + 8 && area != null) {
      const code = across / resolution > wide + codes.length * 7.5 + 16 ? codes : "";
      const shift = (code.length * 7.5 + 4) / 2;
      const x = at[0] + shift * resolution;
      const half = (wide / 2) * resolution;
      drawn.push(
        text(number, new ol.geom.Point([x, at[1]]), "600 12px", { offsetY: -8 }),
        text(decimal(area, 1), new ol.geom.Point([x, at[1]]), "11px", { offsetY: 8 }),
        new ol.style.Style({
          geometry: new ol.geom.LineString([[x - half, at[1]], [x + half, at[1]]]),
          stroke: new ol.style.Stroke({ color: INK, width: 1 }),
        }),
      );
      if (code) drawn.push(text(code, new ol.geom.Point([x - half, at[1]]), "11px", { offsetX: -4, textAlign: "right", fill: soft }));
    } else if (room > 10 && across / resolution > number.length * 6.6 + 3) {
      drawn.push(text(number, new ol.geom.Point(at), "11px", {}));
    }
    return drawn;
  };

  const communeStyle = (feature, resolution) => new ol.style.Style({
    stroke: new ol.style.Stroke({ color: "rgba(23, 70, 61, .55)", width: 1.6, lineDash: [8, 4, 2, 4] }),
    fill: resolution > PARCELS_FROM ? new ol.style.Fill({ color: "rgba(23, 105, 90, .07)" }) : undefined,
    text: resolution > PARCELS_FROM
      ? new ol.style.Text({ text: feature.get("name") || "", font: `600 13px ${FONT}`, fill: ink, stroke: halo })
      : undefined,
  });

  const sheetStyle = (feature) => new ol.style.Style({
    stroke: new ol.style.Stroke({ color: "rgba(23, 70, 61, .45)", width: 1 }),
    fill: new ol.style.Fill({ color: "rgba(23, 105, 90, .10)" }),
    text: new ol.style.Text({ text: feature.get("sheet"), font: `12px ${FONT}`, fill: ink, stroke: halo }),
  });

  const outlined = (line, fill, dash) => new ol.style.Style({
    stroke: new ol.style.Stroke({ color: line, width: 3, lineDash: dash }),
    fill: new ol.style.Fill({ color: fill }),
    zIndex: 1,
  });

  // -- the map

  const parcels = new ol.source.Vector({
    loader: loadParcels,
    // whole tiles, so that moving about asks for nothing twice
    strategy: ol.loadingstrategy.tile(new ol.tilegrid.TileGrid({ origin: [0, 0], resolutions: [4, 1], tileSize: 512 })),
  });
  const parcelLayer = new ol.layer.Vector({ source: parcels, style: parcelStyle, maxResolution: PARCELS_FROM, updateWhileInteracting: true });
  const communes = new ol.source.Vector();
  // from afar the sheets stand for their parcels: a commune may have no boundary yet
  const sheets = new ol.source.Vector({
    strategy: ol.loadingstrategy.bbox,
    loader: (extent, _, __, success, failure) => {
      getJson(query(config.sheets, { f: "json", limit: 2000, crs: config.crs.uri, "bbox-crs": config.crs.uri, bbox: box(extent) }))
        .then((page) => { sheets.addFeatures(readAll(page)); document.body.dataset.sheets = sheets.getFeatures().length; success(); })
        .catch((error) => { sheets.removeLoadedExtent(extent); notice(error.message, true); failure(); });
    },
  });
  const sheetLayer = new ol.layer.Vector({ source: sheets, style: sheetStyle, minResolution: PARCELS_FROM });
  const overlay = (style) => new ol.layer.Vector({ source: new ol.source.Vector(), style });
  const hovered = overlay(outlined("rgba(23, 70, 61, .85)", "rgba(0, 0, 0, 0)"));
  const chosen = overlay(outlined(colour("warm"), "rgba(196, 81, 29, .08)"));
  const former = overlay(outlined(INK, "rgba(0, 0, 0, 0)", [2, 7]));

  const extent = config.extent || projection.getExtent() || [300000, 1000000, 700000, 2500000];
  const view = new ol.View({
    projection,
    center: ol.extent.getCenter(extent),
    resolution: 10,
    minResolution: 0.01,
    maxResolution: Math.max(2 * PARCELS_FROM, (2 * Math.max(ol.extent.getWidth(extent), ol.extent.getHeight(extent))) / 400),
    enableRotation: false,
  });
  const map = new ol.Map({
    target: place,
    view,
    layers: [new ol.layer.Vector({ source: communes, style: communeStyle }), sheetLayer, parcelLayer, hovered, chosen, former],
    controls: [
      new ol.control.Zoom({ zoomInTipLabel: say("Zoom in"), zoomOutTipLabel: say("Zoom out") }),
      new ol.control.ScaleLine({ minWidth: 90 }),
    ],
  });
  for (const button of place.querySelectorAll(".ol-zoom button")) button.ariaLabel = button.title;
  const padding = () => {
    const panel = find("panel");
    if (panel.hidden) return [40, 40, 40, 40];
    return innerWidth > 832 ? [50, 70, 50, panel.offsetWidth + 60] : [30, 30, panel.offsetHeight + 30, 30];
  };
  view.fit(extent, { size: [place.clientWidth || 800, place.clientHeight || 600], padding: [28, 28, 28, 28] });

  getJson(query(config.communes, { f: "json", limit: 1000, crs: config.crs.uri }))
    .then((page) => communes.addFeatures(readAll(page).filter((feature) => feature.getGeometry())))
    .catch((error) => notice(error.message, true));

  // -- what the page says

  let said = null;
  const notice = (sentence, bad = false) => {
    said = sentence ? { sentence, bad } : null;
    tell();
  };
  function tell() {
    const coarse = view.getResolution() > PARCELS_FROM;
    const [line, bad] = said
      ? [said.sentence, said.bad]
      : coarse && config.extent
        ? [say("Zoom in to see parcels."), false]
        : ["", false];
    const element = find("notice");
    element.textContent = line;
    element.hidden = !line;
    element.classList.toggle("bad", bad);
    document.body.dataset.features = coarse ? 0 : parcels.getFeatures().length;
    document.body.dataset.state = waiting ? "loading" : "ready";
  }

  const metres = new Intl.NumberFormat("fr-FR", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const coordinate = (value) => metres.format(value).replace(",", vi ? "," : ".");
  const showPosition = (at) => {
    find("grid").textContent = at ? `X ${coordinate(at[1])}  Y ${coordinate(at[0])}` : "";
    const lonLat = at && ol.proj.toLonLat(at, projection);
    find("wgs84").textContent = lonLat && lonLat.every(Number.isFinite) ? `${lonLat[1].toFixed(6)}, ${lonLat[0].toFixed(6)}` : "";
  };

  // -- choosing a parcel

  const element = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (value !== undefined && value !== false) made.setAttribute(name, value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  };
  const area = (value) => (value == null ? "–" : `${decimal(value, 1)} m²`);
  const day = (stamp, time = {}) => new Date(stamp).toLocaleString(vi ? "vi-VN" : "en-GB", {
    timeZone: "Asia/Ho_Chi_Minh", day: "2-digit", month: vi ? "2-digit" : "short", year: "numeric", ...time,
  });
  const period = ({ valid_from: from, valid_to: to }) => {
    if (!to) return `${day(from)} – ${say("now")}`;
    const time = day(from) === day(to) ? { hour: "2-digit", minute: "2-digit" } : {};
    return `${day(from, time)} – ${day(to, time)}`;
  };
  const geometryOf = (told) => geojson.readGeometry(told); // the portal's own answers are E, N always
  const only = (layer, geometry) => {
    layer.getSource().clear(true);
    if (geometry) layer.getSource().addFeature(new ol.Feature(geometry));
  };

  let selected = null;
  let asking = 0;

  const close = () => {
    selected = null;
    asking += 1;
    only(chosen, null);
    only(former, null);
    find("panel").hidden = true;
    delete document.body.dataset.selected;
    remember();
  };

  const show = async (address, zoom) => {
    asking += 1;
    const mine = asking;
    notice("");
    try {
      const told = await getJson(query(address, { f: "json", as_of: asOf }));
      if (mine !== asking) return;
      selected = told.parcel.id;
      const geometry = geometryOf(told.geometry);
      only(chosen, geometry);
      only(former, null);
      fill(told);
      document.body.dataset.selected = selected;
      remember();
      if (zoom) {
        // with its neighbours around it
        const room = ol.extent.buffer(geometry.getExtent(), 1.5 * Math.max(20, ol.extent.getWidth(geometry.getExtent())));
        const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
        view.fit(room, { padding: padding(), minResolution: 0.05, duration: still ? 0 : 350 });
      }
    } catch (error) {
      if (mine !== asking) return;
      if (address.endsWith(selected)) close(); // it was not there then: what is shown must not say so
      notice([error.message, error.status === 404 ? "" : error.hint].join(" ").trim(), true);
    }
  };

  const fill = ({ parcel, commune_name: commune, history }) => {
    const fact = (name, value, big) => element("div", { class: big ? "big" : undefined }, element("dt", {}, name), element("dd", {}, ...[value].flat()));
    const uses = parcel.land_use.map((use) => element(
      "div", {}, element("b", {}, use.code), ` ${config.uses[use.code] || ""}${use.area == null ? "" : ` · ${area(use.area)}`}`,
    ));
    const page = query(config.parcel + parcel.id, { as_of: asOf });
    const versions = history.map((state) => {
      const button = element("button", {
        type: "button",
        "aria-pressed": "false",
        onclick: () => {
          const on = button.getAttribute("aria-pressed") === "false";
          for (const other of panel.querySelectorAll(".versions button")) other.setAttribute("aria-pressed", "false");
          button.setAttribute("aria-pressed", String(on));
          only(former, on ? geometryOf(state.geometry) : null);
        },
      },
      period(state),
      element("small", {}, `${state.commune}/${state.sheet}/${state.number} · ${area(state.area)} · ${say("batch")} ${state.batch}`));
      return element("li", { class: state.version === parcel.version ? "now" : undefined, "data-version": state.version }, button);
    });
    const copy = element("button", {
      type: "button",
      onclick: async () => {
        try {
          await navigator.clipboard.writeText(location.href);
          copy.textContent = say("Copied");
        } catch {
          copy.textContent = location.href;
        }
      },
    }, say("Copy link"));
    const panel = find("panel");
    panel.replaceChildren(...[
      element("button", { class: "close", type: "button", "aria-label": say("Close"), onclick: close }, "×"),
      element("h1", {}, say("Parcel {number}, sheet {sheet}", parcel)),
      element("p", { class: "soft" }, `${commune || say("Commune")} (${parcel.commune})${parcel.scale ? ` · 1:${parcel.scale}` : ""}`),
      parcel.valid_to ? element("p", { class: "state" }, `${say("A past version, until")} ${day(parcel.valid_to)}`) : null,
      element("dl", { class: "facts" },
        fact(say("Surveyed area"), area(parcel.area), true),
        fact(say("Legal area"), area(parcel.legal_area), true),
        fact(say("Land use"), uses.length ? uses : "–"),
        ...(parcel.address ? [fact(say("Address"), parcel.address)] : []),
        ...(parcel.national_id ? [fact(say("National identifier"), element("code", {}, parcel.national_id))] : []),
        ...(parcel.surveyed_on ? [fact(say("Surveyed on"), day(parcel.surveyed_on))] : [])),
      element("h2", {}, say("History")),
      element("ol", { class: "versions" }, ...versions),
      element("div", { class: "actions" },
        element("a", { href: page.pathname + page.search }, say("Parcel page")),
        element("a", { href: query(`${config.items}/${parcel.id}`, { datetime: asOf }).href }, "OGC API"),
        copy),
    ].filter(Boolean));
    panel.hidden = false;
    panel.scrollTop = 0;
  };

  const at = (pixel) => map.forEachFeatureAtPixel(pixel, (feature) => feature, { layerFilter: (layer) => layer === parcelLayer });
  map.on("pointermove", (event) => {
    if (event.dragging) return;
    showPosition(event.coordinate);
    const feature = at(event.pixel);
    only(hovered, feature && feature.getId() !== selected ? feature.getGeometry() : null);
    place.classList.toggle("over", Boolean(feature));
  });
  place.addEventListener("pointerleave", () => { only(hovered, null); showPosition(null); });
  map.on("singleclick", (event) => {
    const feature = at(event.pixel);
    if (feature) show(config.parcel + feature.getId(), false);
    else close();
  });
  place.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.target !== place) return;
    const feature = at(map.getPixelFromCoordinate(view.getCenter()));
    if (feature) show(config.parcel + feature.getId(), false);
  });
  addEventListener("keydown", (event) => { if (event.key === "Escape" && !find("panel").hidden) close(); });

  // -- finding one by its number; `99901/1/12` in the first field will do

  const form = find("search");
  form.addEventListener("input", (event) => {
    const parts = event.target.value.split("/");
    if (event.target.name === "commune" && parts.length === 3) {
      ["commune", "sheet", "number"].forEach((name, i) => { form.elements[name].value = parts[i].trim(); });
    }
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const key = ["commune", "sheet", "number"].map((name) => form.elements[name].value.trim()).filter(Boolean);
    show(config.parcel + key.map(encodeURIComponent).join("/"), true);
  });

  // -- as of a day

  const setAsOf = (value) => {
    asOf = value;
    era += 1;
    find("as-of").value = value;
    find("as-of").parentElement.classList.toggle("past", Boolean(value));
    parcels.clear(true);
    parcels.refresh();
    notice("");
  };
  find("as-of").addEventListener("change", (event) => {
    setAsOf(event.target.value);
    if (selected) show(config.parcel + selected, false);
    else remember();
  });

  // -- the address says what is shown, so that it can be shared

  const remember = () => {
    const told = new URLSearchParams();
    if (selected) told.set("parcel", selected);
    if (asOf) told.set("as_of", asOf);
    const center = view.getCenter();
    told.set("view", [center[0].toFixed(1), center[1].toFixed(1), view.getResolution().toPrecision(4)].join(","));
    history.replaceState(null, "", `#${told}`.replaceAll("%2C", ","));
    const lang = document.querySelector(".lang");
    lang.hash = location.hash;
  };
  const recall = () => {
    const told = new URLSearchParams(location.hash.slice(1));
    const spot = (told.get("view") || "").split(",").map(Number);
    const seen = spot.length === 3 && spot.every(Number.isFinite) && spot[2] > 0;
    if (seen) {
      view.setCenter([spot[0], spot[1]]);
      view.setResolution(spot[2]);
    }
    const wanted = told.get("as_of") || "";
    if (wanted !== asOf) setAsOf(/^\d{4}-\d\d-\d\d$/.test(wanted) ? wanted : "");
    const id = told.get("parcel");
    if (id && id !== selected) show(config.parcel + encodeURIComponent(id), !seen);
  };
  addEventListener("hashchange", recall);
  map.on("moveend", () => { remember(); tell(); });
  find("legend").open = innerWidth > 832 && innerHeight > 640;
  recall();
  tell();
})();
