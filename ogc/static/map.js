// Draws the features of this page on a map. It loads nothing but this service's own answer; where
// the map library is not installed the page is its table alone.
"use strict";
for (const place of document.querySelectorAll(".map")) {
  if (!window.ol) break;
  fetch(place.dataset.source, { headers: { Accept: "application/geo+json" } })
    .then((answer) => (answer.ok ? answer.json() : Promise.reject(answer.status)))
    .then((told) => {
      const source = new ol.source.Vector({
        features: new ol.format.GeoJSON().readFeatures(told, {
          dataProjection: "EPSG:3857",
          featureProjection: "EPSG:3857",
        }),
      });
      if (source.isEmpty()) return;
      place.hidden = false;
      const stroke = new ol.style.Stroke({ color: "#0b6b5a", width: 1.5 });
      const fill = new ol.style.Fill({ color: "rgba(11, 107, 90, 0.15)" });
      const image = new ol.style.Circle({ radius: 5, stroke, fill }); // of points
      const style = new ol.style.Style({ stroke, fill, image });
      const map = new ol.Map({ target: place, layers: [new ol.layer.Vector({ source, style })] });
      map.getView().fit(source.getExtent(), { padding: [24, 24, 24, 24], maxZoom: 20 });
    })
    .catch(() => { place.hidden = true; });
}
