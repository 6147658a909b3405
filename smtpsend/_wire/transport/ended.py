"""The transport of a closed connection."""

from __future__ import annotations

import asyncio


class _Ended(asyncio.Transport):
    """Replaces the transport of a closed connection: ignores writes, has no buffer."""

    def is_closing(self) -> bool:
        return True

    def write(self, data: object) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


ENDED: asyncio.Transport = _Ended()
