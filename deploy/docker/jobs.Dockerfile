# The jobs, and what reads and fills the front's stores from outside; also the image of Ray's nodes. From the root:
#   docker build -f deploy/docker/jobs.Dockerfile -t tastemaker/jobs:0.1.0 .
#   docker build -f deploy/docker/jobs.Dockerfile -t tastemaker/jobs:0.1.0-gpu --build-arg LOCK=jobs-gpu .
# They write to /workspace, /models and /tmp (Ray's sockets, and /dev/shm for what its workers share).
ARG PYTHON_IMAGE=python:3.12-slim

FROM ${PYTHON_IMAGE} AS build
ARG LOCK=jobs
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
ENV HOME=/workspace XDG_CACHE_HOME=/workspace/.cache TASTEMAKER_LOG_FORMAT=json
COPY deploy/docker/front.toml /etc/tastemaker/front.toml
COPY --from=build --chown=10001:10001 /empty /workspace
COPY --from=build --chown=10001:10001 /empty /models
WORKDIR /workspace
VOLUME ["/workspace", "/models"]
USER 10001:10001
EXPOSE 6379 8265 10001
STOPSIGNAL SIGTERM
HEALTHCHECK NONE
ENTRYPOINT ["tastemaker-jobs"]
CMD ["--help"]
