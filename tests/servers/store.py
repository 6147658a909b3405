"""Store one delivered message as FOLDER/NAME.eml and FOLDER/NAME.json."""

import itertools
import json
import os
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
