# docker build -t aimock .
# docker run -p 127.0.0.1:4010:4010 -v ./fixtures:/fixtures aimock
#
# To record, the fixtures folder must be writable by the user in the container:
# docker run --user "$(id -u):$(id -g)" -p 127.0.0.1:4010:4010 -v ./fixtures:/fixtures aimock \
#     --fixtures /fixtures --record --provider-openai https://api.openai.com

FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
# One static file: libc is in it, and so are the certificate authorities. It has neither relocations nor tables for
# unwinding, a tenth of it together. The target is named although it is the machine's own, because the flags would reach
# build scripts and macros otherwise. Small before fast: an image is pulled more often than it is loaded, and
# without `aimock convert`: it is there to serve.
ENV RUSTFLAGS="-C target-feature=+crt-static -C relocation-model=static -C force-unwind-tables=no -C link-arg=-Wl,-T,deploy/static.ld"
ENV CARGO_TARGET_DIR=/target
RUN cargo build --release --config 'profile.release.opt-level="s"' --locked --no-default-features --bin aimock --target "$(rustc -vV | sed -n 's/^host: //p')"
RUN mkdir -p /image/fixtures && cp /target/*/release/aimock /image/

FROM scratch
COPY --from=build /image/aimock /aimock
COPY --from=build --chown=65532:65532 /image/fixtures /fixtures
USER 65532:65532
ENV AIMOCK_HOST=0.0.0.0
EXPOSE 4010
VOLUME /fixtures
HEALTHCHECK --interval=10s --timeout=6s CMD ["/aimock", "health"]
ENTRYPOINT ["/aimock"]
CMD ["--fixtures", "/fixtures"]
