"""The driver: reads a sweep, plans its cells, schedules them on Ray, writes Parquet. Never loads torch."""
