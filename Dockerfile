# syntax=docker/dockerfile:1
# A small image that is not root: the program, the libraries that it is linked with, certificates.
# There is no shell and no package manager in it. scripts/image makes the same without an engine.
#
#   docker build -t mayfly .
#   docker build -t mayfly --target with-charts .      with helm and kubectl, which render teams' charts
#
# Pin the builder's digest where you build for others: --build-arg BUILDER=rust:1.95-slim-bookworm@sha256:…
# The same goes for GO, which builds helm and kubectl from the pins that the tests run with.
ARG BUILDER=rust:1.95-slim-bookworm
ARG GO=golang:1.26-bookworm
FROM ${BUILDER} AS build
WORKDIR /src
# What the manifest names is compiled in a layer of its own: a change of our source does not build
# the dependencies again.
COPY Cargo.toml Cargo.lock ./
RUN for file in src/main.rs $(sed -n 's/^path = "\(.*\)"$/\1/p' Cargo.toml); do \
        mkdir -p "$(dirname "$file")" && echo 'fn main() {}' > "$file"; \
    done \
    && touch src/lib.rs && cargo build --release --locked --bin mayfly
COPY src src
COPY migrations migrations
COPY scripts/image scripts/image
# The stand-ins are younger than the sources' times; cargo goes by those.
RUN touch src/main.rs src/lib.rs \
    && cargo build --release --locked --bin mayfly \
    && scripts/image --rootfs /rootfs --binary target/release/mayfly

# Built only for the target with-charts.
FROM ${GO} AS tools
WORKDIR /src
COPY tests/tools tests/tools
RUN mkdir /tools && tests/tools/build charts | while read -r name path; do cp "$path" "/tools/$name"; done

FROM scratch AS plain
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="mayfly" \
      org.opencontainers.image.description="Ephemeral preview environments for pull requests" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /rootfs/ /
ENV PATH=/usr/local/bin
USER 65532:65532
# No HEALTHCHECK: Kubernetes asks by itself. Compose: healthcheck: {test: [CMD, mayfly, healthcheck]}
ENTRYPOINT ["/usr/local/bin/mayfly"]

FROM plain AS with-charts
COPY --from=tools /tools/ /usr/local/bin/

# What is built when no target is named.
FROM plain
