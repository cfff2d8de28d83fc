# A thin front for meson: `make demo` and `make test` do all the set-up they need by themselves.
#
#   make build      the program, at build/safe-run        make lint    clang-format, clang-tidy, cppcheck
#   make demo       runs examples/hello.yaml, verifies    make fuzz    60 s of each fuzz target
#   make test       every test, plain and sanitized       make bench   the figures of bench/
#   make setup      installs missing Debian packages      make install DESTDIR= PREFIX=/usr/local
#
# KERNEL=path uses that guest kernel instead of building ours.

PREFIX ?= /usr/local
BUILD ?= build
KERNEL ?=
export KERNEL

.PHONY: build setup demo test lint fuzz bench install clean

build: setup $(BUILD)/build.ninja
	@out=$$(ninja -C $(BUILD) --quiet) || { echo "$$out"; exit 1; }
	@scripts/artifacts $(BUILD)

setup:
	@scripts/setup

$(BUILD)/build.ninja:
	@meson setup $(BUILD) --prefix=$(PREFIX) > /dev/null

demo: build
	@scripts/demo $(BUILD)

test: build
	@[ -e build-asan/build.ninja ] || meson setup build-asan -Db_sanitize=address,undefined > /dev/null
	@out=$$(ninja -C build-asan --quiet) || { echo "$$out"; exit 1; }
	@scripts/artifacts build-asan
	@scripts/fuzz 3
	@tests/run.py $(BUILD) build-asan

lint: setup $(BUILD)/build.ninja
	@scripts/lint $(BUILD)

fuzz: setup
	@scripts/fuzz 60

bench: build
	@scripts/bench $(BUILD)

install: build
	@meson configure $(BUILD) -Dprefix=$(PREFIX)
	@DESTDIR=$(DESTDIR) meson install -C $(BUILD) --quiet
	@scripts/artifacts --install $(BUILD) $(DESTDIR)$(PREFIX)/lib/safe-run

clean:
	rm -rf build build-*
