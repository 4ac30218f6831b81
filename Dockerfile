# The action's image. Three stages: what qgate depends on, qgate itself, and both on a clean base.
#
#   docker build -t qgate .
#
# BASE may be any image with Python 3.11 or later; a release gives it by digest.
# TORCH_INDEX_URL: auto (PyTorch's CPU index where it answers, else pip's configuration), pip, or an address.
# TORCH_REQUIREMENT: the torch to install; empty for the one that tools/install_torch.py names.
ARG BASE=python:3.11-slim-bookworm

# hadolint ignore=DL3006
FROM ${BASE} AS dependencies
LABEL org.opencontainers.image.title="qgate"
# for strip: torch's libraries carry 100 MB of symbols that nothing at run time reads
# hadolint ignore=DL3008
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends binutils >/dev/null \
 && rm -rf /var/lib/apt/lists/*
ARG TORCH_INDEX_URL=auto
ARG TORCH_REQUIREMENT=
# torch first and alone: the largest and rarest to change
COPY tools/install_torch.py /build/
RUN python3 -m venv --without-pip /opt/qgate/venv \
 && python3 /build/install_torch.py --python /opt/qgate/venv/bin/python \
      --index "${TORCH_INDEX_URL}" --requirement "${TORCH_REQUIREMENT}" \
 && strip --strip-unneeded /opt/qgate/venv/lib/python3*/site-packages/torch/lib/libtorch_*.so
COPY requirements/image.txt requirements/build.txt tools/slim.py tools/precompile.py /build/
RUN python3 -m pip --python /opt/qgate/venv/bin/python install --quiet --no-cache-dir --no-compile \
      --only-binary :all: --requirement /build/image.txt \
 && python3 -m pip install --quiet --no-cache-dir --only-binary :all: --requirement /build/build.txt \
 && python3 /build/slim.py /opt/qgate/venv \
 && /opt/qgate/venv/bin/python -I -B /build/precompile.py \
 && for folder in /opt/qgate/venv/lib/python3*/site-packages; do \
      echo /opt/qgate/lib > "${folder}/qgate.pth"; done

FROM dependencies AS build
COPY pyproject.toml README.md LICENSE NOTICE /build/qgate/
COPY qgate /build/qgate/qgate
# No network from here on: the build backend is installed above.
RUN python3 -m pip install --quiet --no-cache-dir --no-compile --no-deps --no-index --no-build-isolation \
      --target /opt/qgate/lib /build/qgate \
 && rm -rf /opt/qgate/lib/bin \
 && python3 -m compileall -q -f --invalidation-mode unchecked-hash /opt/qgate/lib

# hadolint ignore=DL3006
FROM ${BASE}
LABEL org.opencontainers.image.title="qgate" \
      org.opencontainers.image.description="The integrity gate for quantized models" \
      org.opencontainers.image.licenses="Apache-2.0"
# The slim image has no git. Its version is Debian's, so that security updates arrive.
# hadolint ignore=DL3008
RUN command -v git >/dev/null \
 || { apt-get update -qq && apt-get install -y -qq --no-install-recommends git >/dev/null \
      && rm -rf /var/lib/apt/lists/*; }
COPY --from=dependencies /opt/qgate/venv /opt/qgate/venv
COPY --from=build /opt/qgate/lib /opt/qgate/lib
COPY entrypoint.py LICENSE NOTICE /opt/qgate/
# Absolute and isolated: the working folder and PATH belong to the pull request.
ENTRYPOINT ["/opt/qgate/venv/bin/python", "-I", "/opt/qgate/entrypoint.py"]
