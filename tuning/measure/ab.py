#!/usr/bin/env python3
"""What a knob does on this machine: variants in turn, round by round, with `frontrow-loadgen table`.

    cargo build --release -p frontrow-loadgen
    sudo python3 tuning/measure/ab.py --out bench-results/DATE-tuning            # everything, about 12 minutes
    sudo python3 tuning/measure/ab.py --out DIR --knobs durability,partitions    # some

Each turn is a process of its own with two rounds: the first meets memory that was never touched (cold), the second
does not (warm). The echo server of the same turn does nothing that a knob of Frontrow's could change, so its ratio
says how far the machine itself swung. Kernel settings are put back at the end, whatever happens.
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

SHARED = ["--depths", "1,64", "--rounds", "2"]


def variant(name, args=(), env=None, kernel=None, before=()):
    return {"name": name, "args": list(args), "env": env or {}, "kernel": kernel or {}, "before": list(before)}


def setting(name, key, value):
    return variant(name, ["--set", f"{key}={value}"])


def knobs(scheduler):
    """The first variant is what the others are compared with."""
    all_knobs = {
        "huge pages": [
            setting("small", "partitions.huge_pages", "false"),
            setting("huge, populated at the start", "partitions.huge_pages", "true"),
        ],
        "io scheduler": [
            variant("mq-deadline", kernel={scheduler: "mq-deadline"}),
            variant("none", kernel={scheduler: "none"}),
        ],
        "durability": [variant("direct", ["--durability", "direct"]), variant("mapped", ["--durability", "mapped"])],
        "pin": [variant("pinned"), variant("not pinned", ["--no-pin"])],
        "partitions": [setting("64", "partitions.count", 64), setting("16", "partitions.count", 16)],
        "requests_remembered": [
            setting("65536", "partitions.requests_remembered", 65536),
            setting("8192", "partitions.requests_remembered", 8192),
        ],
        "engine": [variant("io_uring", ["--engine", "io_uring"]), variant("epoll", ["--engine", "epoll"])],
        "priority": [variant("as others"), variant("before others", before=["chrt", "-r", "1"])],
        "log_cpus": [
            setting("auto", "server.log_cpus", "auto"),
            setting("on the shard's CPU", "server.log_cpus", "[0]"),
        ],
    }
    if scheduler is None:
        del all_knobs["io scheduler"]
    return all_knobs


def in_force(path):
    text = pathlib.Path(path).read_text()
    chosen = re.search(r"\[(.*?)\]", text)
    return chosen.group(1) if chosen else text.strip()


def scheduler_of(folder):
    """The request queue of the disk that `folder` is on, if it offers both."""
    device = os.stat(folder).st_dev
    here = pathlib.Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve()
    for disk in (here, here.parent):
        path = disk / "queue/scheduler"
        if path.exists() and {"none", "mq-deadline"} <= set(re.findall(r"[\w-]+", path.read_text())):
            return str(path)
    return None


def turn(options, which, folder):
    for path, value in which["kernel"].items():
        pathlib.Path(path).write_text(value)
    size = ["--quick"] if options.quick else [*SHARED, "--duration-ms", str(options.ms), "--seats", str(options.seats)]
    first = which["before"] or (["chrt", "-r", "1"] if options.undisturbed else [])
    command = [*first, options.loadgen, "table", *size]
    command += ["--data", options.data, "--out", str(folder), *which["args"]]
    done = subprocess.run(command, env={**os.environ, **which["env"]}, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    report = json.loads((folder / "report.json").read_text())
    rows = {}
    for name, depth in zip(("one", "many"), report["depths"]):
        for row in depth["rows"]:
            for when, run in zip(("cold", "warm"), row["rounds"]):
                rows[f"{row['subject']} {name} {when}"] = run
    return {"command": " ".join(command), "rows": rows}


def compare(turns, base, other, key, field):
    """Ratios of a variant to the first one, turn by turn: median, least, most."""
    pairs = [(a["rows"][key][field], b["rows"][key][field]) for a, b in zip(turns[base], turns[other])]
    ratios = sorted(b / a for a, b in pairs if a > 0)
    if not ratios:
        return "–"
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


# What is shown, the run it is from, and the field of it. "one" is a request in flight, "many" are 64.
COLUMNS = [
    ("echo, many: requests/s", "echo many warm", "requests_per_s"),
    ("memory, many, cold: core ns", "memory many cold", "serving_ns"),
    ("memory, many: core ns", "memory many warm", "serving_ns"),
    ("memory, many: requests/s", "memory many warm", "requests_per_s"),
    ("durable, one: core ns", "durable one warm", "serving_ns"),
    ("durable, one: p50 us", "durable one warm", "p50_us"),
    ("durable, many: core ns", "durable many warm", "serving_ns"),
    ("durable, many: log ns", "durable many warm", "logging_ns"),
    ("durable, many: requests/s", "durable many warm", "requests_per_s"),
]


def table(results):
    lines = ["| knob | variant | " + " | ".join(name for name, _, _ in COLUMNS) + " |"]
    lines.append("| --- | --- |" + " ---: |" * len(COLUMNS))
    for knob, turns in results.items():
        base, *others = turns
        middles = []
        for _, key, field in COLUMNS:
            middles.append(f"{statistics.median(t['rows'][key][field] for t in turns[base]):.0f}")
        lines.append(f"| {knob} | {base} | " + " | ".join(middles) + " |")
        for other in others:
            cells = [compare(turns, base, other, key, field) for _, key, field in COLUMNS]
            lines.append(f"| | {other} | " + " | ".join(f"×{cell}" if cell != "–" else cell for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    here = pathlib.Path(__file__).resolve().parents[2]
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", here / "target"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loadgen", default=str(target / "release/frontrow-loadgen"))
    parser.add_argument("--data", default=str(target), help="a folder on the disk to be measured")
    parser.add_argument("--out", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ms", type=int, default=200)
    parser.add_argument("--seats", type=int, default=100_000)
    parser.add_argument("--undisturbed", action="store_true", help="before all other programs, which stand still meanwhile")
    parser.add_argument("--quick", action="store_true", help="tiny inputs: shows that it works, measures nothing")
    parser.add_argument("--knobs", help="names, with commas; all without it")
    options = parser.parse_args()
    out = pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    wanted = knobs(scheduler_of(options.data))
    if options.knobs:
        wanted = {name: wanted[name] for name in options.knobs.split(",")}
    paths = {path for variants in wanted.values() for which in variants for path in which["kernel"]}
    before = {path: in_force(path) for path in paths}
    results, scratch, started = {}, out / "turn", time.time()
    try:
        for knob, variants in wanted.items():
            turns = {which["name"]: [] for which in variants}
            for at in range(options.rounds):
                # Forwards and backwards in turn, so that a drift of the machine favours nobody.
                for which in variants if at % 2 == 0 else reversed(variants):
                    turns[which["name"]].append(turn(options, which, scratch))
            results[knob] = turns
            for path, value in before.items():
                pathlib.Path(path).write_text(value)
            print(f"{time.time() - started:.0f} s: {knob}", flush=True)
            (out / "turns.json").write_text(json.dumps(results, indent=1))
            (out / "ratios.md").write_text(table(results))
    finally:
        for path, value in before.items():
            pathlib.Path(path).write_text(value)
        for file in scratch.glob("*"):
            if file.name == "machine.txt":
                file.replace(out / "machine.txt")
            else:
                file.unlink()
        scratch.rmdir()
    print(table(results))


if __name__ == "__main__":
    main()
