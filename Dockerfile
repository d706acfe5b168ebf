# The demo in a container, on the CPU:
#
#   docker build --tag omniup .
#   docker run --rm --read-only --tmpfs /tmp --publish 127.0.0.1:8000:8000 omniup
#
# Weights that it fetches lie in /tmp. `docker run … omniup serve --host 0.0.0.0 --offline` fetches none. For a GPU build
# with --build-arg TORCH_BACKEND=auto, and run with --gpus all.

FROM python:3.12-slim AS build
WORKDIR /source
COPY constraints.txt ./
RUN python -m venv /opt/omniup && /opt/omniup/bin/pip install --no-cache-dir --constraint constraints.txt uv
ARG TORCH_BACKEND=cpu
COPY pyproject.toml README.en.md LICENSE ./
COPY tools/package_metadata.py tools/
COPY src src
RUN /opt/omniup/bin/uv pip install --no-cache --compile-bytecode --python /opt/omniup/bin/python \
    --torch-backend "$TORCH_BACKEND" --constraint constraints.txt --build-constraint constraints.txt \
    ".[demo,features,formats,web]"

FROM python:3.12-slim
COPY --from=build /opt/omniup /opt/omniup
RUN useradd --uid 1000 --no-create-home omniup
USER 1000
WORKDIR /tmp
# Packages that keep files keep them below HOME, and /tmp is the one folder that can be written to.
ENV HOME=/tmp
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["/opt/omniup/bin/python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/api/health', timeout=4)"]
ENTRYPOINT ["/opt/omniup/bin/omniup"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
