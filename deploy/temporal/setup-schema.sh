#!/bin/sh
# Creates Temporal's databases and schemas on PostgreSQL, or brings them up to this version; may be run again at any time.
set -eu
export SQL_PLUGIN=postgres12 SQL_HOST="$POSTGRES_SEEDS" SQL_PORT="$DB_PORT" SQL_USER="$POSTGRES_USER" SQL_PASSWORD="$POSTGRES_PWD"
schemas="${SCHEMA_FOLDER:-/etc/temporal/schema}/postgresql/v12"

prepare() {
  temporal-sql-tool --database "$1" create-database
  temporal-sql-tool --database "$1" setup-schema --version 0.0
  temporal-sql-tool --database "$1" update-schema --schema-dir "$schemas/$2/versioned"
}
prepare "$DBNAME" temporal
prepare "$VISIBILITY_DBNAME" visibility
