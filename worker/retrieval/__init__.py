"""Retrieval: vectors in, ranked lists out. `index` is the contract that the backends implement.

Other packages import `index`, `queries`, `retriever`, `exact`, `filters`, `diversity` and `ranking`. They open a backend with `open_store`,
because pymilvus takes a second to import; `milvus` and `milvus_client` are for code about Milvus itself.
"""

__all__ = ["diversity", "exact", "filters", "index", "queries", "ranking", "retriever"]
