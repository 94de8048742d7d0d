"""Forked processes that meet in a group of `torch.distributed`, over the loopback."""

import contextlib
import datetime
import multiprocessing
import os
import traceback

SECONDS = 60


def run(function, folder, processes=2):
    """What `function(number)` returned in each process, a list; `None` of one that ended without.

    An error of one is returned as it is.
    """
    fork = multiprocessing.get_context("fork")  # which spares them the imports
    store = os.path.join(folder, f"store_{len(os.listdir(folder))}")
    started, found = [], []
    try:
        for number in range(processes):
            ours, theirs = fork.Pipe(duplex=False)
            args = (function, number, processes, store, theirs)
            started.append((fork.Process(target=_work, args=args, daemon=True), ours))
            started[-1][0].start()
            theirs.close()
        for worker, ours in started:
            value = None
            with contextlib.suppress(EOFError):
                value = ours.recv() if ours.poll(SECONDS) else TimeoutError(f"no word for {SECONDS} s")
            worker.join(1)
            found.append(value)
        return found
    finally:
        for worker, _ in started:
            worker.kill()


def _work(function, number, processes, store, pipe):
    import torch.distributed as dist

    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    try:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{store}",
            rank=number,
            world_size=processes,
            timeout=datetime.timedelta(seconds=SECONDS / 2),
        )
        pipe.send(function(number))
    except Exception as error:
        error.add_note(traceback.format_exc())
        pipe.send(error)
    pipe.close()
    os._exit(0)
