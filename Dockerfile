# Two stages: what builds the environment does not ship. The result runs as a user of its own, on a
# read-only root file system, with one volume for the store and the run-time folder in memory:
#
#   docker build -t charger-bridge .
#   docker compose up -d            # see compose.yaml
ARG PYTHON=python:3.13-slim-bookworm

FROM ${PYTHON} AS build
WORKDIR /src
RUN python -m venv /opt/charger-bridge
COPY requirements/run.txt requirements/
RUN /opt/charger-bridge/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY bridge bridge
RUN /opt/charger-bridge/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
    && /opt/charger-bridge/bin/pip uninstall --yes setuptools pip

FROM ${PYTHON}
RUN groupadd --system --gid 10001 bridge \
    && useradd --system --uid 10001 --gid bridge --home-dir /nonexistent --no-create-home bridge \
    && install -d -o bridge -g bridge -m 0700 /var/lib/charger-bridge /run/charger-bridge
COPY --from=build /opt/charger-bridge /opt/charger-bridge
ENV PATH=/opt/charger-bridge/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RUNTIME_DIRECTORY=/run/charger-bridge
USER 10001:10001
VOLUME /var/lib/charger-bridge
STOPSIGNAL SIGTERM
# The age of the heartbeat that the gateway's own loop writes: a process that hangs is not healthy.
HEALTHCHECK --interval=60s --timeout=10s --start-period=60s --retries=2 \
    CMD ["python", "-m", "bridge.monitoring.healthcheck"]
ENTRYPOINT ["charger-bridge"]
CMD ["run", "--config", "/etc/charger-bridge/config.yaml"]
