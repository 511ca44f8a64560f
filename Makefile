# Pear Box. `make run` sets up and starts a node; `make test` is all that CI runs. Everything else is slower or rarer.

GO     ?= go
BIN    := pearbox
TIME   ?= 30s
ROUNDS ?= 200
SEEDS  ?= 2000

.PHONY: run build test vet check short crash soak enumerate fuzz bench fuse tools clean

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
