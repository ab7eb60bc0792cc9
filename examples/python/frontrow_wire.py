"""The binary form of the Frontrow protocol: bytes in, messages out. No I/O."""
from __future__ import annotations

import base64
import struct
from dataclasses import dataclass, replace
from typing import Dict, List, Optional, Tuple

VERSION = 1
SECTION = 65535                       # the row that stands for a section as a whole

KINDS = {
    "hello": 0x01, "batch": 0x02, "ping": 0x03, "topology": 0x04, "status": 0x05,
    "watch": 0x06, "unwatch": 0x07, "claim": 0x10, "claim_best": 0x11, "claim_section": 0x12,
    "extend": 0x13, "begin_payment": 0x14, "book": 0x15, "release": 0x16, "cancel": 0x17,
    "join": 0x18, "leave": 0x19,
}
_DECISIONS = {0: ("pending granted queued extended paying booked released cancelled left done"),
              32: ("seat_held seat_booked seat_blocked not_enough_together sold_out queued_first "
                   "hold_cap claim_too_large expired fenced already_booked already_released "
                   "already_paying extend_limit not_booked already_cancelled unknown_event "
                   "unknown_section unknown_row unknown_seat not_on_sale paused closed "
                   "leaves_orphan not_queued queue_full no_queue too_old id_reused "
                   "bad_request_id bad_count full in_progress not_owner event_exists "
                   "bad_transition holds_running"),
              128: ("malformed unsupported_version frame_too_large unknown_kind unauthenticated "
                    "token_expired too_many_connections too_many_in_flight busy slow_consumer "
                    "handshake_timeout idle_timeout not_primary read_only shutting_down internal "
                    "watch_limit too_far_apart duplicate_seat hello_expected unknown_key "
                    "bad_token")}
CODES: Dict[int, str] = {start + i: name for start, names in _DECISIONS.items()
                         for i, name in enumerate(names.split())}
RETRYABLE = {"too_many_connections", "too_many_in_flight", "busy", "slow_consumer",
             "handshake_timeout", "idle_timeout", "not_primary", "read_only", "shutting_down",
             "internal"}
NEWS = {1: "offered", 2: "expired", 3: "unfillable", 4: "closed", 5: "hold_cap", 6: "position"}
DURABILITY = {0: "memory", 1: "local", 2: "backup"}
ADJACENCY = {"required": 0, "preferred": 1, "any": 2}

_HEADER = struct.Struct("<IBBH")
_PLACE = struct.Struct("<IHH")
_FENCE = struct.Struct("<QQQQII")
_BLOCK = struct.Struct("<QQQQIIBBBBI")
_PART = struct.Struct("<QIHBB")


class ProtocolError(Exception):
    """The server sent what the protocol does not allow (or the caller asked for it)."""


@dataclass(frozen=True)
class Place:
    event: int
    section: int
    row: int = SECTION

    def bytes(self) -> bytes:
        return _PLACE.pack(self.event, self.section, self.row)


@dataclass(frozen=True)
class Hold:
    """A fencing token. Its text is what the JSON form and the command line use."""
    place: Place
    user: int
    expires_ms: int
    lsn: int
    nonce: int
    slot: int
    epoch: int

    def fence(self) -> bytes:
        return _FENCE.pack(self.user, self.expires_ms, self.lsn, self.nonce, self.slot, self.epoch)

    def text(self) -> str:
        raw = b"\x01" + self.place.bytes() + self.fence()
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    @staticmethod
    def from_text(text: str) -> "Hold":
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if len(raw) != 49 or raw[0] != 1:
            raise ProtocolError("not a token of version 1")
        return Hold(Place(*_PLACE.unpack_from(raw, 1)), *_FENCE.unpack_from(raw, 9))


# ---- what the server says --------------------------------------------------------------

@dataclass
class Welcome:
    user: int
    time_ms: int
    epoch: int
    features: int
    partitions: int
    cores: int
    core: int
    durability: str
    max_frame: int
    max_in_flight: int
    remembered_ids: int
    max_batch: int


@dataclass
class Answer:
    """A decision: of an answer, or inside a push (then `id` is 0)."""
    id: int
    place: Place
    time_ms: int
    code: str
    seats: List[int]                       # granted, or in conflict; of `place.row`
    parts: List[Tuple[int, List[int]]]     # (row, seats) of a claim spread over rows
    lsn: int
    epoch: int
    expires_ms: int
    nonce: int
    slot: int
    flags: int
    durable: int = 0
    user: int = 0

    @property
    def ok(self) -> bool:
        return self.code in CODES.values() and _NUMBERS[self.code] < 32

    @property
    def position(self) -> Optional[int]:
        return self.slot if self.code == "queued" else None

    @property
    def hold(self) -> Optional[Hold]:
        if self.nonce == 0 or not self.ok:
            return None
        return Hold(self.place, self.user, self.expires_ms, self.lsn, self.nonce, self.slot,
                    self.epoch)

    def rows(self) -> List[Tuple[int, List[int]]]:
        """All seats as (row, places), however the claim was answered."""
        own = [(self.place.row, self.seats)] if self.seats else []
        return own + self.parts

    together = property(lambda self: bool(self.flags & 1))
    orphan_waived = property(lambda self: bool(self.flags & 2))
    stale = property(lambda self: bool(self.flags & 4))
    foreign = property(lambda self: bool(self.flags & 8))
    forged = property(lambda self: bool(self.flags & 16))
    from_queue = property(lambda self: bool(self.flags & 32))
    repeated = property(lambda self: bool(self.flags & 64))


_NUMBERS = {name: number for number, name in CODES.items()}


@dataclass
class Push:
    kind: str
    place: Place
    time_ms: int
    answer: Answer


class EdgeError(Exception):
    """Nobody decided anything. To try again keep the same id."""

    def __init__(self, id: int, code: str, message: str, retry_after_ms: int, fatal: bool):
        super().__init__(f"{code}: {message}")
        self.id, self.code, self.message = id, code, message
        self.retry_after_ms, self.fatal = retry_after_ms, fatal
        self.retryable = code in RETRYABLE


@dataclass
class Goodbye:
    code: str
    message: str
    retry_after_ms: int


@dataclass
class Snapshot:
    id: int
    place: Place
    last: bool
    rows: List[Tuple[int, int, str]]       # (row, version, state)


@dataclass
class Delta:
    place: Place
    version: int
    state: str


@dataclass
class Topology:
    id: int
    cores: List[Tuple[int, int, int]]      # (core, TCP port, WebSocket port)
    owners: List[int]

    def tcp_port(self, core: int) -> int:
        return next((tcp for number, tcp, _ in self.cores if number == core), 0)


@dataclass
class Pong:
    id: int
    time_ms: int


# ---- encoding --------------------------------------------------------------------------

def frame(kind: int, body: bytes) -> bytes:
    return _HEADER.pack(len(body), VERSION, kind, 0) + body


def id_bytes(request_id: int) -> bytes:
    return request_id.to_bytes(16, "little")


def frame_id(data: bytes) -> int:
    """The id of an encoded request: it always stands right behind the header."""
    return int.from_bytes(data[8:24], "little")


def window(seats: List[int]) -> Tuple[int, int]:
    """Places as (bits, first). Raises ValueError if they do not fit into one window."""
    if not seats:
        return 0, 0
    first, bits = min(seats), 0
    for seat in seats:
        if seat - first > 63 or not 0 <= seat <= 255 or bits >> (seat - first) & 1:
            raise ValueError("seats are 64 or more apart, doubled, or not from 0 to 255")
        bits |= 1 << (seat - first)
    return bits, first


def hello(token: str, features: int = 0) -> bytes:
    raw = token.encode()
    return frame(KINDS["hello"], struct.pack("<II", features, len(raw)) + raw)


def batch(frames: List[bytes]) -> bytes:
    return frame(KINDS["batch"], struct.pack("<H6x", len(frames)) + b"".join(frames))


def bare(kind: str, request_id: int) -> bytes:
    """ping or topology."""
    return frame(KINDS[kind], id_bytes(request_id))


def at_place(kind: str, request_id: int, place: Place) -> bytes:
    """status, watch, unwatch or leave."""
    return frame(KINDS[kind], id_bytes(request_id) + place.bytes())


def claim(request_id: int, place: Place, seats: List[int]) -> bytes:
    return frame(KINDS["claim"],
                 id_bytes(request_id) + place.bytes() + struct.pack("<QB7x", *window(seats)))


def _wish(kind: str, request_id: int, place: Place, *fields: int) -> bytes:
    return frame(KINDS[kind], id_bytes(request_id) + place.bytes() + struct.pack("<4B4x", *fields))


def claim_best(request_id: int, place: Place, count: int, category: int = 255,
               accessible: bool = False, or_join: bool = False) -> bytes:
    return _wish("claim_best", request_id, place, count, category, accessible | or_join << 1, 0)


def claim_section(request_id: int, place: Place, count: int, adjacency: str = "required",
                  category: int = 255, accessible: bool = False, or_join: bool = False) -> bytes:
    return _wish("claim_section", request_id, place, count, category, accessible | or_join << 1,
                 ADJACENCY[adjacency])


def join(request_id: int, place: Place, count: int, adjacency: str = "required",
         accessible: bool = False) -> bytes:
    return _wish("join", request_id, place, count, 0, int(accessible), ADJACENCY[adjacency])


def on_hold(kind: str, request_id: int, hold: Hold) -> bytes:
    """extend, begin_payment, book, release or cancel."""
    return frame(KINDS[kind], id_bytes(request_id) + hold.place.bytes() + hold.fence())


def changed(hold: Hold, **fields: int) -> Hold:
    """A copy with other fields: for tests of what the server refuses."""
    return replace(hold, **fields)


# ---- decoding --------------------------------------------------------------------------

def cut_frame(buffer: bytearray) -> Optional[Tuple[int, bytes]]:
    """Take one whole frame from the front: (kind, all its bytes), or None if it is not there."""
    if len(buffer) < 8:
        return None
    length, version, kind, zero = _HEADER.unpack_from(buffer)
    if version != VERSION or zero != 0:
        raise ProtocolError(f"a header that is not of version {VERSION}: {bytes(buffer[:8]).hex()}")
    if len(buffer) < 8 + length:
        return None
    data = bytes(buffer[:8 + length])
    del buffer[:8 + length]
    return kind, data


def _places(bits: int, first: int) -> List[int]:
    return [first + i for i in range(64) if bits >> i & 1]


def _code(number: int) -> str:
    return CODES.get(number, f"code_{number}")


def _block(data: bytes, at: int, parts_at: int, **known) -> Answer:
    (bits, lsn, expires_ms, nonce, slot, epoch, code, flags, parts, first,
     _) = _BLOCK.unpack_from(data, at)
    if len(data) != parts_at + 16 * parts:
        raise ProtocolError("an answer whose length does not fit its parts")
    rows = []
    for i in range(parts):
        part_bits, _, row, part_first, _ = _PART.unpack_from(data, parts_at + 16 * i)
        rows.append((row, _places(part_bits, part_first)))
    return Answer(code=_code(code), seats=_places(bits, first), parts=rows, lsn=lsn, epoch=epoch,
                  expires_ms=expires_ms, nonce=nonce, slot=slot, flags=flags, **known)


def _state(data: bytes, at: int, seats: int) -> Tuple[str, int]:
    """Three bit sets as one letter per seat, and where they end."""
    size = (seats + 7) // 8
    free, booked, blocked = (data[at + i * size:at + (i + 1) * size] for i in range(3))
    if len(blocked) != size:
        raise ProtocolError("bit sets that are cut short")
    letters = []
    for p in range(seats):
        sets = [letter for letter, bits in (("f", free), ("b", booked), ("x", blocked))
                if bits[p // 8] >> p % 8 & 1]
        if len(sets) > 1:
            raise ProtocolError(f"the seat at place {p} is in two sets")
        letters.append(sets[0] if sets else "h")
    return "".join(letters), at + 3 * size


def _snapshot(data: bytes) -> Snapshot:
    count, last = struct.unpack_from("<HB", data, 32)
    rows, at = [], 40
    for _ in range(count):
        row, seats, version = struct.unpack_from("<HHI", data, at)
        state, at = _state(data, at + 8, seats)
        rows.append((row, version, state))
    if at != len(data):
        raise ProtocolError("a snapshot whose length does not fit its rows")
    return Snapshot(frame_id(data), Place(*_PLACE.unpack_from(data, 24)), bool(last), rows)


def _topology(data: bytes) -> Topology:
    partitions, cores = struct.unpack_from("<HH", data, 24)
    ports = [struct.unpack_from("<HHH", data, 32 + 8 * i) for i in range(cores)]
    owners = list(struct.unpack_from(f"<{partitions}H", data, 32 + 8 * cores))
    return Topology(frame_id(data), ports, owners)


def decode(kind: int, data: bytes) -> object:
    """A server's frame as a message. Raises ProtocolError for what is not one."""
    try:
        return _decode(kind, data)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ProtocolError(f"a frame of kind {kind:#x} that is cut short: {error}") from error


def _decode(kind: int, data: bytes) -> object:
    if kind == 0x81:
        (user, time_ms, epoch, features, partitions, cores, core, durability, _, max_frame,
         in_flight, remembered, max_batch) = struct.unpack_from("<QQIIHHHBBIIIH", data, 8)
        return Welcome(user, time_ms, epoch, features, partitions, cores, core,
                       DURABILITY.get(durability, "?"), max_frame, in_flight, remembered, max_batch)
    if kind == 0x82:
        time_ms, = struct.unpack_from("<Q", data, 24)
        durable, = struct.unpack_from("<Q", data, 40)
        return _block(data, 48, 96, id=frame_id(data), place=Place(*_PLACE.unpack_from(data, 32)),
                      time_ms=time_ms, durable=durable)
    if kind == 0x83:
        retry, code, fatal, size = struct.unpack_from("<IBBH", data, 24)
        return EdgeError(frame_id(data), _code(code), data[32:32 + size].decode(), retry,
                         bool(fatal))
    if kind == 0x84:
        return _snapshot(data)
    if kind == 0x85:
        version, seats = struct.unpack_from("<IH", data, 16)
        return Delta(Place(*_PLACE.unpack_from(data, 8)), version, _state(data, 24, seats)[0])
    if kind == 0x86:
        place, (time_ms,) = Place(*_PLACE.unpack_from(data, 8)), struct.unpack_from("<Q", data, 16)
        answer = _block(data, 24, 80, id=0, place=place, time_ms=time_ms)
        return Push(NEWS.get(data[72], f"news_{data[72]}"), place, time_ms, answer)
    if kind == 0x87:
        return _topology(data)
    if kind == 0x88:
        return Pong(frame_id(data), struct.unpack_from("<Q", data, 24)[0])
    if kind == 0x89:
        retry, code, _, size = struct.unpack_from("<IBBH", data, 8)
        return Goodbye(_code(code), data[16:16 + size].decode(), retry)
    raise ProtocolError(f"unknown kind {kind:#x}")


# ---- routing ---------------------------------------------------------------------------

_MASK = 0xFFFFFFFFFFFFFFFF


def key(place: Place) -> int:
    return place.event << 32 | place.section << 16 | place.row


def mix(x: int) -> int:
    """David Stafford's variant 13 of the MurmurHash3 finaliser."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def partition(place: Place, partitions: int) -> int:
    return ((mix(key(place)) >> 32) * partitions) >> 32
