"""What a server makes of many users: requests per second, and how long each waits.

    python -m benchmarks.serving [MODEL] [--requests 64]

Users ask at once, each for the next sample once it has the last, through `examples/serve.py` and HTTP
messages in this process; beside that the same requests, one by one, by `model.generate`. Needs
`pip install fastapi httpx`.
"""

import argparse
import asyncio
import functools
import os
import time

import httpx
import numpy as np

import keras_dmmd as kd
from benchmarks.common import RESULTS, print_table, write_json
from examples.serve import Engine, Limits, make_app

PROMPTS = ("we must ", "", "the congress of the united states ", "peace ")


def requests(model, number):
    """What is asked: seeds of their own, and prompts of several lengths where there is a tokenizer."""
    prompts = PROMPTS if model.tokenizer is not None else ("",)
    return [{"prompt": prompts[i % len(prompts)], "seed": i} for i in range(number)]


def one_by_one(model, asked):
    """Seconds that each took."""
    times = []
    for request in asked:
        begun = time.perf_counter()
        prompt = model.tokenizer.encode(request["prompt"]) if request["prompt"] else []
        model.generate(prompts=[prompt], seed=request["seed"], verbose=0)
        times.append(time.perf_counter() - begun)
    return times


async def served(engine, asked, users):
    """The same, by so many users at once."""
    app = make_app(engine)
    transport, left, times = httpx.ASGITransport(app=app), list(asked), []
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:

        async def user():
            while left:
                begun = time.perf_counter()
                answer = await client.post("/generate", json=left.pop(0), timeout=600.0)
                answer.raise_for_status()
                times.append(time.perf_counter() - begun)

        await asyncio.gather(*(user() for _ in range(users)))
        return times


def measured(name, way):
    """A row of the table, of a function that returns seconds of every request."""
    start, begun = time.perf_counter(), time.process_time()
    times = way()
    return {
        "way": name,
        "per_second": len(times) / (time.perf_counter() - start),
        "p50_ms": 1e3 * float(np.quantile(times, 0.5)),
        "p99_ms": 1e3 * float(np.quantile(times, 0.99)),
        # Of this process alone, so that it hardly depends on what else the machine does.
        "processor_ms": 1e3 * (time.process_time() - begun) / len(times),
    }


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?", default="sotu_chars_student")
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--users", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--folder", default=RESULTS, help="of the JSON [%(default)s]")
    args = parser.parse_args(arguments)
    model = kd.from_preset(args.model)
    asked = requests(model, args.requests)
    one_by_one(model, asked[:2])  # what is compiled is compiled
    rows = [measured("generate, one by one", lambda: one_by_one(model, asked))]
    for users in args.users:
        engine = Engine(model, Limits(rows=max(args.users), deadline=600.0)).start()
        way = functools.partial(asyncio.run, served(engine, asked, users))
        rows.append(measured(f"server, {users} users", way))
        rows[-1] |= {"rows_per_batch": engine.counts["rows"] / engine.counts["batches"]}
        rows[-1] |= {"traces": engine.counts["traces"]}
        engine.close()
    columns = ["way", "per_second", "p50_ms", "p99_ms", "processor_ms", "rows_per_batch", "traces"]
    print_table(rows, columns)
    # Of the last minute: where it is above the number of cores, times of the clock are too long.
    results = {"rows": rows, "load_average": os.getloadavg()[0]}
    write_json("serving", results, vars(args), args.folder)


if __name__ == "__main__":
    main()
