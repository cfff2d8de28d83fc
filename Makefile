# A thin front for meson: `make demo` and `make test` do all the set-up they need by themselves.
#
#   make build      the program, at build/safe-run        make lint    clang-format, clang-tidy, cppcheck
#   make demo       runs examples/hello.yaml, verifies    make fuzz    60 s of each fuzz target
#   make test       every test, plain and sanitized       make bench   the figures of bench/
#   make setup      installs missing Debian packages      make install DESTDIR= PREFIX=/usr/local
#   make test-fresh RELEASE=trixie: `make demo` and `make test` in a bare root of that release
#
# Each installs the packages it needs (scripts/setup); for an ordinary user it says which are missing.
# KERNEL=path uses that guest kernel instead of building ours.

PREFIX ?= /usr/local
BUILD ?= build
RELEASE ?= trixie
KERNEL ?=
export KERNEL

.PHONY: build demo test lint fuzz bench install setup setup-build setup-run setup-test program test-fresh clean
.NOTPARALLEL:

build: setup-build program

demo: setup-run program
	@scripts/demo $(BUILD)

# A directory that was made for the demo alone gets the tests, too.
test: setup-test $(BUILD)/build.ninja
	@meson configure $(BUILD) -Dtests=true
	@$(MAKE) -s program
	@[ -e build-asan/build.ninja ] || meson setup build-asan -Db_sanitize=address,undefined > /dev/null
	@$(MAKE) -s program BUILD=build-asan
	@scripts/fuzz 3
	@tests/run.py $(BUILD) build-asan

lint: setup-test $(BUILD)/build.ninja
	@scripts/lint $(BUILD)

fuzz: setup-test
	@scripts/fuzz 60

bench: setup-test $(BUILD)/build.ninja
	@meson configure $(BUILD) -Dtests=true
	@$(MAKE) -s program
	@scripts/bench $(BUILD)

install: build
	@meson configure $(BUILD) -Dprefix=$(PREFIX)
	@DESTDIR=$(DESTDIR) meson install -C $(BUILD) --quiet
	@scripts/artifacts --install $(BUILD) $(DESTDIR)$(PREFIX)/lib/safe-run

setup: setup-test
setup-build:
	@scripts/setup build
setup-run:
	@scripts/setup build run
setup-test:
	@scripts/setup build run test

program: $(BUILD)/build.ninja
	@out=$$(ninja -C $(BUILD) --quiet) || { echo "$$out"; exit 1; }
	@scripts/artifacts $(BUILD)

$(BUILD)/build.ninja:
	@meson setup $(BUILD) --prefix=$(PREFIX) -Dtests=false > /dev/null

test-fresh:
	@scripts/fresh $(RELEASE) test

clean:
	rm -rf build build-*
