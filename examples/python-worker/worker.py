"""Serves the step `evaluatePopularity` of softflow's runs, in Python. See docs/activities.md for the contract.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python worker.py --address 127.0.0.1:7233 --store ../../.softflow/store --task-queue popularity-python

and in the recipe of the runs that are to use it:

    stepQueues: { evaluatePopularity: popularity-python }
"""

import argparse
import asyncio
import math
import platform
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
from softflow_store import Store, StoreError, digest_of, step_key
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

STEP = "evaluatePopularity"
#: Of softflow's own step: this worker computes the very same.
CONTRACT_VERSION = 1


def fields(*columns):
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns])


INT_LIST = pa.list_(pa.field("item", pa.int32(), nullable=False))
SCHEMAS = {
    "items": fields(("itemId", pa.utf8()), ("title", pa.utf8()), ("titleRow", pa.int32())),
    "titles": fields(("title", pa.utf8()), ("firstItem", pa.int32()), ("popularity", pa.int32())),
    "windows": fields(
        ("windowId", pa.utf8()),
        ("userId", pa.utf8()),
        ("targetIndex", pa.int32()),
        ("history", INT_LIST),
        ("target", pa.int32()),
        ("targetTimeMs", pa.int64()),
    ),
    "predictions": fields(
        ("windowId", pa.utf8()),
        ("targetRow", pa.int32()),
        ("text", pa.utf8()),
        ("rank", pa.int32()),
        ("distance", pa.float64()),
        ("nearest", pa.int32()),
        ("exists", pa.bool_()),
        ("valid", pa.bool_()),
    ),
}


def read_table(store, inputs, role):
    """One input as a table of the schema that its role has."""
    with pa.ipc.open_file(store.get_bytes(inputs[role])) as reader:
        if not reader.schema.equals(SCHEMAS[role]):
            raise StoreError("TABLE_SCHEMA", f"{role}: expected {SCHEMAS[role]}, received {reader.schema}")
        return reader.read_all()


def table_bytes(table):
    """An Arrow IPC file: uncompressed, one record batch."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return sink.getvalue().to_pybytes()


def popularity_ranks(popularity):
    """Of every title: 1 + the others that are at least as popular."""
    last = {count: position for position, count in enumerate(sorted(popularity, reverse=True), start=1)}
    return [last[count] for count in popularity]


def rank_metrics(ranks, ks):
    """HR and NDCG at each K, summed in the order of the windows."""
    gains = {
        "hr": lambda rank: 1,
        "ndcg": lambda rank: 1 / math.log2(rank + 1),
    }
    mean = lambda gain, k: sum(gain(rank) for rank in ranks if rank <= k) / len(ranks)
    metrics = {name: {str(k): mean(gain, k) for k in ks} for name, gain in gains.items()}
    return {**metrics, "windows": len(ranks)}


def evaluate_popularity(store, inputs, params):
    """The step itself: the outputs and the result."""
    titles = read_table(store, inputs, "titles")["popularity"].to_pylist()
    title_row = read_table(store, inputs, "items")["titleRow"].to_pylist()
    windows = read_table(store, inputs, "windows")
    activity.heartbeat({"step": STEP, "position": "ranking", "done": 0, "total": windows.num_rows, "unit": "window"})
    rank_of = popularity_ranks(titles)
    rows = [title_row[target] for target in windows["target"].to_pylist()]
    ranks = [rank_of[row] for row in rows]
    if not ranks:
        raise StoreError("NO_WINDOWS", "expected at least one window, got none")
    count = len(ranks)
    columns = {
        "windowId": windows["windowId"],
        "targetRow": rows,
        "text": [""] * count,
        "rank": ranks,
        "distance": [0.0] * count,
        "nearest": [rank_of.index(min(rank_of))] * count,
        "exists": [False] * count,
        "valid": [True] * count,
    }
    predictions = table_bytes(pa.table(columns, schema=SCHEMAS["predictions"]))
    outputs = {"predictions": store.put_bytes(predictions, rows=count, schema="predictions")}
    return outputs, rank_metrics(ranks, params["ks"])


def step_result(manifest, reused, telemetry):
    return {
        "key": manifest["key"],
        "outputs": manifest["outputs"],
        "result": manifest["result"],
        "reused": reused,
        "fingerprint": digest_of(manifest["fingerprint"]),
        "telemetry": telemetry,
    }


def finished_step(store, step_input):
    """Finds the step done, or computes it and writes its manifest."""
    key, inputs, params = step_input["key"], step_input["inputs"], step_input["params"]
    if key != step_key(STEP, CONTRACT_VERSION, inputs, params):
        raise StoreError("INPUT_INVALID", f"step {key} is not of contract version {CONTRACT_VERSION}; update this worker")
    found = store.read_manifest(key)
    if found:
        return step_result(found, True, {"seconds": 0, "resumes": 0})
    began = time.monotonic()
    outputs, result = evaluate_popularity(store, inputs, params)
    telemetry = {"seconds": round(time.monotonic() - began, 3), "resumes": 0}
    store.add_telemetry(key, {"runId": step_input["circumstances"]["runId"], **telemetry})
    manifest = {
        "version": 1,
        "step": STEP,
        "contractVersion": CONTRACT_VERSION,
        "key": key,
        "inputs": {role: ref["sha256"] for role, ref in inputs.items()},
        "params": params,
        "outputs": outputs,
        "result": result,
        "fingerprint": {"python": platform.python_version(), "pyarrow": pa.__version__},
    }
    return step_result(store.write_manifest(manifest), False, telemetry)


class Activities:
    def __init__(self, store):
        self.store = store

    @activity.defn(name=STEP)
    def evaluate_popularity(self, step_input: dict) -> dict:
        try:
            return finished_step(self.store, step_input)
        except StoreError as error:
            # What cannot succeed on a second try must not be retried: softflow retries for ever.
            raise ApplicationError(str(error), error.details, type=error.code, non_retryable=True) from error


async def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", default="127.0.0.1:7233")
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--task-queue", default="popularity-python")
    parser.add_argument("--store", default=".softflow/store")
    options = parser.parse_args()
    ended = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, ended.set)
    client = await Client.connect(options.address, namespace=options.namespace)
    activities = Activities(Store(options.store))
    with ThreadPoolExecutor(max_workers=2) as executor:
        async with Worker(
            client,
            task_queue=options.task_queue,
            activities=[activities.evaluate_popularity],
            activity_executor=executor,
        ):
            print(f"serving {STEP} on {options.task_queue}", flush=True)
            await ended.wait()


asyncio.run(main())
