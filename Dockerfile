# syntax=docker/dockerfile:1
# Slipway for hosts that take an image (Elastic Premium, Container Apps): what `make package` packs,
# its locked requirements, and PostgreSQL's own programs, which make backup sets of databases.
# Never built where it was written: docs/not-verified.md.

ARG BASE=mcr.microsoft.com/azure-functions/python:4-python3.12

FROM ${BASE} AS packages
COPY requirements.txt /tmp/requirements.txt
# Before the code, so that a change of code leaves this layer as it is.
RUN python -m pip install --no-cache-dir --require-hashes --target /packages \
        --requirement /tmp/requirements.txt

FROM ${BASE}
# Not older than the servers that are backed up: pg_dump refuses a newer server than itself.
ARG POSTGRESQL=17
# hadolint ignore=DL3008 # security updates of the base's distribution are wanted at each build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates postgresql-common \
    && /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y \
    && apt-get install --yes --no-install-recommends "postgresql-client-${POSTGRESQL}" \
    && rm -rf /var/lib/apt/lists/*
ENV AzureWebJobsScriptRoot=/home/site/wwwroot \
    AzureFunctionsJobHost__Logging__Console__IsEnabled=true \
    ASPNETCORE_URLS=http://+:8080 \
    PYTHONPATH=/packages
COPY --from=packages /packages /packages
COPY function_app.py host.json requirements.txt /home/site/wwwroot/
COPY controller /home/site/wwwroot/controller
EXPOSE 8080
USER 1654:1654
