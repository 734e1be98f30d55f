# syntax=docker/dockerfile:1
#
# docker build -t traceprobe .
# docker run --rm -p 9464:9464 -v "$PWD/traceprobe.toml:/etc/traceprobe/traceprobe.toml:ro" -e TRACEPROBE_TAG_KEY traceprobe
#
# ECS cannot mount a single file. Derive an image there:
#   FROM traceprobe
#   COPY traceprobe.toml /etc/traceprobe/traceprobe.toml

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# aws-lc-sys needs a C compiler and nothing else. Cache mounts keep the registry and the built dependencies
# between builds, so that a change to our own code rebuilds one crate; the binary is copied out, because a
# cache mount is not part of the image. The default features are off, because the sandbox has an admin
# listener without a password.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --locked --profile dist --no-default-features --bin traceprobe \
    && cp target/dist/traceprobe /traceprobe

# Contains libc, libgcc and the CA certificates, but no shell and no package manager. `nonroot` is user 65532.
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="traceprobe" \
      org.opencontainers.image.description="Measures how long log events take over each hop of a multi-cloud log pipeline" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /traceprobe /traceprobe
USER 65532:65532
# By default glibc has up to eight memory arenas per processor, and memory freed in one cannot be reused by
# threads of another. Two arenas are enough and keep the process small.
ENV MALLOC_ARENA_MAX=2
EXPOSE 9464
# SIGTERM ends injection at once and gives traces in flight up to probe.stop_grace (25 s) to arrive. Stop the
# container with a longer timeout: docker stop -t 60.
STOPSIGNAL SIGTERM
# For Docker and Podman. ECS ignores it; the task definition has its own.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 CMD ["/traceprobe", "healthcheck"]
ENTRYPOINT ["/traceprobe"]
CMD ["run", "--config", "/etc/traceprobe/traceprobe.toml"]
