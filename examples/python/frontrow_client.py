"""A small client for Frontrow over raw TCP, in the binary form.

Written from docs/protocol.md alone, standard library only, Python 3.9 or newer.
One thread, blocking sockets, a deadline on every read:

    with Client("127.0.0.1", 7000, token) as c:
        held = c.claim(event=1, section=0, row=3, seats=[4, 5])
        if held.ok:
            print(c.book(held.hold).code)       # "booked"

Decisions come back as `Answer` (look at `.ok` and `.code`); what goes wrong before
anybody decides is raised as `EdgeError`; the end of a connection as `ConnectionLost`.
"""
from __future__ import annotations

import random
import secrets
import socket
import time
from collections import deque
from typing import Dict, Iterable, List, Optional, Tuple

import frontrow_wire as wire
from frontrow_wire import (Answer, Delta, EdgeError, Goodbye, Hold, Place, ProtocolError, Push,
                           Snapshot, Topology, Welcome)


class ConnectionLost(ConnectionError):
    """The connection is over. `goodbye` is the server's last word, if there was one."""

    def __init__(self, text: str, goodbye: Optional[Goodbye] = None):
        super().__init__(text)
        self.goodbye = goodbye


class Clock:
    """The server's time as far as it is known; request ids are stamped with it.

    The client's wall clock is never used: only times heard from the server, moved on
    by the client's monotonic clock. Share one between connections to one server.
    """

    def __init__(self) -> None:
        self._heard_ms = 0
        self._heard_at = time.monotonic()
        self._count = 0
        self._process = secrets.randbits(64)

    def hear(self, time_ms: int) -> None:
        if time_ms > self._heard_ms:
            self._heard_ms, self._heard_at = time_ms, time.monotonic()

    def now_ms(self) -> int:
        return self._heard_ms + int((time.monotonic() - self._heard_at) * 1000)

    def new_id(self) -> int:
        """48 bits of server time, a 16-bit count, 64 bits of this process."""
        self._count = (self._count + 1) & 0xFFFF
        return self.now_ms() << 80 | self._count << 64 | self._process


class SectionMirror:
    """The seats of one watched section, kept up to date by snapshots and deltas."""

    def __init__(self) -> None:
        self.rows: Dict[int, Tuple[int, str]] = {}   # row -> (version, one letter per seat)
        self.complete = False                         # a whole snapshot has been seen
        self.gap = False                              # something was lost: watch again

    def apply_snapshot(self, message: Snapshot) -> None:
        for row, version, state in message.rows:
            if row not in self.rows or version >= self.rows[row][0]:
                self.rows[row] = (version, state)
        if message.last:
            self.complete, self.gap = True, False

    def apply_delta(self, message: Delta) -> None:
        known = self.rows.get(message.place.row)
        if known is not None and message.version <= known[0]:
            return
        if known is not None and message.version > known[0] + 1:
            self.gap = True
        self.rows[message.place.row] = (message.version, message.state)

    def forget(self) -> None:
        """After a change of epoch versions may begin anew."""
        self.rows.clear()
        self.complete = self.gap = False


class Client:
    """One connection, and what has to outlive it: ids, unanswered requests, watches."""

    def __init__(self, host: str, port: int, token: str, timeout: float = 10.0,
                 clock: Optional[Clock] = None):
        self.host, self.port, self.token, self.timeout = host, port, token, timeout
        self.clock = clock or Clock()
        self.welcome: Welcome                          # set by connect()
        self.pushes: deque = deque()                   # news that nobody has taken yet
        self.mirrors: Dict[Tuple[int, int], SectionMirror] = {}
        self.queues: set = set()                       # places in whose queue we wait
        self._pending: Dict[int, bytes] = {}           # requests without an answer, by id
        self._replies: Dict[int, object] = {}          # answers that nobody has taken yet
        self._sock: Optional[socket.socket] = None
        self._buffer = bytearray()
        self.connect()

    # ---- the connection's life -------------------------------------------------------

    def connect(self) -> None:
        """Connect and say hello; raises EdgeError if the server does not want us."""
        self._buffer.clear()
        self._sock = socket.create_connection((self.host, self.port), self.timeout)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock.sendall(wire.hello(self.token))
        message = self._read(time.monotonic() + self.timeout)
        if isinstance(message, EdgeError):
            raise message
        if isinstance(message, Goodbye):
            raise ConnectionLost(f"refused: {message.code}", message)
        if not isinstance(message, Welcome):
            raise ProtocolError(f"a welcome was due, came {message!r}")
        self.welcome = message
        self.clock.hear(message.time_ms)

    def reconnect(self, tries: int = 8) -> None:
        """Connect again with back-off, then resume: repeat what has no answer with the
        same ids, ask for the place in every queue, watch again what was watched."""
        self.close()
        old_epoch, wait = self.welcome.epoch, 0.1
        for attempt in range(tries):
            try:
                self.connect()
                break
            except (OSError, EdgeError) as error:
                if attempt == tries - 1:
                    raise
                said = getattr(error, "goodbye", None) or error
                self._follow_primary(said)
                asked = getattr(said, "retry_after_ms", 0) / 1000
                time.sleep(asked or wait * (1 + random.random() / 2))
                wait = min(wait * 2, 10.0)
        if self.welcome.epoch != old_epoch:
            for mirror in self.mirrors.values():
                mirror.forget()
        for frame in list(self._pending.values()):
            self._send(frame)
        for place in list(self.queues):
            self.send_status(place)
        for event, section in list(self.mirrors):
            self.send_watch(event, section)

    def _follow_primary(self, said: object) -> None:
        if getattr(said, "code", "") == "not_primary":
            host, _, port = said.message.rpartition(":")
            if host and port.isdigit():
                self.host, self.port = host.strip("[]"), int(port)

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- bytes -----------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        if self._sock is None:
            raise ConnectionLost("not connected")
        self._sock.settimeout(self.timeout)
        self._sock.sendall(data)

    def _read(self, deadline: float) -> object:
        """One message; TimeoutError when the deadline passes."""
        while True:
            frame = wire.cut_frame(self._buffer)
            if frame is not None:
                return wire.decode(*frame)
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the server said nothing in time")
            if self._sock is None:
                raise ConnectionLost("not connected")
            self._sock.settimeout(left)
            try:
                data = self._sock.recv(65536)
            except socket.timeout:
                raise TimeoutError("the server said nothing in time") from None
            if not data:
                raise ConnectionLost("the server closed the connection")
            self._buffer += data

    def poll(self, timeout: float) -> Optional[object]:
        """Read one message and put it where it belongs; None if there is none in time."""
        try:
            message = self._read(time.monotonic() + timeout)
        except TimeoutError:
            return None
        if getattr(message, "time_ms", 0):
            self.clock.hear(message.time_ms)
        if isinstance(message, (Answer, Push)):        # a token is made with our own number
            getattr(message, "answer", message).user = self.welcome.user
        if isinstance(message, Goodbye):
            self.close()
            raise ConnectionLost(f"goodbye: {message.code}: {message.message}", message)
        if isinstance(message, EdgeError) and message.id == 0:
            if message.fatal:
                self.close()
            raise message
        if isinstance(message, Push):
            if message.kind in ("offered", "unfillable", "closed", "hold_cap"):
                self.queues.discard(message.place)
            self.pushes.append(message)
        elif isinstance(message, Delta):
            mirror = self.mirrors.get((message.place.event, message.place.section))
            if mirror is not None:
                mirror.apply_delta(message)
                if mirror.gap and mirror.complete:
                    mirror.complete = False            # ask once, not with every delta
                    self.send_watch(message.place.event, message.place.section)
        elif isinstance(message, Snapshot):
            mirror = self.mirrors.get((message.place.event, message.place.section))
            if mirror is not None:
                mirror.apply_snapshot(message)
                if message.last:
                    self._pending.pop(message.id, None)
        else:
            self._settle(message)
        return message

    def _settle(self, message: object) -> None:
        """Keep a reply until wait() asks for it. Only a decision ends a request: after an
        edge error it is to be repeated with the same id, so its bytes are kept."""
        if isinstance(message, Answer) and message.code not in ("pending", "in_progress"):
            self._pending.pop(message.id, None)
            if message.code == "queued":
                self.queues.add(message.place)
            elif message.code in ("left", "not_queued") or message.from_queue:
                self.queues.discard(message.place)
        elif not isinstance(message, (Answer, EdgeError)):
            self._pending.pop(message.id, None)
        self._replies[message.id] = message

    # ---- requests --------------------------------------------------------------------

    def send(self, frame: bytes) -> int:
        """Send a request without waiting; the id to wait() for."""
        request_id = wire.frame_id(frame)
        self._pending[request_id] = frame
        self._send(frame)
        return request_id

    def send_batch(self, frames: Iterable[bytes]) -> List[int]:
        """Send several in one frame. Answered one by one; refused as a whole if malformed."""
        frames = list(frames)
        ids = [wire.frame_id(frame) for frame in frames]
        self._pending.update(zip(ids, frames))
        self._send(wire.batch(frames))
        return ids

    def wait(self, request_id: int, timeout: Optional[float] = None) -> object:
        """The reply to a request sent before; raises EdgeError if it is one."""
        deadline = time.monotonic() + (timeout or self.timeout)
        while request_id not in self._replies:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no answer to {request_id:032x}: repeat it with the same id")
            self.poll(left)
        reply = self._replies.pop(request_id)
        if isinstance(reply, EdgeError):
            raise reply
        return reply

    def call(self, frame: bytes, tries: int = 5) -> Answer:
        """Send and wait. What is to be repeated with the same id is repeated here."""
        for attempt in range(tries):
            request_id = self.send(frame)
            pause = 0.05
            try:
                answer = self.wait(request_id)
                if answer.code not in ("pending", "in_progress") or attempt == tries - 1:
                    return answer
            except EdgeError as error:
                if not error.retryable or error.fatal or attempt == tries - 1:
                    self._pending.pop(request_id, None)
                    raise
                pause = error.retry_after_ms / 1000 or pause
            time.sleep(pause)
        raise AssertionError("unreachable")

    def new_id(self) -> int:
        return self.clock.new_id()

    def claim(self, event: int, section: int, row: int, seats: List[int]) -> Answer:
        return self.call(wire.claim(self.new_id(), Place(event, section, row), seats))

    def claim_best(self, event: int, section: int, row: int, count: int, **how) -> Answer:
        """The best `count` of a row. `how`: category, accessible, or_join."""
        return self.call(wire.claim_best(self.new_id(), Place(event, section, row), count, **how))

    def claim_section(self, event: int, section: int, count: int, **how) -> Answer:
        """The best `count` of a section. `how`: as above, and adjacency."""
        return self.call(wire.claim_section(self.new_id(), Place(event, section), count, **how))

    def extend(self, hold: Hold) -> Answer:
        return self.call(wire.on_hold("extend", self.new_id(), hold))

    def begin_payment(self, hold: Hold) -> Answer:
        return self.call(wire.on_hold("begin_payment", self.new_id(), hold))

    def book(self, hold: Hold) -> Answer:
        return self.call(wire.on_hold("book", self.new_id(), hold))

    def release(self, hold: Hold) -> Answer:
        return self.call(wire.on_hold("release", self.new_id(), hold))

    def cancel(self, hold: Hold) -> Answer:
        return self.call(wire.on_hold("cancel", self.new_id(), hold))

    def join(self, place: Place, count: int, **how) -> Answer:
        return self.call(wire.join(self.new_id(), place, count, **how))

    def leave(self, place: Place) -> Answer:
        return self.call(wire.at_place("leave", self.new_id(), place))

    def status(self, place: Place) -> Answer:
        return self.wait(self.send_status(place))

    def send_status(self, place: Place) -> int:
        return self.send(wire.at_place("status", self.new_id(), place))

    def ping(self) -> object:
        return self.wait(self.send(wire.bare("ping", self.new_id())))

    def topology(self) -> Topology:
        return self.wait(self.send(wire.bare("topology", self.new_id())))

    def next_push(self, timeout: float) -> Optional[Push]:
        """The next piece of news, or None if none comes in time."""
        deadline = time.monotonic() + timeout
        while not self.pushes and (left := deadline - time.monotonic()) > 0:
            self.poll(left)
        return self.pushes.popleft() if self.pushes else None

    def send_watch(self, event: int, section: int) -> int:
        return self.send(wire.at_place("watch", self.new_id(), Place(event, section)))

    def watch(self, event: int, section: int) -> SectionMirror:
        """Watch a section; returns when the first snapshot is whole."""
        mirror = self.mirrors.setdefault((event, section), SectionMirror())
        mirror.complete = False
        request_id = self.send_watch(event, section)
        deadline = time.monotonic() + self.timeout
        while not mirror.complete:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("no snapshot")
            self.poll(left)
            if isinstance(self._replies.get(request_id), (EdgeError, Answer)):
                reply = self._replies.pop(request_id)
                raise reply if isinstance(reply, EdgeError) else ProtocolError(repr(reply))
        return mirror

    def unwatch(self, event: int, section: int) -> None:
        """Not answered; changes that are on their way already are ignored."""
        self.mirrors.pop((event, section), None)
        self._send(wire.at_place("unwatch", self.new_id(), Place(event, section)))


class Router:
    """Sends each request straight to the core that owns its place: one connection a core."""

    def __init__(self, host: str, port: int, token: str, timeout: float = 10.0):
        first = Client(host, port, token, timeout)
        self._any, self._make = first, (host, token, timeout, first.clock)
        self._by_core: Dict[int, Client] = {}
        self.topology = first.topology()

    def core_of(self, place: Place) -> int:
        owners = self.topology.owners
        return owners[wire.partition(place, len(owners))]

    def client_for(self, place: Place) -> Client:
        """The connection to the place's core; the first one if the core has no port."""
        core = self.core_of(place)
        port = self.topology.tcp_port(core)
        if not port:
            return self._any
        if core not in self._by_core:
            host, token, timeout, clock = self._make
            self._by_core[core] = Client(host, port, token, timeout, clock)
        return self._by_core[core]

    def close(self) -> None:
        for client in [self._any, *self._by_core.values()]:
            client.close()
