# Pear Box. `make run` sets up and starts a node; `make test` is all that CI runs. Everything else is slower or rarer.

GO     ?= go
BIN    := pearbox
TIME   ?= 30s
ROUNDS ?= 200
SEEDS  ?= 2000

.PHONY: run build test programs cases vet crash soak enumerate fuzz bench fuse tools clean

run: fuse build
	./$(BIN) up --first-run

build:
	$(GO) build -o $(BIN) ./cmd/pearbox

# All that CI runs.
test: fuse tools vet
	$(GO) test -timeout 25m ./...

vet:
	@out=$$(gofmt -l cmd drive fuse swarm chat serve); if [ -n "$$out" ]; then echo "not gofmt-ed:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...

# The mount needs FUSE. Installed when missing and possible; without it everything but the mount works, and says so.
fuse:
	@if command -v fusermount3 >/dev/null 2>&1; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	  echo "installing fuse3"; \
	  apt-get install -y -qq fuse3 >/dev/null 2>&1 || { apt-get update -qq && apt-get install -y -qq fuse3 >/dev/null; } \
	  || echo "fuse3 could not be installed: the mount will be missing, everything else works"; \
	elif command -v apt-get >/dev/null 2>&1 && sudo -n true 2>/dev/null; then \
	  echo "installing fuse3"; sudo -n apt-get install -y -qq fuse3 >/dev/null \
	  || echo "fuse3 could not be installed: the mount will be missing, everything else works"; \
	else echo "FUSE is missing: to mount rooms as folders install it first (Debian, Ubuntu: sudo apt install fuse3; Fedora: sudo dnf install fuse3; Arch: sudo pacman -S fuse3). Everything else works without."; fi

# What the tests need besides FUSE: programs that scripts run, and the makers of network namespaces.
TOOLS := curl:curl ip:iproute2 unshare:util-linux rsync:rsync zip:zip unzip:unzip sqlite3:sqlite3 vi:vim-tiny mkfs.ext4:e2fsprogs
tools:
	@need=""; for t in $(TOOLS); do command -v $${t%%:*} >/dev/null 2>&1 || need="$$need $${t##*:}"; done; \
	if [ -n "$$need" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	  echo "installing$$need"; \
	  apt-get install -y -qq $$need >/dev/null 2>&1 || { apt-get update -qq && apt-get install -y -qq $$need >/dev/null; } \
	  || echo "could not be installed, and what needs them is not tested:$$need"; \
	elif [ -n "$$need" ]; then echo "missing, and what needs them is not tested:$$need"; fi

# Large programs at work in mounts: they are installed when missing and possible. Those that are missing still are named and left out.
programs: TOOLS += emacs:emacs-nox ffmpeg:ffmpeg soffice:libreoffice-writer-nogui
programs: fuse tools
	PEARBOX_TEST_PROGRAMS=1 $(GO) test -v -count=1 -timeout 10m -run 'TestEndToEnd/^(programs|large|module)$$' ./cmd/pearbox

# All scripted cases of two users through two mounts; the test that CI runs plays every tenth.
cases: fuse
	PEARBOX_TEST_CASES=all $(GO) test -count=1 -timeout 20m -run 'TestCasesMounted' ./cmd/internal/nodetest

# The slower suites. Each prints what it needs to be run again: a seed or a history.
crash:
	$(GO) test -count=1 -timeout 0 -run 'TestCrash' ./fuse -args -seed 0 -crashes $(ROUNDS)
	PEARBOX_TEST_KILLS=$(ROUNDS) $(GO) test -count=1 -timeout 0 -run 'TestKill' ./cmd/internal/nodetest
	PEARBOX_TEST_CUTS=$(ROUNDS) $(GO) test -count=1 -timeout 0 -run 'TestPowerCut' ./cmd/internal/nodetest

# Seeds of TestRandom need ptrace to be repeatable, and 1 GiB in /dev/shm to be fast.
soak:
	PEARBOX_HISTORIES=$$(($(SEEDS) * 500)) $(GO) test -count=1 -timeout 0 -run 'TestManyRandomHistories' ./drive/tree
	PEARBOX_HISTORIES=$$(($(SEEDS) * 50)) $(GO) test -count=1 -timeout 0 -run 'TestLongHistories' ./drive/tree
	PEARBOX_ENUMERATE=3x5~30,3x4+~30 $(GO) test -v -count=1 -timeout 0 -run 'TestEnumerate$$' ./drive/tree
	$(GO) test -count=1 -timeout 0 -run 'TestConvergence' ./drive/room -args -seeds $(SEEDS)
	$(GO) test -count=1 -timeout 0 -run 'TestLongerHistories' ./drive/room -args -wander $$(($(SEEDS) * 50))
	PEARBOX_TEST_SEEDS=1,$(SEEDS) $(GO) test -count=1 -timeout 0 -run 'TestRandom$$|TestRandomMembers$$' ./cmd/internal/nodetest
	$(GO) test -count=1 -timeout 0 -run 'TestRandomCommands' ./drive/vfs -args -seeds $$(($(SEEDS) * 10))
	$(GO) test -v -count=1 -timeout 0 -run 'TestRandom' ./fuse -args -seed 0 -ops $$(($(SEEDS) * 500))
	PEARBOX_TEST_OPS=0,$$(($(SEEDS) * 50)) $(GO) test -v -count=1 -timeout 0 -run 'TestRandomFolder' ./cmd/internal/nodetest
	PEARBOX_TEST_CROWD=200 $(GO) test -v -count=1 -timeout 0 -run 'TestCrowd' ./cmd/internal/nodetest

# Of the tree, days on two cores: 3x5 alone has some 650 million histories, of which about two thirds are looked at (the others come to the same), at some
# 10,000 a second. PEARBOX_ENUMERATE_SHARD=0/8 does an eighth, PEARBOX_ENUMERATE_FROM goes on where one ended. Of members, minutes: about a million histories.
enumerate:
	PEARBOX_ENUMERATE=3x4+,3x5 $(GO) test -v -count=1 -timeout 0 -run 'TestEnumerate' ./drive/tree
	$(GO) test -count=1 -timeout 0 -run 'TestShortHistories' ./drive/room -args -full

fuzz:
	@set -e; for f in $$(grep -rl --include=*_test.go '^func Fuzz' cmd drive fuse swarm chat serve); do \
	  for t in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' $$f); do \
	    echo "$$t in $$(dirname $$f)"; $(GO) test -run '^$$' -fuzz "^$$t\$$" -fuzztime $(TIME) ./$$(dirname $$f); done; done

# Figures beside a baseline of the same run; one pair of each is PAIRS=1.
PAIRS ?= 5
bench:
	$(GO) run ./cmd/internal/bench -pairs $(PAIRS)

clean:
	rm -f $(BIN)
