# make demo    everything at once, without charger, account or broker
# make test    install what the tests need, then run `make check`
# make check   what CI checks, in the order that fails fastest
# make bench   the goals of docs/performance.md, measured again: about a quarter of an hour
# make bench-all   every table of that page: about an hour
# make soak-…  the same promises for as long as you like: soak-kill N=1000, soak-power N=10000, …

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SIGNALR := tests/acceptance/signalr
ASYNCAPI := tests/acceptance/asyncapi
AJV := tests/acceptance/ajv
AXE := tests/acceptance/axe
NODERED := tests/acceptance/nodered
NODERED_5 := tests/acceptance/nodered-5
SPARKPLUG := tests/acceptance/sparkplug
PEERS := benchmarks/peers
HASS := .acceptance/home-assistant
AUDIT := $(VENV)/audit
OLD_PIP := $(VENV)/pip-23.0.1
LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-strip-extras --python-version 3.11 \
	--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' pyproject.toml

# Our environment first; the rest is for a shell that was started with nothing.
export PATH := $(CURDIR)/$(BIN):$(PATH):/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin

# Node trusts only its own list of authorities; a machine behind a proxy has more in the system's.
export NODE_EXTRA_CA_CERTS ?= $(wildcard /etc/ssl/certs/ca-certificates.crt)

.DELETE_ON_ERROR:
.PHONY: acceptance acceptance-homeassistant acceptance-asyncapi acceptance-schemas acceptance-nodered acceptance-page
.PHONY: acceptance-sparkplug acceptance-homie acceptance-rabbitmq4
.PHONY: demo test check lint types imports mirror docs-check pytest coverage fmt docs lock clean
.PHONY: bench bench-all bench-report peers
.PHONY: soak-memory soak-stop soak-late
.PHONY: soak-flood soak-standby mosquitto postgresql rabbitmq firewall soak-broker soak-kill soak-power soak-damage soak-faults soak-full soak-crash soak-wear
.PHONY: audit fuzz newcomer release test-packages test-pythons test-locks
.PHONY: simulate-faults simulate-records simulate-sessions simulate-limits simulate-energy simulate-leases soak-cluster soak-feed soak-cluster-cut demo-cluster soak-fleet

# Two workers on a PostgreSQL, of which one takes over from the other: docs/cluster.md.
demo-cluster: $(VENV)/.dev postgresql
	@PYTHONPATH=. $(BIN)/python tools/demo_cluster.py

demo: $(VENV)/.demo
	@$(BIN)/charger-bridge demo $(ARGS)

test: $(VENV)/.dev $(VENV)/.old-pip mosquitto postgresql rabbitmq firewall $(SIGNALR)/node_modules/.package-lock.json
	@$(MAKE) --no-print-directory check

check: lint types imports mirror docs-check pytest

lint:
	ruff check .
	ruff format --check .

types:
	mypy
	mypy tools deploy

imports:
	lint-imports

mirror:
	python tools/check_mirror.py

docs-check:
	python tools/gen_config.py --check
	python tools/gen_topics.py --check
	python tools/gen_states.py --check
	python tools/gen_leds.py --check
	python tools/gen_moving.py --check
	python tools/gen_faults.py --check
	python tools/gen_schemas.py --check

# Most of a run is waiting for real programs, so twice as many at once as a small machine has cores.
# JOBS=0: one after the other, in this process, for a debugger.
pytest:
	python -m pytest -n $(or $(JOBS),4) --dist worksteal $(ARGS)

coverage: $(VENV)/.dev
	python -m pytest --cov --cov-report=term-missing:skip-covered $(ARGS)

# The real programs that are too large for `make test`, each in an environment of its own.
acceptance: acceptance-homeassistant acceptance-asyncapi acceptance-schemas acceptance-nodered acceptance-page
acceptance: acceptance-sparkplug acceptance-homie

acceptance-homeassistant: $(VENV)/.dev mosquitto
acceptance-homeassistant: $(HASS)-2024.3/.made $(HASS)-2025.2/.made $(HASS)-2026.11/.made
	python -m pytest tests/acceptance/test_homeassistant.py $(ARGS)

acceptance-asyncapi: $(VENV)/.dev $(ASYNCAPI)/node_modules/.package-lock.json
	python -m pytest tests/acceptance/test_asyncapi.py $(ARGS)

acceptance-schemas: $(VENV)/.dev $(AJV)/node_modules/.package-lock.json
	python -m pytest tests/acceptance/test_ajv.py $(ARGS)

acceptance-nodered: $(VENV)/.dev mosquitto $(NODERED)/node_modules/.package-lock.json
acceptance-nodered: $(NODERED_5)/node_modules/.package-lock.json
	python -m pytest tests/acceptance/test_nodered.py $(ARGS)

# Hosts of Eclipse Tahu, pysparkplug and mqtt-spb-wrapper at our edge node.
acceptance-sparkplug: $(VENV)/.dev mosquitto $(SPARKPLUG)/node_modules/.package-lock.json
acceptance-sparkplug: .acceptance/pysparkplug/.made .acceptance/mqtt-spb-wrapper/.made
	python -m pytest tests/acceptance/test_sparkplug.py $(ARGS)

# ebus-sdk as a Homie proxy of our Home Assistant discovery.
acceptance-homie: $(VENV)/.dev mosquitto .acceptance/ebus-sdk/.made
	python -m pytest tests/acceptance/test_homie.py $(ARGS)

# Leaves the pictures in docs/images.
# The partner feed and its commands against a RabbitMQ 4.x: the one of Debian testing, in a root of
# its own. Some 450 MB and two to five minutes the first time.
acceptance-rabbitmq4: $(VENV)/.dev mosquitto
	@tools/rabbitmq4.sh $(BIN)/python -m pytest -q -n 2 $(ARGS) \
		tests/acceptance/test_partner_feed.py tests/acceptance/test_command_exchange.py

acceptance-page: $(VENV)/.dev mosquitto $(AXE)/node_modules/.package-lock.json
	@tools/need.sh chromium chromium
	IMAGES=docs/images python -m pytest tests/acceptance/test_page.py $(ARGS)

# Each lock really installed, by each of three pips, while newer releases of everything are out.
test-locks: $(VENV)/.dev
	python -m tests.locks.install $(ARGS)

# The tests on every Python from 3.11 to 3.14 that is here or in a Debian; VERSIONS names some.
test-pythons: $(VENV)/.old-pip mosquitto postgresql rabbitmq firewall $(SIGNALR)/node_modules/.package-lock.json
	@ARGS="$(ARGS)" tools/pythons.sh $(VERSIONS)

# Longer runs of what `make pytest` checks for seconds; SEED repeats one.

soak-kill: $(VENV)/.dev mosquitto
	python -m tests.soak.kill $(or $(N),1000) $(SEED)

soak-power: $(VENV)/.dev
	python -m tests.soak.power $(or $(N),10000) $(SEED)

soak-damage: $(VENV)/.dev
	python -m tests.soak.damage $(or $(N),3000) $(SEED)

soak-faults: $(VENV)/.dev
	python -m tests.soak.faults $(or $(N),200)

soak-wear: $(VENV)/.dev
	python -m tests.soak.wear

soak-flood: $(VENV)/.dev
	python -m tests.soak.flood $(or $(N),500000)

soak-full: $(VENV)/.dev
	python -m tests.soak.full

# Simulated hours of bad networks; SEED says which is the first. docs/simulation.md
simulate-faults: $(VENV)/.dev
	python -m tests.simulation.play $(or $(SEEDS),200) $(or $(SEED),1) $(ARGS)

# Lives of at most a quarter of an hour, whose records are replayed as they are and as they are written.
simulate-records: $(VENV)/.dev
	python -m tests.simulation.play $(or $(SEEDS),10000) $(or $(SEED),1) --hours 0.25 --redacted 1 $(ARGS)

# Histories of sessions with wrong clocks, standing counters and losses. docs/simulation.md
simulate-sessions: $(VENV)/.dev
	python -m tests.simulation.sessions $(or $(SEEDS),10000) $(or $(SEED),1)

# Minutes of the limits of one charger, with other controllers. docs/simulation.md
simulate-limits: $(VENV)/.dev
	python -m tests.simulation.limits $(or $(SEEDS),10000) $(or $(SEED),1)

# Days of one meter with outages and crashes. docs/simulation.md
simulate-energy: $(VENV)/.dev
	python -m tests.simulation.energy $(or $(SEEDS),10000) $(or $(SEED),1)

# Minutes of five workers whose clocks differ. docs/simulation.md
simulate-leases: $(VENV)/.dev
	python -m tests.simulation.leases $(or $(SEEDS),10000) $(or $(SEED),1)

# N times at each of sixteen points.
soak-crash: $(VENV)/.dev mosquitto
	python -m tests.soak.crash_points $(or $(N),50)

# Workers die while commands are sent; docs/cluster.md. FAULTS="kill=100 stop=50 term=20 nodb=20"
# PARTITIONS=16 WORKERS=3 CHARGERS=10000: the fleet divided among workers; orphan=N besides.
SOAK_CLUSTER := --partitions $(or $(PARTITIONS),1) --workers $(or $(WORKERS),2) --chargers $(or $(CHARGERS),40)

soak-cluster: $(VENV)/.dev mosquitto postgresql
	python -m tests.workers.runs $(or $(FAULTS),kill=100 stop=50 term=20 nodb=20) $(SOAK_CLUSTER) $(ARGS)

# The partner feed of two workers while they, RabbitMQ and the broker are killed or stand still.
soak-feed: $(VENV)/.dev mosquitto postgresql rabbitmq
	python -m tests.workers.feed $(or $(FAULTS),kill=10 stop=10 server=10 freeze=10 broker=10) $(ARGS)

# Many chargers of 60 observations an hour through the feed, 16 partitions and a broker.
soak-fleet: $(VENV)/.dev mosquitto postgresql rabbitmq
	python -m tests.workers.fleet --chargers $(or $(CHARGERS),10000) --minutes $(or $(MINUTES),10) $(ARGS)

# As root: all in a network of its own, where packets vanish.
soak-cluster-cut: $(VENV)/.dev mosquitto postgresql
	unshare -n sh -c 'ip link set lo up && python -m tests.workers.runs $(or $(FAULTS),cut=20) $(SOAK_CLUSTER) $(ARGS)'

# One figure of docs/performance.md each; benchmarks/results has them as JSON.
BENCHMARKS := throughput latency commands saturated replay fleet memory start drain idle counts partner_feed
GATEWAYS := gateway "gateway, the revision before"

# The goals alone. BEFORE names a working tree of the revision before, which then runs in the same
# turns: git worktree add /tmp/before HEAD~20; make bench BEFORE=/tmp/before
bench: export BEFORE := $(BEFORE)
bench: $(VENV)/.dev mosquitto
	python -m benchmarks.counts
	python -m benchmarks.recording
	python -m benchmarks.throughput --times 5 --only "Python floor" $(GATEWAYS) "gateway, JSON and scalar"
	python -m benchmarks.latency --only "C floor" $(GATEWAYS)
	python -m benchmarks.commands
	python -m benchmarks.drain --times 5
	python -m benchmarks.memory --alone
	python -m benchmarks.start
	python -m benchmarks.idle
	python -m benchmarks.saturated --times 0
	python -m benchmarks.fleet --sizes 10 100000 --each 4 --times 2
	python -m benchmarks.report --print

bench-all: $(VENV)/.dev mosquitto rabbitmq
	for name in $(BENCHMARKS); do python -m benchmarks.$$name || exit; done
	python -m benchmarks.throughput --window 20 --json benchmarks/results/throughput-window-20.json

# The tables of docs/performance.md, from what `make bench` left.
bench-report: $(VENV)/.dev
	python -m benchmarks.report

# Every border, N inputs each, guided by coverage; TARGET names some, SEED repeats a run.
fuzz: $(VENV)/.fuzz
	python -m tests.fuzz.guided $(or $(N),1000000) $(TARGET)

# Node-RED and mqtt.js, for comparison; without them the benchmarks leave them out.
peers: $(PEERS)/node_modules/.package-lock.json

# N real minutes, 60 N simulated ones: memory, descriptors, threads, tasks.
soak-memory: $(VENV)/.dev mosquitto
	python -m tests.soak.memory $(or $(N),10) $(SEED)

# Packets to the cloud vanish for 3 to 60 seconds: 48 holes, 144 commands, a quarter of an hour.
soak-late: $(VENV)/.dev mosquitto firewall
	python -m tests.soak.late

# Stopped for N seconds.
soak-stop: $(VENV)/.dev mosquitto
	python -m tests.soak.stop $(or $(N),600)

# 0: all looked up and nothing known; 1: something known; 75: the service could not be asked.
audit: $(VENV)/.audit
	@PATH="$(CURDIR)/$(VENV)/audit/bin:$$PATH" python tools/audit.py

# Everything that is released, in dist, each file built twice and compared; root alone can build the
# images. IMAGES="amd64 arm64": on a machine that can run both, or with qemu-user-static.
release: $(VENV)/.dev $(VENV)/.audit
	python -m tools.release dist --twice
	@tools/need.sh buildah buildah
	@tools/need.sh mmdebstrap mmdebstrap
	for each in $(or $(IMAGES),amd64); do python -m tools.image dist --architecture $$each --twice || exit; done
	$(VENV)/audit/bin/python -m tools.sbom dist

# What `make release` left, installed, run, upgraded and removed in fresh Debians; as root.
# ROOTS_HOME: where those Debians are kept.
test-packages: $(VENV)/.dev mosquitto
	@tools/need.sh debootstrap debootstrap
	@tools/need.sh systemd-nspawn systemd-container
	@tools/need.sh buildah buildah
	@tools/need.sh crun crun
	RELEASE=dist python -m pytest tests/packages $(ARGS)

# Every way of installing, from an empty folder to the first confirmed command, timed; as root, after
# `make release`. Leaves the table in docs/install.md.
newcomer: $(VENV)/.dev mosquitto
	python -m tests.packages.newcomer dist $(WAYS)

fmt: $(VENV)/.dev
	ruff check --fix .
	ruff format .

docs: $(VENV)/.dev
	python tools/gen_config.py
	python tools/gen_topics.py
	python tools/gen_states.py
	python tools/gen_leds.py
	python tools/gen_moving.py
	python tools/gen_faults.py
	python tools/gen_schemas.py

# Long runs; `make test` does short ones. N says how often.
soak-broker: $(VENV)/.dev mosquitto
	python -m tests.soak.broker $(or $(N),100) $(SEED)

# One resolution for all: what runs is what was tested.
lock: $(VENV)/.dev
	$(LOCK) --extra demo --extra cluster --extra amqp --group build --group dev $(ARGS) -o requirements/dev.txt
	$(LOCK) --extra demo --group build -c requirements/dev.txt -o requirements/demo.txt
	$(LOCK) --group build -c requirements/dev.txt -o requirements/run.txt
	$(LOCK) --extra demo --extra cluster --extra amqp --group build -c requirements/dev.txt -o requirements/all.txt
	$(LOCK) --extra cluster --group build -c requirements/dev.txt -o requirements/cluster.txt
	$(LOCK) --extra amqp --group build -c requirements/dev.txt -o requirements/amqp.txt
	$(LOCK) --group fuzz -c requirements/dev.txt -o requirements/fuzz.txt
	$(LOCK:pyproject.toml=) --group audit -o requirements/audit.txt

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -rf .import_linter_cache .coverage .fuzz .release $(SIGNALR)/node_modules $(ASYNCAPI)/node_modules $(AJV)/node_modules $(AXE)/node_modules $(NODERED)/node_modules $(NODERED_5)/node_modules $(SPARKPLUG)/node_modules $(PEERS)/node_modules

# -- the environment: stamps, so that a second run starts at once ---------------------------------

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "charger-bridge: making $(VENV), with `$(PYTHON) --version`"
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "No venv: on Debian and Raspberry Pi OS, apt install python3-venv"; exit 1; }
	@touch $@

$(VENV)/.demo: $(VENV)/.made requirements/demo.txt pyproject.toml
	@test -e $(VENV)/.dev || tools/install.sh $(VENV) demo
	@touch $@

$(VENV)/.dev: $(VENV)/.made requirements/dev.txt pyproject.toml
	@tools/install.sh $(VENV) dev
	@touch $@

$(VENV)/.fuzz: $(VENV)/.dev requirements/fuzz.txt
	@tools/install.sh $(VENV) fuzz
	@touch $@

# Apart from the rest: forty packages that only look at the others.
$(VENV)/.audit: $(VENV)/.made requirements/audit.txt
	@$(PYTHON) -m venv $(AUDIT)
	@tools/install.sh $(AUDIT) audit
	@touch $@

# Beside the environment, not in it: tests/locks tries every lock with it.
$(VENV)/.old-pip: $(VENV)/.made tests/locks/old-pip.txt
	@$(BIN)/python -m pip --disable-pip-version-check --quiet install --no-deps --require-hashes \
		--upgrade --target $(OLD_PIP) -r tests/locks/old-pip.txt
	@touch $@

mosquitto:
	@tools/need.sh mosquitto mosquitto

# The server's programs are in the folder of its version, and not in the path.
postgresql:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || tools/need.sh initdb postgresql

# A server for the partner feed; the tests start their own, not the service.
rabbitmq:
	@PATH=$(PATH):/usr/lib/rabbitmq/bin tools/need.sh rabbitmq-server rabbitmq-server

# For a network of the tests' own, where packets can be made to vanish.
firewall:
	@tools/need.sh nft nftables
	@tools/need.sh ip iproute2

%/node_modules/.package-lock.json: %/package-lock.json
	@tools/need.sh npm npm && npm ci --silent --no-fund --no-audit --prefix $*
	@touch $@

# The last version for our oldest Python, the first that is asked for the device form, and the newest,
# each where its Python is, or a Debian that has it: tools/find_python.sh.
$(HASS)-2024.3/.made: HASS_PYTHON = 3.11
$(HASS)-2025.2/.made: HASS_PYTHON = 3.13
$(HASS)-2026.11/.made: HASS_PYTHON = 3.14
.acceptance/%/.made: tests/acceptance/requirements/%.txt | $(VENV)/.dev
	@mkdir -p $(@D)
	@$(BIN)/uv venv --quiet --allow-existing $(@D) && \
		$(BIN)/uv pip install --quiet --python $(@D)/bin/python -r $< && touch $@

$(HASS)-%/.made: tests/acceptance/home_assistant/requirements-%.txt | $(VENV)/.dev
	@tools/python_env.sh $(HASS_PYTHON) $(@D) $< && touch $@ || \
		{ [ $$? -eq 2 ] && echo "Home Assistant $*: its tests are skipped"; }
