# The front. From the repository's root:
#   docker build -f deploy/docker/front.Dockerfile -t tastemaker/front:0.1.0 .
# Packages come from a lock with hashes; nothing that builds reaches the last stage. The root file system may be
# read-only: the front writes to /var/lib/tastemaker alone.
ARG PYTHON_IMAGE=python:3.12-slim

FROM ${PYTHON_IMAGE} AS build
ARG LOCK=front
ENV PYTHONDONTWRITEBYTECODE=1 UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1
WORKDIR /src
COPY requirements/ requirements/
RUN python -m venv /build
RUN /build/bin/pip install --no-cache-dir --require-hashes -r requirements/build.lock
RUN /build/bin/uv venv --python "$(command -v python)" /opt/tastemaker
RUN /build/bin/uv pip install --python /opt/tastemaker/bin/python --require-hashes -r "requirements/${LOCK}.lock"
COPY pyproject.toml README.md LICENSE ./
COPY clients/ clients/
COPY jobs/ jobs/
COPY proto/ proto/
COPY server/ server/
RUN /build/bin/hatchling build --target wheel --directory /dist
RUN /build/bin/uv pip install --python /opt/tastemaker/bin/python --no-deps /dist/*.whl
RUN mkdir -p /empty

FROM ${PYTHON_IMAGE}
ENV PATH=/opt/tastemaker/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=build /opt/tastemaker /opt/tastemaker
COPY deploy/docker/front.toml /etc/tastemaker/front.toml
COPY --from=build --chown=10001:10001 /empty /var/lib/tastemaker
WORKDIR /var/lib/tastemaker
VOLUME ["/var/lib/tastemaker"]
USER 10001:10001
EXPOSE 50051 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["tastemaker", "health", "server"]
ENTRYPOINT ["tastemaker-server"]
CMD ["--config", "/etc/tastemaker/front.toml"]
