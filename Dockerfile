# Works with BuildKit and the legacy builder (no cache mounts), on x86_64 and arm64.
FROM rust:1.95-slim-bookworm AS build
# jemalloc is built from C.
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /leaklab

# The dependencies, in a layer that only a change of a manifest builds again. Their code doesn't depend on ours, so ours is
# empty here; targets that name files of their own ([[bench]], [[test]]) are left out.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY crates/leakscope/Cargo.toml crates/leakscope/
COPY xtask/Cargo.toml xtask/
# arm64 kernels have pages of 4, 16 or 64 KiB: jemalloc takes those up to the size that it was built for.
RUN if [ "$(uname -m)" = aarch64 ]; then echo export JEMALLOC_SYS_WITH_LG_PAGE=16; fi >/build-env \
 && sed -i '/^\[\[/,/^$/d' Cargo.toml crates/leakscope/Cargo.toml \
 && mkdir -p src crates/leakscope/src xtask/src && echo 'fn main() {}' | tee src/main.rs xtask/src/main.rs \
 && touch src/lib.rs crates/leakscope/src/lib.rs \
 && . /build-env && cargo build --release --locked --bin leaklab \
 && cargo clean --release -p leaklab -p leakscope

COPY . .
RUN . /build-env && cargo build --release --locked --bin leaklab && cp target/release/leaklab /usr/local/bin/

# Not stripped: the heap profile names lines by the binary's own tables.
FROM debian:bookworm-slim
RUN install -d -o 10001 -g 10001 /data
COPY --from=build /usr/local/bin/leaklab /usr/local/bin/leaklab
USER 10001:10001
# In a container loopback is not reachable from outside; who may reach it is decided by the published port.
ENV LEAKLAB_LISTEN=0.0.0.0:8080 LEAKLAB_DATA_DIR=/data LEAKLAB_LOG_FORMAT=json
EXPOSE 8080
VOLUME /data
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 CMD ["leaklab", "healthcheck"]
ENTRYPOINT ["leaklab"]
CMD ["serve"]
