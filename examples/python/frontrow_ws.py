"""A minimal Frontrow client over WebSocket, in the JSON form.

Written from docs/protocol.md and RFC 6455 alone, standard library only. One thread,
blocking, a deadline on every read. Messages are plain dicts, as the protocol has them:

    with WsClient("http://127.0.0.1:7000", token) as c:
        held = c.call({"type": "claim", "event": 1, "section": 0, "row": 3, "seats": [4, 5]})
        if held["ok"]:
            print(c.call({"type": "book", "token": held["token"]})["code"])    # "booked"
"""
from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import struct
import time
from typing import Dict, List, Optional, Tuple
from urllib.parse import urlsplit

from frontrow_client import Clock

PATH = "/v1/ws"
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"           # RFC 6455, section 1.3
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class WsClosed(ConnectionError):
    """The WebSocket is over; `code` as RFC 6455 has it, 1006 if none was sent."""

    def __init__(self, code: int, reason: str = ""):
        super().__init__(f"closed with {code} {reason}")
        self.code = code


class WebSocket:
    """The client's side of RFC 6455: handshake, masked frames, fragments, ping, close."""

    def __init__(self, host: str, port: int, path: str, headers: Dict[str, str],
                 timeout: float = 10.0):
        self.timeout = timeout
        self._buffer = bytearray()
        self._fragments: Tuple[int, bytearray] = (0, bytearray())
        self._sock = socket.create_connection((host, port), timeout)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}:{port}", "Upgrade: websocket",
                 "Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self._check_upgrade(key)

    def _check_upgrade(self, key: str) -> None:
        deadline = time.monotonic() + self.timeout
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > 65536:
                raise ConnectionError("an endless answer to the upgrade")
            self._fill(deadline)
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        self._buffer = bytearray(rest)
        status, *lines = head.decode("latin-1").split("\r\n")
        if " 101" not in status:
            self._sock.close()
            raise ConnectionError(f"the server does not upgrade: {status}")
        pairs = (line.partition(":") for line in lines)
        fields = {name.strip().lower(): value.strip() for name, _, value in pairs}
        want = base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()
        if fields.get("sec-websocket-accept") != want:
            raise ConnectionError("not the answer to this upgrade")

    def _fill(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the server said nothing in time")
        self._sock.settimeout(left)
        try:
            data = self._sock.recv(65536)
        except socket.timeout:
            raise TimeoutError("the server said nothing in time") from None
        if not data:
            raise WsClosed(1006)
        self._buffer += data

    def send(self, opcode: int, payload: bytes) -> None:
        """One masked frame; a client has to mask all it sends."""
        size = len(payload)
        if size < 126:
            head = struct.pack(">BB", 0x80 | opcode, 0x80 | size)
        elif size < 65536:
            head = struct.pack(">BBH", 0x80 | opcode, 0x80 | 126, size)
        else:
            head = struct.pack(">BBQ", 0x80 | opcode, 0x80 | 127, size)
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[i & 3] for i, byte in enumerate(payload))
        self._sock.settimeout(self.timeout)
        self._sock.sendall(head + mask + masked)

    def _cut_frame(self) -> Optional[Tuple[bool, int, bytes]]:
        """Take one whole frame from the buffer: (final, opcode, payload)."""
        buf = self._buffer
        if len(buf) < 2:
            return None
        size, at = buf[1] & 0x7F, 2
        if buf[1] & 0x80 or buf[0] & 0x70:
            raise ConnectionError("a masked frame or an extension, from a server")
        if size >= 126:
            at = 4 if size == 126 else 10
            if len(buf) < at:
                return None
            size = int.from_bytes(buf[2:at], "big")
        if len(buf) < at + size:
            return None
        frame = bool(buf[0] & 0x80), buf[0] & 0x0F, bytes(buf[at:at + size])
        del buf[:at + size]
        return frame

    def receive(self, timeout: float) -> Tuple[int, bytes]:
        """One whole message as (opcode, payload); answers pings by itself."""
        deadline = time.monotonic() + timeout
        while True:
            frame = self._cut_frame()
            if frame is None:
                self._fill(deadline)
                continue
            final, opcode, payload = frame
            if opcode == PING:
                self.send(PONG, payload)
            elif opcode == CLOSE:
                code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
                self._sock.close()
                raise WsClosed(code, payload[2:].decode(errors="replace"))
            elif opcode != PONG:
                kind, parts = self._fragments if opcode == 0 else (opcode, bytearray())
                parts += payload
                self._fragments = (kind, parts)
                if final:
                    return kind, bytes(parts)

    def close(self) -> None:
        try:
            self.send(CLOSE, struct.pack(">H", 1000))
        except OSError:
            pass
        self._sock.close()


class WsClient:
    """Frontrow's JSON messages over a WebSocket. News is kept in `news` until taken."""

    def __init__(self, url: str, token: str, timeout: float = 10.0, token_in: str = "upgrade"):
        """`token_in`: "upgrade" for the Authorization header, "hello" for the first message."""
        parts = urlsplit(url)
        headers = {"Authorization": f"Bearer {token}"} if token_in == "upgrade" else {}
        self.timeout, self.clock, self.news = timeout, Clock(), []   # type: ignore[var-annotated]
        self._replies: Dict[str, dict] = {}
        self.socket = WebSocket(parts.hostname or "127.0.0.1", parts.port or 80, PATH, headers,
                                timeout)
        self.send({"type": "hello", "token": "" if token_in == "upgrade" else token})
        self.welcome = self.read(timeout)
        if self.welcome["type"] != "welcome":
            raise ConnectionError(f"a welcome was due, came {self.welcome}")

    def __enter__(self) -> "WsClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def new_id(self) -> str:
        return f"{self.clock.new_id():032x}"

    def send(self, message: object) -> None:
        """One message, or a list of them as a batch."""
        self.send_text(json.dumps(message))

    def send_text(self, text: str) -> None:
        self.socket.send(TEXT, text.encode())

    def read(self, timeout: float) -> dict:
        opcode, payload = self.socket.receive(timeout)
        if opcode != TEXT:
            raise ConnectionError("a binary message on a connection that speaks JSON")
        message = json.loads(payload)
        self.clock.hear(message.get("time_ms", 0))
        return message

    def wait(self, request_id: str) -> dict:
        """The answer, error, pong, topology or last snapshot frame with this id."""
        deadline = time.monotonic() + self.timeout
        while request_id not in self._replies:
            message = self.read(deadline - time.monotonic())
            if "id" not in message:
                self.news.append(message)
            elif message["type"] == "snapshot" and not message["last"]:
                self.news.append(message)
            else:
                self._replies[message["id"].replace("-", "")] = message
        return self._replies.pop(request_id)

    def call(self, message: dict) -> dict:
        """Send with a new id (unless it has one) and wait for what has the same id."""
        message = {"id": self.new_id(), **message}
        self.send(message)
        return self.wait(message["id"].replace("-", "").lower())

    def call_batch(self, messages: List[dict]) -> List[dict]:
        messages = [{"id": self.new_id(), **message} for message in messages]
        self.send(messages)
        return [self.wait(message["id"]) for message in messages]

    def next_news(self, kind: str, timeout: float) -> Optional[dict]:
        """The next `push`, `delta` or `snapshot` that came by itself, or None in time."""
        deadline = time.monotonic() + timeout
        while True:
            for i, message in enumerate(self.news):
                if message["type"] == kind:
                    return self.news.pop(i)
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            try:
                message = self.read(left)
            except TimeoutError:
                return None
            if "id" in message and message["type"] != "snapshot":
                self._replies[message["id"].replace("-", "")] = message
            else:
                self.news.append(message)
