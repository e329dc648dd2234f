# Every `marquee` command on the CPU. From the root of the repository:
#   docker build -f ops/images/cpu.Dockerfile -t marquee:cpu .
# Behind a package mirror or an intercepting proxy, pip's configuration and authorities can come as secrets, which stay out
# of the image: --secret id=pip,src=pip.conf --secret id=ca,src=ca.pem (seen as /run/secrets/ca in the configuration).

FROM python:3.11-slim AS build
WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore

RUN python3 -m venv /opt/marquee && python3 -m venv /opt/build
# Dependencies before sources: a change of ours does not fetch Paddle again.
COPY ops/locks/cpu.txt ops/locks/build.txt ./
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    /opt/marquee/bin/pip install --require-hashes -r cpu.txt \
    && /opt/build/bin/pip install --require-hashes -r build.txt

COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY worker worker
COPY producer producer
COPY ops ops
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir wheels . \
    && /opt/marquee/bin/pip install --no-deps --no-index wheels/*.whl

FROM python:3.11-slim
# Paddle's wheel leaves the OpenMP runtime to the system.
RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/marquee /opt/marquee
# A volume mounted here takes its owner.
RUN install -d -o 10001 -g 10001 /store
# The home folder is where libraries put their caches: the root file system may be read-only, /tmp a tmpfs.
ENV PATH=/opt/marquee/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 MARQUEE_STORE=/store MARQUEE_HTTP__HOST=0.0.0.0
USER 10001:10001
WORKDIR /store
EXPOSE 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-c", \
    "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:%s/health/live' % os.environ.get('MARQUEE_HTTP__PORT', 9464), timeout=4)"]
ENTRYPOINT ["marquee"]
CMD ["--help"]
