# One image for orchestrators, workers and the command line. Applications build on it:
#     FROM rq-workflows
#     COPY app.py /srv/app/
#     CMD ["worker", "app:app"]
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY workflows workflows
COPY orchestrator orchestrator
COPY worker worker
RUN pip wheel --no-cache-dir --wheel-dir /wheels .

FROM python:3.13-slim
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels rq-workflows \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin workflows
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /srv/app
USER 10001
ENTRYPOINT ["workflows"]
CMD ["orchestrator"]
