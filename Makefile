# The two commands: make demo, make test. Both install what they need, or say how.

.PHONY: demo demo-cluster test test-node bench check deps

TARGET := $(or $(CARGO_TARGET_DIR),target)

# make demo ARGS=--stay keeps it running.
demo: deps
	cargo build --quiet --bin mayfly --example sample-shop
	$(TARGET)/debug/mayfly demo $(ARGS)

# The same story with previews as pods: on a node of its own (as root), or in the cluster of $KUBECONFIG
# with ARGS="--image … --postgres-host … --ingress-address …" (mayfly demo --help).
demo-cluster: deps
	cargo build --quiet --bin mayfly --example sample-shop --example test-cluster
	scripts/demo-cluster $(TARGET)/debug $(ARGS)

test:
	@scripts/deps.sh tests
	cargo test

# The whole product on a node that really runs pods, as root; it installs containerd and its like, and
# starts none of them.
test-node:
	@why=$$(scripts/can-node) || { echo "make test-node cannot run here: $$why" >&2; exit 3; }
	@scripts/deps.sh tests
	cargo build --quiet --bin mayfly --example test-cluster --example sample-shop
	cargo test --test node
	cargo test --test product -- --nocapture
	cargo test --test suite lifecycle_external_dns

# How fast it is, next to what the machine can do: docs/performance.md. QUICK=1 is one short round,
# ONLY=8,9 some of its rows.
bench: deps
	cargo build --release --quiet --bin mayfly --example bench
	! tests/tools/build --no-build control-plane >/dev/null 2>&1 || cargo build --quiet --example test-cluster
	$(TARGET)/release/examples/bench

# What else a change has to pass.
check:
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items

deps:
	@scripts/deps.sh
