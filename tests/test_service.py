"""The service without its door: scorer, pool, prediction log, tokens, limits."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from emlyn.core.tables.frames import to_table
from emlyn.errors import DataError, ModelError, OptionError, WorkspaceError
from emlyn.service.feedback import add_labels
from emlyn.service.limits import RateLimit, TooMuch
from emlyn.service.pool import Pool
from emlyn.service.prediction_log import Label, PredictionLog, Record, Reply
from emlyn.service.scorer import Margin, Scorer, example_row
from emlyn.service.service import Ask
from emlyn.service.tokens import SCOPES, Tokens
from postgresql import postgresql_server
from service_kit import BAD, CONTRACT, PRICE, ROW, FakeModel, LogSettings, Settings, kit, probability, served

CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(), st.none(), max_size=1),
)


# the scorer


def test_a_bad_row_names_column_value_and_what_is_allowed_and_the_others_are_answered():
    answers = Scorer(FakeModel()).answer([ROW, BAD, {**ROW, "plan": "basic"}, {"income": 3}])
    assert [a.refused for a in answers] == [False, True, False, True]
    assert answers[0].probabilities["yes"] == pytest.approx(probability(ROW))
    assert answers[2].probabilities["yes"] == pytest.approx(probability({**ROW, "plan": "basic"}))
    issue = answers[1].issues[0]
    assert (issue.column, issue.value) == ("age", "old")
    assert "18" in issue.allowed
    assert "missing" not in issue.problem
    assert {i.column for i in answers[3].issues if i.code == "absent"} == {"age", "plan"}


def test_unseen_levels_and_values_out_of_range_are_answered_and_flagged():
    usual, level, far, empty = Scorer(FakeModel()).answer([ROW, {**ROW, "plan": "platinum"}, {**ROW, "age": 300}, {**ROW, "income": None}])
    assert not usual.unusual
    assert not usual.issues
    assert level.unusual
    assert far.unusual
    assert not empty.unusual, "a missing cell where training had missing cells is nothing unusual"
    assert not any(a.refused for a in (usual, level, far, empty))


def test_a_number_carries_its_interval():
    (answer,) = Scorer(FakeModel(PRICE), Margin(5.0, 7.0, 0.9)).answer([ROW])
    assert (answer.prediction, answer.interval) == (400.0, (395.0, 407.0))
    assert answer.probabilities is None


@hypothesis_settings(max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["age", "income", "plan", "note", "other"]), CELLS, max_size=5), min_size=1, max_size=5))
def test_no_row_can_break_the_scorer_or_disturb_its_neighbours(rows):
    answers = Scorer(FakeModel()).answer([ROW, *rows, ROW])
    assert len(answers) == len(rows) + 2
    assert answers[0].probabilities == answers[-1].probabilities
    assert answers[0].probabilities["yes"] == pytest.approx(probability(ROW))
    for answer in answers:
        assert answer.refused == (answer.prediction is None)


def test_records_and_tables_get_the_same_answers():
    rows = [{**ROW, "age": 20 + i, "plan": ["gold", "basic"][i % 2]} for i in range(40)] + [BAD]
    scorer = Scorer(FakeModel())
    online, batch = scorer.answer(rows), scorer.score(to_table(rows))
    assert batch.refused.tolist() == [a.refused for a in online]
    assert batch.labels.tolist() == [a.prediction for a in online]
    assert np.allclose([a.probabilities["yes"] for a in online[:-1]], batch.values[:-1, 1], rtol=1e-12, atol=0)


def test_a_long_table_refuses_every_unreadable_cell_and_says_which_although_only_a_hundred_are_listed():
    raw, scorer = to_table([{**BAD, "age": f"old {i}"} for i in range(250)] + [ROW]), Scorer(FakeModel())
    scored = scorer.score(raw)
    assert scored.refused.tolist() == [True] * 250 + [False]
    why = scorer.why_refused(scored, raw)
    assert why[250] is None
    assert all(f"column 'age': 'old {i}' is not a number; allowed" in why[i] for i in range(250))


def test_the_example_row_is_accepted_by_its_own_contract():
    assert not Scorer(FakeModel()).answer([example_row(CONTRACT)])[0].issues


# the pool


def test_the_first_model_answers_when_none_is_named_and_an_unknown_one_says_what_there_is():
    pool = Pool()
    pool.put(served("churn"))
    pool.put(served("price", problem=PRICE))
    assert pool.get().name == "churn"
    with pytest.raises(ModelError, match="price"):
        pool.get("prize")
    with pytest.raises(ModelError, match="version '9'"):
        pool.get("churn", "9")


def test_canary_and_shadow_get_their_shares_and_end_when_promoted():
    pool = Pool()
    pool.put(served(version="1"))
    pool.add(served(version="2"))
    pool.route("churn", canary="2", canary_share=0.25, shadow="2", shadow_share=0.5)
    draws = np.linspace(0, 1, 1000, endpoint=False)
    chosen = [pool.choose("churn", draw=d) for d in draws]
    assert sum(c[1] == "canary" for c in chosen) == 250
    assert sum(c[2] is not None for c in chosen) == pytest.approx(500, abs=2)
    pool.put(served(version="2"))
    lane = pool.lanes["churn"]
    assert (lane.champion, lane.canary, lane.shadow) == ("2", "", "")
    assert list(lane.versions) == ["2"], "the replaced champion must be freed"
    with pytest.raises(OptionError):
        pool.route("churn", canary="2", canary_share=1.5)
    with pytest.raises(ModelError):
        pool.route("churn", canary="7", canary_share=0.1)


def test_swapping_under_load_never_leaves_a_moment_without_a_model():
    pool, stop, seen = Pool(), threading.Event(), set()
    pool.put(served(version="0"))

    def swap():
        for i in range(300):
            pool.put(served(version=str(i)))
        stop.set()

    thread = threading.Thread(target=swap)
    thread.start()
    while not stop.is_set():
        chosen, role, _ = pool.choose("churn", draw=0.5)
        assert role == "live"
        seen.add(chosen.version)
    thread.join()
    assert pool.get().version == "299"


# the prediction log


def record(i: int, **changes) -> Record:
    return replace(Record(f"id{i}", time.time(), "churn", "1", "live", None, "{}", '{"prediction":"yes"}'), **changes)


def test_what_is_acknowledged_is_in_the_database(tmp_path):
    log = PredictionLog(f"sqlite:///{tmp_path / 'p.db'}")
    waiting = [log.write([record(i)]) for i in range(500)]
    for done in waiting:
        done.result(10)
    with sqlite3.connect(tmp_path / "p.db") as other:
        assert other.execute("select count(*) from predictions").fetchone() == (500,)
        assert other.execute("pragma journal_mode").fetchone() == ("wal",)
    log.close()


def test_postgresql_keeps_the_log_as_sqlite_does():
    with postgresql_server() as url:
        log = PredictionLog(url)
        log.write([record(1), record(2, key="k", cells='{"a": "\\u0000"}')]).result(10)
        log.write([Label('"yes"', prediction_id="id1"), Label('"no"', model="churn", key="k"), Reply("a/1", time.time(), "x", b"one")]).result(10)
        assert [(r["prediction_id"], r["label"]) for r in log.labelled("churn")] == [("id1", '"yes"'), ("id2", '"no"')]
        assert log.reply("a/1").reply == b"one"
        assert log.known(["id1", "nobody"]) == {"id1"}
        waiting = [log.write([record(i)]) for i in range(300)]
        for done in waiting:
            done.result(10)
        assert len(log.records("churn")) == 302
        log.close()


def test_an_acknowledged_record_survives_a_killed_process(tmp_path):
    """The child writes and prints each acknowledged id; it is killed at a random moment, five times on the same file."""
    code = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from emlyn.service.prediction_log import PredictionLog, Record
log = PredictionLog("sqlite:///{tmp_path / "p.db"}")
i = 0
while True:
    name = f"{{sys.argv[1]}}-{{i}}"
    entries = [Record(name, time.time(), "m", "1", "live", None, "x" * 500, "{{}}")]
    if i % 3 == 0 or not log.commit_now(entries):
        log.write(entries).result()
    print(name, flush=True)
    i += 1
"""
    told: list[str] = []
    for attempt in range(5):
        child = subprocess.Popen([sys.executable, "-c", code, str(attempt)], stdout=subprocess.PIPE, text=True)
        told += [child.stdout.readline().strip() for _ in range(20 + 37 * attempt)]
        child.kill()
        child.wait()
    with sqlite3.connect(tmp_path / "p.db") as found:
        kept = {row[0] for row in found.execute("select prediction_id from predictions")}
        assert found.execute("pragma integrity_check").fetchone() == ("ok",)
    assert set(told) <= kept


def test_labels_join_by_prediction_id_and_by_key_and_the_latest_counts(tmp_path):
    log = PredictionLog(f"sqlite:///{tmp_path / 'p.db'}")
    log.write([record(1), record(2, key="customer-7"), record(3), record(4, role="shadow", key="customer-7")]).result(5)
    log.write(
        [Label('"no"', prediction_id="id1"), Label('"yes"', prediction_id="id1"), Label('"no"', key="customer-7"), Label('"no"', key="nobody")]
    ).result(5)
    assert [(r["prediction_id"], json.loads(r["label"])) for r in log.labelled("churn")] == [("id1", "yes"), ("id2", "no")]
    assert log.forget(key="customer-7") == 3
    assert [r["prediction_id"] for r in log.labelled("churn")] == ["id1"]
    log.close()


@pytest.mark.parametrize(("name", "target"), [("prediction_id", "label"), ("prediction_id", "churn"), ("key", "churn"), ("customer", "churn")])
def test_labels_come_from_a_table_too(tmp_path, name, target):
    log = PredictionLog(f"sqlite:///{tmp_path / 'p.db'}")
    log.write([record(i, key=f"c{i}") for i in range(5)]).result(5)
    prefix = "id" if name == "prediction_id" else "c"
    table = to_table({name: [f"{prefix}{i}" for i in (0, 1, 1, 2)] + [None, "stranger"], target: ["no", "no", "yes", None, "yes", "yes"]})
    found = add_labels(log, table, "churn", "churn", key="customer" if name == "customer" else "")
    assert found == {"labels": 4, "left_out": 2, "joined": 2, "unknown": 1 if name == "prediction_id" else 0}
    assert [json.loads(r["label"]) for r in log.labelled("churn")] == ["no", "yes"]
    log.close()


def test_labels_without_their_columns_say_which_are_needed(tmp_path):
    log = PredictionLog(f"sqlite:///{tmp_path / 'p.db'}")
    with pytest.raises(DataError, match="prediction_id"):
        add_labels(log, to_table({"a": [1], "churn": [1]}), "churn", "churn")
    log.close()


def test_retention_forgets_what_is_old(tmp_path):
    log = PredictionLog(f"sqlite:///{tmp_path / 'p.db'}", LogSettings(keep_days=1))
    log.write([record(1, at=time.time() - 2 * 86400), record(2)]).result(5)
    log.write([]).result(5)  # the writer cleans up after its first commit
    assert [r["prediction_id"] for r in log.records("churn")] == ["id2"]
    log.close()


def test_one_record_that_cannot_be_stored_harms_no_other(tmp_path):
    log = PredictionLog(f"sqlite:///{tmp_path / 'p.db'}", LogSettings(linger=0.2))
    good, bad, more = log.write([record(1)]), log.write([record(2, answer=None)]), log.write([record(3)])
    good.result(5)
    more.result(5)
    with pytest.raises(WorkspaceError):
        bad.result(5)
    log.close()


def test_a_log_that_cannot_be_opened_says_where_without_the_password(tmp_path):
    with pytest.raises(WorkspaceError) as caught:
        PredictionLog(f"sqlite:///{tmp_path}/absent/p.db")
    assert "p.db" in str(caught.value)
    assert caught.value.next_step


def test_while_another_writer_has_the_file_the_callers_thread_does_not_wait(tmp_path):
    """The event loop must go on: the writer thread waits instead, and nothing is written twice."""
    log = PredictionLog(f"sqlite:///{tmp_path}/p.db")
    other = sqlite3.connect(tmp_path / "p.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert not log.commit_now([record(1)])
    waiting = log.write([record(1)])
    other.execute("COMMIT")
    waiting.result(5)
    log.write([]).result(5)  # after its first group the writer thread forgets what is old, and is itself the other writer for a moment
    assert log.commit_now([record(2), record(3)])
    assert [r["prediction_id"] for r in log.records("churn")] == ["id1", "id2", "id3"]
    log.close()


def test_requests_of_one_moment_share_a_commit(tmp_path, monkeypatch):
    found, commits = kit(tmp_path), []
    commit = found.service.log.commit_now
    monkeypatch.setattr(found.service.log, "commit_now", lambda entries: commits.append(len(entries)) or commit(entries))

    async def together():
        async with found.client() as client:
            return await asyncio.gather(*(client.post("/v1/predict", json={"rows": [ROW]}) for _ in range(20)))

    replies = asyncio.run(together())
    ids = {reply.json()["predictions"][0]["prediction_id"] for reply in replies}
    assert len(ids) == 20
    assert found.service.log.known(ids) == ids  # a reply means that the record is there
    assert sum(commits) == 20
    assert len(commits) < 20
    found.service.log.close()


def test_a_full_disk_is_503_until_there_is_room_again(tmp_path, monkeypatch):
    found = kit(tmp_path)
    log, full = found.service.log, [True]
    insert = log._insert

    def perhaps(entries):
        if full[0]:
            raise sa.exc.OperationalError("INSERT", {}, Exception("database or disk is full"))
        insert(entries)

    monkeypatch.setattr(log, "_insert", perhaps)
    monkeypatch.setattr(log, "commit_now", lambda entries: False)  # on a full disk it cannot either

    async def statuses():
        async with found.client() as client:
            predict = await client.post("/v1/predict", json={"rows": [ROW]})
            return [predict.status_code, *[(await client.get(path)).status_code for path in ("/livez", "/readyz", "/ping")]]

    assert asyncio.run(statuses()) == [503, 200, 503, 503]
    full[0] = False
    log.works()
    log.write([]).result(5)
    assert log.works()
    assert asyncio.run(statuses()) == [200, 200, 200, 200]
    log.close()


def test_replies_are_remembered_for_a_day(tmp_path):
    log = PredictionLog(f"sqlite:///{tmp_path / 'p.db'}")
    log.write([Reply("a/1", time.time(), "x", b"one"), Reply("a/1", time.time(), "x", b"two"), Reply("old", time.time() - 90_000, "x", b"")]).result(
        5
    )
    assert log.reply("a/1").reply == b"one"
    assert log.reply("old") is None
    log.close()


def test_the_log_keeps_what_the_settings_allow_and_nothing_else(tmp_path):
    found = kit(tmp_path, settings=Settings(poll_s=0, log=LogSettings(redact=("income",))))
    asyncio.run(found.service.predict(Ask([{**ROW, "secret": "not in the contract"}, BAD], keys=["k1", None])))
    (stored,) = found.service.log.records("churn")
    assert json.loads(stored["cells"]) == {"age": 40, "plan": "gold", "note": "hi"}
    assert json.loads(stored["answer"])["prediction"] == "yes"
    assert stored["key"] == "k1"
    found.service.log.close()


def test_sampling_keeps_a_share_and_no_rows_means_no_cells(tmp_path):
    found = kit(tmp_path, settings=Settings(poll_s=0, log=LogSettings(sample=0.3, rows=False)))

    async def many():
        for _ in range(400):
            await found.service.predict(Ask([ROW]))

    asyncio.run(many())
    found.service.log.write([]).result(5)
    stored = found.service.log.records("churn")
    assert 60 < len(stored) < 180
    assert all(r["cells"] is None for r in stored)
    found.service.log.close()


def test_the_shadow_answers_into_the_log_alone(tmp_path):
    found = kit(tmp_path)
    found.service.pool.add(served(version="2", shift=-9.0))
    found.service.pool.route("churn", shadow="2", shadow_share=1.0)

    async def ask():
        told = await found.service.predict(Ask([ROW]))
        await asyncio.wait(found.service._background, timeout=5)
        return told

    told = asyncio.run(ask())
    assert told.served.version == "1"
    found.service.log.write([]).result(5)
    live, shadow = found.service.log.records("churn")
    assert (live["role"], shadow["role"]) == ("live", "shadow")
    assert live["prediction_id"] == shadow["prediction_id"]
    assert json.loads(shadow["answer"])["prediction"] == "no"
    found.service.log.close()


# tokens and limits


def test_tokens_are_stored_hashed_by_name_and_revoked_without_a_restart(tmp_path):
    path = tmp_path / "tokens.json"
    tokens = Tokens(path)
    secret = tokens.create("scoring", ["predict"])
    assert secret not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    other = Tokens(path)
    found = other.find(secret)
    assert (found.name, found.allows("predict"), found.allows("admin")) == ("scoring", True, False)
    assert other.find(secret + "x") is None
    assert other.find("") is None
    tokens.revoke("scoring")
    assert other.find(secret) is None


@pytest.mark.parametrize(
    ("name", "scopes"), [("a b", ["predict"]), ("", ["predict"]), ("../x", ["predict"]), ("x", []), ("x", ["everything"]), ("taken", ["predict"])]
)
def test_tokens_that_cannot_be_made(tmp_path, name, scopes):
    tokens = Tokens(tmp_path / "tokens.json")
    tokens.create("taken", ["read"])
    with pytest.raises(OptionError):
        tokens.create(name, scopes)


def test_a_token_ends_when_it_expires(tmp_path):
    tokens = Tokens(tmp_path / "tokens.json")
    assert tokens.find(tokens.create("old", ["read"], expires=time.time() - 1)) is None
    assert tokens.find(tokens.create("new", ["read"], expires=time.time() + 60)) is not None


@pytest.mark.parametrize("weak", ["admin", "password", "short", "a" * 40, "abababababababababababab"])
def test_weak_tokens_from_the_environment_are_refused(weak):
    with pytest.raises(OptionError, match="guess"):
        Tokens(None, weak)


def test_two_processes_may_make_tokens_at_once(tmp_path):
    path = tmp_path / "tokens.json"
    threads = [threading.Thread(target=Tokens(path).create, args=(f"t{i}", SCOPES)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {t.name for t in Tokens(path)} == {f"t{i}" for i in range(8)}


def test_a_rate_is_per_caller():
    rate = RateLimit(rate=10, burst=1)
    for _ in range(10):
        rate.spend("a")
    with pytest.raises(TooMuch) as caught:
        rate.spend("a")
    assert caught.value.status == 429
    assert caught.value.retry_after <= 0.1
    rate.spend("b")


def test_too_many_rows_are_refused_before_they_cost_anything(tmp_path):
    found = kit(None, served(seconds=5.0), rows=3)
    began = time.monotonic()
    with pytest.raises(TooMuch, match="4 rows"):
        asyncio.run(found.service.predict(Ask([ROW] * 4)))
    assert time.monotonic() - began < 4
