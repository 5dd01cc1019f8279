"""Clean documents to tokenizer, token shards, model; adapted, evaluated, generating. Knows nothing of Prefect or MLflow."""
