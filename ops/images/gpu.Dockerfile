# Every `marquee` command on an NVIDIA GPU of CUDA 11.8's time, with Paddle 2.6. From the root of the repository:
#   docker build -f ops/images/gpu.Dockerfile -t marquee:gpu .
# Not built nor run by any test: its base image and a GPU are needed. A release written by Paddle 3.x must be exported for
# 2.6 first (`marquee export`). For compute capability 9.0 and up (H100 and newer) it has no kernels, and the worker
# would refuse the card: install Paddle's own 3.3 GPU build instead.
# Secrets as in cpu.Dockerfile.

# Rocky Linux, because its Python 3.11 is a finished one: Ubuntu 22.04's is a release candidate.
FROM nvidia/cuda:11.8.0-cudnn8-runtime-rockylinux8 AS python
RUN dnf install -y --disablerepo='cuda*' libgomp python3.11 && dnf clean all

FROM python AS build
WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore

RUN python3.11 -m venv /opt/marquee && python3.11 -m venv /opt/build
COPY ops/locks/gpu.txt ops/locks/build.txt ./
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    /opt/marquee/bin/pip install --require-hashes -r gpu.txt \
    && /opt/build/bin/pip install --require-hashes -r build.txt

COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY worker worker
COPY producer producer
COPY ops ops
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir wheels . \
    && /opt/marquee/bin/pip install --no-deps --no-index wheels/*.whl

FROM python
COPY --from=build /opt/marquee /opt/marquee
RUN install -d -o 10001 -g 10001 /store
ENV PATH=/opt/marquee/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 MARQUEE_STORE=/store MARQUEE_HTTP__HOST=0.0.0.0
USER 10001:10001
WORKDIR /store
EXPOSE 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-c", \
    "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:%s/health/live' % os.environ.get('MARQUEE_HTTP__PORT', 9464), timeout=4)"]
ENTRYPOINT ["marquee"]
CMD ["--help"]
