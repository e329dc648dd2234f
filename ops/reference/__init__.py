"""Pages, schemas and the dashboard, made from the code by `python -m ops.reference`."""
