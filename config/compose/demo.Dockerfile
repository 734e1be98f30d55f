# The demo, with the sandbox that the image for production does not contain. Used by compose.yml beside this file.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --locked --release --bin traceprobe \
    && cp target/release/traceprobe /traceprobe

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /traceprobe /traceprobe
USER 65532:65532
EXPOSE 9464
ENTRYPOINT ["/traceprobe"]
CMD ["demo", "--listen", "0.0.0.0:9464"]
