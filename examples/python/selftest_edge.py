"""Broken and wrong frames: each gets the error that docs/protocol.md promises."""
from __future__ import annotations

import socket
import struct
import time
from typing import List, Optional

import frontrow_wire as wire
from frontrow_client import Clock
from frontrow_wire import EdgeError, Goodbye, Place, Welcome

WAIT = 10.0
AFTER = 0x77                                   # id of the ping that shows that reading goes on


class Raw:
    """Bytes out, messages in."""

    def __init__(self, host: str, port: int, data: bytes):
        self.sock = socket.create_connection((host, port), WAIT)
        self.sock.sendall(data)

    def messages(self, answers: bool = False) -> List[object]:
        """All messages (with `answers` at least one) until the pong of AFTER or the end of the connection ("end")."""
        buffer, out, deadline = bytearray(), [], time.monotonic() + WAIT
        went_on = False
        while True:
            while (frame := wire.cut_frame(buffer)) is not None:
                message = wire.decode(*frame)
                if isinstance(message, wire.Pong) and message.id == AFTER:
                    went_on = True               # an answer may come after the pong
                    if not answers or out:
                        return out + ["goes on"]
                    continue
                if not isinstance(message, Welcome):
                    out.append(message)
                    if went_on:
                        return out + ["goes on"]
            left = deadline - time.monotonic()
            if left <= 0:
                return out + ["silence"]
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(65536)
            except socket.timeout:
                return out + ["silence"]
            except ConnectionError:
                data = b""
            if not data:
                return out + ["end"]
            buffer += data


def _patched(frame: bytes, offset: int, value: bytes) -> bytes:
    return frame[:offset] + value + frame[offset + len(value):]


def edge_checks(t, w) -> None:
    clock = Clock()
    with w.client() as c:
        clock.hear(c.ping().time_ms)
    token = w.new_user()[1]

    def run(data: bytes, answers: bool = False) -> List[object]:
        raw = Raw(w.host, w.port, wire.hello(token) + data + wire.bare("ping", AFTER))
        try:
            return raw.messages(answers)
        finally:
            raw.sock.close()

    def edge(name: str, data: bytes, code: str, request_id: Optional[int], fatal: bool) -> None:
        seen = run(data)
        first, last = seen[0], seen[-1]
        good = isinstance(first, EdgeError) and first.code == code and first.fatal == fatal \
            and (request_id is None or first.id == request_id) \
            and last == ("end" if fatal else "goes on")
        if fatal and isinstance(first, Goodbye):       # the last word may be a goodbye instead
            good = first.code == code and last == "end"
        shown = [(m.id, m.code, m.message, m.fatal) if isinstance(m, EdgeError) else m
                 for m in seen]
        t.check(f"{name} is {code}, " + ("the end" if fatal else "and reading goes on"), good,
                shown)

    def decision(name: str, data: bytes, code: str) -> None:
        seen = run(data, answers=True)
        t.check(f"{name} is {code}", getattr(seen[0], "code", "") == code
                and seen[-1] == "goes on", seen)

    t.same("a second hello of the same user changes nothing", run(wire.hello("")), ["goes on"])
    edge("a hello of somebody else", wire.hello(w.new_user()[1]), "unauthenticated", 0, True)
    _headers(edge)
    _bodies(edge, clock)
    _refusals(decision, clock)
    _handshakes(t, w)


def _headers(edge) -> None:
    edge("another version", struct.pack("<IBBH", 16, 2, 3, 0) + bytes(16),
         "unsupported_version", 0, True)
    edge("a reserved bit in the header", struct.pack("<IBBH", 16, 1, 3, 1) + bytes(16),
         "malformed", 0, True)
    edge("a length beyond the limit", struct.pack("<IBBH", 0xFFFFFFFF, 1, 3, 0),
         "frame_too_large", 0, True)


def _bodies(edge, clock: Clock) -> None:
    row, hall = Place(1, 0, 0), Place(1, 0)
    n = clock.new_id()
    claim = wire.claim(n, row, [0])
    best, wide = wire.claim_best(n, row, 1), wire.claim_section(n, hall, 1)
    edge("an unknown kind", wire.frame(0x55, wire.id_bytes(n)), "unknown_kind", None, False)
    edge("a server's kind", wire.frame(0x88, bytes(24)), "unknown_kind", None, False)
    edge("a ping cut short", wire.frame(0x03, bytes(4)), "malformed", None, False)
    edge("a ping too long", wire.frame(0x03, wire.id_bytes(n) + bytes(8)), "malformed", n, False)
    edge("a reserved byte", _patched(claim, 47, b"\x01"), "malformed", n, False)
    edge("a window beyond place 255", _patched(claim, 32, b"\xff" * 8 + b"\xfa"),
         "malformed", n, False)
    edge("a claim of a section", wire.claim(n, hall, [0]), "malformed", n, False)
    edge("best of a row without a row", wire.claim_best(n, hall, 1), "malformed", n, False)
    edge("best of a section with a row", wire.claim_section(n, row, 1), "malformed", n, False)
    edge("a watch of a row", wire.at_place("watch", n, row), "malformed", n, False)
    edge("an unknown option", _patched(best, 34, b"\x04"), "malformed", n, False)
    edge("an unknown adjacency", _patched(wide, 35, b"\x03"), "malformed", n, False)
    edge("an empty batch", wire.batch([]), "malformed", 0, False)
    edge("a batch in a batch", wire.batch([wire.batch([claim])]), "malformed", 0, False)
    edge("a batch with one bad message", wire.batch(
        [claim, _patched(claim, 47, b"\x01")]), "malformed", None, False)


def _refusals(decision, clock: Clock) -> None:
    def claim(*place: int, seat: int = 0) -> bytes:
        return wire.claim(clock.new_id(), Place(*place), [seat])

    decision("an unknown event", claim(0xFFFFFFFE, 0, 0), "unknown_event")
    decision("an unknown section", claim(1, 60000, 0), "unknown_section")
    decision("an unknown row", claim(1, 0, 60000), "unknown_row")
    decision("an unknown seat", claim(1, 0, 0, seat=255), "unknown_seat")
    decision("an id ahead of the server", wire.claim(
        (clock.now_ms() + 86400000) << 80, Place(1, 0, 0), [0]), "bad_request_id")
    decision("zero seats", wire.claim_best(clock.new_id(), Place(1, 0, 0), 0), "bad_count")
    decision("no seats", wire.claim(clock.new_id(), Place(1, 0, 0), []), "bad_count")
    decision("a queue one is not in", wire.at_place("leave", clock.new_id(), Place(1, 0, 0)),
             "not_queued")


def _handshakes(t, w) -> None:
    for name, data, code in (
            ("a ping before the hello", wire.bare("ping", AFTER), "hello_expected"),
            ("a hello with a false token", wire.hello("x.y.z"), "unauthenticated"),
            ("a hello without a token", wire.hello(""), "unauthenticated")):
        raw = Raw(w.host, w.port, data)
        seen = raw.messages()
        raw.sock.close()
        t.check(f"{name} is {code}, the end", getattr(seen[0], "code", "") == code
                and seen[-1] == "end", seen)
