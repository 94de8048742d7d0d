"""The server of samples: each request gets what `generate` gives it, whoever asks at the same time."""

import dataclasses
import json
import socket
import threading
import time

import keras
import numpy as np
import pytest

import keras_dmmd as kd
from examples import serve
from keras_dmmd.tokenizers import CharacterTokenizer
from tests.builders import ON_TORCH, SMALL, randomise, tiny_model

STEPS = 2
PLAINLY = {"jit_compile": False, "verbose": 0}  # XLA takes long on TensorFlow


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    denoiser = randomise(kd.Denoiser(3, noise="gaussian", num_classes=2, **SMALL))
    tokenizer = CharacterTokenizer("abc")
    return kd.DiffusionModel(
        denoiser, kd.MaskedDiffusion(3), length=6, steps=STEPS, tokenizer=tokenizer
    )


@pytest.fixture
def engine(model):
    limits = serve.Limits(rows=4, steps=4, waiting=12, deadline=300.0)
    made = serve.Engine(model, limits, jit_compile=False)
    yield made
    made.close()


class Ask:
    """A request, and what came of it."""

    def __init__(self, prompt="", samples=1, steps=STEPS, seed=0, label=None, streams=False):
        self.prompt, self.samples, self.steps = prompt, samples, steps
        self.seed, self.label, self.streams = seed, label, streams
        self.events, self.done = [], threading.Event()

    def job(self, model):
        prompt, label = serve.read(model, self.prompt, self.label)
        return serve.Job(prompt, self.samples, self.steps, self.seed, label, self.emit, self.streams)

    def emit(self, *event):
        self.events.append(event)
        if event[0] != "canvas":
            self.done.set()

    def expected(self, model):
        prompts = [model.tokenizer.encode(self.prompt)] * self.samples
        options = {} if self.label is None else {"labels": self.label}
        return model.generate(prompts=prompts, steps=self.steps, seed=self.seed, **PLAINLY, **options)


def test_requests_are_drawn_together_and_each_by_its_own_seed(model, engine):
    asks = [
        Ask(),
        Ask("ab", samples=2, seed=7),
        Ask("abcabc", seed=-3),  # given whole
        Ask(samples=4, seed=2**40 + 5, label=1),
        Ask("c", seed=7, steps=4, streams=True),
        Ask("ab", samples=2, seed=7),
        Ask("b", seed=9),
    ]
    for ask in asks:
        engine.submit(ask.job(model))
    engine.start()
    for ask in asks:
        assert ask.done.wait(100)
        kind, tokens = ask.events[-1]
        assert kind == "tokens"
        np.testing.assert_array_equal(tokens, ask.expected(model))
    assert [event[:2] for event in asks[4].events[:-1]] == [("canvas", call) for call in range(4)]
    # 4 rows, 4 rows, 3 rows, and one of other calls; nothing was compiled for them.
    counts = engine.counts
    assert (counts["answered"], counts["batches"], counts["rows"]) == (7, 4, 12)
    assert counts["traces"] == 0 and counts["padding"] == 1


def test_users_ask_at_once_while_the_model_is_used_elsewhere(model, engine):
    """Four threads, each of which waits for its answer before it asks again, and this one."""
    engine.start()
    users = [[Ask("abc"[:i], seed=10 * i + j) for j in range(2)] for i in range(4)]

    def use(asks):
        for ask in asks:
            engine.submit(ask.job(model))
            assert ask.done.wait(100)

    threads = [threading.Thread(target=use, args=(asks,)) for asks in users]
    for thread in threads:
        thread.start()
    expected = [[ask.expected(model) for ask in asks] for asks in users]
    for thread in threads:
        thread.join()
    for ask, tokens in zip(sum(users, []), sum(expected, []), strict=True):
        kind, found = ask.events[-1]
        assert kind == "tokens"
        np.testing.assert_array_equal(found, tokens)


def test_too_many_wait_and_those_are_told_at_the_end(model, engine):
    asks = [Ask(seed=i) for i in range(12)]
    for ask in asks:
        engine.submit(ask.job(model))
    with pytest.raises(serve.Busy, match="too many requests wait"):
        engine.submit(Ask().job(model))
    engine.close()
    assert all(ask.events == [("error", 503, "the server is closing")] for ask in asks)
    with pytest.raises(serve.Busy, match="closing"):
        engine.submit(Ask().job(model))
    assert engine.counts["refused"] == 2


def test_an_error_ends_its_batch_alone(model, engine, monkeypatch):
    engine.start()
    run = engine._run

    def fail_once(*args):
        monkeypatch.setattr(engine, "_run", run)
        raise RuntimeError("no memory")

    monkeypatch.setattr(engine, "_run", fail_once)
    broken, good = Ask(), Ask(seed=4)
    for ask in (broken, good):
        engine.submit(ask.job(model))
        assert ask.done.wait(100)
    assert broken.events == [("error", 500, "RuntimeError: no memory")]
    np.testing.assert_array_equal(good.events[0][1], good.expected(model))


def test_a_client_that_leaves_alone_leaves_the_server_to_others(model, engine):
    engine.limits = dataclasses.replace(engine.limits, patience=0.2)
    engine.start()
    leaves, stays = Ask().job(model), Ask(seed=4)
    engine.submit(leaves)
    time.sleep(0.05)
    engine.leave(leaves)
    time.sleep(0.3)
    engine.submit(stays.job(model))
    assert stays.done.wait(100) and engine.is_alive
    np.testing.assert_array_equal(stays.events[0][1], stays.expected(model))


def test_a_network_of_nan_is_not_served():
    model = tiny_model()
    engine = serve.Engine(model, serve.Limits(rows=1), jit_compile=False).start()
    model.denoiser.head.bias.assign(np.full(3, np.nan))
    ask = Ask()
    engine.submit(ask.job(model))
    assert ask.done.wait(100) and ask.events[0][:2] == ("error", 500)
    assert "logits are NaN" in ask.events[0][2]
    engine.close()
    with pytest.raises(ValueError, match="logits are NaN"):
        serve.Engine(model, serve.Limits(rows=1), jit_compile=False).start()


def test_a_sampler_keeps_its_own_times():
    model, loop = tiny_model(), kd.samplers.Remasking("loop", eta=0.9)
    engine = serve.Engine(model, serve.Limits(rows=8), sampler=loop, jit_compile=False).start()
    ask = Ask(samples=8, steps=12)
    engine.submit(ask.job(model))
    assert ask.done.wait(100)
    engine.close()
    expected = model.generate(8, steps=12, sampler=loop, **PLAINLY)
    np.testing.assert_array_equal(ask.events[0][1], expected)


def test_what_cannot_be_is_refused_at_the_start(model):
    for options in ({"temperature": -1.0}, {"top_p": 0.0}):
        with pytest.raises(ValueError, match=f"`{next(iter(options))}`"):
            serve.Engine(model, **options)


def test_over_http(model, engine):
    pytest.importorskip("fastapi")
    pytest.importorskip("httpx")
    from fastapi.testclient import TestClient

    with TestClient(serve.make_app(engine)) as client:
        assert not engine.latencies  # of what was compiled for nobody
        assert client.get("/health").json()["length"] == 6
        ask = Ask("ab", samples=2, seed=7)
        found = client.post("/generate", json={"prompt": "ab", "samples": 2, "seed": 7})
        assert found.status_code == 200 and found.json()["tokens"] == ask.expected(model).tolist()
        assert found.json()["texts"] == model.tokenizer.decode(ask.expected(model))
        lines = client.post("/stream", json={"prompt": [2], "steps": 3}).text.split("\n\n")[:-1]
        *canvases, last = [json.loads(line.removeprefix("data: ")) for line in lines]
        assert [canvas["call"] for canvas in canvases] == [0, 1, 2]
        assert canvases[-1]["tokens"] == last["tokens"] and last["texts"][0].startswith("c")
        for wrong, message in [
            ({"prompt": "abcabca"}, "a prompt of 7"),
            ({"prompt": "a?"}, "?"),
            ({"prompt": [5]}, "ids from 0 to 2"),
            ({"prompt": [10**30]}, "array of numbers"),
            ({"label": 2}, "must be below 2"),
            ({"samples": 5}, "less than or equal to 4"),
            ({"steps": 0}, "greater than or equal to 1"),
            ({"temperature": 2}, "Extra inputs"),
        ]:
            refused = client.post("/generate", json=wrong)
            assert refused.status_code == 422 and message in refused.text, refused.text
        shown = client.get("/metrics").text
        assert "dmmd_answered_total 2\n" in shown and 'quantile="0.99"' in shown
    assert not engine.is_alive
    assert client.get("/health").status_code == 503


@pytest.fixture
def server(engine):
    """A real one, whose clients may leave."""
    for name in ("fastapi", "uvicorn"):
        pytest.importorskip(name)
    server = serve.make_server(engine, port=0, log_level="error")
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    yield server
    server.should_exit = True
    thread.join(100)
    assert not thread.is_alive()


@pytest.fixture
def port(server):
    return server.servers[0].sockets[0].getsockname()[1]


def answer_of(connection):
    """The head and the content of a response that is JSON."""
    answer = b""
    while not answer.endswith(b"}"):
        answer += connection.recv(2**16)
    head, _, content = answer.partition(b"\r\n\r\n")
    return head, json.loads(content)


def until(holds):
    end = time.monotonic() + 100
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.002)


def connect(port, path, **question):
    """A connection on which something was asked."""
    body = json.dumps(question).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    found = socket.create_connection(("127.0.0.1", port), timeout=100)
    found.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return found


@ON_TORCH
def test_clients_that_leave_are_noticed(model, engine, port, monkeypatch):
    """One that waits is not drawn; a stream ends early; others get what they asked for."""
    run, calls, allowed = engine._run, [], threading.Semaphore(0)

    def held(*args):
        assert allowed.acquire(timeout=100)
        calls.append(args)
        return run(*args)

    def begun():  # all that came has been taken from the queue
        return engine.counts["requests"] and not engine.waiting

    monkeypatch.setattr(engine, "_run", held)
    stays = connect(port, "/generate", seed=5)
    until(begun)
    leaves = connect(port, "/generate")
    until(lambda: engine.waiting == 1)
    leaves.close()
    until(lambda: engine.counts["left"] == 1)
    assert engine.waiting == 0
    allowed.release(1 + STEPS)
    tokens = answer_of(stays)[1]["tokens"]
    assert tokens == Ask(seed=5).expected(model).tolist() and len(calls) == 1 + STEPS
    stream, seen = connect(port, "/stream", steps=4), b""
    allowed.release(2)
    while b'"call": 0' not in seen:
        seen += stream.recv(2**16)
    stream.close()
    until(lambda: engine.counts["left"] == 2)
    allowed.release(10)
    last = connect(port, "/generate", seed=6)  # which is drawn once the thread is free again
    until(lambda: engine.counts["answered"] == 2)
    assert len(calls) == (1 + STEPS) + (1 + 2) + (1 + STEPS)  # of the stream 2 of 4 calls
    for client in (stays, last):
        client.close()
    shown = serve.metrics(engine)
    assert "dmmd_left_total 2\n" in shown and "dmmd_given_up_total 0\n" in shown


@pytest.fixture
def allowed(engine, monkeypatch):
    """A semaphore of the calls that the engine may make."""
    run, allowed = engine._run, threading.Semaphore(0)

    def held(*args):
        assert allowed.acquire(timeout=100)
        return run(*args)

    monkeypatch.setattr(engine, "_run", held)
    return allowed


@ON_TORCH
def test_a_server_that_ends_answers_those_who_wait(model, engine, server, port, allowed):
    """At once; what has begun is finished first."""
    begun = connect(port, "/generate", seed=5)
    until(lambda: engine.counts["requests"] and not engine.waiting)
    waiting = [connect(port, "/generate", seed=seed) for seed in range(3)]
    until(lambda: engine.waiting == 3)
    server.should_exit = True
    for connection in waiting:
        head, content = answer_of(connection)
        assert b" 503 " in head and "closing" in content["detail"]
        connection.close()
    allowed.release(1 + STEPS)
    head, content = answer_of(begun)
    assert b" 200 " in head and content["tokens"] == Ask(seed=5).expected(model).tolist()
    begun.close()


@ON_TORCH
def test_a_server_that_is_told_twice_ends_at_once(engine, server, port, allowed):
    """Whatever is being drawn."""
    begun = connect(port, "/generate", seed=5)
    until(lambda: engine.counts["requests"] and not engine.waiting)
    server.should_exit = server.force_exit = True
    until(lambda: not server.servers or not any(s.is_serving() for s in server.servers))
    (thread,) = [t for t in threading.enumerate() if getattr(t, "_target", None) == server.run]
    thread.join(20)
    assert not thread.is_alive()
    allowed.release(100)
    begun.close()
