// What a web client with MapLibre does: page through a collection, filter it, draw its GeoJSON and
// its tiles. Each function is called by the test with the address of the landing page.
import * as maplibregl from "/node_modules/maplibre-gl/dist/maplibre-gl.mjs";

async function json(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${answer.status} for ${url}`);
  return answer.json();
}

async function shown(sources, layers, view) {
  const map = new maplibregl.Map({
    container: "map",
    style: { version: 8, sources, layers },
    attributionControl: false,
    fadeDuration: 0,
    canvasContextAttributes: { preserveDrawingBuffer: true },
    ...view,
  });
  await new Promise((resolve, reject) => {
    map.once("idle", resolve);
    map.on("error", (event) => reject(event.error));
  });
  return map;
}

// The share of the picture that has the parcels' colour.
function drawn(map) {
  const gl = map.getCanvas().getContext("webgl2");
  const [width, height] = [gl.drawingBufferWidth, gl.drawingBufferHeight];
  const data = new Uint8Array(width * height * 4);
  gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, data);
  let red = 0;
  for (let i = 0; i < data.length; i += 4) if (data[i] === 200 && data[i + 1] === 30) red += 1;
  return red / (width * height);
}

const style = (source, more) => ({
  id: "parcels",
  type: "fill",
  source,
  paint: { "fill-color": "rgb(200, 30, 60)", "fill-antialias": false },
  ...more,
});

// All parcels into one source, page after page; their ids.
window.pages = async (base, limit) => {
  const features = [];
  let next = `${base}/collections/parcels/items?f=json&limit=${limit}`;
  while (next) {
    const told = await json(next);
    features.push(...told.features);
    next = told.links.find((link) => link.rel === "next")?.href;
  }
  const map = await shown(
    { parcels: { type: "geojson", data: { type: "FeatureCollection", features } } },
    [style("parcels")],
    { bounds: await map_bounds(base), maxZoom: 20 },
  );
  const kept = (await map.getSource("parcels").getData()).features.length;
  const told = { ids: features.map((feature) => feature.id), kept, drawn: drawn(map) };
  map.remove();
  return told;
};

async function map_bounds(base) {
  const told = await json(`${base}/collections/parcels?f=json`);
  return told.extent.spatial.bbox[0];
}

// A source that is the address of a filter: MapLibre itself fetches it.
window.filtered = async (base, sheet) => {
  const filter = encodeURIComponent(`sheet = '${sheet}'`);
  const data = `${base}/collections/parcels/items?f=json&limit=10000&filter=${filter}`;
  const map = await shown(
    { parcels: { type: "geojson", data } },
    [style("parcels")],
    { bounds: await map_bounds(base), maxZoom: 20 },
  );
  const told = (await map.getSource("parcels").getData()).features.map((feature) => feature.id);
  map.remove();
  return told;
};

// Vector tiles by TileJSON: the ids of the parcels drawn around a place, and how much is drawn.
window.tiles = async (base, center, zoom) => {
  const url = `${base}/collections/parcels/tiles/WebMercatorQuad?f=tilejson`;
  const map = await shown(
    { parcels: { type: "vector", url, promoteId: "id" } },
    [style("parcels", { "source-layer": "parcels" })],
    { center, zoom },
  );
  const seen = new Set(map.queryRenderedFeatures().map((feature) => feature.id));
  const told = { ids: [...seen], drawn: drawn(map) };
  map.remove();
  return told;
};
window.ready = true;
