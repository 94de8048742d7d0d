"""What a server makes of many users: requests per second, and how long each waits.

    python -m benchmarks.serving [MODEL] [--requests 64]

Users ask at once, each for the next sample once it has the last, through `examples/serve.py` and HTTP
messages in this process; beside that the same requests, one by one, by `model.generate`. Needs
`pip install 'keras-dmmd[serve]' httpx`.
"""

import argparse
import asyncio
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
    """Seconds that each took, and all together."""
    times, start = [], time.perf_counter()
    for request in asked:
        begun = time.perf_counter()
        prompt = model.tokenizer.encode(request["prompt"]) if request["prompt"] else []
        model.generate(prompts=[prompt], seed=request["seed"], verbose=0)
        times.append(time.perf_counter() - begun)
    return times, time.perf_counter() - start


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

        start = time.perf_counter()
        await asyncio.gather(*(user() for _ in range(users)))
        return times, time.perf_counter() - start


def row(name, times, total):
    return {
        "way": name,
        "per_second": len(times) / total,
        "p50_ms": 1e3 * float(np.quantile(times, 0.5)),
        "p99_ms": 1e3 * float(np.quantile(times, 0.99)),
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
    rows = [row("generate, one by one", *one_by_one(model, asked))]
    for users in args.users:
        engine = Engine(model, Limits(rows=max(args.users), deadline=600.0)).start()
        rows.append(row(f"server, {users} users", *asyncio.run(served(engine, asked, users))))
        rows[-1] |= {"rows_per_batch": engine.counts["rows"] / engine.counts["batches"]}
        rows[-1] |= {"traces": engine.counts["traces"]}
        engine.close()
    print_table(rows, ["way", "per_second", "p50_ms", "p99_ms", "rows_per_batch", "traces"])
    write_json("serving", {"rows": rows}, vars(args), args.folder)


if __name__ == "__main__":
    main()
