# The image of kaiwo, for init containers and Jobs:
#
#     docker build -t kaiwo-downloader .
#     mkdir -p data
#     docker run --user "$(id -u)" -v "$PWD/kaiwo.yaml:/config/kaiwo.yaml:ro" \
#         -v "$PWD/data:/workload" kaiwo-downloader /config/kaiwo.yaml --log-level=INFO
#
# Other commands go by `--entrypoint kaiwo` (in a pod: `command: [kaiwo, plan, /config/kaiwo.yaml]`).
#
# It runs as any user and group, without a passwd entry, with a read-only root file system and
# without a writable HOME; what has to be writable is the download root and, for `hf` tasks without
# target_path, a volume that HF_HOME names. `python -m tests.image` builds it and proves all that.
#
# Another package index, or a proxy's certificate, comes as pip's own configuration file:
# `--secret id=pip.conf,src=FILE`. It is mounted for the build, and part of no layer.
#
# A tag moves: who wants the same base next month looks its digest up and builds with
# `--build-arg BASE=python:3.12-slim@sha256:…`, as the release workflow does.

ARG BASE=python:3.12-slim

# ------------------------------------------------------------------------------------ build
FROM ${BASE} AS build
WORKDIR /src
COPY requirements/ requirements/

# Wheels only: the base has no compiler, and building a package would run what no hash pins.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    for environment in /opt/kaiwo:image /opt/build:build; do \
        python -m venv --without-pip "${environment%:*}" \
        && python -m pip --no-cache-dir --disable-pip-version-check \
            --python "${environment%:*}/bin/python" install --quiet --no-compile --only-binary :all: \
            --require-hashes --requirement "requirements/${environment#*:}.lock" \
        || exit 1; \
    done

# botocore's data are most of botocore, do not compress, and describe 400 services. What stays are
# S3, those that its chain of credentials asks (`python -m tests.image` looks them up in botocore's
# code, and fails when one is missing), and the files that are about none: endpoints, retries.
RUN cd /opt/kaiwo/lib/python*/site-packages \
    && find botocore/data -mindepth 1 -maxdepth 1 -type d \
        ! -name s3 ! -name sts ! -name sso ! -name sso-oidc ! -name signin -exec rm -r {} + \
    && find . -type d -name tests -prune -exec rm -r {} +

# Nothing can be compiled on a read-only root, so it is now, once. Unchecked: neither a layer that is
# unpacked with other times nor a build that rewrites them makes the bytecode stale.
COPY pyproject.toml README.md ./
COPY kaiwo/ kaiwo/
RUN /opt/build/bin/python -m hatchling build --target wheel --directory /dist \
    && python -m pip --no-cache-dir --disable-pip-version-check --python /opt/kaiwo/bin/python \
        install --quiet --no-compile --no-deps --no-index /dist/*.whl \
    && rm -f /opt/kaiwo/bin/activate* /opt/kaiwo/bin/Activate* \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/kaiwo/lib

# ------------------------------------------------------------------------------------ image
FROM ${BASE}

# The official images come without bytecode of the standard library, which then is compiled at each
# start: 0.47 s instead of 0.29 s until a file is read, and 0.82 s without any bytecode.
RUN python -m pip --disable-pip-version-check uninstall --quiet --yes --root-user-action ignore pip \
    && python -c "import ensurepip, os, shutil; shutil.rmtree(os.path.dirname(ensurepip.__file__))" \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash \
        -x '/(test|tests|idlelib|lib2to3|pydoc_data|tkinter|turtledemo|site-packages|dist-packages)/' \
        "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"

COPY --from=build /opt/kaiwo /opt/kaiwo

# KServe's own image has its command here.
RUN mkdir -p /storage-initializer/scripts && cd /storage-initializer/scripts \
    && printf '#!/bin/sh\nexec kaiwo storage-initializer "$@"\n' > initializer-entrypoint \
    && chmod 755 initializer-entrypoint

# SAFEPATH: `python -m` shall not import what lies in the working directory, such as downloads.
ENV PATH="/opt/kaiwo/bin:${PATH}" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1

USER 65532:65532
ENTRYPOINT ["python", "-m", "kaiwo.downloader"]

# At the end, since they differ in every build. `make image` fills in all but the source. There is no
# label for licenses: none is chosen yet.
ARG BASE
ARG VERSION=""
ARG REVISION=""
ARG CREATED=""
ARG SOURCE=""
LABEL org.opencontainers.image.title="kaiwo-downloader" \
      org.opencontainers.image.description="Puts models and data where a program needs them: S3, GCS, Azure Blob Storage and the Hugging Face Hub, from one YAML file" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="${BASE}"
