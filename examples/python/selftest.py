#!/usr/bin/env python3
"""Runs a whole scenario of the Frontrow protocol against a running development server.

    python3 selftest.py http://127.0.0.1:7000 127.0.0.1:7001

Event 1 has to be on sale. One line per check, at the end `N passed, M failed`; the exit
code is 0 only without failures. What is taken is given back, so it may run again and again.
"""
from __future__ import annotations

import json
import random
import sys
import time
import traceback
import urllib.request
import uuid
from typing import Callable, Dict, List, Tuple

import frontrow_wire as wire
from frontrow_client import Client, Router, SectionMirror
from frontrow_wire import Delta, EdgeError, Hold, Place
from frontrow_ws import BINARY, PATH, WebSocket, WsClient
from selftest_edge import edge_checks
from selftest_offline import offline_checks

EVENT, WAIT = 1, 10.0


class Report:
    def __init__(self) -> None:
        self.passed = self.failed = 0

    def check(self, name: str, good: bool, seen: object = "") -> bool:
        if good:
            self.passed += 1
            print(f"ok    {name}", flush=True)
        else:
            self.failed += 1
            print(f"FAIL  {name}: {seen!r}", flush=True)
        return bool(good)

    def same(self, name: str, seen: object, want: object) -> bool:
        return self.check(name, seen == want, f"want {want!r}, seen {seen!r}")

    def step(self, function: Callable, *args: object) -> None:
        """A step that raises is one failure and does not keep the others from running."""
        try:
            function(*args)
        except Exception as error:                       # noqa: BLE001 – reported, not hidden
            traceback.print_exc()
            self.check(f"{function.__name__} runs to its end", False, error)


class World:
    """The server under test: its HTTP side, tokens, and seats nobody has."""

    def __init__(self, http: str, tcp: str):
        self.http = http.rstrip("/")
        self.host, port = tcp.rsplit(":", 1)
        self.port = int(port)
        self.first_user = random.randrange(1 << 20, 1 << 40)
        self.users = 0
        self.map = self.get(f"/v1/events/{EVENT}/map")
        self.rules = self.get(f"/v1/events/{EVENT}")["rules"]

    def get(self, path: str) -> dict:
        with urllib.request.urlopen(self.http + path, timeout=WAIT) as reply:
            return json.load(reply)

    def token(self, user: int) -> str:
        request = urllib.request.Request(
            self.http + "/v1/dev/token", json.dumps({"user": user}).encode(),
            {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=WAIT) as reply:
            return json.load(reply)["token"]

    def new_user(self) -> Tuple[int, str]:
        self.users += 1
        user = self.first_user + self.users
        return user, self.token(user)

    def client(self) -> Client:
        return Client(self.host, self.port, self.new_user()[1], WAIT)

    def section(self, section: int) -> Dict[int, str]:
        """The seats of a section by HTTP: row -> one letter per seat."""
        reply = self.get(f"/v1/events/{EVENT}/sections/{section}")
        return {row["row"]: row["seats"] for row in reply["rows"]}

    def free_run(self, count: int) -> Tuple[Place, List[int]]:
        """So many free seats next to each other, from the beginning of their block, so that
        nobody is left alone to their left."""
        for section in self.map["sections"]:
            seats = self.section(section["section"])
            for row in section["rows"]:
                state, start = seats[row["row"]], 0
                for last in [*row.get("aisles_after", []), len(state) - 1]:
                    if last + 1 - start >= count and set(state[start:start + count]) == {"f"}:
                        place = Place(EVENT, section["section"], row["row"])
                        return place, list(range(start, start + count))
                    start = last + 1
        raise RuntimeError(f"there are no {count} free seats together: start a fresh server")

    def free_row(self) -> Tuple[Place, int]:
        """A row of an even number of seats, all of them free, and that number."""
        rows = [(len(state), section["section"], row)
                for section in self.map["sections"]
                for row, state in self.section(section["section"]).items()
                if set(state) == {"f"} and len(state) % 2 == 0]
        if not rows:
            raise RuntimeError("no row is wholly free: start a fresh server")
        size, section, row = min(rows)
        return Place(EVENT, section, row), size


def at(client: Client, place: Place, seats: List[int]):
    return client.claim(place.event, place.section, place.row, seats)


def claims_and_ids(t: Report, w: World) -> None:
    a, b = w.client(), w.client()
    t.check("ping is answered with the server's time", a.ping().time_ms > 0)
    place, run = w.free_run(5)
    frame = wire.claim(a.new_id(), place, run[:3])
    held = a.call(frame)
    t.same("a claim of named seats is granted", (held.code, held.seats), ("granted", run[:3]))
    t.check("together, with a token, durable", held.together and held.hold is not None
            and held.durable >= held.lsn and not held.repeated, held)
    t.same("the token survives its text", Hold.from_text(held.hold.text()), held.hold)
    again = a.call(frame)
    t.check("the same id gives the same answer", again.repeated and
            (again.code, again.seats, again.lsn, again.hold) ==
            (held.code, held.seats, held.lsn, held.hold), again)
    other = a.call(wire.claim(wire.frame_id(frame), place, run[3:]))
    t.same("the same id with other content", other.code, "id_reused")
    clash = at(b, place, run[1:5])
    t.same("a conflict names every seat", (clash.code, clash.seats), ("seat_held", run[1:3]))
    t.check("a refusal has no token", clash.hold is None and not clash.ok)
    t.same("all or nothing: the rest stays free", w.section(place.section)[place.row]
           [run[3]:run[4] + 1], "ff")
    best = a.claim_best(EVENT, place.section, place.row, 2)
    t.check("best of a row", best.code == "granted" and best.together
            and len(best.seats) == 2, best)
    wide = b.claim_section(EVENT, place.section, 4)
    t.check("best of a section, together", wide.code == "granted" and wide.together
            and wide.place.row == wire.SECTION and not wide.seats
            and sum(len(seats) for _, seats in wide.rows()) == 4, wide)
    most = w.rules["max_per_claim"]
    t.same("more than one claim may have", a.claim_section(EVENT, 0, most + 1).code,
           "claim_too_large")
    a.close()
    t.same("holds belong to the user: released on a new connection",
           _reconnected(a).release(held.hold).code, "released")
    t.same("best of row released", a.release(best.hold).code, "released")
    t.same("section claim released", b.release(wide.hold).code, "released")


def _reconnected(client: Client) -> Client:
    client.reconnect()
    return client


def fencing(t: Report, w: World) -> None:
    a, b = w.client(), w.client()
    place, run = w.free_run(2)
    hold = at(a, place, run).hold
    seen = b.book(hold)
    t.check("foreign: somebody else shows my token", seen.code == "fenced" and seen.foreign, seen)
    seen = b.book(wire.changed(hold, user=b.welcome.user))
    t.check("somebody else puts his own name on it", seen.code == "fenced", seen)
    for field, bit in (("nonce", 1), ("nonce", 1 << 63), ("lsn", 1 << 40), ("expires_ms", 1 << 20),
                       ("epoch", 1)):
        seen = a.book(wire.changed(hold, **{field: getattr(hold, field) ^ bit}))
        t.check(f"forged: a bit of {field} is flipped", seen.code == "fenced"
                and (seen.forged or field == "expires_ms" and seen.stale),
                (seen.code, seen.flags))
    seen = a.extend(hold)
    t.check("extended, with a new token", seen.code == "extended" and seen.hold != hold
            and seen.expires_ms >= hold.expires_ms, seen)
    newer = seen.hold
    seen = a.book(hold)
    t.check("stale: the token before the extension", seen.code == "fenced" and seen.stale, seen)
    for _ in range(w.rules["max_extensions"] - 1):
        newer = a.extend(newer).hold
    t.same("extended as often as may be", a.extend(newer).code, "extend_limit")
    t.same("a hold is not cancelled", a.cancel(newer).code, "not_booked")
    t.same("released", a.release(newer).code, "released")
    t.same("replayed: the token of what was released", a.book(newer).code, "already_released")
    theirs = at(b, place, run)
    t.same("the seats go to somebody else", theirs.code, "granted")
    seen = a.book(newer)
    t.check("replayed against the next holder", not seen.ok
            and seen.code in ("already_released", "fenced"), seen)
    t.same("who still has his seats", b.release(theirs.hold).code, "released")


def booking(t: Report, w: World) -> None:
    a = w.client()
    place, run = w.free_run(2)
    hold = at(a, place, run).hold
    frame = wire.on_hold("book", a.new_id(), hold)
    booked = a.call(frame)
    t.same("booked", (booked.code, booked.seats), ("booked", run))
    again = a.call(frame)
    t.check("the same booking repeated", again.code == "booked" and again.repeated, again)
    t.same("booked twice", a.book(hold).code, "already_booked")
    t.same("a booking is not released", a.release(hold).code, "already_booked")
    clash = at(w.client(), place, run)
    t.same("what is sold is refused", (clash.code, clash.seats), ("seat_booked", run))
    t.same("seen as booked", w.section(place.section)[place.row][run[0]:run[1] + 1], "bb")
    t.same("cancelled with the booking's token", a.cancel(booked.hold).code, "cancelled")
    t.same("cancelled twice", a.cancel(booked.hold).code, "already_cancelled")
    hold = at(a, place, run).hold
    paying = a.begin_payment(hold)
    t.check("payment pins the hold", paying.code == "paying" and paying.hold != hold, paying)
    t.same("payment begins once", a.begin_payment(paying.hold).code, "already_paying")
    seen = a.book(hold)
    t.check("the token before the payment is stale", seen.code == "fenced" and seen.stale, seen)
    t.same("booked after payment", a.book(paying.hold).code, "booked")
    t.same("cancelled with the token it was booked with", a.cancel(paying.hold).code, "cancelled")


def queue(t: Report, w: World) -> None:
    a, b, c = w.client(), w.client(), w.client()
    place, size = w.free_row()
    pairs = [at(a, place, [seat, seat + 1]) for seat in range(0, size, 2)]
    if not t.check("a row is taken in pairs", all(p.code == "granted" for p in pairs),
                   [p.code for p in pairs]):
        return
    seen = b.join(place, 2)
    t.same("the second user waits, first in the queue", (seen.code, seen.position), ("queued", 1))
    seen = c.claim_best(EVENT, place.section, place.row, 2, or_join=True)
    t.same("the third behind him", (seen.code, seen.position), ("queued", 2))
    seen = c.status(place)
    t.same("status tells the position", (seen.code, seen.position), ("queued", 2))
    t.same("released", a.release(pairs[0].hold).code, "released")
    news = b.next_push(WAIT)
    t.check("handed on at once: an offer is pushed", news is not None and news.kind == "offered"
            and news.answer.code == "granted" and news.answer.seats == pairs[0].seats
            and news.answer.from_queue, news)
    seen = b.status(place)
    t.check("status shows the offer and its token", seen.code == "granted"
            and seen.hold == news.answer.hold, seen)
    seen = at(c, place, pairs[0].seats)
    t.check("nobody slips in between", not seen.ok, seen)
    t.same("the offer is booked", b.book(news.answer.hold).code, "booked")
    moved = c.next_push(WAIT)
    t.check("the third moves up and is told", moved is not None and moved.kind == "position"
            and moved.answer.position == 1, moved)
    t.same("the third leaves", c.leave(place).code, "left")
    t.same("leaves again", c.leave(place).code, "not_queued")
    t.same("status afterwards", c.status(place).code, "not_queued")
    t.same("the booking is given back", b.cancel(news.answer.hold).code, "cancelled")
    t.check("everything given back",
            all(a.release(p.hold).code == "released" for p in pairs[1:]))
    seen = c.join(place, 2)
    t.check("who joins where seats are free gets them at once", seen.code == "granted"
            and seen.from_queue and seen.hold is not None, seen)
    c.release(seen.hold)


def _same_as_http(client: Client, mirror: SectionMirror, w: World, section: int) -> bool:
    """The mirror's seats become what HTTP shows: news may be on its way for a moment. Versions
    are left out: the protocol gives them to watches only."""
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        seen = {row: state for row, (_, state) in mirror.rows.items()}
        if mirror.complete and not mirror.gap and seen == w.section(section):
            return True
        client.poll(0.05)
    return False


def watching(t: Report, w: World) -> None:
    a, b = w.client(), w.client()
    place, run = w.free_run(3)
    section = place.section
    mirror = b.watch(EVENT, section)
    t.check("the snapshot equals HTTP", _same_as_http(b, mirror, w, section), mirror.rows)
    before = mirror.rows[place.row][0]
    held = at(a, place, run)
    t.check("after a claim the mirror equals HTTP", _same_as_http(b, mirror, w, section)
            and mirror.rows[place.row][1][run[0]] == "h", mirror.rows[place.row])
    t.same("the version grew by one", mirror.rows[place.row][0], before + 1)
    # Lose a delta on purpose: what is known lags behind, the next delta shows the gap.
    mirror.rows[place.row] = (before, mirror.rows[place.row][1])
    t.same("booked", a.book(held.hold).code, "booked")
    deadline = time.monotonic() + WAIT
    while mirror.complete and time.monotonic() < deadline:
        b.poll(0.1)
    t.check("a gap is noticed and the section watched again", not mirror.complete)
    t.check("after the gap the mirror equals HTTP", _same_as_http(b, mirror, w, section)
            and mirror.rows[place.row][1][run[0]] == "b", mirror.rows[place.row])
    b.unwatch(EVENT, section)
    b.ping()
    a.cancel(held.hold)
    seen = b.poll(0.3)
    t.check("nothing comes after unwatch", not isinstance(seen, Delta), seen)


def many_at_once(t: Report, w: World) -> None:
    a = w.client()
    place, run = w.free_run(4)
    ids = [a.send(wire.claim(a.new_id(), place, [seat])) for seat in run]
    answers = [a.wait(request_id) for request_id in ids]
    t.same("pipelined: every answer to its request",
           [(r.code, r.seats) for r in answers], [("granted", [seat]) for seat in run])
    ids = a.send_batch([wire.on_hold("release", a.new_id(), r.hold) for r in answers])
    t.same("a batch is answered one by one", [a.wait(i).code for i in ids], ["released"] * 4)
    router = Router(w.host, w.port, w.new_user()[1], WAIT)
    top = router.topology
    t.same("topology: an owner for each partition", len(top.owners), a.welcome.partitions)
    t.check("topology: the cores own them all", set(top.owners) <= {c for c, _, _ in top.cores})
    for section in w.map["sections"][:2]:
        for row in section["rows"][:3]:
            place = Place(EVENT, section["section"], row["row"])
            client = router.client_for(place)
            best = client.claim_best(EVENT, place.section, place.row, 2)
            own_port = top.tcp_port(router.core_of(place)) != 0
            t.check(f"routed to its core: section {place.section}, row {place.row}",
                    (not own_port or client.welcome.core == router.core_of(place))
                    and (best.code == "granted" or not best.ok), best)
            if best.hold:
                client.release(best.hold)
    router.close()


def unanswered(t: Report, w: World) -> None:
    a = w.client()
    place, run = w.free_run(2)
    request_id = a.send(wire.claim(a.new_id(), place, run))
    a.reconnect()                      # the answer, if there was one, is lost with the connection
    held = a.wait(request_id)
    t.check("a request without an answer is repeated after a reconnect, with its id",
            held.code in ("granted", "in_progress", "pending"), held)
    if held.hold is None:
        held = a.call(wire.claim(request_id, place, run))
    t.same("and done once", (held.code, held.seats), ("granted", run))
    t.same("released", a.release(held.hold).code, "released")


def json_form(t: Report, w: World) -> None:
    user, token = w.new_user()
    place, run = w.free_run(3)
    where = {"event": EVENT, "section": place.section, "row": place.row}
    with WsClient(w.http, token) as c, WsClient(w.http, w.new_user()[1], token_in="hello") as d:
        t.same("JSON: the token of the upgrade counts", c.welcome["user"], str(user))
        shot = d.call({"type": "watch", "event": EVENT, "section": place.section})
        rows = list(shot["rows"])
        while (part := d.next_news("snapshot", 0.0)) is not None:
            rows += part["rows"]
        t.same("JSON: the snapshot equals HTTP",
               {r["row"]: r["state"] for r in rows}, w.section(place.section))
        claim = {"type": "claim", "id": c.new_id(), **where, "seats": run}
        held = c.call(claim)
        t.check("JSON: granted", held["type"] == "answer" and held["ok"]
                and held["code"] == "granted" and held["seats"] == run, held)
        hold = Hold.from_text(held["token"])
        t.check("JSON: the token's text is place and fence", hold.place == place
                and hold.user == user and hold.lsn == held["lsn"], hold)
        again = c.call({**claim, "id": str(uuid.UUID(claim["id"]))})
        t.check("JSON: the same id as a UUID, repeated", again.get("repeated") is True
                and again["token"] == held["token"], again)
        delta = d.next_news("delta", WAIT)
        t.check("JSON: the delta of the claim", delta is not None and delta["row"] == place.row
                and delta["state"][run[0]:run[-1] + 1] == "hhh", delta)
        clash = d.call({"type": "claim", **where, "seats": run[1:]})
        t.check("JSON: conflict", clash["type"] == "error" and not clash["ok"]
                and clash["error"]["code"] == "seat_held"
                and clash["error"]["seats"] == run[1:] and clash["error"]["retryable"], clash)
        seen = d.call({"type": "book", "token": held["token"]})
        t.check("JSON: foreign", seen["error"].get("code") == "fenced"
                and seen["error"]["reason"] == "foreign", seen)
        with Client(w.host, w.port, token, WAIT) as raw:
            t.same("claimed in JSON, booked in binary", raw.book(hold).code, "booked")
        seen = c.call({"type": "cancel", "token": held["token"]})
        t.same("booked in binary, cancelled in JSON", seen["code"], "cancelled")
        seen = c.call_batch([{"type": "ping"}, {"type": "status", **where}])
        t.same("JSON: batch", [seen[0]["type"], seen[1]["error"]["code"]],
               ["pong", "not_queued"])
        top = c.call({"type": "topology"})
        t.same("JSON: topology", len(top["owners"]), c.welcome["partitions"])


def json_mistakes(t: Report, w: World) -> None:
    with WsClient(w.http, w.new_user()[1]) as c:
        for name, text, code in (
                ("cut short", '{"type":"ping","id":', "malformed"),
                ("a server's type", '{"type":"pong"}', "unknown_kind"),
                ("an empty batch", "[]", "malformed"),
                ("an unknown key", '{"type":"ping","color":1}', "unknown_key"),
                ("a doubled key", '{"type":"ping","type":"ping"}', "malformed"),
                ("a bad token", json.dumps({"type": "book", "id": c.new_id(), "token": "xx"}),
                 "bad_token"),
                ("a seat twice", json.dumps({"type": "claim", "id": c.new_id(), "event": 1,
                                             "section": 0, "row": 0, "seats": [1, 1]}),
                 "duplicate_seat"),
                ("seats too far apart", json.dumps({"type": "claim", "id": c.new_id(), "event": 1,
                                                    "section": 0, "row": 0, "seats": [1, 65]}),
                 "too_far_apart")):
            c.send_text(text)
            seen = c.read(WAIT)
            t.check(f"JSON: {name} is {code}", seen["type"] == "error"
                    and seen["error"]["code"] == code and not seen["fatal"], seen)
        t.same("JSON: the connection goes on", c.call({"type": "ping"})["type"], "pong")
    host, _, port = w.http.split("//")[1].partition(":")
    socket = WebSocket(host, int(port or 80), PATH, {}, WAIT)
    socket.send(BINARY, wire.hello(w.new_user()[1]) + wire.bare("ping", 77))
    kinds = []
    while len(kinds) < 2:
        opcode, payload = socket.receive(WAIT)
        buffer = bytearray(payload)
        while (frame := wire.cut_frame(buffer)) is not None:
            kinds.append((opcode, type(wire.decode(*frame)).__name__))
    t.same("binary frames in WebSocket messages", kinds, [(BINARY, "Welcome"), (BINARY, "Pong")])
    socket.close()


def main() -> int:
    if len(sys.argv) != 3:
        print("usage: selftest.py HTTP_URL TCP_HOST:PORT", file=sys.stderr)
        return 2
    t = Report()
    offline_checks(t)
    try:
        world = World(sys.argv[1], sys.argv[2])
    except (OSError, KeyError, ValueError) as error:
        t.check("the server answers over HTTP", False, error)
        world = None
    if world is not None:
        for step in (claims_and_ids, fencing, booking, queue, watching, many_at_once, unanswered,
                     json_form, json_mistakes, edge_checks):
            t.step(step, t, world)
    print(f"{t.passed} passed, {t.failed} failed")
    return 1 if t.failed else 0


if __name__ == "__main__":
    sys.exit(main())
