"""Services as frontends and backends."""
