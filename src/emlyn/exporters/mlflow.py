"""`mlflow`: a model folder that `mlflow.pyfunc.load_model`, `mlflow models serve` and a tracking server's registry understand."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import emlyn
from emlyn.core.exporter import Exportable, Exported, Exporter, write_all
from emlyn.core.models.model import Model
from emlyn.core.storing import archive
from emlyn.core.table import Column, Table, text_column
from emlyn.core.tables.frames import to_pandas, to_table
from emlyn.exporters._image import MODEL, quoted, requirements, wheel_of_emlyn
from emlyn.plugins import hook


class MLflow:
    """An MLmodel with the python_function flavour; this module is its loader, so nothing is unpickled."""

    name = "mlflow"
    about = "a folder that mlflow.pyfunc.load_model opens"

    def export(self, what: Exportable, out: Path) -> Exported:
        wheel, data = wheel_of_emlyn()
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        pins = [*requirements(what).splitlines(), f"./wheels/{wheel}"]
        environment = {"python": python, "dependencies": ["-r requirements.txt"]}
        flavour = {"loader_module": "emlyn.exporters.mlflow", "data": MODEL, "python_version": python, "env": {"virtualenv": "python_env.yaml"}}
        described = {
            "flavors": {"python_function": flavour},
            "metadata": {"emlyn": emlyn.__version__, "model": what.label, "digest": what.version.digest},
            "utc_time_created": what.version.created.replace("T", " ").replace("+00:00", ""),
        }
        files: dict[str, bytes | str] = {
            "MLmodel": json.dumps(described, indent=1),  # JSON is YAML
            "python_env.yaml": json.dumps(environment, indent=1),
            "requirements.txt": "\n".join(pins) + "\n",
            MODEL: Path(what.version.path).read_bytes(),
            f"wheels/{wheel}": data,
        }
        return Exported(
            write_all(out, files),
            (
                f"mlflow models predict -m {quoted(out)} -t csv -i rows.csv --env-manager local",
                f"mlflow models serve -m {quoted(out)} --env-manager local",
            ),
            ("The contract checks and reads the rows, so the folder carries no MLflow signature, which would refuse what the contract accepts.",),
        )


def _load_pyfunc(path: str) -> PyFunc:
    """What MLflow calls to open the model. Raises ModelError for a file that is not as it was written."""
    return PyFunc(Model.load(archive.open(Path(path)).under("model/")))


class PyFunc:
    """MLflow's python_function protocol."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        """A pandas table: `prediction` and a probability per class. Raises DataError when a required column is absent."""
        found = self.model.predict(to_table(model_input))
        if found.probabilities is None:
            return to_pandas(Table({"prediction": Column("number", found.values)}))
        columns = {"prediction": text_column(found.values.tolist())}
        shares = {f"probability_{c}": Column("number", found.probabilities[:, i]) for i, c in enumerate(self.model.problem.classes)}
        return to_pandas(Table({**columns, **shares}))


@hook
def emlyn_exporters() -> list[Exporter]:
    return [MLflow()]
