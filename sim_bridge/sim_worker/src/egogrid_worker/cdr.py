"""CDR little endian (XCDR version 1, as ROS 2 writes it): a place in a payload, and a payload in the making.

From: untrusted bytes. To: `messages`. Every length is checked against its limit and against what is left before
anything is made from it. Alignment counts from the end of the four header bytes.
"""

import struct

from egogrid_worker.errors import DecodeError, WireError
from egogrid_worker.limits import PAYLOAD_BYTES_MAX, STRING_BYTES_MAX

HEADER = b"\x00\x01\x00\x00"
"""CDR little endian, two option bytes."""


class Reader:
    """Reads one payload from front to back."""

    def __init__(self, payload: bytes, bytes_max: int = PAYLOAD_BYTES_MAX) -> None:
        if len(payload) > bytes_max:
            raise WireError("too_large", f"{len(payload)} bytes, at most {bytes_max} are read")
        self._payload = memoryview(payload)
        self.offset = 0
        found = bytes(self.take(2))
        if found != HEADER[:2]:
            raise DecodeError(0, f"header {found.hex(' ')}, expected 00 01 (CDR little endian) and two option bytes")
        self.take(2)

    def take(self, count: int) -> memoryview:
        left = len(self._payload) - self.offset
        if count > left:
            raise DecodeError(self.offset, f"{count} bytes expected, {left} left; the payload was cut short, or is of another type")
        taken = self._payload[self.offset : self.offset + count]
        self.offset += count
        return taken

    def number(self, code: str) -> int | float:
        size = struct.calcsize("<" + code)
        self.take((len(HEADER) - self.offset) % size)
        return struct.unpack("<" + code, self.take(size))[0]

    def boolean(self) -> bool:
        offset = self.offset
        found = self.number("B")
        if found not in (0, 1):
            raise DecodeError(offset, f"{found} is not a boolean (0 or 1)")
        return bool(found)

    def count(self, count_max: int) -> int:
        found = self.number("I")
        if found > count_max:
            raise DecodeError(self.offset - 4, f"length {found}, at most {count_max} is allowed here")
        return found

    def string(self) -> str:
        count = self.count(STRING_BYTES_MAX + 1)
        offset = self.offset
        raw = bytes(self.take(count))
        if count and (raw[-1] != 0 or 0 in raw[:-1]):
            raise DecodeError(offset, "a string whose only zero byte is not its last")
        try:
            return raw[:-1].decode()
        except UnicodeDecodeError as error:
            raise DecodeError(offset + error.start, "a string that is not UTF-8") from None

    def finish(self) -> None:
        offset, left = self.offset, len(self._payload) - self.offset
        if left > 3 or any(self.take(left)):
            raise DecodeError(offset, f"the message ends here, and {left} bytes follow; it is of another type or version")


class Writer:
    """Appends values to one payload. Refuses what the other side would refuse to read."""

    def __init__(self) -> None:
        self._payload = bytearray(HEADER)

    def number(self, code: str, value: int | float) -> None:
        size = struct.calcsize("<" + code)
        self._payload += bytes((len(HEADER) - len(self._payload)) % size)
        try:
            self._payload += struct.pack("<" + code, value)
        except (struct.error, OverflowError) as error:
            raise WireError("malformed", f"{value!r} cannot be written as {code!r}: {error}") from None

    def count(self, count: int, count_max: int) -> None:
        if count > count_max:
            raise WireError("too_large", f"length {count}, at most {count_max} may be sent")
        self.number("I", count)

    def string(self, text: str) -> None:
        raw = text.encode()
        if 0 in raw:
            raise WireError("malformed", f"string {text!r} has a zero byte inside")
        if len(raw) > STRING_BYTES_MAX:
            raise WireError("too_large", f"a string of {len(raw)} bytes, at most {STRING_BYTES_MAX} may be sent")
        self.count(len(raw) + 1, STRING_BYTES_MAX + 1)
        self._payload += raw + b"\0"

    def raw(self, data: bytes | memoryview) -> None:
        self.count(len(data), PAYLOAD_BYTES_MAX)
        self._payload += data

    def finish(self) -> bytes:
        if len(self._payload) > PAYLOAD_BYTES_MAX:
            raise WireError("too_large", f"{len(self._payload)} bytes, at most {PAYLOAD_BYTES_MAX} are sent; send smaller pictures")
        return bytes(self._payload)
