//! Parquet files for Iceberg.
