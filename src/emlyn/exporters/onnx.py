"""`onnx`: the pipeline from raw columns to answers as one ONNX graph, for models of linear scores and trees.

Compared with the model on the user's rows before it is handed over.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import emlyn
from emlyn.core.exporter import Exportable, Exported, Exporter, write_all
from emlyn.core.features.design import REACH, Design
from emlyn.core.judging.metrics import CLIP
from emlyn.core.models.network import SELU_ALPHA, SELU_SCALE, Shape, Weights
from emlyn.core.models.outcome import FLOOR
from emlyn.core.table import Table
from emlyn.core.tables.contract import conform
from emlyn.errors import Unavailable
from emlyn.exporters._flat import Bag, Feature, Flat, Network, Part, Scores, Trees, flatten, parity
from emlyn.plugins import hook

OPSET, ML_OPSET = 18, 5
LEQ, MEMBER = 0, 6
"""Modes of a node of `TreeEnsemble`: feature <= threshold; feature is one of a set."""


class ONNX:
    """One input per column, doubles or strings of shape [rows, 1]; outputs `label` and `probabilities`, or `prediction`."""

    name = "onnx"
    about = "one ONNX graph from raw columns to answers (linear and tree models)"

    def export(self, what: Exportable, out: Path) -> Exported:
        try:
            import onnx
            import onnxruntime  # noqa: F401 - the parity check needs it
        except ImportError:
            raise Unavailable("exporting to ONNX needs onnx and onnxruntime", "onnx") from None
        flat = flatten(what, "ONNX", networks=True)
        model = graph(flat)
        onnx.checker.check_model(model)
        checks = {} if what.rows is None else compared(what, flat, model.SerializeToString())
        inputs = {f.column: "double" if f.codes is None else "string" for f in flat.features}
        told = {"inputs": inputs, "classes": list(flat.classes), "threshold": flat.threshold, "parity": checks}
        return Exported(
            write_all(out, {"model.onnx": model.SerializeToString(), "model.json": json.dumps(told, indent=1)}),
            ("python -c \"import onnxruntime as o; print([i.name for i in o.InferenceSession('model.onnx').get_inputs()])\"",),
            (
                "No value: NaN for a number, an empty string for a category. Texts are not cleaned: send the levels as the contract names them.",
                *(() if what.rows is not None else ("Not compared with the model: give rows of yours (--rows) for that.",)),
            ),
            checks,
        )


@dataclass
class Graph:
    """Nodes and constants as they are added."""

    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def add(self, kind: str, inputs: Sequence[str], domain: str = "", **attributes: Any) -> str:
        from onnx import helper

        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], domain=domain, **attributes))
        return name

    def constant(self, values: Any, dtype: type = np.float64) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype=dtype), name))
        return name


def graph(flat: Flat) -> Any:
    """The whole model as an ONNX ModelProto."""
    from onnx import TensorProto, helper

    g = Graph()
    single = [feature(g, f) for f in flat.features]
    dense = g.add("Concat", single, axis=1)
    total = ""
    for bag in flat.bags:
        share = g.add("Mul", [pooled(g, bag, dense), g.constant([[bag.weight]])])
        total = g.add("Add", [total, share]) if total else share
    outputs = []
    if flat.classes:
        shares = calibrated(g, flat, total)
        g.nodes.append(helper.make_node("Identity", [shares], ["probabilities"]))
        g.nodes.append(helper.make_node("Identity", [labels(g, flat, shares)], ["label"]))
        outputs.append(helper.make_tensor_value_info("label", TensorProto.STRING, [None]))
        outputs.append(helper.make_tensor_value_info("probabilities", TensorProto.DOUBLE, [None, flat.width]))
    else:
        if flat.calibration.shifts:
            total = g.add("Add", [g.add("Mul", [total, g.constant(flat.calibration.slope)]), g.constant(flat.calibration.shifts[0])])
        if flat.bounds is not None:
            total = g.add("Clip", [total, g.constant(flat.bounds[0]), g.constant(flat.bounds[1])])
        g.nodes.append(helper.make_node("Identity", [total], ["prediction"]))
        outputs.append(helper.make_tensor_value_info("prediction", TensorProto.DOUBLE, [None, 1]))
    kinds = {f.column: TensorProto.DOUBLE if f.codes is None else TensorProto.STRING for f in flat.features}
    inputs = [helper.make_tensor_value_info(name, kind, [None, 1]) for name, kind in kinds.items()]
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    made = helper.make_graph(g.nodes, "emlyn", inputs, outputs, g.constants)
    return helper.make_model(made, opset_imports=opsets, ir_version=10, producer_name="emlyn", producer_version=emlyn.__version__)


def feature(g: Graph, f: Feature) -> str:
    """One feature as doubles (rows, 1) that single precision can hold; NaN where there is no value."""
    from onnx import TensorProto

    if f.codes is None:
        value = f.column
        if f.rule.parse.clip is not None:
            value = g.add("Clip", [value, g.constant(f.rule.parse.clip[0]), g.constant(f.rule.parse.clip[1])])
        for sentinel in f.rule.parse.not_numbers:
            value = g.add("Where", [g.add("Equal", [f.column, g.constant(sentinel)]), g.constant(np.nan), value])
        value = g.add("Sub", [value, g.constant(f.shift)]) if f.shift else value
        return g.add("Cast", [g.add("Cast", [value], to=TensorProto.FLOAT)], to=TensorProto.DOUBLE)
    known = {**{written: float(code) for written, code in f.codes.items()}, "": f.missing}
    codes = g.add("LabelEncoder", [f.column], "ai.onnx.ml", keys_strings=list(known), values_floats=list(known.values()), default_float=f.unseen)
    return g.add("Cast", [codes], to=TensorProto.DOUBLE)


def pooled(g: Graph, bag: Bag, dense: str) -> str:
    """Answers (rows, k) of a member, as its `mean` makes them."""
    found = [answers(g, part, dense) for part in bag.parts]
    if bag.roots:
        found = [g.add("Sqrt", [shares]) for shares in found]
    mean = found[0] if len(found) == 1 else g.add("Div", [g.add("Sum", found), g.constant(float(len(found)))])
    return normalised(g, g.add("Mul", [mean, mean])) if bag.roots else mean


def answers(g: Graph, part: Part, dense: str) -> str:
    """Answers (rows, k) of one fitted model."""
    if isinstance(part.body, Network):
        raw = network(g, part.body, dense)
    else:
        raw = linear(g, part.body, dense) if isinstance(part.body, Scores) else trees(g, part.body, dense)
    outcome = part.outcome
    if part.link == "number":
        value = g.add("Add", [g.add("Mul", [raw, g.constant(outcome.scale)]), g.constant(outcome.centre)])
        if outcome.log:
            value = g.add("Sub", [g.add("Exp", [g.add("Min", [value, g.constant(700.0)])]), g.constant(1.0)])
        return g.add("Clip", [value, g.constant(outcome.low), g.constant(outcome.high)])
    if part.link == "sigmoid":
        positive = g.add("Sigmoid", [raw])
        raw = g.add("Concat", [g.add("Sub", [g.constant(1.0), positive]), positive], axis=1)
    elif part.link == "softmax":
        raw = g.add("Softmax", [raw], axis=1)
    return normalised(g, g.add("Clip", [raw, g.constant(FLOOR), g.constant(1.0)]))


def normalised(g: Graph, shares: str) -> str:
    return g.add("Div", [shares, g.add("ReduceSum", [shares, g.constant([1], np.int64)], keepdims=1)])


def linear(g: Graph, body: Scores, dense: str) -> str:
    """The design times the coefficients."""
    blocks = design_of(g, body.design, dense)
    return g.add("Add", [g.add("MatMul", [blocks, g.constant(body.coefficients)]), g.constant(body.intercept[None])])


def design_of(g: Graph, design: Design, dense: str) -> str:
    """The design, block by block as `core.design` lays them out, before it is centred."""

    def columns(source: str, positions: Any) -> str:
        return g.add("Gather", [source, g.constant(list(positions), np.int64)], axis=1)

    blocks = []
    if len(design.numbers):
        z = g.add("Div", [g.add("Sub", [columns(dense, design.numbers), g.constant(design.middle[None])]), g.constant(design.scale[None])])
        reach = g.add("Div", [z, g.constant(REACH)])
        z = g.add("Div", [z, g.add("Sqrt", [g.add("Add", [g.add("Mul", [reach, reach]), g.constant(1.0)])])])
        gaps = g.add("IsNaN", [z])
        known = g.add("Where", [gaps, g.constant(0.0), z])
        blocks.append(known)
        if len(design.gaps):
            blocks.append(_doubles(g, columns(gaps, design.gaps)))
    for j, size in design.codes:
        blocks.append(_doubles(g, g.add("Equal", [columns(dense, [j]), g.constant(np.arange(size, dtype=np.float64)[None])])))
    for place, knots in zip(design.splined.tolist(), design.knots.astype(np.float64), strict=True):
        high = np.where(np.isnan(knots), 1e30, knots)  # a knot that is not there is out of reach
        blocks.append(g.add("Max", [g.add("Sub", [columns(known, [place]), g.constant(high[None])]), g.constant(0.0)]))
    return g.add("Concat", blocks, axis=1)


def network(g: Graph, body: Network, dense: str) -> str:
    """Shares, or a number, averaged over the members (`core.network` forwards)."""
    design, shape = body.design, body.shape
    scale = 1.0 / design.spread.astype(np.float64)
    x = g.add("Mul", [g.add("Sub", [design_of(g, design, dense), g.constant(design.centre[None])]), g.constant(scale[None])])
    total = ""
    for w in body.members:
        h = g.add("Mul", [_embedded(g, shape, w, x), g.constant(w["scale"][None])])
        for i in range(len(shape.hidden) + 1):
            h = g.add("MatMul", [h, g.constant(w[f"weight{i}"].astype(np.float64) / np.sqrt(len(w[f"weight{i}"])))])
            h = g.add("Add", [h, g.constant(w[f"bias{i}"][None])])
            if i < len(shape.hidden):
                h = _mish(g, h) if shape.regression else _selu(g, h)
        answer = h if shape.regression else g.add("Softmax", [h], axis=1)
        total = g.add("Add", [total, answer]) if total else answer
    mean, classes = g.add("Div", [total, g.constant(float(len(body.members)))]), len(body.members[0][f"bias{len(shape.hidden)}"])
    if not body.smoothing or shape.regression or classes < 2:
        return mean
    uniform = body.smoothing / classes  # from here on `unsmoothed` of the learner
    line = g.add("Div", [g.add("Sub", [mean, g.constant(uniform)]), g.constant(1 - body.smoothing)])
    return normalised(g, g.add("Softplus", [g.add("Div", [line, g.constant(uniform / 4)])]))


def _embedded(g: Graph, shape: Shape, w: Weights, x: str) -> str:
    """Each number also as a mixture of cosines."""
    if not (shape.periodic and shape.numbers):
        return x
    found = [x]
    for j in range(shape.numbers):
        value = g.add("Gather", [x, g.constant([j], np.int64)], axis=1)
        angle = g.add("Add", [g.add("Mul", [value, g.constant(w["frequency"][j][None])]), g.constant(w["phase"][j][None])])
        mixed = g.add("MatMul", [g.add("Cos", [angle]), g.constant(w["mix"][j])])
        found.append(g.add("Add", [mixed, g.constant(w["mix_bias"][j][None])]))
    return g.add("Concat", found, axis=1)


def _selu(g: Graph, x: str) -> str:
    zero = g.constant(0.0)
    negative = g.add("Mul", [g.add("Sub", [g.add("Exp", [g.add("Min", [x, zero])]), g.constant(1.0)]), g.constant(SELU_ALPHA)])
    return g.add("Mul", [g.add("Add", [g.add("Max", [x, zero]), negative]), g.constant(SELU_SCALE)])


def _mish(g: Graph, x: str) -> str:
    """x tanh(log(1 + e^x)), by e^x alone."""
    e = g.add("Exp", [g.add("Min", [x, g.constant(20.0)])])
    n = g.add("Mul", [e, g.add("Add", [e, g.constant(2.0)])])
    return g.add("Mul", [x, g.add("Div", [n, g.add("Add", [n, g.constant(2.0)])])])


def _doubles(g: Graph, mask: str) -> str:
    from onnx import TensorProto

    return g.add("Cast", [mask], to=TensorProto.DOUBLE)


def trees(g: Graph, body: Trees, dense: str) -> str:
    """All trees as one `TreeEnsemble`; a tree whose leaves add to several outputs stands once for each."""
    from onnx import TensorProto, helper

    if body.fill is not None:
        dense = g.add("Where", [g.add("IsNaN", [dense]), g.constant(body.fill.astype(np.float64)[None]), dense])
    held: dict[str, list[Any]] = {name: [] for name in NODES}
    targets: list[int] = []
    weights: list[float] = []
    roots: list[int] = []
    members: list[float] = []
    for tree, outputs in zip(body.trees, body.outputs, strict=True):
        for place, output in enumerate(outputs):
            first_node, first_leaf = len(held["nodes_modes"]), len(targets)
            roots.append(first_node)
            targets += [output] * len(tree.leaves)
            weights += (tree.leaves[:, place] * body.factor).tolist()
            if not len(tree.feature):  # a tree of one leaf: both ways lead to it
                _add_node(held, 0, LEQ, 0.0, (first_leaf, True), (first_leaf, True), 0)
                continue
            for i in range(len(tree.feature)):
                ways = [_way(int(child), first_node, first_leaf) for child in (tree.left[i], tree.right[i])]
                mode, split = (MEMBER, 0.0) if i in tree.sets else (LEQ, float(tree.threshold[i]))
                members += [*map(float, tree.sets[i]), float("nan")] if i in tree.sets else []
                _add_node(held, int(tree.feature[i]), mode, split, ways[0], ways[1], int(tree.missing_left[i]))
    attributes = {name: values for name, values in held.items() if name not in ("nodes_modes", "nodes_splits")}
    attributes["nodes_modes"] = helper.make_tensor("modes", TensorProto.UINT8, [len(held["nodes_modes"])], held["nodes_modes"])
    attributes["nodes_splits"] = helper.make_tensor("splits", TensorProto.DOUBLE, [len(held["nodes_splits"])], held["nodes_splits"])
    attributes["leaf_weights"] = helper.make_tensor("weights", TensorProto.DOUBLE, [len(weights)], weights)
    if members:
        attributes["membership_values"] = helper.make_tensor("members", TensorProto.DOUBLE, [len(members)], members)
    total = g.add(
        "TreeEnsemble",
        [dense],
        "ai.onnx.ml",
        n_targets=body.width,
        aggregate_function=1,
        post_transform=0,
        tree_roots=roots,
        leaf_targetids=targets,
        **attributes,
    )
    return total if body.bias is None else g.add("Add", [total, g.constant(body.bias[None])])


NODES = (
    "nodes_featureids", "nodes_modes", "nodes_splits", "nodes_truenodeids", "nodes_trueleafs", "nodes_falsenodeids", "nodes_falseleafs",
    "nodes_missing_value_tracks_true",
)  # fmt: skip


def _add_node(
    held: dict[str, list[Any]], feature: int, mode: int, split: float, true: tuple[int, bool], false: tuple[int, bool], missing: int
) -> None:
    values = (feature, mode, split, true[0], int(true[1]), false[0], int(false[1]), missing)
    for name, value in zip(NODES, values, strict=True):
        held[name].append(value)


def _way(child: int, first_node: int, first_leaf: int) -> tuple[int, bool]:
    """Where a child is among all nodes, or all leaves; whether it is a leaf."""
    return (first_leaf - 1 - child, True) if child < 0 else (first_node + child, False)


def calibrated(g: Graph, flat: Flat, shares: str) -> str:
    if not flat.calibration.shifts:
        return shares
    moved = np.array([flat.calibration.shifts])
    logs = g.add("Log", [g.add("Clip", [shares, g.constant(CLIP), g.constant(1.0)])])
    return g.add("Softmax", [g.add("Add", [g.add("Mul", [logs, g.constant(flat.calibration.slope)]), g.constant(moved)])], axis=1)


def labels(g: Graph, flat: Flat, shares: str) -> str:
    """The decision at the operating point, as strings (rows,)."""
    from onnx import TensorProto, helper

    if flat.threshold is None:
        codes = g.add("ArgMax", [shares], axis=1, keepdims=0)
    else:
        last = g.add("Gather", [shares, g.constant(flat.width - 1, np.int64)], axis=1)
        above = g.add("GreaterOrEqual", [last, g.constant(flat.threshold)])
        codes = g.add("Cast", [above], to=TensorProto.INT64)
    names = f"c{len(g.constants)}"
    g.constants.append(helper.make_tensor(names, TensorProto.STRING, [len(flat.classes)], [c.encode() for c in flat.classes]))
    return g.add("Gather", [names, codes], axis=0)


def compared(what: Exportable, flat: Flat, model: bytes) -> dict[str, Any]:
    """Run the graph on the user's rows. Raises ModelError when it answers otherwise than the model."""
    import onnxruntime

    assert what.rows is not None
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    found = session.run(None, inputs_of(flat, conform(what.rows, what.model.contract).table))
    return parity(what, "ONNX", found[0].tolist() if flat.classes else found[0][:, 0].tolist(), found[-1])


def inputs_of(flat: Flat, table: Table) -> dict[str, np.ndarray]:
    """A typed table as the graph's inputs."""
    found = {}
    for f in flat.features:
        column = table[f.column]
        cells = column.values.astype(np.float64) if f.codes is None else np.array([t or "" for t in column.strings()], dtype=object)
        found[f.column] = cells[:, None]
    return found


@hook
def emlyn_exporters() -> list[Exporter]:
    return [ONNX()]
