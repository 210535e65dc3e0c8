# syntax=docker/dockerfile:1
# Slipway for hosts that take an image (Elastic Premium, Container Apps): what `make package` packs,
# its locked requirements, and PostgreSQL's own programs, which make backup sets of databases.
# Never built where it was written: docs/not-verified.md.

# One Python for both stages: the packages hold compiled parts. A release pins it by digest.
ARG BASE=mcr.microsoft.com/azure-functions/python:4-python3.12

FROM ${BASE} AS packages
COPY requirements.txt /tmp/requirements.txt
# Before the code, so that a change of code leaves this layer as it is.
RUN python -m pip install --no-cache-dir --require-hashes --only-binary :all: \
        --target /packages --requirement /tmp/requirements.txt

FROM ${BASE}
# Not older than the servers that are backed up: pg_dump refuses a newer server than itself.
ARG POSTGRESQL=17
# postgresql-common carries the key of PostgreSQL's own archive, and adds that archive.
# hadolint ignore=DL3008 # security updates of the base's distribution are wanted at each build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates postgresql-common \
    && /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y \
    && apt-get install --yes --no-install-recommends "postgresql-client-${POSTGRESQL}" \
    && rm -rf /var/lib/apt/lists/* \
    && pg_dump --version
# Where a user without rights has to write: the host keeps a mark beside its secrets, and logs and
# keys at home. Code and packages stay root's: nobody who breaks in changes them.
RUN install --directory --owner=1654 --group=1654 \
        /azure-functions-host/Secrets /home /home/data /home/LogFiles
ENV AzureWebJobsScriptRoot=/home/site/wwwroot \
    AzureFunctionsJobHost__Logging__Console__IsEnabled=true \
    AzureFunctionsJobHost__FileWatchingEnabled=false \
    AzureFunctionsJobHost__Logging__FileLoggingMode=never \
    ASPNETCORE_URLS=http://+:8080 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPATH=/home/site/wwwroot/.python_packages/lib/site-packages
# On App Service the worker sets PYTHONPATH anew, to this folder: packages elsewhere are not found.
COPY --from=packages /packages /home/site/wwwroot/.python_packages/lib/site-packages
COPY function_app.py host.json requirements.txt /home/site/wwwroot/
COPY controller /home/site/wwwroot/controller
# Who runs it may not write there, so that each start would compile it again.
RUN python -m compileall -q /home/site/wwwroot/controller /home/site/wwwroot/function_app.py
EXPOSE 8080
# By number: App Service and Kubernetes see that it is not root, and the base needs no such name.
USER 1654:1654
