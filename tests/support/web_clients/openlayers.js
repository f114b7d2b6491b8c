// What a web client with OpenLayers does: open the service, page through a collection, filter it,
// draw its tiles. Each function is called by the test with the address of the landing page.
"use strict";

async function json(url) {
  const answer = await fetch(url, { headers: { Accept: "application/geo+json, application/json" } });
  if (!answer.ok) throw new Error(`${answer.status} for ${url}`);
  return answer.json();
}

// All parcels into one source, page after page; their ids.
async function pages(base, limit) {
  const source = new ol.source.Vector();
  const format = new ol.format.GeoJSON();
  const ids = [];
  let next = `${base}/collections/parcels/items?f=json&limit=${limit}`;
  while (next) {
    const told = await json(next);
    const features = format.readFeatures(told, { featureProjection: "EPSG:3857" });
    ids.push(...features.map((feature) => feature.getId()));
    source.addFeatures(features);
    next = told.links.find((link) => link.rel === "next")?.href;
  }
  return { ids, kept: source.getFeatures().length };
}

// OpenLayers's own way to ask the server for less.
async function filtered(base, sheet) {
  const filter = encodeURIComponent(`sheet = '${sheet}'`);
  const told = await json(`${base}/collections/parcels/items?f=json&limit=10000&filter=${filter}`);
  return new ol.format.GeoJSON().readFeatures(told).map((feature) => feature.getId());
}

// Vector tiles by OGC API - Tiles: the ids of the parcels drawn around a place of the tiling's CRS.
async function tiles(base, tiling, definition, centre, resolution) {
  const set = await json(`${base}/tileMatrixSets/${tiling}`);
  const code = `EPSG:${set.crs.split("/").pop()}`;
  if (definition) {
    proj4.defs(code, definition);
    ol.proj.proj4.register(proj4);
  }
  const [west, south] = set.boundingBox.lowerLeft;
  const [east, north] = set.boundingBox.upperRight;
  const first = set.tileMatrices[0];
  const grid = new ol.tilegrid.TileGrid({
    origin: first.pointOfOrigin,
    extent: [west, south, east, north],
    resolutions: set.tileMatrices.map((matrix) => matrix.cellSize),
    tileSize: first.tileWidth,
  });
  const source = new ol.source.VectorTile({
    format: new ol.format.MVT(),
    projection: code,
    tileGrid: grid,
    url: `${base}/collections/parcels/tiles/${tiling}/{z}/{y}/{x}`,
  });
  const layer = new ol.layer.VectorTile({
    source,
    style: new ol.style.Style({ fill: new ol.style.Fill({ color: "rgb(200, 30, 60)" }) }),
  });
  const view = new ol.View({ projection: code, center: centre, resolution });
  const map = new ol.Map({ target: "map", layers: [layer], view, controls: [] });
  await new Promise((resolve) => map.once("rendercomplete", resolve));
  const seen = new Set();
  for (const feature of layer.getFeaturesInExtent(view.calculateExtent(map.getSize()))) {
    if (feature.get("layer") === "parcels") seen.add(feature.get("id"));
  }
  const canvas = document.querySelector("#map canvas");
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let red = 0;
  for (let i = 0; i < data.length; i += 4) if (data[i] === 200 && data[i + 3] === 255) red += 1;
  map.setTarget(null);
  return { ids: [...seen], drawn: red / (data.length / 4) };
}
