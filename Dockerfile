# One image for every process: the web server, or any other `landdata …` as its command.
# It is set up by script/setup, as every machine is. Give it LANDDATA_DATABASE_URL, or keep the
# embedded PostGIS on a volume at /var/lib/landdata. The web server is its default command;
# `landdata worker` makes it one of the queue's workers.
FROM debian:bookworm-slim

WORKDIR /srv/landdata
COPY . .
# npm has done its work once the browser's libraries are copied.
RUN script/setup \
    && apt-get purge -y npm nodejs \
    && apt-get autoremove -y --purge \
    && rm -rf /var/lib/apt/lists/* node_modules ~/.cache ~/.npm \
    && useradd --system --home-dir /var/lib/landdata --create-home landdata

USER landdata
ENV PATH=/srv/landdata/.venv/bin:$PATH \
    LANDDATA_HOME=/var/lib/landdata \
    LANDDATA_HOST=0.0.0.0 \
    LANDDATA_PORT=5000 \
    PYTHONUNBUFFERED=1
VOLUME /var/lib/landdata
EXPOSE 5000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ['LANDDATA_PORT']}/healthz\", timeout=4)"]
CMD ["landdata", "serve"]
