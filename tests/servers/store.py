"""Store one delivered message as FOLDER/NAME.eml and FOLDER/NAME.json.

It is also a program for a server that delivers to a pipe: `store.py FOLDER RECIPIENT`,
with the message on standard input. The pipe does not get the sender, so the program
reads it from the Received field of the server.
"""

import itertools
import json
import os
import re
import sys
import time
from pathlib import Path


_count = itertools.count()


def store(folder, sender, recipients, content):
    stem = f"{time.time_ns()}-{os.getpid()}-{next(_count):06}"
    Path(folder, f"{stem}.eml").write_bytes(content)
    # Written last and in one step, since a .json file marks its message as complete.
    part = Path(folder, f"{stem}.part")
    envelope = {
        "sender": "" if sender == "<>" else sender,
        "recipients": list(recipients),
    }
    part.write_text(json.dumps(envelope), encoding="utf-8")
    part.rename(part.with_suffix(".json"))


def main():
    folder, recipient = sys.argv[1:]
    content = sys.stdin.buffer.read()
    sender = re.search(rb'envelope from "([^"]*)"', content)
    store(folder, sender[1].decode() if sender else "", [recipient], content)


if __name__ == "__main__":
    main()
