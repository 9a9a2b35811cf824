"""A peer's own way to serve a table model, for `serve.py`: inside that peer's environment, answers {"rows": [{...}]} at POST /predict.

    python peer_servers.py autogluon|bentoml TRAIN.csv TARGET SECONDS PORT

autogluon: `TabularPredictor.fit` with its default presets for so many seconds, behind FastAPI on uvicorn, one worker.
bentoml: LightGBM with its defaults and native categories, the service of BentoML's own tutorial, one worker.
"""

import os
import sys
import tempfile

import pandas as pd


def autogluon(train, target, seconds, port):
    import uvicorn
    from autogluon.tabular import TabularPredictor
    from fastapi import FastAPI

    predictor = TabularPredictor(label=target, path=tempfile.mkdtemp(), verbosity=0).fit(train, time_limit=seconds)
    predictor.persist()
    app = FastAPI()

    @app.post("/predict")
    def predict(body: dict):
        return {"predictions": predictor.predict_proba(pd.DataFrame(body["rows"])).to_dict(orient="records")}

    uvicorn.run(app, port=port, log_level="error")


def bentoml(train, target, seconds, port):
    import lightgbm

    folder = tempfile.mkdtemp()
    x, y = train.drop(columns=target), train[target].astype("category").cat.codes
    levels = {c: sorted(x[c].dropna().astype(str).unique()) for c in x.select_dtypes(exclude="number")}
    for column, known in levels.items():
        x[column] = pd.Categorical(x[column].astype("string"), known)
    lightgbm.LGBMClassifier(verbosity=-1, n_jobs=1).fit(x, y).booster_.save_model(f"{folder}/model.txt")
    with open(f"{folder}/service.py", "w") as file:
        file.write(BENTO.format(model=f"{folder}/model.txt", levels=levels, columns=list(x)))
    os.chdir(folder)
    os.execv(sys.executable, [sys.executable, "-m", "bentoml", "serve", "service:Churn", "--port", str(port)])


BENTO = """
import bentoml
import lightgbm
import pandas as pd

LEVELS = {levels!r}


@bentoml.service(workers=1)
class Churn:
    def __init__(self):
        self.model = lightgbm.Booster(model_file={model!r})

    @bentoml.api
    def predict(self, rows: list[dict]) -> list[float]:
        x = pd.DataFrame(rows)[{columns!r}]
        for column in x:
            x[column] = pd.Categorical(x[column].astype("string"), LEVELS[column]) if column in LEVELS else pd.to_numeric(x[column], errors="coerce")
        return self.model.predict(x, num_threads=1).tolist()
"""

if __name__ == "__main__":
    system, path, label, seconds, port = sys.argv[1:]
    {"autogluon": autogluon, "bentoml": bentoml}[system](pd.read_csv(path), label, float(seconds), int(port))
