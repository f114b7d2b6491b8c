"""The catalogue of rules, and findings: what is wrong with a parcel, where and by how much.

A `Rule` is data: its id, severity, title, sentences, unit, limit and the limit's source. A
`Finding` is one case of it. Findings are never capped and never name a person.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import shapely
from shapely.geometry.base import BaseGeometry

from landdata import characters

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of the catalogue.

    `vi` and `en` are sentences with the fields {parcel}, {other}, {measured}, {limit}, {unit}
    and those of a finding's `detail`; titles serve where a sentence has no room. `limit` is the
    field of `landdata.topology.Limits` that applies, `tolerance` the quantity of
    `landdata.topology.tolerances`. `source` is the limit's, unless a finding has its own.
    """

    id: str
    severity: Severity
    title_vi: str
    title_en: str
    vi: str
    en: str
    unit: str | None = None
    source: str | None = None
    source_vi: str | None = None  # only for a source that is not a law
    limit: str | None = None
    tolerance: str | None = None

    def title(self, language: str) -> str:
        """Return the title in `vi` or `en`."""
        return self.title_en if language == "en" else self.title_vi


@dataclass(frozen=True, slots=True)
class Finding:
    """One defect of one parcel, or of two.

    `row` and `other_row` are the source's feature ids (0-based in a shapefile), null for a
    parcel that is only in the store. `parcel` and `other_parcel` are `commune/sheet/number`.
    `rows` are all rows to which one fact of the file applies, where there are several; `row` is
    the first of them. `point` is (x, y) and `geometry` a shapely geometry, both in the storage CRS;
    metres and square metres unless `unit` says otherwise.
    """

    rule: str
    row: int | None = None
    other_row: int | None = None
    parcel: str | None = None
    other_parcel: str | None = None
    measured: float | None = None
    limit: float | None = None
    source: str | None = None
    point: tuple[float, float] | None = None
    geometry: BaseGeometry | None = None
    detail: Mapping[str, str] = field(default_factory=dict)
    rows: tuple[int, ...] = ()

    @property
    def severity(self) -> Severity:
        """The severity of the rule."""
        return RULES[self.rule].severity

    @property
    def message(self) -> dict[str, str]:
        """The sentence in both languages: `{"vi": …, "en": …}`."""
        rule = RULES[self.rule]
        fields = {
            "measured": _number(self.measured),
            "limit": _number(self.limit),
            "unit": rule.unit or "",
            "row": self.row,
            "other_row": self.other_row,
            "why": "",
            "why_en": "",
            "what": "",
            "what_en": "",
            **self.detail,
        }
        sentences = {}
        for language, sentence in (("vi", rule.vi), ("en", rule.en)):
            names = {name: _written(value, language) for name, value in fields.items()}
            names |= {
                "parcel": _name(self.parcel, self.row, language),
                "other": _name(self.other_parcel, self.other_row, language),
            }
            sentences[language] = characters.escape(sentence.format_map(names))
        return sentences

    def as_dict(self) -> dict[str, Any]:
        """Return the finding under its public JSON keys."""
        rule = RULES[self.rule]
        return {
            "rule": self.rule,
            "severity": rule.severity,
            "row": self.row,
            **({"rows": list(self.rows)} if self.rows else {}),
            "other_row": self.other_row,
            "parcel": self.parcel,
            "other_parcel": self.other_parcel,
            "measured": self.measured,
            "limit": self.limit,
            "unit": rule.unit,
            "source": self.source or rule.source,
            "point": list(self.point) if self.point else None,
            "geometry": shapely.geometry.mapping(self.geometry) if self.geometry else None,
            "message": self.message,
        }


def _name(parcel: str | None, row: int | None, language: str) -> str:
    """Return how a sentence calls a parcel: by its key, else by its row."""
    if parcel is not None:
        return parcel
    return "?" if row is None else _AT_ROW[language].format(row=row)


#: FID is the name under which QGIS, ArcGIS and ogrinfo show a row's number.
_AT_ROW = {"vi": "ở dòng {row} (FID)", "en": "at row {row} (FID)"}


def _written(value: Any, language: str) -> Any:
    """Return a value with the decimal comma of Vietnamese, if it is a number."""
    is_decimal = isinstance(value, str) and _DECIMAL.fullmatch(value)
    return str(value).replace(".", ",") if is_decimal and language == "vi" else value


_DECIMAL = re.compile(r"[-+]?[\d ]+\.\d+")


def _number(value: float | None) -> str:
    """Format a measure for a sentence: four significant digits below 1, else two decimals."""
    if value is None:
        return "?"
    return f"{value:.4g}" if abs(value) < 1 else f"{value:,.2f}".replace(",", " ")


_CATALOGUE = (
    # -- shape: one parcel alone
    Rule(
        "missing-geometry", "error", "Không có hình", "No shape",
        "Thửa {parcel} không có hình: {why}.",
        "Parcel {parcel} has no shape: {why_en}.",
    ),
    Rule(
        "invalid-ring", "error", "Ranh giới không hợp lệ", "Invalid boundary",
        "Ranh giới thửa {parcel} không hợp lệ: {why}.",
        "The boundary of parcel {parcel} is not valid: {why_en}.",
        source="OGC Simple Features 06-103r4, 6.1.11",
    ),
    Rule(
        "ring-taken-apart", "warning", "Ranh được tách thành vòng", "Ring taken apart",
        "Ranh và lỗ của thửa {parcel} được vẽ thành một vòng; đã tách ra (số lỗ: {count}), không"
        " đỉnh nào bị dời.",
        "The boundary and the holes of parcel {parcel} are drawn as one ring; they are taken apart"
        " (holes: {count}), and no vertex moves.",
        source="OGC Simple Features 06-103r4, 6.1.11",
    ),
    Rule(
        "out-of-zone", "error", "Tọa độ ngoài vùng", "Outside the zone",
        "Thửa {parcel} nằm cách các thửa khác của tệp {measured} {unit}: tọa độ sai múi hoặc đảo"
        " trục.",
        "Parcel {parcel} lies {measured} {unit} from the other parcels of the file: wrong"
        " zone or swapped axes.",
        unit="m",
        source="landdata: far wider than any commune",
        source_vi="landdata: rộng hơn mọi xã rất nhiều",
        limit="far",
    ),
    Rule(
        "multipart", "warning", "Nhiều phần rời", "Several parts",
        "Thửa {parcel} gồm {count} phần rời nhau; một thửa là một khu đất liền.",
        "Parcel {parcel} has {count} separate parts; a parcel is one piece of land.",
        source="landdata: parts that do not touch are parcels of their own",
        source_vi="landdata: các phần không chạm nhau là những thửa riêng",
    ),
    Rule(
        "touching-hole", "warning", "Lỗ chạm ranh", "Hole touches boundary",
        "Lỗ trong thửa {parcel} chạm ranh ngoài.",
        "A hole of parcel {parcel} touches its outer boundary.",
        source="landdata: such a hole is a notch, or another parcel's corner",
        source_vi="landdata: lỗ như vậy là chỗ khuyết, hoặc góc của thửa khác",
    ),
    Rule(
        "repeated-point", "warning", "Đỉnh lặp lại", "Repeated point",
        "Ranh thửa {parcel} có đỉnh lặp lại.",
        "The boundary of parcel {parcel} has a vertex twice in a row.",
        source="stored precision, 1 mm",
        source_vi="độ chính xác lưu trữ, 1 mm",
    ),
    Rule(
        "spike", "warning", "Gai nhọn", "Spike",
        "Ranh thửa {parcel} có gai nhọn: góc {measured}{unit}, nhỏ hơn {limit}{unit}.",
        "The boundary of parcel {parcel} has a spike: an angle of {measured}{unit}, below"
        " {limit}{unit}.",
        unit="°",
        source="landdata: default angle, docs/topology.md",
        source_vi="landdata: góc mặc định, docs/topology.md",
        limit="spike",
    ),
    Rule(
        "short-edge", "warning", "Cạnh quá ngắn", "Edge too short",
        "Ranh thửa {parcel} có cạnh dài {measured} {unit}, ngắn hơn {limit} {unit}.",
        "The boundary of parcel {parcel} has an edge of {measured} {unit}, shorter than {limit}"
        " {unit}.",
        unit="m",
        source="landdata: far below the accuracy of a boundary point at 1:200 (5 cm)",
        source_vi="landdata: nhỏ hơn nhiều so với độ chính xác điểm ranh ở 1:200 (5 cm)",
        limit="edge",
    ),
    Rule(
        "sliver", "warning", "Mảnh vụn", "Sliver",
        "Thửa {parcel} là mảnh vụn: chỗ rộng nhất {measured} {unit}, diện tích {area} m².",
        "Parcel {parcel} is a sliver: {measured} {unit} at its widest, {area} m².",
        unit="m",
        source="landdata: default width and area, docs/topology.md",
        source_vi="landdata: chiều rộng và diện tích mặc định, docs/topology.md",
        limit="sliver",
    ),
    Rule(
        "dense-vertices", "info", "Quá nhiều đỉnh", "Too many vertices",
        "Ranh thửa {parcel} có {count} đỉnh, {measured} đỉnh mỗi mét.",
        "The boundary of parcel {parcel} has {count} vertices, {measured} per metre.",
        unit="1/m",
        source="landdata: default density, docs/topology.md",
        source_vi="landdata: mật độ mặc định, docs/topology.md",
        limit="density",
    ),
    # -- coverage: a parcel and its neighbours
    Rule(
        "duplicate-geometry", "error", "Hình trùng nhau", "Same shape twice",
        "Thửa {parcel} có hình trùng hoàn toàn với thửa {other}.",
        "Parcel {parcel} has exactly the shape of parcel {other}.",
        unit="m²",
        source="parcels never overlap",
        source_vi="các thửa không được chồng lên nhau",
    ),
    Rule(
        "near-duplicate", "error", "Gần như trùng nhau", "Nearly the same shape",
        "Thửa {parcel} gần như trùng với thửa {other}: chung {measured} {unit}, {share} %.",
        "Parcel {parcel} is nearly the same as parcel {other}: {measured} {unit}, {share} % in"
        " common.",
        unit="m²",
        source="parcels never overlap",
        source_vi="các thửa không được chồng lên nhau",
        limit="same",
    ),
    Rule(
        "containment", "error", "Nằm trong thửa khác", "Inside another parcel",
        "Thửa {parcel} nằm hoàn toàn trong thửa {other} ({measured} {unit}).",
        "Parcel {parcel} lies wholly inside parcel {other} ({measured} {unit}).",
        unit="m²",
        source="parcels never overlap",
        source_vi="các thửa không được chồng lên nhau",
        limit="rounding",
    ),
    Rule(
        "overlap", "error", "Chồng lấn", "Overlap",
        "Thửa {parcel} chồng lên thửa {other}: {measured} {unit}, chỗ rộng nhất {width} m.",
        "Parcel {parcel} overlaps parcel {other}: {measured} {unit}, {width} m at its widest.",
        unit="m²",
        source="parcels never overlap; landdata lets pass what is thinner than 1.5 mm, rounding",
        source_vi="các thửa không được chồng nhau; landdata bỏ qua chỗ mỏng hơn 1,5 mm do làm tròn",
        limit="rounding",
    ),
    Rule(
        "gap", "warning", "Khe hở", "Gap",
        "Khe hở cạnh thửa {parcel} và thửa {other}: rộng {measured} {unit}, hẹp hơn {limit} {unit}"
        " ({area} m²).",
        "Gap beside parcels {parcel} and {other}: {measured} {unit} wide, narrower than"
        " {limit} {unit} ({area} m²).",
        unit="m",
        source="landdata: default gap width, docs/topology.md",
        source_vi="landdata: bề rộng khe hở mặc định, docs/topology.md",
        limit="gap",
    ),
    Rule(
        "unparcelled-area", "info", "Đất chưa thành thửa", "Unparcelled area",
        "Cạnh thửa {parcel} có {measured} {unit} đất nằm giữa các thửa mà không thuộc thửa nào.",
        "Beside parcel {parcel}, {measured} {unit} of land are enclosed by parcels and belong to"
        " none.",
        unit="m²",
        source="landdata: at least as wide as the gap limit and not a strip, docs/topology.md",
        source_vi="landdata: rộng từ giới hạn khe hở trở lên và không phải dải, docs/topology.md",
        limit="strip",
    ),
    Rule(
        "unmatched-vertex", "warning", "Đỉnh không khớp", "Unmatched vertex",
        "Một đỉnh trên ranh chung của thửa {parcel} và thửa {other} chỉ có ở một thửa"
        " (lệch {measured} {unit}).",
        "A vertex on the common boundary of parcels {parcel} and {other} is on only one of them"
        " ({measured} {unit} off).",
        unit="m",
        source="Circular 25/2014/TT-BTNMT, art. 7: 5 cm at 1:200",
        source_vi="Thông tư 25/2014/TT-BTNMT, điều 7: 5 cm ở 1:200",
        limit="snap",
    ),
    Rule(
        "island", "info", "Thửa đứng riêng", "Island",
        "Thửa {parcel} đứng riêng: trong {limit} {unit} không có thửa nào khác.",
        "Parcel {parcel} stands alone: there is no other parcel within {limit} {unit}.",
        unit="m",
        source="landdata: default distance, docs/topology.md",
        source_vi="landdata: khoảng cách mặc định, docs/topology.md",
        limit="island",
    ),
    Rule(
        "outside-commune", "warning", "Ngoài ranh giới xã", "Outside the commune",
        "Thửa {parcel} nằm ngoài ranh giới xã {commune}, cách {measured} {unit}.",
        "Parcel {parcel} lies outside commune {commune}, {measured} {unit} from its border.",
        unit="m",
        source="the commune's border in the store",
        source_vi="ranh giới xã trong kho dữ liệu",
        limit="border",
    ),
    Rule(
        "across-communes", "warning", "Vượt ranh giới xã", "Across communes",
        "Thửa {parcel} vượt ranh giới xã {commune}: {measured} {unit} nằm ngoài.",
        "Parcel {parcel} crosses the border of commune {commune}: {measured} {unit} lie outside.",
        unit="m²",
        source="the commune's border in the store",
        source_vi="ranh giới xã trong kho dữ liệu",
        limit="border",
    ),
    # -- record: what a parcel says of itself
    Rule(
        "missing-number", "error", "Thiếu số tờ, số thửa", "No number",
        "Dòng {row} (FID): không dùng được {what}.",
        "Row {row} (FID) has no usable {what_en}.",
    ),
    Rule(
        "duplicate-row", "info", "Dòng lặp lại", "Repeated row",
        "Dòng {row} lặp lại dòng {other_row}: cùng số thửa {parcel}, cùng hình.",
        "Row {row} repeats row {other_row}: the same number {parcel}, the same shape.",
    ),
    Rule(
        "duplicate-differs", "warning", "Dòng lặp lại nhưng khác", "Repeated row differs",
        "Dòng {row} lặp lại dòng {other_row} (thửa {parcel}, cùng hình) nhưng khác ở {fields};"
        " những giá trị đó không được lưu.",
        "Row {row} repeats row {other_row} (parcel {parcel}, the same shape) but differs in"
        " {fields}; those values are not kept.",
    ),
    Rule(
        "co-owner", "info", "Đồng sử dụng", "Co-owner",
        "Dòng {row} lặp lại dòng {other_row} (thửa {parcel}, cùng hình) với chủ khác: thửa có tất"
        " cả các chủ đó.",
        "Row {row} repeats row {other_row} (parcel {parcel}, the same shape) with another owner:"
        " the parcel has them all.",
    ),
    Rule(
        "duplicate-number", "error", "Số thửa trùng", "Number used twice",
        "Số thửa {parcel} được dùng cho hơn một thửa trong tệp (dòng {row} và {other_row}){why}.",
        "Number {parcel} is used for more than one parcel of the file (rows {row},"
        " {other_row}){why_en}.",
    ),
    Rule(
        "commune-differs", "error", "Khác mã xã", "Another commune",
        "Thửa {parcel}{others} ghi mã xã {value}, khác với xã {commune} của đợt.",
        "Commune {value} is stated for parcel {parcel}{others_en}, but the batch is for commune"
        " {commune}.",
    ),
    Rule(
        "area-differs", "warning", "Lệch diện tích", "Area differs",
        "Diện tích ghi của thửa {parcel} ({stated} m²) lệch {measured} m² so với diện tích đo"
        " ({area} m²), vượt hạn sai {limit} m².",
        "The stated area of parcel {parcel} ({stated} m²) is {measured} m² off its measured area"
        " ({area} m²), beyond {limit} m².",
        unit="m²",
        source="Circular 26/2024/TT-BTNMT, annex 04",
        tolerance="area",
    ),
    Rule(
        "edge-differs", "warning", "Lệch chiều dài cạnh", "Edge length differs",
        "Cạnh {edge} của thửa {parcel} ghi dài {stated} {unit} nhưng đo được {length} {unit}: lệch"
        " {measured} {unit}, vượt hạn sai {limit} {unit}.",
        "Edge {edge} of parcel {parcel} is stated as {stated} {unit} but measures {length} {unit}:"
        " {measured} {unit} off, beyond {limit} {unit}.",
        unit="m",
        source="Circular 26/2024/TT-BTNMT, annex 03",
        tolerance="edge",
    ),
    Rule(
        "edge-count-differs", "warning", "Lệch số cạnh", "Number of edges differs",
        "Thửa {parcel} ghi chiều dài của {stated} cạnh, nhưng ranh giới có {count} cạnh; các chiều"
        " dài không so được.",
        "Parcel {parcel} states the lengths of {stated} edges, but its boundary has {count}; the"
        " lengths cannot be compared.",
    ),
    Rule(
        "sheet-area-differs", "warning", "Tổng diện tích tờ lệch", "Sheet's area differs",
        "Tờ {sheet}: tổng diện tích ghi ({stated} m²) lệch {measured} {unit} so với tổng đo được"
        " ({area} m²), vượt {limit} {unit}.",
        "Sheet {sheet}: the stated areas add up to {stated} m², {measured} {unit} off the measured"
        " ones ({area} m²), beyond {limit} {unit}.",
        unit="m²",
        source="Circular 26/2024/TT-BTNMT, annex 04, by propagation of errors",
        source_vi="Thông tư 26/2024/TT-BTNMT, phụ lục 04, theo luật truyền sai số",
        tolerance="area",
    ),
    Rule(
        "identifier-outside", "warning", "Mã định danh ngoài thửa", "Identifier elsewhere",
        "Mã định danh {value} của thửa {parcel} chỉ một ô cách thửa {measured} {unit}.",
        "Identifier {value} of parcel {parcel} names a cell {measured} {unit} from the parcel.",
        unit="m",
        source="Circular 19/2026/TT-BNNMT: a GeoHash of a point in the parcel",
        source_vi="Thông tư 19/2026/TT-BNNMT: GeoHash của một điểm trong thửa",
        limit="cell",
    ),
    Rule(
        "identifier-ill-formed", "warning", "Mã định danh sai dạng", "Identifier ill-formed",
        "Mã định danh {value} của thửa {parcel} không phải GeoHash 12 ký tự.",
        "Identifier {value} of parcel {parcel} is not a 12-character GeoHash.",
        source="Circular 19/2026/TT-BNNMT",
    ),
    Rule(
        "unknown-land-use", "warning", "Mã loại đất lạ", "Unknown land use",
        "Thửa {parcel}: mã loại đất {value} {why}.",
        "Parcel {parcel}: land-use code {value} {why_en}.",
        source="Circular 08/2024/TT-BTNMT, annex II",
    ),
    Rule(
        "uses-exceed-area", "warning", "Các mục đích vượt diện tích", "Uses exceed the area",
        "Thửa {parcel}: diện tích các mục đích sử dụng cộng lại là {measured} {unit}, lớn hơn diện"
        " tích thửa ({limit} {unit}).",
        "Parcel {parcel}: the areas of its uses add up to {measured} {unit}, more than the"
        " parcel's ({limit} {unit}).",
        unit="m²",
        source="the uses of a parcel lie in it",
        source_vi="các mục đích sử dụng nằm trong thửa",
    ),
    Rule(
        "bad-value", "warning", "Giá trị không dùng được", "Value not usable",
        "Thửa {parcel}: giá trị {value} của trường {field} không dùng được{why}.",
        "Parcel {parcel}: value {value} of field {field} is not usable{why_en}.",
    ),
    Rule(
        "half-converted-text", "warning", "Chữ chuyển mã dở dang", "Half-converted text",
        "Thửa {parcel}: trường {field} có chữ chuyển mã dở dang, giữ nguyên như trong tệp.",
        "Parcel {parcel}: field {field} holds half-converted text, kept as it is in the file.",
    ),
    Rule(
        "unfinished-text", "warning", "Chữ TCVN3 chưa chuyển mã hết",
        "Text not wholly converted from TCVN3",
        "Thửa {parcel}: trường {field} còn chữ TCVN3 chưa chuyển mã hết{change}; giữ nguyên như"
        " trong tệp. --mend-text chuyển nốt.",
        "Parcel {parcel}: the conversion of field {field} from TCVN3 was not finished{change};"
        " kept as it is in the file. --mend-text finishes it.",
    ),
    # -- the file as a whole
    Rule(
        "unreadable-row", "error", "Dòng không đọc được", "Unreadable row",
        "Dòng {row} của tệp bị hỏng, không đọc được.",
        "Row {row} of the file is damaged and cannot be read.",
    ),
    Rule(
        "no-label", "warning", "Vùng không có nhãn", "Polygon without a label",
        "Vùng {row} của bản vẽ không có nhãn số thửa.",
        "Polygon {row} of the drawing has no label with a number.",
    ),
    Rule(
        "several-labels", "error", "Nhiều nhãn trong một vùng", "Several labels in a polygon",
        "Thửa {parcel}: có nhiều nhãn khác nhau cho {what} ({value}).",
        "Parcel {parcel}: several labels disagree on {what} ({value}).",
    ),
    Rule(
        "label-outside", "warning", "Nhãn ngoài mọi vùng", "Label outside all polygons",
        "Nhãn số thửa {value} tại x {x}, y {y} của bản vẽ không nằm trong vùng nào.",
        "The label {value} at x {x}, y {y} of the drawing stands in no polygon.",
    ),
    Rule(
        "unread-boundary", "error", "Ranh giới không đọc được", "Unreadable boundary",
        "Có {count} đường ranh giới của bản vẽ không đọc được.",
        "{count} boundary lines of the drawing cannot be read.",
    ),
    Rule(
        "stale-count", "info", "Số dòng ghi sai", "Stale row count",
        "Tệp tự ghi có {stated} dòng, nhưng thực có {count} dòng; đã đọc hết.",
        "The file states {stated} rows, but it has {count}; all of them are read.",
    ),
    Rule(
        "far-from-all", "warning", "Xa mọi dữ liệu", "Far from everything",
        "Theo EPSG:{epsg} các thửa của tệp nằm cách {nearest}, nơi gần nhất đã biết, {measured}"
        " {unit}. Ranh giới của xã chưa có: hãy kiểm tra hệ tọa độ và múi chiếu.",
        "In EPSG:{epsg} the parcels of the file lie {measured} {unit} from {nearest_en}, the"
        " nearest that is stored. The commune's boundary is not: check the CRS and its zone.",
        unit="km",
    ),
    Rule(
        "no-sheet-field", "info", "Không có trường số tờ", "No sheet field",
        "Không nhận ra trường số tờ bản đồ: mọi thửa được xếp vào tờ 0. Nếu có, chỉ ra bằng --field"
        " sheet=TRƯỜNG.",
        "No field is recognised as the map sheet: all parcels are put on sheet 0. If there is one,"
        " name it with --field sheet=FIELD.",
    ),
    Rule(
        "unmapped-field", "warning", "Trường chưa nhận ra", "Field not recognised",
        "Trường {field} giống {name} nhưng không được nhận ra, nên không được đọc. Nếu đúng, thêm"
        " --field {attribute}={field}.",
        "Field {field} looks like the {name_en} but is not recognised, so it is not read. If it is,"
        " add --field {attribute}={field}.",
    ),
    Rule(
        "deleted-rows", "info", "Dòng đã đánh dấu xóa", "Rows marked deleted",
        "Tệp có {count} dòng đã đánh dấu xóa, không được đọc.",
        "The file has {count} rows that are marked deleted; they are not read.",
    ),
    # -- the store
    Rule(
        "already-official", "info", "Đã là chính thức", "Already official",
        "Thửa {parcel} giống hệt phiên bản chính thức hiện hành; tính là trùng.",
        "Parcel {parcel} is identical to its official version; counted as a duplicate.",
    ),
    Rule(
        "replaces-official", "info", "Thay thửa chính thức", "Replaces official parcel",
        "Thửa {parcel} thay phiên bản chính thức: diện tích thay đổi {area} m², ranh dời nhiều nhất"
        " {shift} m{what}.",
        "Parcel {parcel} replaces its official version: its area changes by {area} m², its boundary"
        " moves by up to {shift} m{what_en}.",
        unit="m²",
    ),
    Rule(
        "moved-within-accuracy", "info", "Dời trong hạn sai", "Moved within the accuracy",
        "Thửa {parcel} thay phiên bản chính thức; ranh dời nhiều nhất {measured} {unit}, trong hạn"
        " sai {limit} {unit} (diện tích: {area} m²){what}.",
        "Parcel {parcel} replaces its official version; its boundary moves by up to {measured}"
        " {unit}, within the accuracy of {limit} {unit} (area: {area} m²){what_en}.",
        unit="m",
        tolerance="point",
    ),
)  # fmt: skip

RULES: Mapping[str, Rule] = MappingProxyType({rule.id: rule for rule in _CATALOGUE})
