# One image for orchestrators, workers and the command line. Applications build on it:
#     FROM rq-workflows
#     COPY app.py /srv/app/
#     CMD ["worker", "app:app"]
ARG PYTHON=3.13.14-slim-trixie

# What the package needs, by itself: this layer is built again when pyproject.toml changes, not with every line of code.
FROM python:${PYTHON} AS dependencies
WORKDIR /src
COPY pyproject.toml ./
RUN mkdir /wheels \
    && python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
        > /wheels/requirements.txt \
    && pip wheel --no-cache-dir --wheel-dir /wheels --requirement /wheels/requirements.txt

FROM dependencies AS package
COPY README.md LICENSE ./
COPY workflows workflows
COPY orchestrator orchestrator
COPY worker worker
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /package .

FROM python:${PYTHON}
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin workflows
RUN --mount=type=bind,from=dependencies,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels --requirement /wheels/requirements.txt
RUN --mount=type=bind,from=package,source=/package,target=/package \
    pip install --no-cache-dir --no-index --no-deps /package/*.whl
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /srv/app
USER 10001
ENTRYPOINT ["workflows"]
CMD ["orchestrator"]
