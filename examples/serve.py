"""A server of samples: many users, one model, requests that come together are drawn together.

    python examples/serve.py sotu_chars_student --port 8000
    curl --json '{"prompt": "we must ", "seed": 3}' localhost:8000/generate
    curl --json '{"prompt": "we must "}' -N localhost:8000/stream

`/generate` answers with texts and ids, `/stream` with the canvas after every network call, as
server-sent events; `/metrics` is for Prometheus, `/health` for whoever restarts servers. Needs
`pip install fastapi uvicorn`, and runs on every backend.

A request's samples are functions of its seed alone, whatever is drawn beside them: sample j is row j
of `model.generate(samples, seed=seed)`, as far as sums of floats agree. Steps are compiled for few
sizes of batches, all of them before the first request. One thread calls the network; others wait.
"""

import argparse
import asyncio
import collections
import contextlib
import dataclasses
import json
import threading
import time
from collections.abc import Callable

import numpy as np
from keras import ops

import keras_dmmd as kd
from keras_dmmd import backend, checks
from keras_dmmd.exporting.graphs import Prior, Step
from keras_dmmd.sampling import buckets, truncation
from keras_dmmd.sampling.network_step import Settings


@dataclasses.dataclass(frozen=True)
class Limits:
    """What the server takes on.

    Attributes:
        rows: samples of a request, and of a batch.
        steps: network calls of a sample.
        waiting: requests that wait; another one is refused.
        patience: seconds that a request waits for others to be drawn with it.
        deadline: seconds after which a request that has not begun is given up.
    """

    rows: int = 16
    steps: int = 64
    waiting: int = 256
    patience: float = 0.005
    deadline: float = 30.0


@dataclasses.dataclass(eq=False)
class Job:
    """A request, as the thread that draws sees it.

    Attributes:
        prompt: ids `(m,)`.
        samples, steps, seed: as asked.
        label: a class, or `None`.
        emit: called with `("canvas", call, ids)` after every call if `streams`, and at last with
            `("tokens", ids)` or `("error", status, sentence)`; from the thread that draws.
        streams: whether every canvas is wanted.
        came: when, by the monotonic clock.
        cancelled: whether nobody waits any more.
    """

    prompt: np.ndarray
    samples: int
    steps: int
    seed: int
    label: int | None
    emit: Callable
    streams: bool = False
    came: float = dataclasses.field(default_factory=time.monotonic)
    cancelled: bool = False


class Busy(Exception):
    """Too many requests wait, or the server is about to end."""


class Engine:
    """One thread that draws samples of a model, batch after batch.

    Args:
        model: a `DiffusionModel`; of blocks, or with a sampler that remembers something, it is refused.
        limits: a `Limits`.
        sampler, temperature, top_p: as of `generate`, the same for all requests.
        jit_compile: whether XLA compiles, on TensorFlow; `torch.compile`, on Torch.
    """

    def __init__(
        self,
        model,
        limits=None,
        sampler=None,
        temperature=1.0,
        top_p=None,
        jit_compile=backend.COMPILES,
    ):
        self.model, self.limits = model, limits or Limits()
        truncation.check(temperature, top_p)
        self.stepper = model.sampler if sampler is None else kd.samplers.get(sampler)
        self.stepper.check(model.process)
        graph = {
            "model": model,
            "stepper": self.stepper,
            "grid": self._grid(self.limits.steps),
            "length": model.length,
            "batch": None,
            "settings": Settings.fixed(self.stepper, temperature, top_p, None),
        }
        self.step, self.prior = Step(**graph), Prior(**graph)
        self.step.check(most=None)
        self.counts = collections.Counter()
        self._functions = {
            self.prior: self._compiled(self.prior, jit_compile),
            self.step: self._compiled(lambda *x: self.step.call(*self.step.read(x)), jit_compile),
        }
        self.latencies = collections.deque(maxlen=1000)
        self._waiting, self._closing = collections.deque(), False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="draws samples", daemon=True)

    def _grid(self, steps):
        return self.stepper.grid(self.model.process, steps, None)

    def _compiled(self, function, jit_compile):
        def counted(*tensors):
            self.counts["traces"] += backend.COMPILES
            return function(*tensors)

        return backend.compile_inference(counted, self.model.variables, jit_compile)

    def start(self):
        """Compile what there is to compile, and begin.

        Raises:
            ValueError: the network's logits are NaN.
        """
        for size in self.sizes():
            job = Job(np.zeros(0, "int32"), 1, 1, 0, None, lambda *event: None)
            self._draw([job], size)
        self.counts.clear()
        self.latencies.clear()
        self._thread.start()
        return self

    def sizes(self):
        """Rows of the batches that steps are compiled for."""
        return sorted({buckets.up(n) for n in range(1, self.limits.rows + 1)})

    def submit(self, job):
        """Put a job behind those that wait.

        Raises:
            Busy: they are too many, or the engine closes.
        """
        with self._changed:
            if self._closing or len(self._waiting) >= self.limits.waiting:
                self.counts["refused"] += 1
                raise Busy("the server is closing" if self._closing else "too many requests wait")
            self.counts["requests"] += 1
            self._waiting.append(job)
            self._changed.notify_all()

    def leave(self, job):
        """Forget a job that nobody waits for any more.

        One that waits is not drawn; one that is drawn ends early, unless others share its batch.
        """
        with self._changed:
            job.cancelled = True
            self.counts["left"] += 1
            if job in self._waiting:
                self._waiting.remove(job)

    def close(self):
        """Finish what has begun, give up what waits, and end the thread."""
        with self._changed:
            self._closing = True
            left, self._waiting = list(self._waiting), collections.deque()
            self._changed.notify_all()
        for job in left:
            job.emit("error", 503, "the server is closing")
        if self.is_alive:
            self._thread.join()

    @property
    def is_alive(self):
        return self._thread.is_alive()

    @property
    def waiting(self):
        return len(self._waiting)

    def _work(self):
        while jobs := self._next():
            try:
                self._draw(jobs, buckets.up(sum(job.samples for job in jobs)))
            except Exception as error:  # of this batch alone: the thread goes on
                self.counts["failed"] += len(jobs)
                for job in jobs:
                    job.emit("error", 500, f"{type(error).__name__}: {error}")

    def _next(self):
        """Jobs of one number of calls that fit into a batch, the oldest among them; none at the end."""
        with self._changed:
            while not self._closing:
                self._drop()
                left = self._left()
                if left == 0:
                    return self._taken()
                self._changed.wait(left)  # meanwhile jobs come, and leave
            return []

    def _left(self):
        """Seconds until those that wait are drawn, whoever else comes; `None` where nobody waits."""
        if not self._waiting:
            return None
        if sum(job.samples for job in self._waiting) >= self.limits.rows:
            return 0
        return max(0, self._waiting[0].came + self.limits.patience - time.monotonic())

    def _taken(self):
        """The oldest job that waits, and what fits beside it; they wait no more."""
        jobs, rows = [], 0
        for job in list(self._waiting):
            if job.steps == self._waiting[0].steps and rows + job.samples <= self.limits.rows:
                jobs.append(job)
                rows += job.samples
        for job in jobs:
            self._waiting.remove(job)
        return jobs

    def _drop(self):
        """Leave out what waited too long."""
        oldest = time.monotonic() - self.limits.deadline
        for job in [job for job in self._waiting if job.came < oldest]:
            self._waiting.remove(job)
            self.counts["given_up"] += 1
            job.emit("error", 503, "the server is too busy")

    def _draw(self, jobs, size):
        """Samples of some jobs, in a batch of so many rows; those left over are given whole."""
        length, K = self.model.length, self.model.capabilities.num_classes
        values = {
            "seeds": np.zeros(size, "int32"),
            "rows": np.zeros(size, "int32"),
            "known": np.ones((size, length), bool),
            "given": np.zeros((size, length), "int32"),
            "labels": np.full(size, K or 0, "int32"),
        }
        places, start = [], 0
        for job in jobs:
            place = slice(start, start + job.samples)
            values["seeds"][place] = np.int64(job.seed).astype("int32")  # the low bits, as `generate`
            values["rows"][place] = np.arange(job.samples)
            values["known"][place] = np.arange(length) < len(job.prompt)
            values["given"][place, : len(job.prompt)] = job.prompt
            values["labels"][place] = job.label if job.label is not None else K or 0
            places.append(place)
            start = place.stop
        tensors = {name: ops.convert_to_tensor(value) for name, value in values.items()}
        z, broken = self._run(self.prior, tensors), []
        grid = self._grid(jobs[0].steps)
        for call, (t, s) in enumerate(zip(grid[:-1], grid[1:], strict=True)):
            own = {"t": t, "s": s, "call": np.int32(call)}
            own = {name: ops.convert_to_tensor(value) for name, value in own.items()}
            z, is_nan = self._run(self.step, {**tensors, **own, "z": z})
            broken.append(is_nan)
            if any(job.streams for job in jobs):
                self._show(jobs, places, call, ops.convert_to_numpy(z))
            if all(job.cancelled for job in jobs):
                return
        if any(ops.convert_to_numpy(is_nan) for is_nan in broken):
            raise ValueError("The network's logits are NaN: its training diverged.")
        tokens = ops.convert_to_numpy(z)
        tokens = np.where(values["known"], values["given"], tokens)
        stayed = [(job, place) for job, place in zip(jobs, places, strict=True) if not job.cancelled]
        self.counts.update(batches=1, rows=start, padding=size - start, answered=len(stayed))
        for job, place in stayed:
            self.latencies.append(time.monotonic() - job.came)
            job.emit("tokens", tokens[place])

    def _run(self, graph, tensors):
        return self._functions[graph](*(tensors[i.name] for i in graph.inputs))

    def _show(self, jobs, places, call, z):
        for job, place in zip(jobs, places, strict=True):
            if job.streams:
                job.emit("canvas", call, z[place])


def metrics(engine):
    """Figures of an engine, as Prometheus reads them."""
    lines = [f"dmmd_{name}_total {engine.counts[name]}" for name in COUNTS]
    lines.append(f"dmmd_waiting {engine.waiting}")
    latencies = np.array(engine.latencies)
    for quantile in (0.5, 0.99):
        value = np.quantile(latencies, quantile) if len(latencies) else float("nan")
        lines.append(f'dmmd_latency_seconds{{quantile="{quantile}"}} {value:.6f}')
    return "\n".join(lines) + "\n"


COUNTS = (
    *("requests", "answered", "refused", "failed", "given_up", "left"),
    *("batches", "rows", "padding", "traces"),
)


def make_app(engine):
    """A FastAPI application that serves an engine; it starts and closes it."""
    import fastapi
    from fastapi.responses import PlainTextResponse, StreamingResponse
    from pydantic import BaseModel, ConfigDict, Field

    model, limits = engine.model, engine.limits

    class Request(BaseModel):
        model_config = ConfigDict(extra="forbid")

        prompt: str | list[int] = Field(default="", max_length=100_000)
        samples: int = Field(default=1, ge=1, le=limits.rows)
        steps: int = Field(default=min(model.steps, limits.steps), ge=1, le=limits.steps)
        seed: int = Field(default=0, ge=-(2**63), lt=2**63)
        label: int | None = None

    @contextlib.asynccontextmanager
    async def lifespan(app):
        await asyncio.to_thread(engine.start)
        yield
        await asyncio.to_thread(engine.close)

    app = fastapi.FastAPI(title="keras_dmmd", lifespan=lifespan)

    def submitted(request, streams):
        """A job that waits, and a queue of what it emits."""
        events, loop = asyncio.Queue(), asyncio.get_running_loop()

        def emit(*event):
            loop.call_soon_threadsafe(events.put_nowait, event)

        try:
            prompt, label = read(model, request.prompt, request.label)
        except ValueError as error:
            raise fastapi.HTTPException(422, str(error)) from error
        job = Job(prompt, request.samples, request.steps, request.seed, label, emit, streams)
        try:
            engine.submit(job)
        except Busy as error:
            raise fastapi.HTTPException(503, str(error), headers={"Retry-After": "1"}) from error
        return job, events

    def answer(tokens):
        texts = None if model.tokenizer is None else model.tokenizer.decode(tokens)
        return {"tokens": tokens.tolist(), "texts": texts}

    async def gone(connection):
        """Until the client has left: its question is read already, so nothing else comes."""
        while (await connection.receive())["type"] != "http.disconnect":
            pass

    @app.post("/generate")
    async def generate(request: Request, connection: fastapi.Request):
        job, events = submitted(request, streams=False)
        answered, left = asyncio.ensure_future(events.get()), asyncio.ensure_future(gone(connection))
        stayed = False
        try:
            await asyncio.wait((answered, left), return_when=asyncio.FIRST_COMPLETED)
            stayed = answered.done()
        finally:
            left.cancel()
            if not stayed:
                answered.cancel()
                engine.leave(job)
        if not stayed:
            return fastapi.Response(status_code=499)  # nobody reads it; nginx's word in its log
        kind, *found = answered.result()
        if kind == "error":
            raise fastapi.HTTPException(*found)
        return answer(*found)

    @app.post("/stream")
    async def stream(request: Request):
        job, events = submitted(request, streams=True)

        async def lines():
            kind = "canvas"
            try:
                while kind == "canvas":
                    kind, *found = await events.get()
                    if kind == "canvas":
                        call, ids = found
                        found = {"call": call, "tokens": ids.tolist()}
                    else:
                        found = answer(*found) if kind == "tokens" else {"error": found[1]}
                    yield f"data: {json.dumps(found)}\n\n"
            finally:
                if kind == "canvas":
                    engine.leave(job)

        return StreamingResponse(lines(), media_type="text/event-stream")

    @app.get("/metrics", response_class=PlainTextResponse)
    async def show_metrics():
        return metrics(engine)

    @app.get("/health")
    async def health():
        if not engine.is_alive:
            raise fastapi.HTTPException(503, "the thread that draws has ended")
        return {"model": model.name, "length": model.length, "steps": model.steps}

    return app


def make_server(engine, **options):
    """A uvicorn server of an engine, with the options of `uvicorn.Config`.

    Told to end, it answers those who wait at once, and those whose samples are drawn when they are.
    (uvicorn ends an application only after every request has been answered.)
    """
    import uvicorn

    class Server(uvicorn.Server):
        async def shutdown(self, sockets=None):
            # Not waited for here: the application's end does that, but for those who insist.
            threading.Thread(target=engine.close, daemon=True).start()
            await super().shutdown(sockets)

    return Server(uvicorn.Config(make_app(engine), **options))


def read(model, prompt, label):
    """The ids of a prompt, and a class, as the model takes them.

    Raises:
        ValueError: it does not.
    """
    if isinstance(prompt, str):
        if prompt and model.tokenizer is None:
            raise ValueError("This model has no tokenizer: give the prompt as a list of ids.")
        prompt = model.tokenizer.encode(prompt) if prompt else []
    ids = checks.ids("prompt", prompt, model.process.vocabulary_size)
    if len(ids) > model.length:
        raise ValueError(f"A sample has {model.length} tokens. Received: a prompt of {len(ids)}")
    classes = model.capabilities.num_classes
    if label is not None and not (classes and 0 <= label < classes):
        raise ValueError(f"`label` must be below {classes or 'nothing: there are no classes'}.")
    return ids.astype("int32"), label


def main():
    parser = argparse.ArgumentParser(description="Serve a model's samples over HTTP.")
    parser.add_argument("model", help="a preset, its folder, or a handle")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--rows", type=int, default=Limits.rows, help="samples at once [%(default)s]")
    parser.add_argument("--temperature", type=float, default=1.0)
    args = parser.parse_args()
    model = kd.from_preset(args.model)
    engine = Engine(model, Limits(rows=args.rows), temperature=args.temperature)
    make_server(engine, host=args.host, port=args.port).run()


if __name__ == "__main__":
    main()
