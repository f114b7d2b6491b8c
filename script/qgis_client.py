"""QGIS reads the OGC API without a screen: `python3 script/qgis_client.py URL SHEET`.

Run by Debian's Python, which has QGIS. Prints one line of JSON: the ids of all parcels, of those of
a sheet, and of those in a small box and since a day, which QGIS leaves to the server.
"""

import json
import os
import sys

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
from qgis.core import (
    Qgis,
    QgsApplication,
    QgsFeatureRequest,
    QgsRectangle,
    QgsVectorLayer,
)

url, sheet = sys.argv[1:]
application = QgsApplication([], False)
application.initQgis()


def opened(more=""):
    layer = QgsVectorLayer(f"url='{url}' typename='parcels' pageSize='1000'{more}", "x", "OAPIF")
    if not layer.isValid():
        sys.exit("QGIS can't open the collection")
    return layer


def ids(layer, request=None):
    features = layer.getFeatures(request) if request else layer.getFeatures()
    return [feature["id"] for feature in features]


told = {"version": Qgis.QGIS_VERSION}
layer = opened()
told["ids"] = ids(layer)
filtered = opened()
filtered.setSubsetString(f"\"sheet\" = '{sheet}'")
told["sheet"] = ids(filtered)
first = next(layer.getFeatures(QgsFeatureRequest().setFilterExpression("\"number\" = '500'")))
middle = first.geometry().centroid().asPoint()
box = QgsRectangle(middle.x() - 1e-5, middle.y() - 1e-5, middle.x() + 1e-5, middle.y() + 1e-5)
told["box"] = ids(opened(" restrictToRequestBBOX='1'"), QgsFeatureRequest().setFilterRect(box))
since = opened()
since.setSubsetString("\"valid_from\" <= '2000-01-01T00:00:00Z'")
told["since"] = ids(since)
print(json.dumps(told), flush=True)
os._exit(0)  # exitQgis may crash where layers are left
