"""The command of a driver: ``python -m benchmarks.drivers NAME CAFILE``.

It writes ``ready``, then for each job, a line of JSON on its standard input, how long it
took. The time is that of the work alone: the message as bytes, the list of recipients
and the TLS context are there before, as in a program that sends more than once; and so
are the messages of a job that wants them made beforehand.
"""

from __future__ import annotations

import gc
import importlib
import json
import logging
import sys
import time
from typing import Any

from benchmarks.drivers.jobs import Async, Job, addresses, content, peak


_DRIVERS = {
    "smtplib": ("peers", "Smtplib"),
    "aiosmtplib": ("peers", "Aiosmtplib"),
    "sync": ("ours", "Sync"),
    "async": ("ours", "Asynchronous"),
    "limit": ("limit_driver", "TheLimit"),
    "flatten": ("mails", "Flatten"),
}


def driver_of(name: str, cafile: str) -> Any:
    """The driver of that name; nothing is imported for the others."""
    module, class_ = _DRIVERS[name]
    found = importlib.import_module(f"benchmarks.drivers.{module}")
    return getattr(found, class_)(cafile)


def prepare(job: Job) -> None:
    """Make what is there before the clock starts."""
    addresses(job["recipients"])
    if job["work"] != "attachment":
        content(job["size"])
    if job["made"] != "bytes":
        importlib.import_module("benchmarks.drivers.mails").prepare(job)
        gc.collect()  # what was made is no reason to collect while the clock runs


def main(name: str, cafile: str) -> None:
    """Work until the standard input ends."""
    # The warnings about fallbacks are not wanted here.
    logging.getLogger("smtpsend").addHandler(logging.NullHandler())
    driver = driver_of(name, cafile)
    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        prepare(job)
        work, idle = getattr(driver, job["work"]), peak()
        cpu, began = time.process_time(), time.perf_counter()
        try:
            work(job)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is reported
            result: Job = {"error": f"{type(error).__name__}: {error}"}
        else:
            seconds = time.perf_counter() - began
            result = {"seconds": seconds, "cpu": time.process_time() - cpu}
            if idle is not None:
                result["memory"] = (peak() or 0) - idle
        if isinstance(driver, Async):
            driver.settle()
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
