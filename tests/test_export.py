"""Exports: complete, exact about what they need, and without a way for a name to become an instruction."""

from __future__ import annotations

import io
import json
import re
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emlyn.core.dataset import rows_dataset
from emlyn.core.exporter import Exportable
from emlyn.core.features.prep import fit_encoder
from emlyn.core.learner import Effort
from emlyn.core.models.calibration import Calibration
from emlyn.core.models.model import Member, Model
from emlyn.core.models.parts import below
from emlyn.core.storing import archive
from emlyn.core.tables.contract import conform, contract_of
from emlyn.core.tables.frames import to_pandas, to_table
from emlyn.doors.exports import exporters
from emlyn.doors.server.app import doors
from emlyn.errors import ModelError, Unavailable
from emlyn.exporters import _image, sql
from emlyn.exporters._flat import Network, flatten, parity
from emlyn.plugins import find
from emlyn.records.data_card import ColumnCard, DataCard
from emlyn.records.manifest import Manifest
from emlyn.records.plan import Recipe
from emlyn.records.problem import Problem
from emlyn.records.run import ModelVersion
from emlyn.service.limits import Settings
from postgresql import postgresql_server

HTTP = Path(__file__).resolve().parent.parent / "docs" / "http.md"
ROWS = 300


def rows(seed: int = 0, count: int = ROWS) -> list[dict]:
    rng = np.random.default_rng(seed)
    return [
        {
            "age": None if rng.random() < 0.1 else float(rng.integers(18, 90)),
            "income": float(np.round(rng.lognormal(8, 1), 2)),
            "plan": None if rng.random() < 0.05 else str(rng.choice(["basic", "gold", "silver", 'it\'s "odd"'])),
            "smoker": str(rng.choice(["yes", "no"])),
        }
        for _ in range(count)
    ]


KINDS = {"age": "number", "income": "number", "plan": "category", "smoker": "category"}


def trained(learners: list[tuple[str, str]], task: str = "binary", columns: tuple[str, ...] = tuple(KINDS), models: int = 1) -> Model:
    """A model of the named (recipe, learner), learned on made-up rows; of several `models`, each lacks its part of them."""
    raw = to_table(rows())
    cards = tuple(ColumnCard(n, k, missing=int(raw[n].missing.sum()), rows=ROWS, distinct=10) for n, k in KINDS.items())
    contract = contract_of(DataCard("made up", ROWS, cards), list(KINDS), raw)
    typed = conform(raw, contract).table
    signal = np.nan_to_num(typed["age"].values, nan=50) / 20 + (typed["plan"].strings() == "gold") * 2 - np.log(typed["income"].values) / 3
    noisy = signal + np.random.default_rng(1).normal(0, 0.5, ROWS)
    classes: tuple[str, ...] = ()
    if task == "regression":
        answers, problem = noisy * 100, Problem("regression", "y", "rmse", "minimize")
    else:
        cuts = np.quantile(noisy, [0.5] if task == "binary" else [0.33, 0.66])
        answers, classes = np.digitize(noisy, cuts), ("no", "yes") if task == "binary" else ("a", "b", "c")
        problem = Problem(task, "y", "log_loss", "minimize", classes, classes[-1])
    data = rows_dataset(typed, answers, classes=len(classes))
    encoder = fit_encoder(typed, columns)
    data.shared["encoder"] = encoder
    members = []
    for name, learner in learners:
        found = find("learners", learner)
        if found.missing():
            pytest.skip(found.missing())
        recipe = next((r for r in found.recipes(problem, data) if r.name == name), None) or Recipe(name, learner, {})
        parts = [data.take(np.arange(ROWS)[np.arange(ROWS) % models != k]) if models > 1 else data for k in range(models)]
        bag = tuple(found.fit(recipe, part, None, Effort(20, 1, 0, steps=30)) for part in parts)
        members.append(Member(recipe, 1 / len(learners), bag))
    bounds = (float(answers.min()), float(answers.max())) if task == "regression" else None
    return Model(problem, tuple(members), max(1, len(classes)), encoder, contract, bounds=bounds)


def exportable(tmp_path: Path, model: Model, name: str = "churn") -> Exportable:
    path = tmp_path / "m.emlyn"
    archive.write(path, below("model", model.save()), Manifest({}, name=name, version=3, problem=model.problem))
    version = ModelVersion(name, 3, "0" * 64, "", model.problem.task, "y", model.problem.metric, "2026-01-01T00:00:00+00:00", path=str(path))
    return Exportable(model, version, to_table(rows(7, 120)))


@pytest.fixture(scope="module")
def linear():
    return trained([("linear", "linear")])


def opened(path: Path) -> dict[str, str]:
    return {p.relative_to(path).as_posix(): p.read_text() for p in path.rglob("*") if p.is_file() and p.suffix not in (".emlyn", ".whl")}


@pytest.mark.parametrize("target", ["docker", "sagemaker", "vertex", "kserve", "cloudrun", "azureml"])
def test_a_context_builds_from_its_own_files_alone(tmp_path, linear, target):
    out = tmp_path / target
    found = exporters()[target].export(exportable(tmp_path, linear), out)
    assert sorted(found.files) == sorted(str(p) for p in out.rglob("*") if p.is_file())
    assert found.commands
    dockerfile = (out / "Dockerfile").read_text()
    for line in dockerfile.splitlines():
        if line.startswith("COPY"):
            assert (out / line.split()[1]).is_file(), "only what is in the context can be copied"
    assert 'ENTRYPOINT ["python", "-m", "emlyn.doors.server"]' in dockerfile, "exec form, so that `serve` may be the argument"
    assert ("USER 10001" in dockerfile) == (target != "sagemaker"), "SageMaker alone expects root"
    assert ("EMLYN_OPEN" in dockerfile) == (target in ("sagemaker", "vertex", "kserve", "azureml"))
    archive.open(out / "model.emlyn")


def test_requirements_are_pinned_and_hold_what_the_members_need(tmp_path, linear):
    plain = _image.requirements(exportable(tmp_path, linear)).splitlines()
    assert all(re.fullmatch(r"[a-z0-9.-]+==[0-9][A-Za-z0-9.!+]*", line) for line in plain)
    names = {line.split("==")[0] for line in plain}
    assert {"numpy", "starlette", "uvicorn", "orjson", "sqlalchemy", "msgspec"} <= names
    assert not names & {"lightgbm", "catboost", "scikit-learn", "pandas", "pyarrow", "typer", "jinja2", "plotly", "emlyn"}
    boosted = _image.requirements(exportable(tmp_path, trained([("lightgbm-extra", "lightgbm")])))
    assert "lightgbm==" in boosted


@pytest.mark.parametrize(("learner", "needed"), [("trees", "scikit-learn"), ("catboost", "catboost"), ("lightgbm", "lightgbm")])
def test_requirements_name_what_a_member_imports_to_answer(tmp_path, learner, needed):
    recipes = {"trees": "extra-trees", "catboost": "catboost", "lightgbm": "lightgbm-extra"}
    names = {line.split("==")[0] for line in _image.requirements(exportable(tmp_path, trained([(recipes[learner], learner)]))).splitlines()}
    assert needed in names
    assert not names & ({"scikit-learn", "catboost", "lightgbm"} - {needed})


@pytest.mark.parametrize("target", ["docker", "cloudrun"])
def test_a_log_in_postgresql_is_promised_only_with_its_driver(tmp_path, linear, monkeypatch, target):
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'emlyn[postgresql]'")
    for found in (None, object()):
        monkeypatch.setattr(_image.importlib.util, "find_spec", lambda name, found=found: found)
        told = exporters()[target].export(exportable(tmp_path, linear), tmp_path / "out")
        there = "psycopg==" in (tmp_path / "out" / "requirements.txt").read_text()
        assert there == (found is not None)
        assert any("emlyn[postgresql]" in note for note in told.notes) != there


def test_the_wheel_is_whole_and_the_same_each_time():
    name, data = _image.wheel_of_emlyn()
    assert (name, data) == _image.wheel_of_emlyn()
    with zipfile.ZipFile(io.BytesIO(data)) as wheel:
        names = wheel.namelist()
        assert {"emlyn/__init__.py", "emlyn/doors/server/__main__.py", "emlyn/doors/server/pages/docs.html"} <= set(names)
        record = next(n for n in names if n.endswith("RECORD"))
        assert len(wheel.read(record).decode().splitlines()) == len(names)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("package", "numpy\nRUN curl evil"),
        ("package", "a b"),
        ("package", "$(x)"),
        ("version", "1.0 && rm"),
        ("version", "1\n"),
        ("image", "python:3\nUSER root"),
        ("image", "--platform=x python"),
        ("variable", "A=B C"),
        ("value", 'x"\nRUN y'),
        ("value", "a b"),
        ("value", "$(id)"),
        ("value", "`id`"),
        ("image", "évil"),
    ],
)
def test_no_field_of_a_dockerfile_can_become_an_instruction(kind, text):
    with pytest.raises(ModelError):
        _image.safe(kind, text)


@pytest.mark.parametrize("name", ['x"; rm -rf /; "', "a\nRUN evil", "$(id)", "../../etc", "Ünïcode ☃", "-" * 80])
def test_a_model_may_be_called_anything_and_commands_stay_commands(tmp_path, linear, name):
    for target in ("docker", "sagemaker", "kserve"):
        found = exporters()[target].export(exportable(tmp_path, linear, name), tmp_path / "out" / target)
        joined = "\n".join([*found.commands, *opened(tmp_path / "out" / target).values()])
        assert name not in joined
        assert not re.search(r"rm -rf /;|RUN evil|\$\(id\)", joined)


def test_mlflow_loads_it_and_gives_the_same_numbers(tmp_path, linear):
    what = exportable(tmp_path, linear)
    out = tmp_path / "mlflow"
    exporters()["mlflow"].export(what, out)
    described = json.loads((out / "MLmodel").read_text())
    flavour = described["flavors"]["python_function"]
    from emlyn.exporters.mlflow import _load_pyfunc

    frame = pytest.importorskip("pandas").DataFrame(rows(7, 120))
    wanted = linear.predict(what.rows)
    ours = _load_pyfunc(str(out / flavour["data"])).predict(frame)
    assert np.allclose(ours["probability_yes"], wanted.probabilities[:, 1], rtol=1e-12, atol=0)
    assert ours["prediction"].tolist() == wanted.values.tolist()
    mlflow = pytest.importorskip("mlflow")
    theirs = mlflow.pyfunc.load_model(str(out)).predict(frame)
    assert np.allclose(theirs["probability_yes"], wanted.probabilities[:, 1], rtol=1e-12, atol=0)


def test_openapi_is_the_document_of_the_service(tmp_path, linear):
    exporters()["openapi"].export(exportable(tmp_path, linear), tmp_path / "o")
    document = json.loads((tmp_path / "o" / "openapi.json").read_text())
    assert set(document["components"]["schemas"]["Row_churn"]["properties"]) == set(KINDS)


def test_http_md_lists_every_route_with_its_scope():
    text = HTTP.read_text()
    for door in doors(Settings()):
        access = "none" if door.access == "public" else door.access
        assert f"| `{door.method} {door.path}` | {access} |" in text, f"{door.method} {door.path}"
    assert len(re.findall(r"^\| `(GET|POST|PUT|DELETE) ", text, re.MULTILINE)) == len(doors(Settings()))


# formulas: SQL and ONNX compute the answers anew, so they are compared with the model on rows it never saw

FORMULAS = [
    ("binary", ["linear"]),
    ("binary", ["linear-splines", "lightgbm-deep"]),
    ("binary", ["extra-trees"]),
    ("binary", ["baseline-prior", "baseline-column"]),
    ("regression", ["baseline-column", "baseline-prior"]),
    ("multiclass", ["linear-splines", "lightgbm-extra"]),
    ("multiclass", ["extra-trees"]),
    ("regression", ["linear-splines-log", "lightgbm-extra", "extra-trees"]),
]
LEARNER = {"baseline": "baseline", "linear": "linear", "lightgbm": "lightgbm", "extra": "trees"}


def formula(task: str, names: list[str]) -> Model:
    model = trained([(n if n != "linear-splines-log" else "linear-splines", LEARNER[n.split("-")[0]]) for n in names], task)
    if task == "binary":
        return replace(model, calibration=Calibration(1.3, (0.1, -0.2)), threshold=0.37)
    return replace(model, calibration=Calibration(0.8, (0.1, -0.2, 0.0)) if task == "multiclass" else Calibration(1.05, (-0.1,)))


@pytest.mark.parametrize(("task", "names"), FORMULAS)
def test_sql_gives_the_model_s_numbers_in_duckdb(tmp_path, task, names):
    pytest.importorskip("duckdb")
    what = exportable(tmp_path, formula(task, names))
    checks = exporters()["sql"].export(what, tmp_path / "sql").checks
    assert checks["rows"] == 120
    assert checks["largest_difference"] < (1e-6 if "linear" in names[0] else 1e-12)
    assert checks.get("same_labels", 1.0) == 1.0


def test_sql_gives_the_model_s_numbers_in_postgresql(tmp_path):
    import sqlalchemy as sa

    what = exportable(tmp_path, formula("multiclass", ["linear-splines", "lightgbm-extra"]))
    text = sql.statement(flatten(what, "SQL"))
    typed = conform(what.rows, what.model.contract).table
    with postgresql_server() as url:
        engine = sa.create_engine(url)
        to_pandas(typed).astype({"plan": object, "smoker": object}).to_sql(sql.SOURCE, engine, index=False)
        with engine.connect() as connection:
            found = connection.execute(sa.text(text.replace(":", r"\:"))).mappings().all()
        engine.dispose()
    columns = {name: np.array([row[name] for row in found], dtype=None if name == "prediction" else float) for name in found[0] if name not in KINDS}
    checks = parity(what, "SQL", columns["prediction"].tolist(), sql.answers_of(columns, what.model.problem.classes))
    assert checks["largest_difference"] < 1e-6
    assert checks["same_labels"] == 1.0


NUMBERS = ("age", "income")
MORE = [("binary", [("catboost", "catboost")]), ("multiclass", [("catboost", "catboost")]), ("regression", [("catboost", "catboost")])]
NETWORKS = [(task, [("mlp", "mlp")]) for task in ("binary", "regression")]


@pytest.mark.parametrize(("task", "learners"), MORE)
def test_catboost_on_numbers_is_a_formula_too(tmp_path, task, learners):
    pytest.importorskip("duckdb")
    what = exportable(tmp_path, trained(learners, task, NUMBERS))
    assert exporters()["sql"].export(what, tmp_path / "sql").checks["largest_difference"] < 1e-12
    pytest.importorskip("onnx")
    assert exporters()["onnx"].export(what, tmp_path / "onnx").checks["largest_difference"] < 1e-12


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("arithmetic", [False, True], ids=["of square roots", "of probabilities"])
def test_bags_average_as_the_model_does(tmp_path, task, arithmetic):
    pytest.importorskip("duckdb")
    model = trained([("lightgbm-deep", "lightgbm"), ("extra-trees", "trees"), ("linear-splines", "linear")], task, models=3)
    what = exportable(tmp_path, replace(model, members=tuple(replace(m, arithmetic=arithmetic) for m in model.members)))
    assert exporters()["sql"].export(what, tmp_path / "sql").checks["largest_difference"] < 1e-6
    pytest.importorskip("onnx")
    assert exporters()["onnx"].export(what, tmp_path / "onnx").checks["largest_difference"] < 1e-6


@pytest.mark.parametrize(("task", "learners"), NETWORKS)
def test_networks_are_graphs_and_no_statements(tmp_path, task, learners):
    what = exportable(tmp_path, trained(learners, task))
    with pytest.raises(ModelError, match="its mlp member"):
        exporters()["sql"].export(what, tmp_path / "sql")
    taken = [part.body for part in flatten(what, "ONNX", networks=True).parts]
    assert any(isinstance(body, Network) and len(body.members) > 0 for body in taken), "taken apart without the library too"
    pytest.importorskip("onnx")
    assert exporters()["onnx"].export(what, tmp_path / "onnx").checks["largest_difference"] < 1e-5


@pytest.mark.parametrize(("task", "names"), FORMULAS)
def test_onnx_gives_the_model_s_numbers(tmp_path, task, names):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    checks = exporters()["onnx"].export(exportable(tmp_path, formula(task, names)), tmp_path / "onnx").checks
    assert checks["largest_difference"] < (1e-6 if "linear" in names[0] else 1e-12)
    assert checks.get("same_labels", 1.0) == 1.0


def test_onnx_without_its_library_names_the_extra(tmp_path, linear, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(Unavailable, match=r"emlyn\[onnx\]"):
        exporters()["onnx"].export(exportable(tmp_path, linear), tmp_path / "onnx")


def test_a_difference_beyond_rounding_is_a_refusal(tmp_path, linear):
    what = exportable(tmp_path, linear)
    ours = linear.predict(what.rows)
    with pytest.raises(ModelError, match="differ"):
        parity(what, "SQL", ours.values.tolist(), ours.probabilities + 0.001)
    with pytest.raises(ModelError, match="differ"):
        parity(what, "SQL", ours.values.tolist(), np.full_like(ours.probabilities, np.nan))


@pytest.mark.parametrize(("name", "learner"), [("catboost", "catboost")])
def test_what_cannot_be_a_formula_is_refused_plainly(tmp_path, name, learner):
    what = exportable(tmp_path, trained([("linear", "linear"), (name, learner)]))
    for target in ("sql", "onnx"):
        if target == "onnx":
            pytest.importorskip("onnx")
        with pytest.raises(ModelError, match=f"its {learner} member") as caught:
            exporters()[target].export(what, tmp_path / target)
        assert "docker" in caught.value.next_step
        assert not (tmp_path / target).exists()


def test_a_forest_too_large_for_a_statement_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sql, "MOST_LEAVES", 10)
    with pytest.raises(ModelError, match="leaves"):
        exporters()["sql"].export(exportable(tmp_path, trained([("extra-trees", "trees")])), tmp_path / "sql")


@pytest.mark.parametrize("hostile", ['x"; DROP TABLE t; --', "it's", "a\"b'c", "ünï ☃", "select", "a\0b", "x/*", "%s", ":p"])
def test_names_and_labels_in_sql_stay_names_and_labels(hostile):
    duckdb = pytest.importorskip("duckdb")
    clean = hostile.replace("\0", "")
    found = duckdb.sql(f"SELECT {sql.string(hostile)} AS {sql.identifier(hostile)}")
    assert found.columns == [clean]
    assert found.fetchall() == [(clean,)]


@pytest.mark.parametrize("value", [0.1, -0.1, 1e-300, -1e300, 5.0, 123456789.123456789, 2.0**-1074])
def test_numbers_in_sql_keep_every_digit(value):
    duckdb = pytest.importorskip("duckdb")
    assert duckdb.sql(f"SELECT CAST({sql.number(value)} AS DOUBLE)").fetchall() == [(value,)]
