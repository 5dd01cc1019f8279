"""Raw bytes to clean Parquet documents. Knows nothing of models, Prefect or MLflow."""
