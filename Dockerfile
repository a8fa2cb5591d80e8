# Two stages: what builds the environment does not ship. The result runs as a user of its own, on a
# read-only root file system, with one volume for the store and the run-time folder in memory:
#
#   docker build -t charger-bridge .
#   docker compose up -d            # see compose.yaml
#
# `make release` builds it without an engine and without a network, on a small Debian of its own.
ARG PYTHON=python:3.13-slim-bookworm
ARG RUNTIME=${PYTHON}

FROM ${PYTHON} AS build
# Where the wheels are here already, no index is asked.
ARG PIP_NO_INDEX
ARG PIP_FIND_LINKS
ARG PIP_DISABLE_PIP_VERSION_CHECK=1
ARG SOURCE_DATE_EPOCH
WORKDIR /src
RUN python3 -m venv /opt/charger-bridge
# all: PostgreSQL, AMQP and the demonstration too; run: none of them, a third of the size.
ARG REQUIREMENTS=all
COPY requirements/${REQUIREMENTS}.txt requirements/
RUN /opt/charger-bridge/bin/python -m pip install --no-cache-dir --no-compile --no-deps --require-hashes -r requirements/${REQUIREMENTS}.txt
COPY pyproject.toml README.md LICENSE ./
COPY bridge bridge
# Byte code that asks for no time of its source is the same every time it is built.
RUN /opt/charger-bridge/bin/python -m pip install --no-cache-dir --no-compile --no-deps --no-build-isolation . \
    && /opt/charger-bridge/bin/python -m pip uninstall --yes setuptools pip \
    && find /opt/charger-bridge -name __pycache__ -prune -exec rm -r {} + \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/charger-bridge/lib

FROM ${RUNTIME}
# Written by hand: useradd would note the day.
RUN echo 'bridge:x:10001:' >>/etc/group \
    && echo 'bridge:x:10001:10001::/nonexistent:/usr/sbin/nologin' >>/etc/passwd \
    && install -d -o 10001 -g 10001 -m 0700 /var/lib/charger-bridge /run/charger-bridge
COPY --from=build /opt/charger-bridge /opt/charger-bridge
ENV PATH=/opt/charger-bridge/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RUNTIME_DIRECTORY=/run/charger-bridge \
    TMPDIR=/run/charger-bridge
LABEL org.opencontainers.image.title="charger-bridge" \
    org.opencontainers.image.description="Gateway between MQTT and the Easee Cloud" \
    org.opencontainers.image.authors="charger-bridge contributors" \
    org.opencontainers.image.licenses="Apache-2.0"
USER 10001:10001
VOLUME /var/lib/charger-bridge
# With http.enabled and http.host 0.0.0.0: health, metrics, and with http.page the status page.
EXPOSE 8480
STOPSIGNAL SIGTERM
# The age of the heartbeat that the gateway's own loop writes: a process that hangs is not healthy.
HEALTHCHECK --interval=60s --timeout=10s --start-period=60s --retries=2 \
    CMD ["python", "-m", "bridge.monitoring.healthcheck"]
ENTRYPOINT ["charger-bridge"]
CMD ["run", "--config", "/etc/charger-bridge/config.yaml"]
