"""Checks that need no server: the vectors and byte examples of docs/protocol.md."""
from __future__ import annotations

import frontrow_wire as wire
from frontrow_client import SectionMirror
from frontrow_wire import Delta, Hold, Place, Snapshot

# event, section, row, mix(key), and the partition of 1, 16, 64 and 1024
_VECTORS = (
    (0, 0, 0, 0x0000000000000000, 0, 0, 0, 0),
    (1, 0, 0, 0xd820b7e910b0f93f, 0, 13, 54, 864),
    (1, 0, 1, 0x106e11b2223f6961, 0, 1, 4, 65),
    (1, 2, 3, 0x27ce29f91555172d, 0, 2, 9, 159),
    (1, 2, 65535, 0x6f0924ef6065a092, 0, 6, 27, 444),
    (42, 7, 19, 0xd67e46a649a5db6a, 0, 13, 53, 857),
    (4294967295, 65535, 65535, 0xb4d055fcf2cbbd7b, 0, 11, 45, 723),
)
_ID = 0x019ab2c3d4e500011122334455667788
_ID_HEX = "8877665544332211 0100e5d4c3b29a01"
_ROW, _HALL = "0100000000000300", "010000000000ffff"
_FENCE = ("0700000000000000 e07b9cb69a010000 2923000000000000 efcdab8967452301"
          "11000000 03000000")
_TOKEN = "AQEAAAAAAAMABwAAAAAAAADge5y2mgEAACkjAAAAAAAA782riWdFIwERAAAAAwAAAA"


def _hex(*parts: str) -> bytes:
    return bytes.fromhex("".join(parts))


def _decode(data: bytes) -> object:
    buffer = bytearray(data)
    kind, frame = wire.cut_frame(buffer)
    assert not buffer, "a whole frame and nothing else"
    return wire.decode(kind, frame)


def offline_checks(t) -> None:
    for event, section, row, mixed, *partitions in _VECTORS:
        place = Place(event, section, row)
        t.same(f"hash vector {event}/{section}/{row}",
               [wire.mix(wire.key(place)),
                *(wire.partition(place, n) for n in (1, 16, 64, 1024))], [mixed, *partitions])
    hold = Hold(Place(1, 0, 3), 7, 1764000300000, 9001, 0x0123456789abcdef, 0x11, 3)
    t.same("token example, written", hold.text(), _TOKEN)
    t.same("token example, read", Hold.from_text(_TOKEN), hold)
    _client_examples(t, hold)
    _server_examples(t, hold)
    _mirror(t)


def _client_examples(t, hold: Hold) -> None:
    t.same("example: hello", wire.hello("eyJ.e30.sig"),
           _hex("1300000001010000 000000000b000000", b"eyJ.e30.sig".hex()))
    t.same("example: claim", wire.claim(_ID, Place(1, 0, 3), [4, 5]),
           _hex("2800000001100000", _ID_HEX, _ROW, "0300000000000000 0400000000000000"))
    t.same("example: best of a section", wire.claim_section(_ID, Place(1, 0), 2, or_join=True),
           _hex("2000000001120000", _ID_HEX, _HALL, "02ff020000000000"))
    t.same("example: book", wire.on_hold("book", _ID, hold),
           _hex("4000000001150000", _ID_HEX, _ROW, _FENCE))
    t.same("example: watch", wire.at_place("watch", _ID, Place(1, 0)),
           _hex("1800000001060000", _ID_HEX, _HALL))


def _server_examples(t, hold: Hold) -> None:
    w = _decode(_hex("3000000001810000 0700000000000000 00e897b69a010000 0300000000000000"
                     "4000020001000100 0000010000040000 0000100000020000"))
    t.same("example: welcome", (w.user, w.time_ms, w.epoch, w.partitions, w.cores, w.core,
                                w.durability, w.max_frame, w.max_in_flight, w.remembered_ids,
                                w.max_batch),
           (7, 1764000000000, 3, 64, 2, 1, "local", 65536, 1024, 1048576, 512))
    held = _decode(_hex("5800000001820000", _ID_HEX, "00e897b69a010000", _ROW, "2923000000000000"
                        "0300000000000000 2923000000000000 e07b9cb69a010000 efcdab8967452301"
                        "1100000003000000 0101000400000000"))
    held.user = 7
    t.same("example: granted", (held.id, held.code, held.seats, held.hold, held.together),
           (_ID, "granted", [4, 5], hold, True))
    waits = _decode(_hex("5800000001820000", _ID_HEX, "00e897b69a010000", _ROW,
                         "2923000000000000", "00" * 8, "2723000000000000", "00" * 16,
                         "2a00000003000000 0200000000000000"))
    t.same("example: 42nd in the queue", (waits.code, waits.position), ("queued", 42))
    push = _decode(_hex("4800000001860000", _ROW, "00e897b69a010000 0300000000000000"
                        "2923000000000000 e07b9cb69a010000 efcdab8967452301 1100000003000000"
                        "0121000400000000 0100000000000000"))
    t.same("example: offer", (push.kind, push.answer.seats, push.answer.from_queue),
           ("offered", [4, 5], True))
    delta = _decode(_hex("1600000001850000", _ROW, "120000000a000000 c10306000800"))
    t.same("example: delta", (delta.version, delta.state), (18, "fbbxhhffff"))
    shot = _decode(_hex("2e00000001840000", _ID_HEX, _HALL, "0100010000000000"
                        "03000a0011000000 f10306000800"))
    t.same("example: snapshot", (shot.last, shot.rows), (True, [(3, 17, "fbbxffffff")]))
    top = _decode(_hex("3000000001870000", _ID_HEX, "0400020000000000 0000bc1b201c0000"
                       "0100bd1b211c0000 0000010000000100"))
    t.same("example: topology", (top.cores, top.owners),
           ([(0, 7100, 7200), (1, 7101, 7201)], [0, 1, 0, 1]))


def _mirror(t) -> None:
    place, mirror = Place(1, 0, 3), SectionMirror()
    mirror.apply_delta(Delta(place, 6, "hh"))
    mirror.apply_snapshot(Snapshot(0, Place(1, 0), True, [(3, 5, "ff"), (4, 0, "ff")]))
    t.same("mirror: a delta before the snapshot stays", mirror.rows[3], (6, "hh"))
    mirror.apply_delta(Delta(place, 6, "xx"))
    t.same("mirror: an old delta is ignored", mirror.rows[3], (6, "hh"))
    mirror.apply_delta(Delta(place, 7, "bb"))
    t.same("mirror: the next one is taken", (mirror.rows[3], mirror.gap), ((7, "bb"), False))
    mirror.apply_delta(Delta(place, 9, "ff"))
    t.same("mirror: a gap is taken and noticed", (mirror.rows[3], mirror.gap), ((9, "ff"), True))
