# syntax=docker/dockerfile:1
#
# docker build -t traceprobe .
# docker run --rm -p 9464:9464 -v "$PWD/traceprobe.toml:/etc/traceprobe/traceprobe.toml:ro" -e TRACEPROBE_TAG_KEY traceprobe
#
# On ECS, which cannot mount a single file, derive an image: FROM traceprobe, COPY traceprobe.toml /etc/traceprobe/traceprobe.toml

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# aws-lc-sys needs a C compiler and nothing else. The registry and the built dependencies stay in cache mounts between builds, so that a change
# to our own code costs one crate; the binary is copied out, since a cache mount is no part of the image. Without the default features: the
# sandbox, whose admin listener has no password, stays outside.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --locked --profile dist --no-default-features --bin traceprobe \
    && cp target/dist/traceprobe /traceprobe

# libc, libgcc and the CA certificates; no shell and no package manager. `nonroot` is user 65532.
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="traceprobe" \
      org.opencontainers.image.description="Measures how long log events take over each hop of a multi-cloud log pipeline" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /traceprobe /traceprobe
USER 65532:65532
# glibc keeps free memory apart for each of up to eight threads a processor; what was inflated on one is of no use to another. Two do as well.
ENV MALLOC_ARENA_MAX=2
EXPOSE 9464
# Ends injection at once, and gives traces in flight up to probe.stop_grace (25 s) to land: stop it with a longer timeout, e.g. docker stop -t 60.
STOPSIGNAL SIGTERM
# For docker and podman. ECS ignores it and has its own in the task definition.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 CMD ["/traceprobe", "healthcheck"]
ENTRYPOINT ["/traceprobe"]
CMD ["run", "--config", "/etc/traceprobe/traceprobe.toml"]
