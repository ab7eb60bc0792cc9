#!/usr/bin/env python3
"""Plays the chapters of docs/operations.md on real processes and says what is seen; ends with an error at the first
thing that is not as written there. Usage: drill.py PATH/TO/frontrow. (The full and the failing disk are
cli/tests/full_disk.rs.)"""
import base64, glob, json, os, re, shutil, signal, socket, subprocess, sys, tempfile, time, urllib.error, urllib.request

FRONTROW = os.path.abspath(sys.argv[1])
KEY = "a key for this drill only, thirty-two bytes"
SETTINGS = {
    "FRONTROW_SERVER__TCP": "127.0.0.1:0", "FRONTROW_SERVER__HTTP": "127.0.0.1:0", "FRONTROW_SERVER__CORE_PORTS": "0",
    "FRONTROW_SERVER__PIN": "false", "FRONTROW_LOG__SEGMENT": "1MiB", "FRONTROW_LOG__BACKLOG": "1MiB",
    "FRONTROW_PARTITIONS__COUNT": "4", "FRONTROW_PARTITIONS__REQUESTS_REMEMBERED": "16384",
    "FRONTROW_REPLICATION__LISTEN": "127.0.0.1:0", "FRONTROW_REPLICATION__BUSY_AFTER": "300ms",
    "FRONTROW_LOG_OUTPUT__LEVEL": "warn", "FRONTROW_ADMIN__KEY": KEY,
}


class Node:
    def __init__(self, data, words, **settings):
        self.data, self.errors = data, tempfile.TemporaryFile("w+")
        env = {**os.environ, **SETTINGS, **settings, "FRONTROW_SERVER__DATA": data}
        self.process = subprocess.Popen([FRONTROW, "--json", *words], env=env, text=True, stdout=subprocess.PIPE,
                                        stderr=self.errors)
        self.hear()

    def hear(self):
        line = self.process.stdout.readline()
        self.said = json.loads(line) if line.startswith("{") else {}
        self.url = "http://" + self.said.get("http", "") if self.said.get("http") else ""

    def words(self):
        self.errors.seek(0)
        return self.errors.read()

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=5) as answer:
            return answer.read().decode()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def ended(self):
        self.process.wait(timeout=30)
        return self.process.returncode


def run(*words, url="http://127.0.0.1:1", ok=True, data=None, settings={}):
    env = {**os.environ, "FRONTROW_ADMIN_KEY": KEY, **settings}
    more = ["--data", data] if data else []
    done = subprocess.run([FRONTROW, "--server", url, *more, *words], env=env, text=True, capture_output=True)
    text = (done.stdout + done.stderr).strip()
    see(f"$ frontrow {' '.join(words)}\n    " + "\n    ".join(text.splitlines()[-4:]))
    assert (done.returncode == 0) == ok, f"exit code {done.returncode}"
    return text


def see(text):
    print(text.replace(ROOT, "…"), flush=True)


def chapter(name):
    print(f"\n## {name}\n", flush=True)


def until(what, wanted, seconds=30):
    """Asks until it is so. A drill is about real processes: there is nothing to inject a time into."""
    end = time.monotonic() + seconds
    while not wanted():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    see(f"seen: {what}")


def replication(node):
    request = urllib.request.Request(node.url + "/v1/admin/replication", headers={"Authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)



def free_port():
    """Below those that the kernel hands out by itself, so that nobody else gets it in between."""
    free_port.next = getattr(free_port, "next", 20000 + os.getpid() % 9000) + 1
    with socket.socket() as probe:
        return free_port.next if probe.connect_ex(("127.0.0.1", free_port.next)) else free_port()


def claim(node, user, ok=True):
    return run("--user", str(user), "claim", "1", SECTION, "--best", "1", url=node.url, ok=ok)


def killed_and_started(data):
    chapter("The server is gone")
    node = Node(data, ["serve"])
    claim(node, 1)
    node.kill()
    see(f"killed: exit code {node.process.returncode}")
    node = Node(data, ["serve"])
    assert json.loads(node.get("/readyz"))["ready"]
    see("started again: " + next(line for line in node.said["text"].splitlines() if "log records" in line))
    run("seats", "1", SECTION, url=node.url)
    return node


def does_not_start(node, copy):
    chapter("It does not start")
    second = Node(node.data, ["serve"])
    assert second.ended() == 1 and "locked by process" in second.said.get("error", {}).get("message", "") + second.words()
    see("a second process on the directory: refused, it names the first one")
    node.kill()
    shutil.copytree(node.data, copy)
    for path in sorted(glob.glob(node.data + "/log/*.seg")):
        with open(path, "r+b") as file:
            file.seek(4096 + 60)
            byte = file.read(1)
            if byte == b"\0":
                continue
            file.seek(4096 + 60)
            file.write(bytes([byte[0] ^ 4]))
        see(f"one bit flipped in {os.path.basename(path)}")
        break
    refused = Node(node.data, ["serve"])
    assert refused.ended() == 1
    words = refused.said.get("error", {}).get("message", "") + refused.words()
    see("it says: " + words.strip().splitlines()[-1])
    assert "is damaged at byte" in words
    run("wal", "verify", data=node.data, ok=False)
    run("wal", "repair", "--from", copy, data=node.data)
    run("wal", "verify", data=node.data)
    node = Node(node.data, ["serve"])
    assert json.loads(node.get("/readyz"))["ready"]
    see("it serves again")
    node.kill()


def standby_gone(here, there):
    chapter("The standby is gone or behind; going on alone")
    primary = Node(here, ["serve"], FRONTROW_REPLICATION__ACKNOWLEDGE="backup")
    listen = primary.said["replication"]
    standby = Node(there, ["backup", "--primary", listen])
    until("the primary says caught up", lambda: replication(primary)["caught_up"])
    assert "frontrow_backup_caught_up 1" in primary.get("/metrics")
    claim(primary, 2)
    standby.kill()
    until("frontrow_backup_caught_up 0", lambda: "frontrow_backup_caught_up 0" in primary.get("/metrics"))
    run("replication", "status", url=primary.url)
    claim_waits = subprocess.Popen([FRONTROW, "--server", primary.url, "--user", "3", "claim", "1", SECTION, "--best", "1"],
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    time.sleep(1)
    assert claim_waits.poll() is None, "nothing is acknowledged without the standby"
    see("a claim waits: nothing is acknowledged without the standby")
    run("replication", "alone", url=primary.url)
    said = claim_waits.communicate(timeout=30)[0].strip().splitlines()
    # After a moment it has said what it waits for.
    see("the claim, now: " + next(line for line in said if not line.startswith("waiting")))
    assert claim_waits.returncode == 0
    # At a port of its own: it is asked there whether it serves.
    standby = Node(there, ["backup", "--primary", listen], FRONTROW_SERVER__HTTP=f"127.0.0.1:{free_port()}")
    until("the standby has caught up again", lambda: replication(primary)["caught_up"])
    run("replication", "backup", url=primary.url)
    claim(primary, 4)
    return primary, standby


def promoted(primary, standby):
    chapter("The primary is gone for good; an old primary comes back")
    primary.kill()
    begun = time.monotonic()
    run("promote", url=standby.url)
    standby.hear()
    assert json.loads(standby.get("/readyz"))["ready"]
    see(f"the standby serves {1000 * (time.monotonic() - begun):.0f} ms after `frontrow promote` was typed")
    refused = Node(primary.data, ["serve"], FRONTROW_REPLICATION__ACKNOWLEDGE="backup")
    see("`frontrow serve` on the old one, by mistake, with acknowledge = backup: it cannot acknowledge (no standby follows it)")
    refused.kill()
    old = Node(primary.data, ["backup", "--primary", standby.said["replication"]])
    until("the old primary follows the new one", lambda: replication(standby)["caught_up"])
    claim(standby, 5)
    old.kill()
    standby.kill()


def archive_unreadable(data):
    chapter("An archive cannot be read")
    node = Node(data, ["serve"])
    # One of its own: holds are running in the other.
    run("event", "create", "--stadium", "200", "--open", url=node.url)
    event = str(max(it["event"] for it in json.loads(node.get("/v1/events"))["events"]))
    section = json.loads(node.get(f"/v1/events/{event}/map"))["sections"][0]["name"]
    run("event", "close", event, url=node.url)
    run("event", "archive", event, url=node.url)
    file = f"{data}/events/{event}.archive"
    node.kill()
    shutil.copy(file, data + "-archive.kept")
    with open(file, "r+b") as damaged:
        damaged.seek(os.path.getsize(file) // 2)
        byte = damaged.read(1)
        damaged.seek(-1, os.SEEK_CUR)
        damaged.write(bytes([byte[0] ^ 4]))
    node = Node(data, ["serve"])
    assert node.url, str(node.said) + node.words()
    assert "archive_damaged" in run("--json", "seats", event, section, url=node.url, ok=False)
    assert "an archive cannot be read" in node.words() and f"events/{event}.archive" in node.words()
    see("the log names the file; the server serves on")
    assert json.loads(node.get("/readyz"))["ready"]
    os.rename(data + "-archive.kept", file)
    run("seats", event, section, url=node.url)
    see("put back under its name: read again, without a restart")
    node.kill()


class Etcd:
    def __init__(self, folder):
        self.url = f"http://127.0.0.1:{free_port()}"
        peer = f"http://127.0.0.1:{free_port()}"
        words = ["--name", "one", "--log-level", "error", "--data-dir", folder, "--listen-client-urls", self.url,
                 "--advertise-client-urls", self.url, "--listen-peer-urls", peer,
                 "--initial-advertise-peer-urls", peer, "--initial-cluster", "one=" + peer]
        self.process = subprocess.Popen(["etcd", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until("etcd answers", self.answers)

    def answers(self):
        try:
            return self.ask("kv/range", key="any") is not None
        except OSError:
            return False

    def ask(self, what, key):
        """The gateway, as etcdctl would: `etcdctl get KEY`, `etcdctl del KEY`."""
        body = json.dumps({"key": base64.b64encode(key.encode()).decode()}).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/v3/{what}", body), timeout=5) as answer:
            return json.load(answer)

    def standing(self):
        found = self.ask("kv/range", "/frontrow/drill/standing").get("kvs", [])
        return json.loads(base64.b64decode(found[0]["value"])) if found else {}


def nobody_is_primary(here, there):
    chapter("Nobody is primary")
    if not shutil.which("etcd"):
        return see("NOT PLAYED: there is no etcd here (apt-get install etcd-server)")
    etcd = Etcd(ROOT + "/etcd")
    settings = {"FRONTROW_CLUSTER__ETCD": f"[{etcd.url}]", "FRONTROW_CLUSTER__NAME": "drill", "FRONTROW_CLUSTER__LEASE": "2s",
                "FRONTROW_CLUSTER__ALONE_AFTER": "300ms", "FRONTROW_REPLICATION__ACKNOWLEDGE": "backup"}
    start = lambda data: Node(data, ["serve", "--no-demo"], **settings)

    def status(node):
        return json.loads(node.get("/v1/status"))

    def lead(node):
        """Until it serves. Its first line may have said that it follows; the ports may be others now."""
        while "tcp" not in node.said:
            node.hear()
        until("it is primary", lambda: status(node)["role"] == "primary")

    try:
        first = start(here)
        lead(first)
        second = start(there)
        until("etcd has the standby on record as in sync", lambda: etcd.standing().get("in_sync"))
        run("status", url=first.url)
        run("status", url=second.url)
        run("event", "create", "--stadium", "200", "--open", url=first.url)
        second.kill()
        until("etcd has on record that the primary is alone", lambda: not etcd.standing()["in_sync"])
        first.kill()
        second = start(there)
        until("why_not: the last primary was alone", lambda: "was alone" in str(status(second)["cluster"]["why_not"]))
        first = start(here)
        lead(first)
        see("the last primary, started again, goes on by itself")
        until("and is followed", lambda: etcd.standing().get("in_sync"))
        second.kill()
        until("the primary is alone again", lambda: not etcd.standing()["in_sync"])
        first.kill()
        shutil.rmtree(here)
        see("its disk is lost for good")
        second = start(there)
        until("why_not names the way out", lambda: "--replace" in str(status(second)["cluster"]["why_not"]))
        numbers = re.search(r"--epoch (\d+) --replace (\d+)", status(second)["cluster"]["why_not"]).groups()
        second.kill()
        found = ["cluster", "found", "--epoch", numbers[0], "--replace", numbers[1]]
        run(*found, data=there, settings={**SETTINGS, **settings})
        second = start(there)
        lead(second)
        run("events", url=second.url)
        first = start(here)
        until("a new node with an empty directory is in sync", lambda: etcd.standing().get("in_sync"))
        first.kill()
        second.kill()
    finally:
        etcd.process.kill()
        etcd.process.wait()


with tempfile.TemporaryDirectory(prefix="frontrow-drill-") as ROOT:
    first = Node(ROOT + "/a", ["serve"])
    SECTION = json.loads(first.get("/v1/events/1/map"))["sections"][0]["name"]
    first.kill()
    node = killed_and_started(ROOT + "/a")
    does_not_start(node, ROOT + "/copy")
    primary, standby = standby_gone(ROOT + "/a", ROOT + "/b")
    promoted(primary, standby)
    archive_unreadable(ROOT + "/b")
    nobody_is_primary(ROOT + "/c", ROOT + "/d")
    print("\nAll as written in docs/operations.md.")
