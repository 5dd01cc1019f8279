"""Clean documents to tokenizer, token shards and models that are adapted, evaluated and put to use.

Knows nothing of Prefect or MLflow.
"""
