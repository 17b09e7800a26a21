# Our model server, where tensorflow/serving is not to be had; same flags, same wire. From the repository's root:
#   docker build -f deploy/docker/modelserver.Dockerfile -t tastemaker/modelserver:0.1.0 .
#   docker build -f deploy/docker/modelserver.Dockerfile -t tastemaker/modelserver:0.1.0-gpu --build-arg LOCK=modelserver-gpu .
# It reads /models and writes nowhere but to /tmp.
ARG PYTHON_IMAGE=python:3.12-slim

FROM ${PYTHON_IMAGE} AS build
ARG LOCK=modelserver
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
ENV PATH=/opt/tastemaker/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 TASTEMAKER_LOG_FORMAT=json
COPY --from=build /opt/tastemaker /opt/tastemaker
COPY --from=build --chown=10001:10001 /empty /models
WORKDIR /models
VOLUME ["/models"]
USER 10001:10001
EXPOSE 8500 8501
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s CMD ["tastemaker", "health", "--address", "127.0.0.1:8500", "server"]
ENTRYPOINT ["tastemaker-modelserver"]
CMD ["--port=8500", "--rest_api_port=8501", "--model_config_file=/models/models.config", "--enable_grpc_healthcheck_service"]
