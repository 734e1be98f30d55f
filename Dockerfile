# docker build --build-arg TRACEPROBE_REVISION="$(git rev-parse HEAD)" -t traceprobe .
# docker buildx build --platform linux/arm64 --build-arg TRACEPROBE_REVISION="$(git rev-parse HEAD)" -t traceprobe .
# docker run --rm -p 9464:9464 -v "$PWD/traceprobe.toml:/etc/traceprobe/traceprobe.toml:ro" -e TRACEPROBE_TAG_KEY traceprobe
#
# ECS mounts no single file. There, put the text of the configuration into TRACEPROBE_CONFIG_TEXT (docs/deploy.md).
#
# `.ci/pin-images` writes the digest behind each image. For another platform the compiler runs on this one: emulated, it
# would take an hour.

FROM --platform=$BUILDPLATFORM rust:1.95-bookworm AS build
ARG TARGETARCH
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /src

# aws-lc-sys, SQLite and zstd need a C compiler, jemalloc make as well, and nothing else. The versions are those of the
# image's Debian.
# hadolint ignore=DL3008
RUN case "$TARGETARCH" in \
      amd64) triple=x86_64-unknown-linux-gnu gnu=x86-64-linux-gnu ;; \
      arm64) triple=aarch64-unknown-linux-gnu gnu=aarch64-linux-gnu ;; \
      *) echo "no image is built for TARGETARCH=$TARGETARCH" >&2; exit 1 ;; \
    esac; \
    printf '[build]\ntarget = "%s"\n' "$triple" >"$CARGO_HOME/config.toml"; \
    if [ "$TARGETARCH" != "$(dpkg --print-architecture)" ]; then \
      rustup target add "$triple"; \
      apt-get update; \
      apt-get install -y --no-install-recommends "gcc-$gnu" "libc6-dev-$TARGETARCH-cross"; \
      rm -rf /var/lib/apt/lists/*; \
      printf '[target.%s]\nlinker = "%s-gcc"\n' "$triple" "${gnu/x86-/x86_}" >>"$CARGO_HOME/config.toml"; \
    fi

# The dependencies are a layer of their own, of which only the manifest and the lock file are part. A layer can be kept
# in a registry (--cache-to type=registry,mode=max); cache mounts are gone with the runner. Cargo wants to see the files
# of all targets that the manifest names, so it names none but the program here.
COPY Cargo.toml Cargo.lock ./
RUN awk '/^\[/ { skip = /^\[\[(test|bench)\]\]/ } !skip' Cargo.toml >reduced.toml; \
    mv reduced.toml Cargo.toml; \
    mkdir src; \
    touch src/lib.rs; \
    echo 'fn main() {}' >src/main.rs; \
    cargo build --locked --profile dist --no-default-features --bin traceprobe

# The default features are off, because the sandbox has an admin listener without a password. Copied files keep their
# times, so what was built above would seem newer than they are.
COPY . .
ARG TRACEPROBE_REVISION=unknown
RUN touch src/lib.rs src/main.rs; \
    TRACEPROBE_REVISION="$TRACEPROBE_REVISION" \
    cargo build --locked --profile dist --no-default-features --bin traceprobe; \
    cp target/*/dist/traceprobe /traceprobe

# Contains libc, libgcc and the CA certificates, but no shell and no package manager. `nonroot` is user 65532.
FROM gcr.io/distroless/cc-debian12:nonroot
ARG TRACEPROBE_REVISION=unknown
LABEL org.opencontainers.image.title="traceprobe" \
      org.opencontainers.image.description="Measures how long log events take over each hop of a multi-cloud log pipeline" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.revision="$TRACEPROBE_REVISION"
COPY --from=build /traceprobe /traceprobe
USER 65532:65532
# What C libraries allocate (SQLite, zstd, TLS) comes from glibc. By default it has up to eight memory arenas per
# processor, and memory freed in one cannot be reused by threads of another. Two are enough and keep the process small.
ENV MALLOC_ARENA_MAX=2
EXPOSE 9464
# SIGTERM ends injection at once and gives traces in flight up to probe.stop_grace (25 s) to arrive. Stop the
# container with a longer timeout: docker stop -t 60.
STOPSIGNAL SIGTERM
# For Docker and Podman. ECS ignores it; the task definition has its own.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 CMD ["/traceprobe", "healthcheck"]
ENTRYPOINT ["/traceprobe"]
# Reads /etc/traceprobe/traceprobe.toml, unless TRACEPROBE_CONFIG_TEXT holds the configuration.
CMD ["run"]
