# Frontrow: make run, make test. Everything else is detail.
CARGO ?= cargo
# One target directory, so that nothing is built twice.
export CARGO_TERM_COLOR ?= auto

.PHONY: run test check unit python sim sim-bugs kills failovers api api-service chain run-full cdc-reader drill edge bench-shard bench-table bench-peers bench-log bench-cold bench-recovery bench-snapshots bench-backup bench-bookings bench-postgres bench-visible bench-kafka load bench-load fuzz fmt clean need-cargo need-python

## make run: builds and serves the sample hall on 127.0.0.1 (HTTP and WebSocket 7410, raw TCP 7411).
run: need-cargo
	@$(CARGO) build --release --quiet -p frontrow-cli
	@./target/release/frontrow serve

## make run-full: Kafka, PostgreSQL and its replica, server, backup and bookings service (apt-get install default-jre-headless maven postgresql).
run-full: need-cargo
	@$(CARGO) build --release --quiet -p frontrow-cli --bin frontrow --example full
	@./target/release/examples/full

## make test: everything that must hold, from formatting to a killed server under load.
test: need-cargo need-python check unit python

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

unit:
	$(CARGO) build --workspace --bins
	$(CARGO) test --workspace --no-fail-fast
	$(CARGO) bench -p frontrow-shard --bench shard --profile dev -- --quick
	$(CARGO) bench -p frontrow-shard --bench replay --profile dev -- --quick
	./target/debug/examples/recovery 3000 4096 1
	./target/debug/examples/snapshot_latency 8000 1 5 3000
	./target/debug/examples/fill 20000

## The client written from docs/protocol.md alone, against a real server; and the script that compares settings.
python: need-python
	$(CARGO) build -p frontrow-cli -p frontrow-loadgen
	python3 examples/python/run_selftest.py target/debug/frontrow
	python3 tests/drill.py target/debug/frontrow
	python3 tuning/measure/ab.py --quick --rounds 1 --knobs durability --loadgen target/debug/frontrow-loadgen \
		--out target/tuning-quick

## make load: an on-sale against the server that `make run` started; a minute later there is a page to open.
load: need-cargo
	@$(CARGO) run --release --quiet -p frontrow-loadgen -- onsale

## make sim SEED=n: the server's cores on one thread under a seed, with crashes and cuts; COUNT=m plays m seeds from it on.
SEED ?= 0
COUNT ?= 1
sim: need-cargo
	@$(CARGO) run --quiet -p frontrow-sim -- $(SEED) $(COUNT)

## make sim-bugs: every planted bug, until the simulator finds it; fails if one is not found within SEEDS seeds.
SEEDS ?= 400
sim-bugs: need-cargo
	@$(CARGO) run --quiet -p frontrow-sim --features plant --target-dir target/planted -- --bugs $(SEEDS)

## A real server killed under load, KILLS times; everything acknowledged is compared after each.
KILLS ?= 200
kills: need-cargo
	FRONTROW_KILLS=$(KILLS) $(CARGO) test --release -p frontrow-cli --test kill nothing_acknowledged -- --nocapture

## The bookings' HTTP side against its OpenAPI document (installs schemathesis into target/venv; apt-get install python3-venv).
api: need-cargo need-python
	$(CARGO) build -p frontrow-cli
	python3 -m venv target/venv
	target/venv/bin/pip install --quiet schemathesis==4.32.5
	target/venv/bin/python tests/bookings_api.py target/debug/frontrow

## The same of the bookings service, out of Kafka and PostgreSQL.
api-service: need-cargo need-python
	$(CARGO) build -p frontrow-cli --bin frontrow --example full
	python3 -m venv target/venv
	target/venv/bin/pip install --quiet schemathesis==4.32.5
	target/venv/bin/python tests/bookings_api.py target/debug/frontrow 60 --service

## What reads the topics in Kafka by docs/cdc.md alone: target/venv/bin/python tests/read_changes.py BROKERS [PREFIX [REGISTRY]]
cdc-reader: need-python
	python3 -m venv target/venv
	target/venv/bin/pip install --quiet 'confluent-kafka[avro,schemaregistry]==2.16.1'

## What docs/operations.md says to do when an alarm rings, on real processes.
drill: need-cargo need-python
	$(CARGO) build -p frontrow-cli
	python3 tests/drill.py target/debug/frontrow

## The whole way of a booking, with real Kafka and PostgreSQL: a stadium of SEATS sold, then ROUNDS of kills.
ROUNDS ?= 30
SEATS ?= 50000
chain: need-cargo
	FRONTROW_ROUNDS=$(ROUNDS) FRONTROW_SEATS=$(SEATS) $(CARGO) test -p frontrow-cli --test chain -- --nocapture

## Two nodes and etcd; the primary killed, stopped and cut off, FAILOVERS times (apt-get install etcd-server; as root).
FAILOVERS ?= 51
failovers: need-cargo
	FRONTROW_FAILOVERS=$(FAILOVERS) $(CARGO) test --release -p frontrow-cli --test cluster failovers_lose_nothing -- --nocapture

## Figures. Run them on a quiet machine; results go to bench-results/.
bench-shard: need-cargo
	$(CARGO) bench -p frontrow-shard --bench shard
	$(CARGO) bench -p frontrow-shard --bench replay

## The same claims, durable here alone and at a standby process too, in one run.
bench-backup: need-cargo
	$(CARGO) build --release -p frontrow-cli -p frontrow-loadgen
	./target/release/frontrow-loadgen table --backup --depths 1,16,64 --out bench-results/$(shell date -u +%F)-backup

## The same claims with a table of bookings fed from the log, and without, in one run.
bench-bookings: need-cargo
	$(CARGO) build --release -p frontrow-loadgen
	./target/release/frontrow-loadgen table --bookings --depths 1,16,64 --out bench-results/$(shell date -u +%F)-bookings
	$(CARGO) run --release -p frontrow-bookings --example fill

## The same claims with every change told to a real Kafka, and without, in one run (apt-get install default-jre-headless maven).
bench-kafka: need-cargo
	$(CARGO) build --release -p frontrow-loadgen
	./target/release/frontrow-loadgen table --kafka --depths 1,16,64 --out bench-results/$(shell date -u +%F)-kafka

## Consumers from a topic in memory into a PostgreSQL that is started for it, fsync on (apt-get install postgresql).
bench-postgres: need-cargo
	$(CARGO) run --release -p frontrow-bookings --features postgres --example apply

## Until a booking can be seen through the API, at 20,000 a second: embedded, and through Kafka and PostgreSQL.
bench-visible: need-cargo
	$(CARGO) run --release -p frontrow-cli --example visible

bench-table: need-cargo
	$(CARGO) run --release -p frontrow-loadgen -- table

## The same claims on Frontrow, Redis and PostgreSQL in one run (apt-get install redis-server postgresql).
bench-peers: need-cargo
	$(CARGO) run --release -p frontrow-loadgen -- peers

## What a sold-out event costs in memory on sale, in its archive, while it is browsed, and after a restart.
bench-cold: need-cargo
	$(CARGO) run --release -p frontrow-cli --example cold_memory

## How long after a SIGKILL a million seats with five million records in the log are served again.
bench-recovery: need-cargo
	$(CARGO) run --release -p frontrow-cli --example recovery

## Claims at a fixed rate while snapshots are made, and without.
bench-snapshots: need-cargo
	$(CARGO) run --release -p frontrow-cli --example snapshot_latency

## Capacity, overload at twice that, an expiry storm, a reconnect storm, on a server started for it.
bench-load: need-cargo
	$(CARGO) build --release -p frontrow-cli -p frontrow-loadgen
	./target/release/frontrow-loadgen bench

bench-log: need-cargo
	$(CARGO) run --release -p frontrow-wal --example commit_cost

## A minute for each decoder that sees bytes from outside (needs a nightly toolchain and cargo-fuzz).
fuzz: need-cargo
	./fuzz/run 60

## Hostile clients against real servers; slower than the rest, so not part of make test.
edge: need-cargo
	cd tests && $(CARGO) test

fmt:
	$(CARGO) fmt --all

clean:
	$(CARGO) clean

need-cargo:
	@command -v $(CARGO) >/dev/null || { echo "missing: Rust 1.88 or newer (https://rustup.rs) and a C compiler (apt-get install build-essential)"; exit 1; }
	@command -v cc >/dev/null || { echo "missing: a C compiler and linker (apt-get install build-essential)"; exit 1; }

need-python:
	@command -v python3 >/dev/null || { echo "missing: Python 3.9 or newer (apt-get install python3)"; exit 1; }
